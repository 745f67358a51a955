#!/usr/bin/env python3
"""Time the reductions of fields: `python scripts/bench_reduce.py`, or under `mpiexec -n N` on N ranks.

One JSON object a line. Peers, on each rank's owned cells:

- numpy: NumPy's own function and an all-reduce of its result (for sums: rounded on the way, so that the result
  depends on the number of ranks);
- fsum: `math.fsum` of the whole array, equal to ours to the bit (from a list; on one rank; timed once);
- scipy: scipy.ndimage's function by label, of the whole array (on one rank).

Along axes, and of order statistics, NumPy's results of the ranks are not joined: no all-reduce could.

Aims: the exact sum of f8 costs at most 3 × np.sum, that is a ratio of at least 0.33; along an axis 0.25, variances
0.33; a median at least 1.3; by label sums 1, variances 2, extremes 15, medians 10, centers 5.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
from _bench_ranks import add_ranks, has_compared  # type: ignore[import-not-found]

import mpibatch as mb
from mpibatch.mpi import MPI

Array = npt.NDArray[Any]
Make = Callable[[np.random.Generator, tuple[int, ...]], Array]


@dataclass(frozen=True, slots=True)
class Case:
    """What is reduced how: `numpy` is applied to the owned cells, `op` joins the ranks' results."""

    dtype: str
    halo: int
    values: Make
    ours: Callable[[mb.Field], Any]
    numpy: Callable[[Array], Any]
    op: MPI.Op | None
    has_fsum: bool = False


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return values in [0, 1)."""
    return rng.random(shape)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return values of both signs that nearly cancel."""
    return rng.standard_normal(shape)


