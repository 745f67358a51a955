#!/usr/bin/env python3
"""Time stencil sweeps against hand-written loops in the same run: `[mpiexec -n N] python scripts/bench_stencil.py`.

Cases, with the domain shared out over the ranks:

- triad-f8: STREAM's a = b + s * c on every rank at once, for the memory's speed (three times 64 MiB per rank);
- heat-N-f8: the 7-point heat step;
- heat-N-f8-fused: 24 of them by `iterate`, fused as it finds best (`choice`), copies in and out included; the peers
  do as many, `single` being `iterate` step by step;
- acoustic-N-f4: iso-acoustic wave, 8th order in space, leapfrog, written over the step before the last;
- prk-N-f4, prk-N-f8: the star of the Parallel Research Kernels, radius 2 (DOI 10.1109/HPEC.2014.7040972), with its
  check of the norm.

Peers: `numba`, the bare compiled loop over this rank's block, which fills no halo; `numpy`, slices; `devito`, on as
many threads as there are ranks here (rank 0 alone, the others wait). One JSON object a line.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.mpi import MPI
from mpibatch.stencil import stencil
from mpibatch.stencil.iterate import chosen, iterate

Array = npt.NDArray[Any]
COMM = MPI.COMM_WORLD
# Second derivative, 8th order: the cell, and the cells at distance 1 to 4.
SECOND = (-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560)


@stencil
def heat(u: Any, k: Any) -> Any:
    around = u[-1, 0, 0] + u[1, 0, 0] + u[0, -1, 0] + u[0, 1, 0] + u[0, 0, -1] + u[0, 0, 1]
    return u[0, 0, 0] + k * (around - 6.0 * u[0, 0, 0])


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


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def bare_heat(u: Any, out: Any, k: Any) -> None:
    for z in range(u.shape[0] - 2):
        for y in range(u.shape[1] - 2):
            for x in range(u.shape[2] - 2):
                around = u[z, y + 1, x + 1] + u[z + 2, y + 1, x + 1] + u[z + 1, y, x + 1] + u[z + 1, y + 2, x + 1]
                around += u[z + 1, y + 1, x] + u[z + 1, y + 1, x + 2]
                c = u[z + 1, y + 1, x + 1]
                out[z + 1, y + 1, x + 1] = c + k * (around - 6.0 * c)


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def bare_acoustic(u: Any, out: Any, m: Any, c: Any) -> None:
    f = np.float32
    for z in range(m.shape[0]):
        for y in range(m.shape[1]):
            for x in range(m.shape[2]):
                v = u[z + 4, y + 4, x + 4]
                s = c[0] * v
                p = u[z + 3, y + 4, x + 4] + u[z + 5, y + 4, x + 4] + u[z + 4, y + 3, x + 4] + u[z + 4, y + 5, x + 4]
                s += c[1] * (p + u[z + 4, y + 4, x + 3] + u[z + 4, y + 4, x + 5])
                p = u[z + 2, y + 4, x + 4] + u[z + 6, y + 4, x + 4] + u[z + 4, y + 2, x + 4] + u[z + 4, y + 6, x + 4]
                s += c[2] * (p + u[z + 4, y + 4, x + 2] + u[z + 4, y + 4, x + 6])
                p = u[z + 1, y + 4, x + 4] + u[z + 7, y + 4, x + 4] + u[z + 4, y + 1, x + 4] + u[z + 4, y + 7, x + 4]
                s += c[3] * (p + u[z + 4, y + 4, x + 1] + u[z + 4, y + 4, x + 7])
                p = u[z, y + 4, x + 4] + u[z + 8, y + 4, x + 4] + u[z + 4, y, x + 4] + u[z + 4, y + 8, x + 4]
                s += c[4] * (p + u[z + 4, y + 4, x] + u[z + 4, y + 4, x + 8])
                out[z, y, x] = f(2.0) * v - out[z, y, x] + c[5] * s * m[z, y, x]


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def bare_prk(a: Any, b: Any, w: Any) -> None:
    for y in range(a.shape[0] - 4):
        for x in range(a.shape[1] - 4):
            first = a[y + 2, x + 3] - a[y + 2, x + 1] + a[y + 3, x + 2] - a[y + 1, x + 2]
            second = a[y + 2, x + 4] - a[y + 2, x] + a[y + 4, x + 2] - a[y, x + 2]
            b[y + 2, x + 2] = b[y + 2, x + 2] + w[0] * first + w[1] * second
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            a[y, x] += w[2]


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def triad(a: Any, b: Any, c: Any, s: Any) -> None:
    for i in range(a.size):
        a[i] = b[i] + s * c[i]


def timings(calls: dict[str, Callable[[], Any]], samples: int) -> dict[str, list[float]]:
    """Return the seconds of the slowest rank, the calls taken in turn so that drift hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(samples):
        for name, call in calls.items():
            COMM.Barrier()
            begin = time.perf_counter()
            call()
            times[name].append(COMM.allreduce(time.perf_counter() - begin, op=MPI.MAX))
    return times


