#!/usr/bin/env python3
"""Time stencil sweeps against hand-written loops in the same run: `[mpiexec -n N] python scripts/bench_stencil.py`.

Cases, with the domain shared out over the ranks; all seconds are those of one step:

- triad-f8: STREAM's a = b + s * c on every rank at once, for the memory's speed (three times 64 MiB per rank);
- heat-N-f8: the 7-point heat step, 8 calls to and fro between two fields;
- heat-N-f8-fused: 24 steps by `iterate`, fused as it finds best (`choice`), copies in and out included; the peers
  do as many, `single` being `iterate` step by step;
- heat2d-N-f8, heat2d-N-f8-fused: the same with 5 points, in two dimensions;
- acoustic-N-f4, acoustic-N-f4-fused: iso-acoustic wave, 8th order in space, leapfrog, written over the step before
  the last;
- call-CASE: what a call costs over the bare loop, on the same memory, in many pairs one directly after the other:
  `over` is the median of their ratios, ours over the bare loop's, `between` where it lies with 95 percent probability;
  `call-control` is the bare loop against itself on other memory;
- new-NxM-f8, new-NxM-f8x3: ``u = k(u)`` with one and with three fields, in pairs with `swap`, the same call with
  `out` and a swap; `over` and `between` as above;
- prk-N-f4, prk-N-f8: the star of the Parallel Research Kernels, radius 2 (DOI 10.1109/HPEC.2014.7040972), with its
  check of the norm.

Peers: `numba`, the bare compiled loop over this rank's block, which fills no halo; `numpy`, slices; `devito`, as
many steps in one call, on as many threads as there are ranks here (rank 0 alone, the others sleep), see
`_bench_devito.py`; before it is timed, its cells are compared with ours. One JSON object a line.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
from typing import TYPE_CHECKING, Any

import _bench_devito as devito  # type: ignore[import-not-found]
import numpy as np
import numpy.typing as npt
from _bench_loops import bare_acoustic, bare_heat, bare_heat2d, bare_prk  # type: ignore[import-not-found]
from _bench_runs import (  # type: ignore[import-not-found]
    COMM,
    Timed,
    bench_triad,
    in_pairs,
    interval,
    report,
    rest_until_all_are_here,
    timings,
)

import mpibatch as mb
from mpibatch.mpi import MPI
from mpibatch.stencil import Kernel, stencil
from mpibatch.stencil.iteration import chosen, iterate

if TYPE_CHECKING:
    from collections.abc import Callable

Array = npt.NDArray[Any]
SINGLE_STEPS, FUSED_STEPS = 8, 24
# Second derivative, 8th order: the cell, and the cells at distance 1 to 4.
SECOND = (-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560)


@stencil
def heat(u: Any, k: Any) -> Any:
    around = u[-1, 0, 0] + u[1, 0, 0] + u[0, -1, 0] + u[0, 1, 0] + u[0, 0, -1] + u[0, 0, 1]
    return u[0, 0, 0] + k * (around - 6.0 * u[0, 0, 0])


@stencil
def heat2d(u: Any, k: Any) -> Any:
    return u[0, 0] + k * (u[-1, 0] + u[1, 0] + u[0, -1] + u[0, 1] - 4.0 * u[0, 0])


@stencil
def acoustic(u: Any, before: Any, m: Any, dt: Any) -> Any:
    second = 3 * SECOND[0] * u[0, 0, 0]
    for r in range(1, 5):
        around = u[-r, 0, 0] + u[r, 0, 0] + u[0, -r, 0] + u[0, r, 0] + u[0, 0, -r] + u[0, 0, r]
        second += SECOND[r] * around
    return 2.0 * u[0, 0, 0] - before[0, 0, 0] + dt**2 * second * m[0, 0, 0]


@stencil
def prk(a: Any, b: Any) -> Any:
    first = a[0, 1] - a[0, -1] + a[1, 0] - a[-1, 0]
    return b[0, 0] + 0.25 * first + 0.125 * (a[0, 2] - a[0, -2] + a[2, 0] - a[-2, 0])


@stencil
def increment(a: Any) -> Any:
    return a[0, 0] + 1.0


@stencil
def three(a: Any, b: Any, c: Any, k: Any) -> Any:
    return (
        a[0, 0] + k * (b[-1, 0] - b[1, 0]),
        b[0, 0] + k * (c[0, -1] - c[0, 1]),
        c[0, 0] + k * (a[-1, 0] - a[1, 0]),
    )


def speeds(cells: int, times: dict[str, list[float]], bytes_per_cell: int, triad_speed: float) -> dict[str, float]:
    """Return cells a second, and the memory traffic that they need at least as a share of the triad's.

    `bytes_per_cell` are what moves: a number that is written and not read is brought all the same.
    """
    rate = cells / statistics.median(times["ours"])
    return {"gpts": rate / 1e9, "share_of_triad": rate * bytes_per_cell / triad_speed}


def devito_peer(case: str, n: int, steps: int) -> dict[str, Timed]:
    """Return Devito's steps, or nothing where it is not installed. Collective."""
    if not devito.is_installed():
        return {}
    call = devito.peer(case, n, COMM.size).steps(steps) if COMM.rank == 0 else lambda: None
    return {"devito": Timed(call, steps, is_alone=True)}


