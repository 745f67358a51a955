#!/usr/bin/env python3
"""Time labels and tables of regions: `python scripts/bench_measure.py`, or under `mpiexec -n N` on N ranks.

One JSON object a line. Pictures: noise (31 % of the cells, near the threshold at which one object in 3-D reaches
everywhere) and blobs (30 %, smoothed noise), 256³ and 4096²; moments are those of a picture of numbers. Peers, of the
whole picture, on rank 0 alone while the others sleep: scipy.ndimage, scikit-image, and cc3d
(connected-components-3d). Results of labels and moments are compared first.

Aims on one rank: labels at least 2 × scipy in 3-D and 1.3 × in 2-D, and about as fast as cc3d; tables at least 15 ×
scikit-image (30 × with axes), 3 × cc3d. On two ranks labels at least 1.6 × one.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.ndimage as ndi
from _bench_ranks import add_ranks, has_compared  # type: ignore[import-not-found]
from _bench_runs import COMM, Timed, report, timings  # type: ignore[import-not-found]

import mpibatch as mb

if TYPE_CHECKING:
    from collections.abc import Callable

Array = npt.NDArray[Any]

GEOMETRY = ("label", "area", "bbox", "centroid")
TABLES: dict[str, tuple[str, ...]] = {
    "geometry": GEOMETRY,
    "axes": (*GEOMETRY, "axis_major_length", "axis_minor_length", "orientation"),
    "mean": ("label", "intensity_mean"),
    "std": ("label", "intensity_std"),
    "max": ("label", "intensity_max"),
    "centroid_weighted": ("label", "centroid_weighted"),
    "shapes": ("label", "perimeter", "euler_number", "area_convex", "feret_diameter_max"),
    "moments": ("label", "moments_central"),
    "moments_weighted": ("label", "moments_weighted_central"),
    "median": ("label", "intensity_median"),
}
OF_VALUES = ("mean", "std", "max", "centroid_weighted", "moments_weighted", "median")


@dataclass(frozen=True)
class Sampling:
    """How often each call is timed, and whether those of others are."""

    samples: int
    has_peers: bool


def noise(shape: tuple[int, ...]) -> Array:
    """Return cells of which 31 % are set, each for itself."""
    return np.random.default_rng(0).random(shape, "f4") < 0.31


def blobs(shape: tuple[int, ...]) -> Array:
    """Return smooth objects that fill 30 %."""
    smooth = ndi.gaussian_filter(np.random.default_rng(1).random(shape, "f4"), 4.0)
    return np.asarray(smooth > np.quantile(smooth[(slice(None, None, 4),) * len(shape)], 0.7))


def shared(make: Callable[[], Array]) -> Array:
    """Return what rank 0 makes, on all ranks. Collective."""
    whole = COMM.bcast(make() if COMM.rank == 0 else None)
    assert isinstance(whole, np.ndarray)
    return whole


def field(whole: Array) -> mb.Field:
    """Return a picture as a field."""
    grid = mb.Grid(whole.shape)
    u = grid.empty(whole.dtype)
    u.owned[...] = whole[grid.box.slices()]
    return u


def peer(name: str, missing: list[str]) -> Any:
    """Return a module, or None, which is noted, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing.append(name)
        return None


def timed(calls: dict[str, Timed], sampling: Sampling) -> dict[str, list[float]]:
    """Return the seconds of all calls, or of ours. Collective."""
    times: dict[str, list[float]] = timings(calls if sampling.has_peers else {"ours": calls["ours"]}, sampling.samples)
    return times