def report(case: str, times: dict[str, list[float]], missing: list[str], **more: Any) -> None:
    """Print one line, on rank 0."""
    if COMM.rank:
        return
    median = {name: statistics.median(t) for name, t in times.items()}
    against = {name: seconds for name, seconds in median.items() if name != "ours"}
    line = {
        "case": case,
        "ranks": COMM.size,
        "threads": 1,
        "seconds": median["ours"],
        "spread": [min(times["ours"]), max(times["ours"])],
        "against": against,
        "ratio": {name: seconds / median["ours"] for name, seconds in against.items()},
        "missing": missing,
        "load": os.getloadavg()[0],
        **more,
        "versions": {name: importlib.metadata.version(name) for name in ("numba", "numpy", "mpi4py")},
    }
    print(json.dumps(line), flush=True)


def speeds(cells: int, seconds: float, bytes_per_cell: int, triad_speed: float) -> dict[str, float]:
    """Return cells a second, and the memory traffic that they need at least as a share of the triad's."""
    rate = cells / seconds
    return {"gpts": rate / 1e9, "share_of_triad": rate * bytes_per_cell / triad_speed}


def bench_triad(samples: int) -> float:
    """Return bytes a second over all ranks."""
    a, b, c = (np.full(1 << 23, value) for value in (0.0, 1.0, 2.0))
    times = timings({"ours": lambda: triad(a, b, c, 3.0)}, samples)
    speed = 24 * a.size * COMM.size / statistics.median(times["ours"])
    report("triad-f8", times, [], bytes_per_second=speed)
    return speed


def bench_heat(n: int, samples: int, triad_speed: float) -> None:
    grid = mb.Grid((n,) * 3)
    u = grid.from_function(lambda z, y, x: np.sin(z) + y * x, "f8", halo=1)
    v = grid.zeros("f8", halo=1)
    a, b = u.padded.copy(), v.padded.copy()

    def slices() -> None:
        c = slice(1, -1)
        around = a[:-2, c, c] + a[2:, c, c] + a[c, :-2, c] + a[c, 2:, c] + a[c, c, :-2] + a[c, c, 2:]
        b[c, c, c] = a[c, c, c] + 0.1 * (around - 6.0 * a[c, c, c])

    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: heat(u, 0.1, out=v),
        "numba": lambda: bare_heat(a, b, 0.1),
        "numpy": slices,
    }
    steps = devito_steps("heat", n)
    times = timings(calls | ({"devito": steps} if steps else {}), samples)
    more = speeds(n**3, statistics.median(times["ours"]), heat.footprint.bytes(8), triad_speed)
    report(f"heat-{n}-f8", times, [] if steps else ["devito"], **more)


def bench_fused(n: int, samples: int, triad_speed: float) -> None:
    grid, steps = mb.Grid((n,) * 3), 24
    u = grid.from_function(lambda z, y, x: np.sin(z) + y * x, "f8", halo=1)
    a, b = u.padded.copy(), u.padded.copy()
    iterate(heat, u, 0.1, steps=200, out=u)  # by then the choice is made

    def bare() -> None:
        for _ in range(steps // 2):
            bare_heat(a, b, 0.1)
            bare_heat(b, a, 0.1)

    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: iterate(heat, u, 0.1, steps=steps, out=u),
        "single": lambda: iterate(heat, u, 0.1, steps=steps, fuse=1, out=u),
        "numba": bare,
    }
    devito = devito_steps("heat", n, steps)
    times = timings(calls | ({"devito": devito} if devito else {}), samples)
    more = speeds(n**3 * steps, statistics.median(times["ours"]), heat.footprint.bytes(8), triad_speed)
    choice = chosen(heat, grid)
    report(f"heat-{n}-f8-fused", times, [] if devito else ["devito"], steps=steps, choice=choice, **more)


