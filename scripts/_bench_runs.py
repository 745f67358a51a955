"""Timing calls on all ranks in turn, and the line of JSON about them: what the benchmarks of sweeps have in common."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Clock = Callable[[], float]


COMM = MPI.COMM_WORLD
PEERS = (
    "astra-toolbox", "connected-components-3d", "dask-image", "devito", "joblib", "lbmpy", "pystencils", "QuantLib",
    "scikit-image", "scipy", "sourmash",
)  # fmt: skip
POLL = 5e-4  # seconds between looks of a rank that waits


@dataclass(frozen=True)
class Timed:
    """A call that makes some steps; `is_alone`: on rank 0 alone, while the others sleep."""

    call: Callable[[], Any]
    steps: int = 1
    is_alone: bool = False


def rest_until_all_are_here() -> None:
    """Wait for all ranks without spinning, which would take a core from a peer with threads. Collective."""
    request = COMM.Ibarrier()
    while not request.Test():
        time.sleep(POLL)


def _seconds(timed: Timed, clock: Clock) -> float:
    if timed.is_alone:
        begin = clock()
        if COMM.rank == 0:
            timed.call()
        taken = clock() - begin
        rest_until_all_are_here()
        return float(COMM.bcast(taken))
    COMM.Barrier()
    begin = clock()
    timed.call()
    return float(COMM.allreduce(clock() - begin, op=MPI.MAX))


def timings(calls: dict[str, Timed], samples: int, clock: Clock = time.perf_counter) -> dict[str, list[float]]:
    """Return seconds per step of the slowest rank, the calls taken in turn so that drift hits them alike. Collective.

    The first round is not counted. What runs in one thread on one rank may be told a clock of the processor's.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(samples + 1):
        for name, timed in calls.items():
            seconds = _seconds(timed, clock) / timed.steps
            if turn:
                times[name].append(seconds)
    return times


def kept(calls: dict[str, Callable[[], Any]]) -> tuple[dict[str, Timed], dict[str, Any]]:
    """Return calls to be timed, and where the last of what each returns is put. Local."""
    results: dict[str, Any] = {}

    def keeping(name: str, call: Callable[[], Any]) -> Timed:
        return Timed(lambda: results.update({name: call()}))

    return {name: keeping(name, call) for name, call in calls.items()}, results


def in_pairs(ours: Timed, peer: Timed, pairs: int, name: str = "numba") -> tuple[dict[str, list[float]], list[float]]:
    """Return seconds per step, and ours over the peer's of each pair, one right after the other. Collective.

    They take turns in going first, and so what the machine does otherwise, and what the one leaves in the cache, count
    for both alike.
    """
    times: dict[str, list[float]] = {"ours": [], name: []}
    for turn in range(-2, pairs):
        both = [("ours", ours), (name, peer)]
        for who, timed in both if turn % 2 else reversed(both):
            seconds = _seconds(timed, time.perf_counter) / timed.steps
            if turn >= 0:
                times[who].append(seconds)
    return times, [mine / other for mine, other in zip(times["ours"], times[name], strict=True)]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return between which of the values their true median lies, with 95 percent probability. Local."""
    ordered = sorted(values)
    first = max(0, math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered))))
    return ordered[first], ordered[-1 - first]


def report(case: str, times: dict[str, list[float]], missing: Sequence[str] = (), **more: Any) -> None:
    """Print one line, on rank 0: the key "ours" of `times`, and the peers. Local."""
    if COMM.rank:
        return
    median = {name: statistics.median(t) for name, t in times.items()}
    against = {name: seconds for name, seconds in median.items() if name != "ours"}
    packages = ("numba", "numpy", "mpi4py", *filter(_is_there, PEERS))
    line = {
        "case": case,
        "ranks": COMM.size,
        "threads": 1,
        "seconds": median["ours"],
        "spread": [min(times["ours"]), max(times["ours"])],
        "against": against,
        "ratio": {name: seconds / median["ours"] for name, seconds in against.items()},
        "missing": list(missing),
        "load": os.getloadavg()[0],
        **more,
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }
    print(json.dumps(line), flush=True)


def _is_there(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def triad(a: Any, b: Any, c: Any, s: Any) -> None:
    for i in range(a.size):
        a[i] = b[i] + s * c[i]


def bench_triad(samples: int) -> float:
    """Return the bytes a second that STREAM's triad moves over all ranks. Collective.

    32 a number, not the 24 that STREAM counts: a store first brings the line that it writes to, as none here streams.
    """
    a, b, c = (np.full(1 << 23, value) for value in (0.0, 1.0, 2.0))
    times = timings({"ours": Timed(lambda: triad(a, b, c, 3.0))}, samples)
    speed = 32 * a.size * COMM.size / statistics.median(times["ours"])
    report("triad-f8", times, bytes_per_second=speed)
    return speed
