#!/usr/bin/env python3
"""Time filters against scipy, OpenCV and dask-image in the same run, each on one thread.

`python scripts/bench_filters.py` compares on one rank; `--ranks 1,2` starts itself under mpiexec with as many ranks
and compares with the first count instead; `--threads 2` compares so many threads with one, in turn. One JSON object a
line:

    {"case", "ranks", "threads", "seconds" (median), "spread" [min, max], "first" (with compilation or its cache),
     "against" {peer: seconds}, "ratio" {peer: their seconds / ours}, "missing" [peers], "versions",
     "copies": how many times a copy of the cells into memory that was used before fits into the seconds: what reads and
     writes each cell once cannot have less than 1}

A new case is one entry of CASES.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.metadata
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from _bench_ranks import add_ranks, has_compared  # type: ignore[import-not-found]

import mpibatch as mb
from mpibatch import filters as f
from mpibatch.mpi import MPI

Array = npt.NDArray[Any]
Call = Callable[[], Any]

MODULES = {
    "scipy": "scipy.ndimage", "opencv": "cv2", "dask-image": "dask_image.ndfilters", "skimage": "skimage",
    "fill_voids": "fill_voids",
}  # fmt: skip
PACKAGES = {
    "scipy": "scipy", "opencv": "opencv-python-headless", "dask-image": "dask-image", "skimage": "scikit-image",
    "fill_voids": "fill-voids",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is timed: ours on a Field, and each peer's `function(module, array)` on the whole array."""

    dtype: str
    ours: Callable[[mb.Field], Any]
    peers: dict[str, Callable[[Any, Array], Any]] = field(default_factory=dict)
    shape: tuple[int, ...] = (4096, 4096)
    quick: tuple[int, ...] = (1024, 1024)
    # Peers that take minutes: timed once, and only with --full.
    slow: dict[str, Callable[[Any, Array], Any]] = field(default_factory=dict)
    is_photograph: bool = False  # not noise: where the time depends on the cells


def dask(function: str, *args: Any, **kwargs: Any) -> Callable[[Any, Array], Any]:
    """Return a call of a function of dask_image.ndfilters on 1024² chunks, by one thread."""

    def run(module: Any, a: Array) -> Any:
        chunked = importlib.import_module("dask.array").from_array(a, chunks=1024)
        return getattr(module, function)(chunked, *args, **kwargs).compute(scheduler="synchronous")

    return run


WEIGHTS = np.array([[1.0, 2, 1], [0, 3, -1], [2, -2, 0.5]])


def _gaussian(sigma: int) -> Case:
    size = 2 * (4 * sigma) + 1
    return Case(
        "f4",
        lambda u: f.gaussian_filter(u, sigma),
        {
            "scipy": lambda m, a: m.gaussian_filter(a, sigma),
            "opencv": lambda m, a: m.GaussianBlur(a, (size, size), sigma, borderType=m.BORDER_REFLECT),
            "dask-image": dask("gaussian_filter", sigma),
        },
    )


def _uniform(size: int) -> Case:
    return Case(
        "f4",
        lambda u: f.uniform_filter(u, size),
        {
            "scipy": lambda m, a: m.uniform_filter(a, size),
            "opencv": lambda m, a: m.blur(a, (size, size), borderType=m.BORDER_REFLECT),
            "dask-image": dask("uniform_filter", size),
        },
    )


def _median(size: int, dtype: str, slow: bool = False) -> Case:
    scipy: dict[str, Callable[[Any, Array], Any]] = {"scipy": lambda m, a: m.median_filter(a, size)}
    # OpenCV takes large windows on 8-bit cells only; what it does at the border differs.
    others = {"opencv": lambda m, a: m.medianBlur(a, size)} if size <= 5 or dtype == "u1" else {}
    return Case(
        dtype, lambda u: f.median_filter(u, size), others if slow else scipy | others, slow=scipy if slow else {}
    )