def bench_acoustic(n: int, samples: int, triad_speed: float) -> None:
    grid = mb.Grid((n,) * 3)
    u = grid.from_function(lambda z, y, x: np.sin(z) + np.cos(y * x), "f4", halo=4)
    before, m = grid.full(0.5, "f4"), grid.full(1.0, "f4")
    a, b, c = u.padded.copy(), before.padded.copy(), m.padded.copy()
    weights = np.array([3 * SECOND[0], *SECOND[1:], 1e-4], "f4")
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: acoustic(u, before, m, 1e-2, out=before),
        "numba": lambda: bare_acoustic(a, b, c, weights),
    }
    steps = devito_steps("acoustic", n)
    times = timings(calls | ({"devito": steps} if steps else {}), samples)
    more = speeds(n**3, statistics.median(times["ours"]), acoustic.footprint.bytes(4), triad_speed)
    report(f"acoustic-{n}-f4", times, [] if steps else ["devito"], **more)


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

    times = timings({"ours": step, "numba": lambda: bare_prk(c, d, weights)}, samples)
    # Each step adds the sum of both slopes, 2, to every cell that reads no wall.
    inner = tuple(slice(max(0, 2 - s), min(e, n - 2) - s) for s, e in zip(grid.box.start, grid.box.stop, strict=True))
    norm = COMM.allreduce(float(np.abs(b.owned[inner]).sum(dtype="f8"))) / (n - 4) ** 2
    # Single precision cannot hold the slopes exactly: the kernels' own tolerance.
    error, bound = abs(norm - 2.0 * turns), 1e-4 * turns if dtype == "f4" else 1e-8
    if error > bound:
        raise SystemExit(f"prk-{n}-{dtype}: norm {norm} after {turns} steps, not {2.0 * turns}")
    words = prk.footprint.bytes(1) + increment.footprint.bytes(1)
    more = speeds(n * n, statistics.median(times["ours"]), words * np.dtype(dtype).itemsize, triad_speed)
    report(f"prk-{n}-{dtype}", times, [], norm_error=error, **more)


def devito_steps(case: str, n: int, steps: int = 1) -> Callable[[], None] | None:
    """Return a call that advances Devito by some steps on rank 0, or None where it is not installed."""
    if importlib.util.find_spec("devito") is None:
        return None
    if COMM.rank:
        return lambda: None
    os.environ.setdefault("OMP_NUM_THREADS", str(COMM.size))
    import devito  # type: ignore[import-not-found]

    devito.configuration["language"] = "openmp" if COMM.size > 1 else "C"
    devito.configuration["log-level"] = "WARNING"
    dtype, order, levels = (np.float64, 2, 1) if case == "heat" else (np.float32, 8, 2)
    grid = devito.Grid(shape=(n,) * 3, extent=(n - 1,) * 3, dtype=dtype)
    u = devito.TimeFunction(name="u", grid=grid, space_order=order, time_order=levels)
    if case == "heat":
        update = u + 0.1 * u.laplace
    else:
        m = devito.Function(name="m", grid=grid, space_order=0)
        m.data[:] = 1.0
        update = 2.0 * u - u.backward + 1e-4 * u.laplace * m
    u.data[:] = 0.5
    operator = devito.Operator([devito.Eq(u.forward, update)])
    operator.apply(time_m=1, time_M=1)
    return lambda: operator.apply(time_m=1, time_M=steps)


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of each edge, 5 samples")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    options = parser.parse_args()
    samples, share = (5, 4) if options.quick else (9, 1)
    speed = bench_triad(samples)
    for edge in (256, 384):
        if options.only in f"heat-{edge}-f8":
            bench_heat(edge // share, samples, speed)
        if options.only in f"heat-{edge}-f8-fused":
            bench_fused(edge // share, samples, speed)
    if options.only in "acoustic-256-f4":
        bench_acoustic(256 // share, samples, speed)
    for dtype in ("f4", "f8"):
        if options.only in f"prk-8000-{dtype}":
            bench_prk(8000 // share, dtype, samples, speed)


if __name__ == "__main__":
    main()
