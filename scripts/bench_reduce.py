#!/usr/bin/env python3
"""Time the reductions of a 256³ field: `python scripts/bench_reduce.py`, or under `mpiexec -n N` on N ranks.

One JSON object a line. Peers, on each rank's owned cells:

- numpy: NumPy's own function and an all-reduce of its result (for sums: rounded on the way, so that the result
  depends on the number of ranks);
- fsum: `math.fsum` of the whole array, equal to ours to the bit (from a list; on one rank; timed once).

Aim: the exact sum of f8 costs at most 3 × np.sum, that is a ratio of at least 0.33.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

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
    op: MPI.Op
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


def measure(name: str, case: Case, cells: int, samples: int) -> dict[str, Any]:
    """Return one line of the report. Collective."""
    comm = MPI.COMM_WORLD
    u = mb.Grid((cells,) * 3).zeros(case.dtype, case.halo)
    u.owned[...] = case.values(np.random.default_rng(comm.rank), u.local_shape)
    calls = {
        "ours": lambda: case.ours(u),
        "numpy": lambda: comm.allreduce(case.numpy(u.owned), op=case.op),
    }
    times = timings(calls, samples)
    median = {call: statistics.median(seconds) for call, seconds in times.items()}
    against: dict[str, float | str] = {"numpy": median["numpy"]}
    if case.has_fsum and comm.size == 1:
        numbers = u.owned.ravel().tolist()
        begin = time.perf_counter()
        expected = math.fsum(numbers)
        against["fsum"] = time.perf_counter() - begin
        if case.ours(u) != expected:
            raise SystemExit(f"{name}: got {case.ours(u)!r}, but math.fsum says {expected!r}")
    elif case.has_fsum:
        against["fsum"] = "missing: runs on one rank only"
    return {
        "case": f"{name}-{cells}",
        "ranks": comm.size,
        "threads": 1,
        "seconds": median["ours"],
        "spread": [min(times["ours"]), max(times["ours"])],
        "against": against,
        "ratio": {peer: s / median["ours"] for peer, s in against.items() if isinstance(s, float)},
        "versions": {"mpibatch": mb.__version__, **{name: version(name) for name in ("numpy", "numba", "mpi4py")}},
    }


def main() -> None:
    """Run the cases that are asked for. Collective."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="128³ cells, 5 samples")
    parser.add_argument("--only", default="", metavar="CASE", help="run cases whose name contains this")
    options = parser.parse_args()
    for name, case in CASES.items():
        if options.only in name:
            line = measure(name, case, 128 if options.quick else 256, 5 if options.quick else 11)
            if MPI.COMM_WORLD.rank == 0:
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