def check_devito(case: str, step: Kernel, dtype: str, *scalars: float) -> None:
    """End the program unless Devito's steps are ours, on a small domain and rank 0. Local."""
    if COMM.rank or not devito.is_installed():
        return
    axes = 2 if case == "heat2d" else 3
    grid = mb.Grid((32,) * axes, comm=MPI.COMM_SELF)
    u = grid.from_function(lambda *x: np.sin(sum(a * (n + 1) for n, a in enumerate(x))), dtype)
    before = 0.9 * u if case == "acoustic" else None
    kept = [grid.full(1.0, dtype)] if case == "acoustic" else []
    state = u if before is None else (u, before)
    after = iterate(step, state, *kept, *scalars, steps=devito.STEPS_CHECKED, fuse=1)
    last = after if before is None else after[0]
    devito.check(case, u.owned, None if before is None else before.owned, last.owned)


def to_and_fro(step: Callable[[Any, Any], None], one: Any, other: Any, steps: int) -> Timed:
    """Return a call that steps from one field to the other and back, so often."""

    def run() -> None:
        for _ in range(steps // 2):
            step(one, other)
            step(other, one)

    return Timed(run, steps)


def bench_heat(n: int, samples: int, triad_speed: float) -> None:
    grid = mb.Grid((n,) * 3)
    u = grid.from_function(lambda z, y, x: np.sin(z) + y * x, "f8", halo=1)
    v = grid.zeros("f8", halo=1)
    a, b = u.padded.copy(), v.padded.copy()

    def slices() -> None:
        c = slice(1, -1)
        around = a[:-2, c, c] + a[2:, c, c] + a[c, :-2, c] + a[c, 2:, c] + a[c, c, :-2] + a[c, c, 2:]
        b[c, c, c] = a[c, c, c] + 0.1 * (around - 6.0 * a[c, c, c])

    calls = {
        "ours": to_and_fro(lambda one, other: heat(one, 0.1, out=other), u, v, SINGLE_STEPS),
        "numba": to_and_fro(lambda one, other: bare_heat(one, other, 0.1), a, b, SINGLE_STEPS),
        "numpy": Timed(slices),
    }
    peer = devito_peer("heat", n, SINGLE_STEPS)
    times = timings(calls | peer, samples)
    more = speeds(n**3, times, heat.footprint.bytes(8) + 8, triad_speed)
    report(f"heat-{n}-f8", times, [] if peer else ["devito"], **more)


def bench_call(case: str, n: int, samples: int, triad_speed: float) -> None:
    """A kernel's call against the bare loop, on the same memory."""
    del triad_speed
    name, walls = case.rsplit("-", 1)
    axes, dtype, halo = {"heat": (3, "f8", 1), "acoustic": (3, "f4", 4), "prk": (2, name[-2:], 2)}[name.split("-")[0]]
    grid = mb.Grid((n,) * axes, periodic=walls == "periodic")
    u = grid.from_function(lambda *x: np.sin(x[0]) + 1e-3 * math.prod(x[1:]), dtype, halo=halo)
    v, m = grid.zeros(dtype, halo=halo), grid.full(1.0, dtype)
    a, b, c = u.padded, v.padded, m.padded
    options = {"walls": "nearest" if walls in ("periodic", "control") else walls}
    if axes == 2:
        weights = np.array([0.25, 0.125, 1e-3], dtype)

        def ours() -> None:
            prk(u, v, out=v, **options)
            increment(u, out=u)

        calls = Timed(ours), Timed(lambda: bare_prk(a, b, weights))
    elif name.startswith("acoustic"):
        weights = np.array([3 * SECOND[0], *SECOND[1:], 1e-4], dtype)
        calls = (
            to_and_fro(lambda one, other: acoustic(one, other, m, 1e-2, out=other, **options), u, v, 2),
            to_and_fro(lambda one, other: bare_acoustic(one, other, c, weights), a, b, 2),
        )
    else:
        bare = functools.partial(bare_heat, k=0.1)
        other = to_and_fro(bare, a.copy(), b.copy(), 2)
        calls = (
            other if walls == "control" else to_and_fro(lambda x, y: heat(x, 0.1, out=y, **options), u, v, 2),
            to_and_fro(bare, a, b, 2),
        )
    times, ratios = in_pairs(*calls, pairs=(3 if axes == 2 else 6) * samples)
    report(f"call-{case}", times, pairs=len(ratios), over=statistics.median(ratios), between=interval(ratios))


def bench_new(shape: tuple[int, int], count: int, samples: int, triad_speed: float) -> None:
    """A loop that takes new results, against one that swaps."""
    del triad_speed
    grid = mb.Grid(shape, periodic=True)
    kernel, steps = heat2d if count == 1 else three, max(2, 2**22 // math.prod(shape))
    new = [grid.from_function(lambda y, x: np.sin(y) + x, halo=1) for _ in range(count)]
    here, there = [u.copy() for u in new], [u.like() for u in new]

    def loop() -> None:
        nonlocal new
        if count == 1:
            (u,) = new
            new = []
            for _ in range(steps):
                u = kernel(u, k=0.1)
            new = [u]
        else:
            a, b, c = new
            new = []
            for _ in range(steps):
                a, b, c = kernel(a, b, c, k=0.1)
            new = [a, b, c]

    def swap() -> None:
        nonlocal here, there
        for _ in range(steps):
            kernel(*here, k=0.1, out=tuple(there))
            here, there = there, here

    times, ratios = in_pairs(Timed(loop, steps), Timed(swap, steps), 3 * samples, "swap")
    case = f"new-{shape[0]}x{shape[1]}-f8{'x3' * (count == 3)}"
    report(case, times, pairs=len(ratios), over=statistics.median(ratios), between=interval(ratios))


def bench_heat2d(n: int, samples: int, triad_speed: float) -> None:
    grid = mb.Grid((n, n))
    u = grid.from_function(lambda y, x: np.sin(y) + x, "f8", halo=1)
    v = grid.zeros("f8", halo=1)
    a, b = u.padded.copy(), v.padded.copy()
    calls = {
        "ours": to_and_fro(lambda one, other: heat2d(one, 0.1, out=other), u, v, SINGLE_STEPS),
        "numba": to_and_fro(lambda one, other: bare_heat2d(one, other, 0.1), a, b, SINGLE_STEPS),
    }
    peer = devito_peer("heat2d", n, SINGLE_STEPS)
    times = timings(calls | peer, samples)
    more = speeds(n * n, times, heat2d.footprint.bytes(8) + 8, triad_speed)
    report(f"heat2d-{n}-f8", times, [] if peer else ["devito"], **more)


def bench_fused(case: str, n: int, samples: int, triad_speed: float) -> None:
    """The heat step in two or three dimensions."""
    step, bare, axes = (heat, bare_heat, 3) if case == "heat" else (heat2d, bare_heat2d, 2)
    grid = mb.Grid((n,) * axes)
    u = grid.from_function(lambda *x: np.sin(x[0]) + math.prod(x[1:]), "f8", halo=1)
    a, b = u.padded.copy(), u.padded.copy()
    iterate(step, u, 0.1, steps=500, out=u)  # by then the choice is made
    calls = {
        "ours": Timed(lambda: iterate(step, u, 0.1, steps=FUSED_STEPS, out=u), FUSED_STEPS),
        "single": Timed(lambda: iterate(step, u, 0.1, steps=FUSED_STEPS, fuse=1, out=u), FUSED_STEPS),
        "numba": to_and_fro(lambda one, other: bare(one, other, 0.1), a, b, FUSED_STEPS),
    }
    peer = devito_peer(case, n, FUSED_STEPS)
    times = timings(calls | peer, samples)
    more = speeds(n**axes, times, step.footprint.bytes(8) + 8, triad_speed)
    report(f"{case}-{n}-f8-fused", times, [] if peer else ["devito"], choice=str(chosen(step, grid)), **more)


def bench_acoustic(n: int, is_fused: bool, samples: int, triad_speed: float) -> None:
    grid = mb.Grid((n,) * 3)
    u = grid.from_function(lambda z, y, x: np.sin(z) + np.cos(y * x), "f4", halo=4)
    before, m = grid.full(0.5, "f4", halo=4), grid.full(1.0, "f4")
    a, b, c = u.padded.copy(), before.padded.copy(), m.padded.copy()
    weights = np.array([3 * SECOND[0], *SECOND[1:], 1e-4], "f4")
    steps = FUSED_STEPS if is_fused else SINGLE_STEPS
    bare = to_and_fro(lambda one, other: bare_acoustic(one, other, c, weights), a, b, steps)
    more: dict[str, Any] = {}
    if is_fused:
        both = (u, before)
        iterate(acoustic, both, m, 1e-2, steps=500, out=both)
        more["choice"] = str(chosen(acoustic, grid))
        calls = {
            "ours": Timed(lambda: iterate(acoustic, both, m, 1e-2, steps=steps, out=both), steps),
            "single": Timed(lambda: iterate(acoustic, both, m, 1e-2, steps=steps, fuse=1, out=both), steps),
            "numba": bare,
        }
    else:
        ours = to_and_fro(lambda one, other: acoustic(one, other, m, 1e-2, out=other), u, before, steps)
        calls = {"ours": ours, "numba": bare}
    peer = devito_peer("acoustic", n, steps)
    times = timings(calls | peer, samples)
    more |= speeds(n**3, times, acoustic.footprint.bytes(4), triad_speed)
    report(f"acoustic-{n}-f4{'-fused' * is_fused}", times, [] if peer else ["devito"], **more)


def bench_prk(n: int, dtype: str, samples: int, triad_speed: float) -> None:
    grid = mb.Grid((n, n))
    a = grid.from_function(lambda y, x: y + x, dtype, halo=2)
    b = grid.zeros(dtype)
    plain = np.zeros(a.padded.shape, dtype)
    weights, c, d = np.array([0.25, 0.125, 1.0], dtype), plain.copy(), plain
    turns = 0

    def step() -> None:
        nonlocal turns
        turns += 1
        prk(a, b, out=b, walls="nearest")
        increment(a, out=a)

    times = timings({"ours": Timed(step), "numba": Timed(lambda: bare_prk(c, d, weights))}, samples)
    # Each step adds the sum of both slopes, 2, to every cell that reads no wall.
    inner = tuple(slice(max(0, 2 - s), min(e, n - 2) - s) for s, e in zip(grid.box.start, grid.box.stop, strict=True))
    norm = COMM.allreduce(float(np.abs(b.owned[inner]).sum(dtype="f8"))) / (n - 4) ** 2
    # Single precision cannot hold the slopes exactly: the kernels' own tolerance.
    error, bound = abs(norm - 2.0 * turns), 1e-4 * turns if dtype == "f4" else 1e-8
    if error > bound:
        raise SystemExit(f"prk-{n}-{dtype}: norm {norm} after {turns} steps, not {2.0 * turns}")
    words = prk.footprint.bytes(1) + increment.footprint.bytes(1)
    more = speeds(n * n, times, words * np.dtype(dtype).itemsize, triad_speed)
    report(f"prk-{n}-{dtype}", times, norm_error=error, **more)


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of each edge, 5 samples")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    options = parser.parse_args()
    samples, share = (5, 4) if options.quick else (7, 1)
    cases: dict[str, Callable[[int, float], None]] = {}
    for edge in (256, 384):
        n = edge // share
        cases[f"heat-{edge}-f8"] = functools.partial(bench_heat, n)
        cases[f"heat-{edge}-f8-fused"] = functools.partial(bench_fused, "heat", n)
    cases["heat2d-4096-f8"] = functools.partial(bench_heat2d, 4096 // share)
    cases["heat2d-4096-f8-fused"] = functools.partial(bench_fused, "heat2d", 4096 // share)
    cases["acoustic-256-f4"] = functools.partial(bench_acoustic, 256 // share, False)
    cases["acoustic-256-f4-fused"] = functools.partial(bench_acoustic, 256 // share, True)
    for walls in ("control", "reflect", "nearest", "constant", "periodic"):
        cases[f"call-heat-256-f8-{walls}"] = functools.partial(bench_call, f"heat-256-f8-{walls}", 256 // share)
    cases["call-acoustic-256-f4-reflect"] = functools.partial(bench_call, "acoustic-256-f4-reflect", 256 // share)
    for shape in ((120, 160), (512, 512), (2048, 2048)):
        for count, name in ((1, ""), (3, "x3")):
            cases[f"new-{shape[0]}x{shape[1]}-f8{name}"] = functools.partial(bench_new, shape, count)
    for dtype in ("f4", "f8"):
        cases[f"call-prk-8000-{dtype}-nearest"] = functools.partial(
            bench_call, f"prk-8000-{dtype}-nearest", 8000 // share
        )
        cases[f"prk-8000-{dtype}"] = functools.partial(bench_prk, 8000 // share, dtype)
    chosen_cases = {name: case for name, case in cases.items() if options.only in name}
    for name, step, dtype, scalar in (
        ("heat", heat, "f8", 0.1),
        ("heat2d", heat2d, "f8", 0.1),
        ("acoustic", acoustic, "f4", 1e-2),
    ):
        if any(case.startswith(f"{name}-") for case in chosen_cases):
            check_devito(name, step, dtype, scalar)
    rest_until_all_are_here()
    speed = bench_triad(samples)
    for case in chosen_cases.values():
        case(samples, speed)


if __name__ == "__main__":
    main()
