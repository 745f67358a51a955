"""The gas dynamics program against exact solutions: the Riemann problem, a moving wave, Sedov's similarity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from scipy.optimize import brentq

import mpibatch as mb
from mpibatch.apps.euler import Parameters
from tests.support.programs import Case, digests, ran, ran_alike

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

GAMMA = 1.4


def last(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file[name][-1])


def column(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file[f"diagnostics/{name}"][...])


def exact_riemann(speed: np.ndarray, left: tuple[float, ...], right: tuple[float, ...]) -> np.ndarray:
    """The density at x / t between two states (density, velocity, pressure): Toro's book, chapter 4."""

    def jump(p: float, state: tuple[float, ...]) -> float:
        r, _, q = state
        if p > q:
            return (p - q) * math.sqrt(2 / (GAMMA + 1) / r / (p + (GAMMA - 1) / (GAMMA + 1) * q))
        return 2 / (GAMMA - 1) * math.sqrt(GAMMA * q / r) * ((p / q) ** ((GAMMA - 1) / 2 / GAMMA) - 1)

    p = brentq(lambda p: jump(p, left) + jump(p, right) + right[1] - left[1], 1e-9, 10.0, xtol=1e-14)
    u = (left[1] + right[1] + jump(p, right) - jump(p, left)) / 2
    return np.where(speed < u, half(speed, u, p, left), half(-speed, -u, p, (right[0], -right[1], right[2])))


def half(speed: np.ndarray, u: float, p: float, state: tuple[float, ...]) -> np.ndarray:
    """The density to the left of the contact."""
    r, v, q = state
    c = math.sqrt(GAMMA * q / r)
    share = (GAMMA - 1) / (GAMMA + 1)
    if p > q:
        shock = v - c * math.sqrt((GAMMA + 1) / 2 / GAMMA * p / q + (GAMMA - 1) / 2 / GAMMA)
        return np.where(speed < shock, r, r * (p / q + share) / (share * p / q + 1))
    behind = r * (p / q) ** (1 / GAMMA)
    tail = u - c * (p / q) ** ((GAMMA - 1) / 2 / GAMMA)
    fan = r * np.abs(2 / (GAMMA + 1) + share / c * (v - speed)) ** (2 / (GAMMA - 1))
    return np.where(speed < v - c, r, np.where(speed > tail, behind, fan))


def tube(name: str, cells: int, **more: Any) -> dict[str, Any]:
    return {"problem": name, "shape": [cells], **more}


def test_exact_solutions_are_met(launch: Launch, tmp_path: Path) -> None:
    cases: dict[str, Case] = {f"wave{n}": (tube("wave", n), {"until": 0.5}) for n in (32, 64, 128)}
    cases |= {f"sod{n}": (tube("sod", n), {"until": 0.2}) for n in (100, 200)}
    cases["rarefaction"] = (tube("rarefaction", 100), {"until": 0.15})
    # Ten times faster than sound: a vacuum would form.
    with h5py.File(tmp_path / "apart.h5", "w") as file:
        file["density"], file["pressure"] = np.ones(100), np.full(100, 0.4)
        file["velocity_x"] = np.where(np.arange(100) < 50, -8.0, 8.0)
    cases["apart"] = (tube("sod", 100, start="apart.h5"), {"until": 0.04, "check_every": 1})
    cases["sedov"] = ({"problem": "sedov", "shape": [64, 64]}, {"until": 0.5})
    assert ran(launch, tmp_path, 1, "euler", cases) == []

    # A wave of density, moved with the flow: second order.
    error = [column(tmp_path / f"wave{n}.h5", "error")[-1] for n in (32, 64, 128)]
    assert error[2] < 3e-4
    assert np.log2(error[0] / error[1]) > 1.7
    assert np.log2(error[1] / error[2]) > 1.8

    # Sod's shock tube, mean error of density: first order, as at any jump.
    missed = []
    for n in (100, 200):
        x = (np.arange(n) + 0.5) / n
        exact = exact_riemann((x - 0.5) / 0.2, (1.0, 0.0, 1.0), (0.125, 0.0, 0.1))
        missed.append(np.abs(last(tmp_path / f"sod{n}.h5", "density") - exact).mean())
    assert missed[0] < 0.008
    assert missed[1] < 0.0042
    assert missed[0] / missed[1] > 1.6

    x = (np.arange(100) + 0.5) / 100
    exact = exact_riemann((x - 0.5) / 0.15, (1.0, -2.0, 0.4), (1.0, 2.0, 0.4))
    assert np.abs(last(tmp_path / "rarefaction.h5", "density") - exact).mean() < 0.015
    for name in ("rarefaction", "apart", "sedov"):
        assert column(tmp_path / f"{name}.h5", "least_density").min() > 0
        assert column(tmp_path / f"{name}.h5", "least_pressure").min() > 0

    # Energy 1 in a plane, at time 0.5: the shock is at (E t² / α ρ)^¼ with α = 0.984 for γ = 1.4 (Kamm and Timmes
    # 2007, LA-UR-07-2849).
    density = last(tmp_path / "sedov.h5", "density")
    assert abs(shock_radius(density) / (0.5**2 / 0.984) ** 0.25 - 1) < 0.02
    assert np.abs(density - density.T).max() < 1e-10
    for kept in ("mass", "energy"):
        total = column(tmp_path / "sedov.h5", kept)
        assert abs(total[-1] / total[0] - 1) < 1e-13