def wide(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return values over 600 binary orders of magnitude, in random order: the worst case of the exact sum."""
    return np.ldexp(rng.standard_normal(shape), rng.integers(-300, 300, shape))


def integers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return values from 0 to 255."""
    return rng.integers(0, 256, shape)


def binned(array: Array) -> Array:
    """Return NumPy's counts, for the range of the values here."""
    return np.histogram(array, 256, (0, 256) if array.dtype.kind == "u" else (0, 1))[0]


THREE = [0.1, 0.5, 0.9]
CASES = {
    "sum-f8": Case("f8", 0, uniform, mb.sum, np.sum, MPI.SUM, has_fsum=True),
    "sum-f8-normal": Case("f8", 0, normal, mb.sum, np.sum, MPI.SUM),
    "sum-f8-wide": Case("f8", 0, wide, mb.sum, np.sum, MPI.SUM),
    "sum-f8-halo2": Case("f8", 2, uniform, mb.sum, np.sum, MPI.SUM),
    "sum-f4": Case("f4", 0, uniform, mb.sum, np.sum, MPI.SUM, has_fsum=True),
    "sum-f4-halo2": Case("f4", 2, uniform, mb.sum, np.sum, MPI.SUM),
    "sum-u1": Case("u1", 0, integers, mb.sum, np.sum, MPI.SUM),
    "sum-i8": Case("i8", 0, integers, mb.sum, np.sum, MPI.SUM),
    "mean-f8": Case("f8", 0, uniform, mb.mean, np.mean, MPI.SUM),
    "min-f8": Case("f8", 0, uniform, mb.min, np.min, MPI.MIN),
    "argmax-f8": Case("f8", 0, uniform, mb.argmax, np.argmax, MPI.MAX),
    "count_nonzero-f8": Case("f8", 0, uniform, mb.count_nonzero, np.count_nonzero, MPI.SUM),
    "var-f8": Case("f8", 0, uniform, mb.var, np.var, MPI.SUM),
    "nansum-f8": Case("f8", 0, uniform, mb.nansum, np.nansum, MPI.SUM),
    "sum-axis0-f8": Case("f8", 0, normal, lambda u: mb.sum(u, 0), lambda a: a.sum(0), None),
    "sum-axis2-f8": Case("f8", 0, normal, lambda u: mb.sum(u, 2), lambda a: a.sum(2), None),
    "sum-axis2-f8-halo2": Case("f8", 2, normal, lambda u: mb.sum(u, 2), lambda a: a.sum(2), None),
    "mean-axis0-f8": Case("f8", 0, normal, lambda u: mb.mean(u, 0), lambda a: a.mean(0), None),
    "var-axis0-f8": Case("f8", 0, normal, lambda u: mb.var(u, 0), lambda a: a.var(0), None),
    "var-axis2-f8": Case("f8", 0, normal, lambda u: mb.var(u, 2), lambda a: a.var(2), None),
    "max-axis0-f8": Case("f8", 0, normal, lambda u: mb.max(u, 0), lambda a: a.max(0), None),
    "median-f8": Case("f8", 0, normal, mb.median, np.median, None),
    "median-u2": Case("u2", 0, integers, mb.median, np.median, None),
    "quantile3-f4": Case("f4", 0, normal, lambda u: mb.quantile(u, THREE), lambda a: np.quantile(a, THREE), None),
    "median-axis0-f8": Case("f8", 0, normal, lambda u: mb.median(u, 0), lambda a: np.median(a, 0), None),
    "histogram-f8": Case("f8", 0, uniform, lambda u: mb.histogram(u, 256, (0, 1)), binned, MPI.SUM),
    "histogram-f4": Case("f4", 0, uniform, lambda u: mb.histogram(u, 256, (0, 1)), binned, MPI.SUM),
    "histogram-u1": Case("u1", 0, integers, lambda u: mb.histogram(u, 256, (0, 256)), binned, MPI.SUM),
}


def timings(calls: dict[str, Callable[[], Any]], samples: int) -> dict[str, list[float]]:
    """Return the slowest rank's seconds, `samples` per call, the calls in turn so that drift hits them alike."""
    comm = MPI.COMM_WORLD
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(samples):
        for name, call in calls.items():
            comm.Barrier()
            begin = time.perf_counter()
            call()
            times[name].append(comm.allreduce(time.perf_counter() - begin, op=MPI.MAX))
    return times


def measure(name: str, case: Case, cells: int, samples: int, *, has_peers: bool) -> dict[str, Any]:
    """Return one line of the report. Collective."""
    comm = MPI.COMM_WORLD
    u = mb.Grid((cells,) * 3).zeros(case.dtype, case.halo)
    u.owned[...] = case.values(np.random.default_rng(comm.rank), u.local_shape)
    calls = {
        "ours": lambda: case.ours(u),
        "numpy": lambda: case.numpy(u.owned) if case.op is None else comm.allreduce(case.numpy(u.owned), op=case.op),
    }
    times = timings(calls if has_peers else {"ours": calls["ours"]}, samples)
    against: dict[str, float | str] = {"numpy": statistics.median(times["numpy"])} if has_peers else {}
    if not has_peers:
        return line(f"{name}-{cells}", times, against)
    if case.has_fsum and comm.size == 1:
        numbers = u.owned.ravel().tolist()
        begin = time.perf_counter()
        expected = math.fsum(numbers)
        against["fsum"] = time.perf_counter() - begin
        if case.ours(u) != expected:
            raise SystemExit(f"{name}: got {case.ours(u)!r}, but math.fsum says {expected!r}")
    elif case.has_fsum:
        against["fsum"] = "missing: runs on one rank only"
    return line(f"{name}-{cells}", times, against)


def line(case: str, times: dict[str, list[float]], against: dict[str, float | str]) -> dict[str, Any]:
    """Return one line of the report from what was timed. Local."""
    ours = statistics.median(times["ours"])
    return {
        "case": case,
        "ranks": MPI.COMM_WORLD.size,
        "threads": 1,
        "seconds": ours,
        "spread": [min(times["ours"]), max(times["ours"])],
        "against": against,
        "ratio": {peer: s / ours for peer, s in against.items() if isinstance(s, float)},
        "versions": {"mpibatch": mb.__version__, **{name: version(name) for name in ("numpy", "numba", "mpi4py")}},
    }


BY_LABEL = ("sum_labels", "mean", "variance", "extrema", "median", "center_of_mass")


def measure_labels(names: list[str], cells: int, samples: int, *, has_peers: bool) -> Iterator[dict[str, Any]]:
    """Yield a line for each function by label, of the blobs in a picture. Collective."""
    grid = mb.Grid((cells, cells))
    u = mb.random.Generator(1).normal(grid)
    labels, count = mb.label(mb.filters.gaussian_filter(mb.random.Generator(2).normal(grid), 6) > 0.02)
    index = np.arange(1, count + 1)
    try:
        ndimage = importlib.import_module("scipy.ndimage") if has_peers else None
        missing = "missing: runs on one rank, with peers"
    except ImportError:
        ndimage, missing = None, "missing: not installed"
    for name in names:
        calls: dict[str, Callable[[], Any]] = {"ours": partial(getattr(mb.measure, name), u, labels, index)}
        if ndimage is not None:
            calls["scipy"] = partial(getattr(ndimage, name), u.owned, labels.owned, index)
        times = timings(calls, samples)
        against: dict[str, float | str] = {"scipy": missing}
        if ndimage is not None:
            against["scipy"] = statistics.median(times["scipy"])
        yield line(f"labels-{name}-{cells}x{cells}", times, against)


def main() -> None:
    """Run the cases that are asked for. Collective."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="128³ and 1024² cells, 5 samples")
    parser.add_argument("--only", default="", metavar="CASE", help="run cases whose name contains this")
    add_ranks(parser)
    options = parser.parse_args()
    if has_compared(options, __file__):
        return
    for name, case in CASES.items():
        if options.only in name:
            cells, samples = (128, 5) if options.quick else (256, 11)
            report = measure(name, case, cells, samples, has_peers=not options.no_peers)
            if MPI.COMM_WORLD.rank == 0:
                print(json.dumps(report), flush=True)
    has_peers = MPI.COMM_WORLD.size == 1 and not options.no_peers
    names = [name for name in BY_LABEL if options.only in f"labels-{name}"]
    for report in measure_labels(names, 1024 if options.quick else 4096, 5, has_peers=has_peers) if names else ():
        if MPI.COMM_WORLD.rank == 0:
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
