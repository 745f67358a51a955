"""The cases of `dns` and `mhd` for scripts/bench_fields.py: steps, beside fluidsim's, and answers of larger grids."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import json
import math
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _bench_runs import COMM, Timed, report, timings  # type: ignore[import-not-found]

import mpibatch as mb
from mpibatch.apps import dns, mhd
from mpibatch.apps.dns.beginnings import beginning
from mpibatch.apps.dns.flows import Flow
from mpibatch.apps.mhd.flows import Flow as Gas
from mpibatch.simulate import Now

if TYPE_CHECKING:
    from collections.abc import Callable

# The peak of dissipation of Taylor's and Green's vortices at a Reynolds number of 100, from 48³ and 64³ points of a
# pseudo-spectral program that is not part of this repository.
PEAK, PEAK_TIME = 0.012975, 4.887
# Twice the growth of amplitudes: by polynomials of Chebyshev, as in the tests, and by Orszag 1971.
GROWTH = {7500: 2 * 0.00223498, 10000: 2 * 0.00373967}


def steps(*, quick: bool) -> None:
    """Time a step in a box: ours has three stages, fluidsim's four."""
    n = 64 if quick else 128
    p = dns.Parameters(shape=(n, n, n))
    grid = mb.Grid(p.shape, spacing=p.spacing, origin=tuple(h / 2 for h in p.spacing), periodic=True)
    flow = Flow(p, grid)
    state = beginning(p, flow)
    calls = {"ours": Timed(lambda: flow.step(state, Now(0, 0.0, 1e-3)))}
    missing = ["fluidsim"]
    if COMM.size == 1:
        for scheme in ("RK4", "RK2"):
            if (step := fluidsim(n, scheme)) is not None:
                calls[f"fluidsim {scheme}"], missing = Timed(step), []
    report(f"dns-step-{n}", timings(calls, 3 if quick else 5), missing)


def fluidsim(n: int, scheme: str) -> Callable[[], Any] | None:
    """Return what makes a step of its ns3d, or None if it is not installed. Local."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.environ.setdefault("FLUIDSIM_PATH", folder)
        try:
            solver = importlib.import_module("fluidsim.solvers.ns3d.solver")
            importlib.import_module("pyfftw")
        except ImportError:
            return None
        p = solver.Simul.create_default_params()
        p.oper.nx = p.oper.ny = p.oper.nz = n
        p.oper.Lx = p.oper.Ly = p.oper.Lz = 2 * math.pi
        p.oper.type_fft = "fft3d.with_pyfftw"
        p.nu_2 = 0.01
        p.init_fields.type = "noise"
        p.output.HAS_TO_SAVE = False
        p.time_stepping.USE_CFL = False
        p.time_stepping.deltat0 = 1e-3
        p.time_stepping.type_time_scheme = scheme
        simulation = solver.Simul(p)

    def step() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            simulation.time_stepping.one_time_step_computation()

    return step


def poisson(*, quick: bool) -> None:
    """Time Poisson's equation in a box beside the two transforms that it takes."""
    import scipy.fft

    n = 128 if quick else 256
    grid = mb.Grid((n, n, n), periodic=True, spacing=2 * math.pi / n)
    u = mb.random.Generator(1).normal(grid)
    calls = {"ours": Timed(lambda: mb.solve.poisson(u))}
    if COMM.size == 1:
        whole = mb.gather_all(u)
        calls["scipy.fft rfftn and irfftn"] = Timed(lambda: scipy.fft.irfftn(scipy.fft.rfftn(whole)))
    report(f"dns-poisson-{n}", timings(calls, 3 if quick else 5))


def table(until: float, every: float, **given: Any) -> dict[str, Any]:
    """Return the rows of a run. Collective."""
    folder = COMM.bcast(tempfile.mkdtemp() if COMM.rank == 0 else None)
    path = Path(folder) / "rows.csv"
    with mb.Simulation(until=until, diagnostics=str(path), diagnostics_every=every) as simulation:
        dns.run(dns.Parameters(**given), simulation)
    COMM.Barrier()
    with path.open() as file:
        lines = list(csv.DictReader(file))
    COMM.Barrier()
    if COMM.rank == 0:
        path.unlink()
        path.parent.rmdir()
    return {name: np.array([float(line[name]) for line in lines]) for name in lines[0]}


def say(line: dict[str, Any]) -> None:
    if COMM.rank == 0:
        print(json.dumps(line | {"ranks": COMM.size}), flush=True)


def peak(*, quick: bool) -> None:
    """Compare the peak of dissipation at a Reynolds number of 100 with that of a spectral solution."""
    sizes, found = (24, 32) if quick else (48, 64), []
    for n in sizes:
        rows = table(5.5, 0.1, shape=(n, n, n), viscosity=0.01)
        at = int(rows["dissipation"].argmax())
        a, b, c = np.polyfit(rows["time"][at - 2 : at + 3], rows["dissipation"][at - 2 : at + 3], 2)
        found.append((c - b * b / (4 * a), -b / (2 * a)))
    value, time = extrapolated(sizes, found)
    say(
        {"case": "dns-taylor-green", "cells": sizes, "peak": [v for v, _ in found], "extrapolated": value}
        | {"exact": PEAK, "error": value / PEAK - 1, "time": time, "exact_time": PEAK_TIME}
    )


def growth(*, quick: bool) -> None:
    """Compare the growth of a wave in a channel with that of Orr's and Sommerfeld's equation."""
    sizes = (48, 64) if quick else (96, 128)
    for reynolds, exact in GROWTH.items():
        found = []
        for n in sizes:
            rows = table(
                20.0, 10.0, problem="channel", shape=(n, 2 * n // 3), viscosity=1 / reynolds, stretching=2.0,
                amplitude=1e-4, courant=1.0,
            )  # fmt: skip
            found.append(math.log(rows["energy_y"][-1] / rows["energy_y"][1]) / 10)
        value = extrapolated(sizes, found)
        say(
            {"case": f"dns-wave-{reynolds}", "cells": sizes, "growth": found, "extrapolated": value}
            | {"exact": exact, "error": value / exact - 1}
        )


def extrapolated(sizes: tuple[int, int], values: list[Any]) -> Any:
    """Return what values of two grids tend to at second order. Local."""
    (coarse, fine), (first, second) = ((n * n for n in sizes), np.array(values))
    return ((fine * second - coarse * first) / (fine - coarse)).tolist()


def plasma(*, quick: bool) -> None:
    """Time a step of a magnetized gas: two stages, with the search for its length."""
    for shape in ((192, 192), (32, 32, 32)) if quick else ((512, 512), (64, 64, 64)):
        p = mhd.Parameters(problem="orszag-tang", shape=shape)
        grid = mb.Grid(p.cells, spacing=p.spacing, origin=tuple(h / 2 for h in p.spacing), periodic=True)
        gas = Gas(p, grid)
        state = gas.begin()
        times = timings(
            {"ours": Timed(lambda gas=gas, state=state: gas.step(state, Now(0, 0.0, gas.longest(state))))},
            3 if quick else 5,
        )
        rate = round(math.prod(shape) / statistics.median(times["ours"]))
        report(f"mhd-step-{'x'.join(map(str, shape))}", times, cells_per_second=rate)


FLOWS = {"dns-step": steps, "mhd-step": plasma, "dns-poisson": poisson, "dns-taylor-green": peak, "dns-wave": growth}
