#!/usr/bin/env python3
"""Time segments against scipy, scikit-image, and the packages edt and cc3d, in the same run, on one thread.

`python scripts/bench_segment.py`, or under `mpiexec -n N` on N ranks, then without peers. One JSON object a line:

    {"case", "ranks", "threads", "clock", "seconds" (median), "spread" [min, max], "first" (with compilation or its
     cache), "against" {peer: seconds}, "ratio" {peer: their seconds / ours}, "missing" [peers], "versions"}

On one rank the clock is that of the processor, which others' work slows down less; on several it is the wall's.
Whatever is timed is compared first: with scipy's f8 to the bit, and with edt's f4 to its bits.
cc3d is the module of connected-components-3d.

Aims: whole numbers 6 × scipy and 1.0 × edt in a volume, 4 × and 0.9 × in a picture; with indices or sampling 1.3 ×.
Watershed: 0.8 × scikit-image on one rank; local maxima 3 ×, small objects removed no slower than it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from _bench_ranks import add_ranks, has_compared  # type: ignore[import-not-found]

import mpibatch as mb
from mpibatch import segment
from mpibatch.mpi import MPI

Array = npt.NDArray[Any]
Call = Callable[[], Any]
OURS = "mpibatch"
SHARE = 0.31  # of cells that are inside
LARGEST = 64  # cells of the objects that are removed
MODULES = {"scipy": "scipy.ndimage", "edt": "edt", "skimage": "skimage", "cc3d": "cc3d"}
PACKAGES = {"scipy": "scipy", "edt": "edt", "skimage": "scikit-image", "cc3d": "connected-components-3d"}


def noise(shape: tuple[int, ...]) -> Array:
    """Return cells of which each is inside by chance."""
    return np.random.default_rng(8).random(shape, np.float32) < SHARE


def blobs(shape: tuple[int, ...]) -> Array:
    """Return smooth shapes: the insides of level sets of smoothed noise."""
    u = mb.scatter(np.random.default_rng(8).random(shape, np.float32), mb.Grid(shape, comm=MPI.COMM_SELF))
    smooth = mb.filters.gaussian_filter(u, 4 if len(shape) == 3 else 8).owned
    return np.asarray(smooth < np.quantile(smooth[::4, ::4], SHARE))


def seeds(shape: tuple[int, ...]) -> Array:
    """Return labels of single cells, about one in 500."""
    rng = np.random.default_rng(8)
    return np.where(rng.random(shape, np.float32) < 0.002, rng.integers(1, 30000, shape), 0).astype(np.int32)


def pools(shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Return smooth noise, the numbers of its minima, and its lowest 30 %."""
    noise = mb.scatter(np.random.default_rng(8).random(shape), mb.Grid(shape, comm=MPI.COMM_SELF))
    u = mb.filters.gaussian_filter(noise, 3 if len(shape) == 3 else 6)
    mask = u.owned < np.quantile(u.owned[::4], 0.3)
    return u.owned.copy(), mb.label(segment.local_minima(u))[0].owned * mask, mask


def smooth(shape: tuple[int, ...]) -> Array:
    """Return smooth noise."""
    return pools(shape)[0]