CASES: dict[str, Case] = {
    "gaussian_filter sigma=1 f4": _gaussian(1),
    "gaussian_filter sigma=3 f4": _gaussian(3),
    "sobel f4": Case(
        "f4",
        f.sobel,
        {
            "scipy": lambda m, a: m.sobel(a),
            "opencv": lambda m, a: m.Sobel(a, m.CV_32F, 1, 0, ksize=3, borderType=m.BORDER_REFLECT),
            "dask-image": dask("sobel"),
        },
    ),
    "sobel_magnitude f4": (
        _magnitude := Case(
            "f4", f.sobel_magnitude, {"skimage": lambda m, a: importlib.import_module("skimage.filters").sobel(a)}
        )
    ),
    "sobel_magnitude 256^3 f4": replace(_magnitude, shape=(256,) * 3, quick=(48,) * 3),
    "uniform_filter size=3 f4": _uniform(3),
    "uniform_filter size=25 f4": _uniform(25),
    "correlate 3x3 f4": Case(
        "f4",
        lambda u: f.correlate(u, WEIGHTS),
        {
            "scipy": lambda m, a: m.correlate(a, WEIGHTS),
            "opencv": lambda m, a: m.filter2D(a, m.CV_32F, WEIGHTS, borderType=m.BORDER_REFLECT),
            "dask-image": dask("correlate", WEIGHTS),
        },
    ),
    "gaussian_filter sigma=2 256^3 f4": Case(
        "f4",
        lambda u: f.gaussian_filter(u, 2),
        {"scipy": lambda m, a: m.gaussian_filter(a, 2)},
        shape=(256, 256, 256),
        quick=(64, 64, 64),
    ),
    "median_filter size=3 u2": _median(3, "u2"),
    "median_filter size=3 f4": _median(3, "f4"),
    "median_filter size=5 u1": _median(5, "u1", slow=True),
    "median_filter size=25 u1": _median(25, "u1", slow=True),
    "median_filter size=25 u1 photograph": replace(_median(25, "u1", slow=True), is_photograph=True),
    "median_filter size=25 128^3 u1": replace(
        _volume := _median(25, "u1", slow=True), peers={}, shape=(128,) * 3, quick=(48,) * 3
    ),
    "median_filter size=25 512x512x64 u1": replace(_volume, peers={}, shape=(64, 512, 512), quick=(32, 64, 64)),
    "minimum_filter size=31 u1": Case(
        "u1",
        lambda u: f.minimum_filter(u, 31),
        {
            "scipy": lambda m, a: m.minimum_filter(a, 31),
            "opencv": lambda m, a: m.erode(a, np.ones((31, 31), np.uint8)),
        },
    ),
    "grey_opening size=15 u2": Case(
        "u2",
        lambda u: f.grey_opening(u, 15),
        {
            "scipy": lambda m, a: m.grey_opening(a, 15),
            "opencv": lambda m, a: m.morphologyEx(a, m.MORPH_OPEN, np.ones((15, 15), np.uint8)),
        },
    ),
    "canny sigma=2 f4": Case(
        "f4",
        lambda u: f.canny(u, 2.0, 0.01, 0.02),
        {"skimage": lambda m, a: importlib.import_module("skimage.feature").canny(a, 2.0, 0.01, 0.02)},
        shape=(2048, 2048),
    ),
}


OURS, COPY = "mpibatch", "copy"