def bench_labels(case: str, whole: Array, connectivity: int, sampling: Sampling) -> None:
    """Label with faces (connectivity 1), or with all neighbors. Collective."""
    missing: list[str] = []
    cc3d = peer("cc3d", missing)
    structure = ndi.generate_binary_structure(whole.ndim, connectivity)
    neighbors = int(structure.sum()) - 1
    u = field(whole.view("u1"))
    labels, n = mb.label(u, structure)
    expected, count = ndi.label(whole, structure)
    if n != count or not np.array_equal(labels.owned, expected[u.box.slices()]):
        raise SystemExit(f"{case}: labels differ from scipy's")
    calls = {
        "ours": Timed(lambda: mb.label(u, structure)),
        "scipy": Timed(lambda: ndi.label(whole, structure), is_alone=True),
    }
    if cc3d:
        plain = whole.view("u1")
        calls["cc3d"] = Timed(
            lambda: cc3d.connected_components(plain, connectivity=neighbors, return_N=True), is_alone=True
        )
    report(f"{case}-{neighbors}", timed(calls, sampling), missing, components=n)


def bench_table(name: str, whole: Array, values: Array, sampling: Sampling) -> None:
    """Make a table of the objects of a picture. Collective."""
    missing: list[str] = []
    cc3d = peer("cc3d", missing)
    names = TABLES[name]
    labels, n = ndi.label(whole)
    u, v = field(labels), field(values)
    has_values = name in OF_VALUES
    calls = {"ours": Timed(lambda: mb.regionprops_table(u, v if has_values else None, names))}
    index = np.arange(1, n + 1)
    functions = {"mean": ndi.mean, "std": ndi.standard_deviation, "max": ndi.maximum, "median": ndi.median}
    if name in functions:
        calls["scipy"] = Timed(lambda: functions[name](values, labels, index), is_alone=True)
    elif name == "centroid_weighted":
        calls["scipy"] = Timed(lambda: ndi.center_of_mass(values, labels, index), is_alone=True)
    else:
        skimage = importlib.import_module("skimage.measure")
        theirs = values if has_values else None
        calls["skimage"] = Timed(lambda: skimage.regionprops_table(labels, theirs, properties=names), is_alone=True)
    if cc3d and name == "geometry":
        unsigned = labels.view("u4")
        calls["cc3d"] = Timed(lambda: cc3d.statistics(unsigned), is_alone=True)
    report(f"table-{name}-{'x'.join(map(str, whole.shape))}", timed(calls, sampling), missing, rows=n)


def bench_moments(whole: Array, sampling: Sampling) -> None:
    """Take the moments of a picture of numbers. Collective."""
    measure = importlib.import_module("skimage.measure")
    u = field(whole)
    np.testing.assert_allclose(mb.moments(u), measure.moments(whole), 1e-9)
    calls = {
        "ours": Timed(lambda: mb.moments(u)),
        "skimage": Timed(lambda: measure.moments(whole), is_alone=True),
    }
    report(f"moments-{'x'.join(map(str, whole.shape))}", timed(calls, sampling), [], order=3)


def main() -> None:
    """Run the cases that are asked for. Collective."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="128³ and 1024² cells, 5 samples")
    parser.add_argument("--only", default="", metavar="CASE", help="run cases whose name contains this")
    add_ranks(parser)
    options = parser.parse_args()
    if has_compared(options, __file__):
        return
    shapes = ((128,) * 3, (1024,) * 2) if options.quick else ((256,) * 3, (4096,) * 2)
    sampling = Sampling(5 if options.quick else 7, not options.no_peers)
    for shape in shapes:
        for make in (noise, blobs):
            case = f"label-{make.__name__}-{'x'.join(map(str, shape))}"
            if options.only in case:
                whole = shared(lambda make=make, shape=shape: make(shape))  # type: ignore[misc]
                for connectivity in (1, len(shape)):
                    bench_labels(case, whole, connectivity, sampling)
    if any(options.only in f"table-{name}" for name in TABLES):
        whole = shared(lambda: blobs(shapes[1]))
        values = shared(lambda: np.random.default_rng(2).random(shapes[1]))
        for name in TABLES:
            if options.only in f"table-{name}":
                bench_table(name, whole, values, sampling)
    if options.only in "moments":
        bench_moments(shared(lambda: np.random.default_rng(2).random(shapes[1])), sampling)


if __name__ == "__main__":
    main()