def heights(shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Return smooth noise, and the numbers of its minima."""
    return pools(shape)[:2]


def edt(module: Any, array: Array) -> Array:
    """Return the distances by the package edt, on one thread."""
    return np.asarray(module.edt(array.view(np.uint8), parallel=1))


@dataclass(frozen=True)
class Case:
    """What is timed: ours on Fields, and each peer's ``function(module, *arrays)`` on the whole arrays."""

    make: Callable[[tuple[int, ...]], Array | tuple[Array, ...]]
    ours: Callable[..., Any]
    peers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    shape: tuple[int, ...] = (256, 256, 256)
    quick: tuple[int, ...] = (64, 64, 64)


def objects_by_scipy(module: Any, array: Array) -> Array:
    """Return the objects of more cells than go, by labels and their counts."""
    labels, _ = module.label(array)
    stays = np.bincount(labels.ravel()) > LARGEST
    stays[0] = False
    return np.asarray(stays[labels])


def dust(module: Any, array: Array) -> Array:
    """Return the objects that cc3d does not take for dust: those of at least so many cells."""
    neighbors = 6 if array.ndim == 3 else 4
    return np.asarray(module.dust(array, threshold=LARGEST + 1, connectivity=neighbors))


DISTANCES: dict[str, Callable[[Any, Array], Any]] = {"scipy": lambda m, a: m.distance_transform_edt(a), "edt": edt}
ANISOTROPIC = (2.0, 0.7, 1.1)
OBJECTS: dict[str, Callable[[Any, Array], Any]] = {
    "skimage": lambda m, a: m.morphology.remove_small_objects(a, max_size=LARGEST),
    "scipy": objects_by_scipy,
    "cc3d": dust,
}
MAXIMA: dict[str, Callable[[Any, Array], Any]] = {"skimage": lambda m, a: m.morphology.local_maxima(a)}

CASES = {
    "edt 256^3 blobs": Case(blobs, segment.distance_transform_edt, DISTANCES),
    "edt 256^3 31%": Case(noise, segment.distance_transform_edt, DISTANCES),
    "edt 4096^2 blobs": Case(blobs, segment.distance_transform_edt, DISTANCES, (4096, 4096), (512, 512)),
    "edt 256^3 blobs, indices": Case(
        blobs,
        lambda u: segment.distance_transform_edt(u, return_indices=True),
        {"scipy": lambda m, a: m.distance_transform_edt(a, return_indices=True)},
    ),
    "edt 256^3 blobs, sampling": Case(
        blobs,
        lambda u: segment.distance_transform_edt(u, ANISOTROPIC),
        {"scipy": lambda m, a: m.distance_transform_edt(a, sampling=ANISOTROPIC)},
    ),
    "cdt 256^3 blobs": Case(blobs, segment.distance_transform_cdt, {"scipy": lambda m, a: m.distance_transform_cdt(a)}),
    "expand_labels 4096^2, by 5": Case(
        seeds,
        lambda u: segment.expand_labels(u, 5),
        {"skimage": lambda m, a: m.segmentation.expand_labels(a, 5)},
        (4096, 4096),
        (512, 512),
    ),
    "remove_small_objects 256^3 blobs": Case(blobs, segment.remove_small_objects, OBJECTS),
    "remove_small_objects 256^3 31%": Case(noise, segment.remove_small_objects, OBJECTS),
    "remove_small_objects 4096^2 blobs": Case(blobs, segment.remove_small_objects, OBJECTS, (4096, 4096), (512, 512)),
    "remove_small_objects 4096^2 31%": Case(noise, segment.remove_small_objects, OBJECTS, (4096, 4096), (512, 512)),
    "local_maxima 256^3": Case(smooth, segment.local_maxima, MAXIMA),
    "local_maxima 4096^2": Case(smooth, segment.local_maxima, MAXIMA, (4096, 4096), (512, 512)),
    "watershed 256^3, 30% mask": Case(
        pools,
        lambda u, markers, mask: segment.watershed(u, markers, mask=mask),
        {"skimage": lambda m, a, markers, mask: m.segmentation.watershed(a, markers, mask=mask)},
    ),
    "watershed 4096^2": Case(
        heights,
        segment.watershed,
        {"skimage": lambda m, a, markers: m.segmentation.watershed(a, markers)},
        (4096, 4096),
        (512, 512),
    ),
}


def timed(calls: dict[str, Call], samples: int) -> dict[str, list[float]]:
    """Return the slowest rank's seconds of each call, the calls in turn; the first of each includes compilation."""
    comm = MPI.COMM_WORLD
    clock = time.process_time if comm.size == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(samples + 1):
        for name, call in calls.items():
            comm.Barrier()
            begin = clock()
            call()
            times[name].append(comm.allreduce(clock() - begin, op=MPI.MAX))
    return times


def compare(name: str, ours: Any, theirs: Any) -> None:
    """End the run unless both have the same values."""
    if isinstance(theirs, tuple):
        for mine, other in zip(ours, theirs, strict=True):
            compare(name, mine, other)
        return
    mine = ours.owned.astype(theirs.dtype)
    if not np.array_equal(mine if mine.shape == theirs.shape else np.moveaxis(mine, -1, 0), theirs):
        raise SystemExit(f"{name}: the results differ")


def run(name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Return one line of the report. Collective."""
    made = case.make(case.quick if options.quick else case.shape)
    arrays = made if isinstance(made, tuple) else (made,)
    grid = mb.Grid(arrays[0].shape)
    fields = [mb.scatter(array, grid) for array in arrays]
    calls: dict[str, Call] = {OURS: lambda: case.ours(*fields)}
    missing = []
    for peer, call in case.peers.items() if grid.size == 1 and not options.no_peers else ():
        try:
            module = importlib.import_module(MODULES[peer])
        except ImportError:
            missing.append(peer)
            continue
        compare(f"{name}: {peer}", case.ours(*fields), call(module, *arrays))
        calls[peer] = lambda call=call, module=module: call(module, *arrays)  # type: ignore[misc]
    times = timed(calls, options.samples)
    median = {peer: statistics.median(seconds[1:]) for peer, seconds in times.items()}
    packages = ["numpy", "numba", *(PACKAGES[peer] for peer in calls if peer != OURS)]
    return {
        "case": name,
        "ranks": grid.size,
        "threads": 1,
        "clock": "processor" if grid.size == 1 else "wall",
        "seconds": round(median[OURS], 5),
        "spread": [round(min(times[OURS][1:]), 5), round(max(times[OURS][1:]), 5)],
        "first": round(times[OURS][0], 3),
        "against": {peer: round(seconds, 5) for peer, seconds in median.items() if peer != OURS},
        "ratio": {peer: round(seconds / median[OURS], 2) for peer, seconds in median.items() if peer != OURS},
        "missing": missing,
        "versions": {"mpibatch": mb.__version__, **{p: importlib.metadata.version(p) for p in packages}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small arrays")
    parser.add_argument("--only", action="append", default=[], metavar="CASE", help="cases whose name contains this")
    parser.add_argument("--samples", type=int, default=5, help="timed calls after the first (default 5)")
    add_ranks(parser)
    options = parser.parse_args()
    if has_compared(options, __file__):
        return
    chosen = {name: case for name, case in CASES.items() if not options.only or any(o in name for o in options.only)}
    if not chosen:
        parser.error(f"no case contains {options.only}; there are: {', '.join(CASES)}")
    for name, case in chosen.items():
        entry = run(name, case, options)
        if MPI.COMM_WORLD.rank == 0:
            print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    main()