def picture(shape: tuple[int, ...], dtype: str) -> Array:
    """Return uniform noise: 0 … 1 for floats, the whole range for integers."""
    rng = np.random.default_rng(20)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def photograph(shape: tuple[int, ...]) -> Array:
    """Return scikit-image's photographer, side by side with himself."""
    from skimage import data

    man: Array = data.camera()  # type: ignore[no-untyped-call]
    return np.tile(man, [-(-n // m) for n, m in zip(shape, man.shape, strict=True)])[tuple(map(slice, shape))]


def samples(calls: dict[str, Call], count: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the seconds of the first call of each, and of `count` more in turn; the slowest rank's.

    In turn, so that what else the machine does hits all of them alike.
    """
    comm = MPI.COMM_WORLD
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(count + 1):
        for name, call in calls.items():
            comm.Barrier()
            begin = time.perf_counter()
            call()
            times[name].append(comm.allreduce(time.perf_counter() - begin, op=MPI.MAX))
    return {name: t[0] for name, t in times.items()}, {name: t[1:] for name, t in times.items()}


def peer_calls(peers: dict[str, Callable[[Any, Array], Any]], array: Array) -> tuple[dict[str, Call], list[str]]:
    """Return a call of every peer that is installed, and the names of those that are not."""
    calls: dict[str, Call] = {}
    missing = []
    for name, call in peers.items():
        try:
            module = importlib.import_module(MODULES[name])
        except ImportError:
            missing.append(name)
            continue
        if name == "opencv":
            module.setNumThreads(1)
        calls[name] = functools.partial(call, module, array)
    return calls, missing


def versions(names: list[str]) -> dict[str, str]:
    """Return the versions of ourselves, NumPy, numba and the peers used."""
    packages = ["numpy", "numba", *(PACKAGES[name] for name in names)]
    return {"mpibatch": mb.__version__, **{p: importlib.metadata.version(p) for p in packages}}


def run(
    name: str, case: Case, options: argparse.Namespace, make: Callable[[tuple[int, ...], str], Array] = picture
) -> dict[str, Any]:
    """Time one case on the ranks of the world; with peers if there is one rank."""
    shape = case.quick if options.quick else case.shape
    array = photograph(shape) if case.is_photograph else make(shape, case.dtype)
    u = mb.scatter(array, mb.Grid(array.shape))
    calls: dict[str, Call] = {}
    slow: dict[str, Call] = {}
    missing: list[str] = []
    if MPI.COMM_WORLD.size == 1 and not options.no_peers and not options.threads:
        calls, missing = peer_calls(case.peers, array)
        slow, absent = peer_calls(case.slow if options.full else {}, array)
        missing += absent + [f"{name} (takes minutes: --full)" for name in case.slow if not options.full]
    ours: Call = lambda: case.ours(u)  # noqa: E731
    if options.threads:
        calls = {"mpibatch on 1 thread": functools.partial(on_threads, 1, ours)}
        ours = functools.partial(on_threads, options.threads, ours)
    cells = u.owned.copy()
    first, times = samples({OURS: ours, COPY: functools.partial(np.copyto, cells, u.owned), **calls}, options.samples)
    copy = statistics.median(times.pop(COPY))
    against = {peer: statistics.median(t) for peer, t in times.items() if peer != OURS}
    against |= {peer: t[0] for peer, t in samples(slow, 1)[1].items()}
    entry = line(name, MPI.COMM_WORLD.size, first[OURS], times[OURS], against, missing)
    return {**entry, "threads": options.threads or 1, "copies": round(entry["seconds"] / copy, 2)}


def on_threads(number: int, call: Call) -> Any:
    """Call something as if the user had set so many threads."""
    os.environ["NUMBA_NUM_THREADS"] = str(number)
    return call()


def line(
    name: str, ranks: int, first: float, times: list[float], against: dict[str, float], missing: list[str]
) -> dict[str, Any]:
    """Return one line of the report."""
    seconds = statistics.median(times)
    return {
        "case": name,
        "ranks": ranks,
        "threads": 1,
        "seconds": round(seconds, 5),
        "spread": [round(min(times), 5), round(max(times), 5)],
        "first": round(first, 3),
        "against": {peer: round(theirs, 5) for peer, theirs in against.items()},
        "ratio": {peer: round(theirs / seconds, 2) for peer, theirs in against.items()},
        "missing": missing,
        "versions": versions(list(against)) if all(peer in PACKAGES for peer in against) else versions([]),
    }


def command_line(
    text: str | None, script: str, cases: dict[str, Case], make: Callable[[tuple[int, ...], str], Array] = picture
) -> None:
    """Run the cases that a script's arguments name. Collective."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small arrays")
    parser.add_argument("--full", action="store_true", help="also the peers that take minutes")
    parser.add_argument("--only", action="append", default=[], metavar="CASE", help="cases whose name contains this")
    parser.add_argument("--samples", type=int, default=7, help="timed calls after the first (default 7)")
    parser.add_argument("--threads", type=int, metavar="N", help="compare with one thread, without peers")
    add_ranks(parser)
    options = parser.parse_args()
    if has_compared(options, script):
        return
    chosen = {name: case for name, case in cases.items() if not options.only or any(o in name for o in options.only)}
    if not chosen:
        parser.error(f"no case contains {options.only}; there are: {', '.join(cases)}")
    for name, case in chosen.items():
        entry = run(name, case, options, make)
        if MPI.COMM_WORLD.rank == 0:
            print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    command_line(__doc__, __file__, CASES)