def shock_radius(density: np.ndarray) -> float:
    """Where the mean density over the angles falls to half its peak's excess, going outward."""
    cells = density.shape[0]
    axis = (np.arange(cells) + 0.5) ** 2
    ring = np.sqrt(sum(np.ix_(*(axis,) * density.ndim))).astype(int)
    mean = np.bincount(ring.ravel(), density.ravel())[:cells] / np.bincount(ring.ravel())[:cells]
    level = (1 + mean.max()) / 2
    outer = int(np.flatnonzero(mean > level)[-1])
    part = (mean[outer] - level) / (mean[outer] - mean[outer + 1])
    return float((outer + 0.5 + part) / cells)


@pytest.mark.slow
def test_three_dimensions(launch: Launch, tmp_path: Path) -> None:
    """A blast at its similarity radius, and a shock tube that is the same along every axis, to the bit."""
    cases: dict[str, Case] = {"sedov": ({"problem": "sedov", "shape": [24] * 3}, {"until": 0.5})}
    names = ("density", "velocity_z", "velocity_y", "velocity_x", "pressure")
    for axis in range(3):
        shape = [48 if a == axis else 3 for a in range(3)]
        is_low = np.broadcast_to(np.moveaxis(np.arange(48)[:, None, None] < 24, 0, axis), shape)
        with h5py.File(tmp_path / f"tube{axis}.h5", "w") as file:
            for name in names:
                file[name] = np.zeros(shape)
            file["density"][...], file["pressure"][...] = np.where(is_low, 1.0, 0.125), np.where(is_low, 1.0, 0.1)
        given = {"shape": shape, "length": [n / 48 for n in shape], "start": str(tmp_path / f"tube{axis}.h5")}
        cases[f"along{axis}"] = (given, {"until": 0.2})
    one, printed = ran_alike(launch, tmp_path, "euler", cases, timeout=250)
    assert printed == []

    # Energy 1 at time 0.5: the shock is at (E t² / α ρ)^⅕ with α = 0.851072 for γ = 1.4 (Kamm and Timmes 2007).
    density = last(one / "sedov.h5", "density")
    assert abs(shock_radius(density) / (0.5**2 / 0.851072) ** 0.2 - 1) < 0.05
    for order in ((1, 0, 2), (2, 1, 0), (1, 2, 0)):
        assert np.abs(density - density.transpose(order)).max() < 1e-10
    for kept in ("mass", "energy"):
        total = column(one / "sedov.h5", kept)
        assert abs(total[-1] / total[0] - 1) < 1e-13

    profiles = []
    for axis, letter in enumerate("zyx"):
        found = [last(one / f"along{axis}.h5", name) for name in ("density", f"velocity_{letter}", "pressure")]
        lines = [np.moveaxis(field, axis, -1) for field in found]
        assert all((line == line[0, 0]).all() for line in lines)
        profiles.append(np.stack([line[0, 0] for line in lines]))
    assert (profiles[0] == profiles[1]).all()
    assert (profiles[0] == profiles[2]).all()
    exact = exact_riemann(((np.arange(48) + 0.5) / 48 - 0.5) / 0.2, (1.0, 0.0, 1.0), (0.125, 0.0, 0.1))
    assert np.abs(profiles[0][0] - exact).mean() < 0.016


def test_bits_do_not_depend_on_ranks_and_sums_are_kept(launch: Launch, tmp_path: Path) -> None:
    cases: dict[str, Case] = {
        "sod": (tube("sod", 50, walls="mirror"), {"until": 0.1}),
        "sedov": ({"problem": "sedov", "shape": [14, 11]}, {"until": 0.05}),
        "shear": ({"problem": "shear", "shape": [20, 24], "gamma": 5 / 3}, {"steps": 20}),
        # One clear error on all ranks.
        "nothing": (tube("sod", 4, start="nothing.h5"), {"steps": 1}),
        "broken": (tube("sod", 4, start="broken.h5"), {"steps": 1}),
    }
    for name, value in (("nothing", -0.5), ("broken", math.nan)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["density"], file["velocity_x"], file["pressure"] = [1.0, 1.0, value, 1.0], np.zeros(4), np.ones(4)
    wanted = ["RunError: density is -0.5 in cell (2,) of the initial data", "RunError: energy is NaN in cell (2,)"]
    made = []
    for ranks in (1, 3):
        folder = tmp_path / str(ranks)
        told = {name: ({**p, "start": f"../{p['start']}"} if "start" in p else p, o) for name, (p, o) in cases.items()}
        lines = ran(launch, folder, ranks, "euler", told)
        for text in wanted:
            assert sum(line.startswith(text) for line in lines) == ranks, lines
        assert len(lines) == 2 * ranks
        made.append(digests(folder))
    assert {stem for stem, _ in made[0]} == {"sedov", "shear", "sod"}
    assert made[0] == made[1]

    for name in ("sedov", "shear", "sod"):
        for kept in ("mass", "energy", "momentum_x") if name == "shear" else ("mass", "energy"):
            total = column(tmp_path / "1" / f"{name}.h5", kept)
            assert abs(total - total[0]).max() <= 4e-15 * abs(column(tmp_path / "1" / f"{name}.h5", "energy")[0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": (4, 4, 4, 4)}, "1 to 3"),
        ({"shape": (8, 1)}, "leave it out"),
        ({"shape": (8, 8), "length": (1.0,)}, "one value for each axis"),
        ({"problem": "shear"}, "2 or 3 axes"),
        ({"problem": "sedov", "walls": "outflow"}, "mirror"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(mb.UsageError, match=message):
        Parameters(**given)


def test_the_job_beside_the_program_is_sound(launch: Launch) -> None:
    done = launch(0, "-m", "mpibatch.apps.euler", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "euler" in done.stdout
