#!/usr/bin/env python3
"""Time the cavity's lattice Boltzmann step beside lbmpy's: `[mpiexec -n N] python scripts/bench_lbm.py`.

One case, d2q9-N-f8, for each N: nine populations (D2Q9) in double precision on N² cells, two relaxation rates,
incompressible equilibrium, differences from the fluid at rest. Seconds are those of one step; `mlups` are millions of
cells a second.

- ours: the program's kernel, walls and lid included, by `iterate`, fused as it finds best (`choice`); `single`: a call
  of it for each step;
- lbmpy (doi:10.1016/j.jocs.2020.101269): what lbmpy and pystencils generate for "pull, then collide" on arrays with
  one layer of ghost cells, which nothing fills: no walls, no lid. Compiled with the system's C++ compiler for this
  very size; with SIMD, and the populations of a kind side by side (its fastest layout here); `lbmpy_scalar`: without
  SIMD. On N ranks it has as many OpenMP threads, on rank 0, while the others sleep. Before it is timed, its cells
  are compared with ours, away from walls.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from _bench_runs import (  # type: ignore[import-not-found]
    COMM,
    Timed,
    bench_triad,
    report,
    rest_until_all_are_here,
    timings,
)

import mpibatch as mb
from mpibatch.apps import cavity
from mpibatch.mpi import MPI
from mpibatch.stencil.iteration import chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Array = npt.NDArray[Any]
LID, EVEN, ODD = 0.05, 1.7, 1.2
BYTES = 9 * 3 * 8  # of a cell in a step: read, written, and read before that


@functools.lru_cache(maxsize=1)
def order() -> list[int]:
    """Return which of our populations each of lbmpy's is. Local."""
    lbmpy: Any = importlib.import_module("lbmpy")

    ours = list(zip(cavity.CX, cavity.CY, strict=True))
    return [ours.index(entry) for entry in lbmpy.LBStencil(lbmpy.Stencil.D2Q9).stencil_entries]


def lbmpy_kernel(n: int, threads: int, is_vectorized: bool) -> Callable[[Array, Array], None]:
    """Return lbmpy's step from one array (x, y, population), with ghost cells, to another. Local."""
    lbmpy: Any = importlib.import_module("lbmpy")
    ps: Any = importlib.import_module("pystencils")

    source, target = ps.fields(f"source(9), target(9): double[{n + 2},{n + 2}]", layout="fzyx")
    method = lbmpy.LBMConfig(
        stencil=lbmpy.LBStencil(lbmpy.Stencil.D2Q9),
        method=lbmpy.Method.TRT,
        relaxation_rates=[EVEN, ODD],
        compressible=False,
        zero_centered=True,
    )
    optimization = lbmpy.LBMOptimisation(symbolic_field=source, symbolic_temporary_field=target, cse_global=True)
    rule = lbmpy.create_lb_update_rule(lbm_config=method, lbm_optimisation=optimization)
    config = ps.CreateKernelConfig(target=ps.Target.CurrentCPU if is_vectorized else ps.Target.GenericCPU)
    config.default_dtype = "float64"
    config.cpu.openmp.enable = threads > 1
    config.cpu.openmp.num_threads = threads
    if is_vectorized:
        config.cpu.vectorize.enable = True
        config.cpu.vectorize.assume_inner_stride_one = True
    kernel = ps.create_kernel(rule, config).compile()
    return lambda one, other: kernel(source=one, target=other)


def populations(n: int) -> Array:
    """Return memory for lbmpy, of which x is the fastest axis. Local."""
    return np.zeros((9, n + 2, n + 2)).transpose(2, 1, 0)


def check_lbmpy(n: int = 24, steps: int = 3) -> None:
    """End the program unless lbmpy's steps are ours, on a small domain. Local."""
    random = np.random.default_rng(1)
    grid = mb.Grid((n, n), comm=MPI.COMM_SELF)
    g = tuple(grid.zeros(halo=1) for _ in range(9))
    one, other = populations(n), populations(n)
    for i, field in enumerate(g):
        field.owned[...] = 0.05 * random.standard_normal((n, n))
        one[1:-1, 1:-1, order().index(i)] = field.owned.T
    step = lbmpy_kernel(n, 1, is_vectorized=False)
    for _ in range(steps):
        step(one, other)
        one, other = other, one
        g = cavity.step(*g, LID, EVEN, ODD, walls="nearest")
    away = slice(steps, -steps)
    for i, field in enumerate(g):
        error = np.abs(one[1:-1, 1:-1, order().index(i)].T - field.owned)[away, away].max()
        if not error < 1e-14:
            raise SystemExit(f"d2q9: lbmpy's population {i} differs by {error:g} after {steps} steps")


def lbmpy_peers(n: int, steps: int) -> dict[str, Timed]:
    """Return lbmpy's steps. Collective."""
    found = {}
    for name, is_vectorized in (("lbmpy", True), ("lbmpy_scalar", False)):
        step: Callable[[Array, Array], None] = lambda one, other: None  # noqa: E731
        one = other = np.zeros(0)
        if COMM.rank == 0:
            step, one, other = lbmpy_kernel(n, COMM.size, is_vectorized), populations(n), populations(n)
        found[name] = Timed(to_and_fro(step, one, other, steps), steps, is_alone=True)
    return found


def to_and_fro(step: Callable[[Any, Any], Any], one: Any, other: Any, steps: int) -> Callable[[], None]:
    """Return a call that steps from one set to the other and back, so often."""

    def run() -> None:
        for _ in range(steps // 2):
            step(one, other)
            step(other, one)

    return run


def bench(n: int, samples: int, triad_speed: float) -> None:
    grid = mb.Grid((n, n))
    g, spare = (tuple(grid.zeros(halo=1) for _ in range(9)) for _ in range(2))
    numbers = (LID, EVEN, ODD)
    steps = max(20, min(1000, 10**7 // n**2) // 2 * 2)

    def single(one: Any, other: Any) -> None:
        cavity.step(*one, *numbers, out=other, walls="nearest")

    def fused(number: int = steps) -> None:
        mb.iterate(cavity.step, g, *numbers, steps=number, out=g, walls="nearest")

    fused(max(200, 10**8 // n**2))  # by then the choice is made
    calls = {"ours": Timed(fused, steps), "single": Timed(to_and_fro(single, g, spare, steps), steps)}
    peers = lbmpy_peers(n, steps) if is_lbmpy_there() else {}
    times = timings(calls | peers, samples)
    mlups = {name: n * n / statistics.median(t) / 1e6 for name, t in times.items()}
    more: Mapping[str, Any] = {
        "choice": str(chosen(cavity.step, grid)),
        "mlups": mlups,
        "share_of_triad": mlups["ours"] * 1e6 * BYTES / triad_speed,
    }
    report(f"d2q9-{n}-f8", times, [] if peers else ["lbmpy"], **more)


def is_lbmpy_there() -> bool:
    """Whether lbmpy can be imported. Local."""
    return importlib.util.find_spec("lbmpy") is not None


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the two small sizes, 5 samples")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    options = parser.parse_args()
    samples, sizes = (5, (128, 512)) if options.quick else (9, (128, 512, 2048))
    if is_lbmpy_there() and COMM.rank == 0:
        check_lbmpy()
    rest_until_all_are_here()
    speed = bench_triad(samples)
    for n in sizes:
        if options.only in f"d2q9-{n}-f8":
            bench(n, samples, speed)


if __name__ == "__main__":
    main()
