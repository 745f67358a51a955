"""Heat conduction: Fourier modes decay as they must, at second order, with the same bits on any ranks."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps import heat
from mpibatch.mpi import MPI

pytestmark = pytest.mark.mpi

WAVES = {"insulated": np.cos, "fixed": np.sin, "periodic": np.cos}


def solved(p: heat.Parameters, until: float) -> tuple[np.ndarray, mb.Simulation]:
    with mb.Simulation(until=until) as simulation:
        u = heat.run(p, simulation)
    return mb.gather_all(u), simulation


def factors(p: heat.Parameters) -> tuple[list[np.ndarray], list[float]]:
    """The mode along each axis, and the phase by which it turns from a cell to the next."""
    turn = 2 * math.pi if p.walls == "periodic" else math.pi
    phases = [turn * n / cells for n, cells in zip(p.mode, p.shape, strict=True)]
    return [WAVES[p.walls](phase * (np.arange(n) + 0.5)) for phase, n in zip(phases, p.shape, strict=True)], phases


@pytest.mark.parametrize("walls", WAVES)
@pytest.mark.parametrize(
    ("shape", "mode", "length"), [((12,), (3,), 2.0), ((10, 7), (2, 1), (1.0, 0.5)), ((6, 5, 4), (1, 2, 1), 1.0)]
)
def test_a_mode_decays_by_the_schemes_own_factor(walls, shape, mode, length):
    # Every mode is an eigenvector of the discrete scheme, too: all that is left is rounding.
    p = heat.Parameters(shape, length, 0.7, walls=walls, initial="mode", mode=mode, wall_temperature=0.0)
    u, simulation = solved(p, 5 * p.longest)
    assert simulation.step > 4
    dt = simulation.time / simulation.step
    axes, phases = factors(p)
    rate = sum(4 * math.sin(phase / 2) ** 2 / h**2 for phase, h in zip(phases, p.spacing, strict=True))
    expected = math.prod(np.ix_(*axes)) * (1 - 0.7 * dt * rate) ** simulation.step
    np.testing.assert_allclose(u, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("walls", WAVES)
def test_the_error_is_of_second_order(walls):
    errors, until = [], 0.0125  # 4, 16 and 64 steps of one share of the limit
    for cells in (8, 16, 32):
        p = heat.Parameters((cells, cells), walls=walls, initial="mode", mode=(1, 1 if walls == "periodic" else 2))
        u, _ = solved(p, until)
        grid = mb.Grid(p.shape, spacing=p.spacing, origin=p.spacing[0] / 2)
        exact = mb.gather_all(heat.fourier_mode(p, grid, until))
        errors.append(float(np.abs(u - exact).max()))
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert errors[-1] < 4e-3
    assert all(1.8 < order < 2.3 for order in orders), orders


def test_insulated_walls_keep_the_heat_and_fixed_ones_their_temperature():
    p = heat.Parameters((9, 8), initial="box")
    u, _ = solved(p, 0.05)
    assert math.isclose(u.mean(), 5 * 4 / 72, rel_tol=1e-14)
    assert u.max() < 0.9
    warm, _ = solved(dataclasses.replace(p, walls="fixed", wall_temperature=300.0), 1.0)
    np.testing.assert_allclose(warm, 300.0, rtol=1e-3)


@pytest.mark.parametrize("shape", [(23,), (9, 11), (5, 6, 7)])
def test_the_bits_do_not_depend_on_the_ranks(shape):
    p = heat.Parameters(shape, initial="hill", walls="fixed", wall_temperature=0.5, dtype="f8")
    u, _ = solved(p, 7 * p.longest)
    with mb.Simulation(until=7 * p.longest, comm=MPI.COMM_SELF) as alone:
        single = heat.run(p, alone).owned
    assert hashlib.sha256(u.tobytes()).hexdigest() == hashlib.sha256(single.tobytes()).hexdigest()


def test_single_precision_stays_single():
    p = heat.Parameters((8, 8), initial="mode", dtype="f4")
    with mb.Simulation(steps=4) as simulation:
        assert heat.run(p, simulation).dtype == np.float32


def test_the_diagnostics_hold_the_error(shared_tmp):
    rows = shared_tmp / "rows.csv"
    p = heat.Parameters((16, 16), initial="mode")
    with mb.Simulation(until=0.02, diagnostics=str(rows)) as simulation:
        heat.run(p, simulation)
    first, last = (line.split(",") for line in rows.read_text().splitlines()[1:])
    assert float(first[-1]) == 0
    assert 0 < float(last[-1]) < 2e-3
