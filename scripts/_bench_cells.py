"""A simulated mosaic of nuclei, and their tables by scipy, scikit-image and dask-image, for `bench_fields.py`."""

from __future__ import annotations

import importlib
import importlib.util
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from _bench_runs import COMM, kept, report, timings  # type: ignore[import-not-found]

import mpibatch as mb
from mpibatch.apps.cells.segmentation import Settings, segmented
from mpibatch.apps.cells.tables import measured
from mpibatch.job.execution.account import peak_memory
from mpibatch.mpi import MPI
from mpibatch.tools.planning.measurement import restart_peak

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CELLS"]

Image = npt.NDArray[np.uint16]
SETTINGS = Settings()
TILE, REACH = 1024, 12
SHAPE = ("label", "area", "centroid", "eccentricity", "perimeter", "solidity", "intensity_mean", "intensity_max")
PEERS = {"scikit-image": "skimage", "dask-image": "dask_image"}  # and their modules
FEW = ("label", "area", "centroid", "intensity_mean")  # of those that dask-image has


def mosaic(side: int) -> Image:
    """Return flipped copies of a tile with a nucleus on every 900 pixels, many of which touch."""
    rng = np.random.default_rng(0)
    tile = np.zeros((TILE, TILE))
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    for _ in range(TILE * TILE // 900):
        at_y, at_x = rng.integers(REACH, TILE - REACH, 2)
        a, b, turn = rng.uniform(5, 10), rng.uniform(5, 8), rng.uniform(0, np.pi)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        part = tile[at_y - REACH : at_y + REACH + 1, at_x - REACH : at_x + REACH + 1]
        np.maximum(part, rng.uniform(500, 2000) * ((u / a) ** 2 + (v / b) ** 2 < 1), out=part)
    tile += 200 + rng.normal(0, 15, tile.shape)
    row = np.hstack([tile, tile[:, ::-1]])
    pair = np.rint(np.vstack([row, row[::-1]])).astype(np.uint16)
    return np.tile(pair, (side // (2 * TILE),) * 2)


def by_scikit_image(image: Image) -> int:
    """The same steps; return the number of cells."""
    ndimage = importlib.import_module("scipy.ndimage")
    filters, feature, measure, morphology, segmentation = (
        importlib.import_module(f"skimage.{name}")
        for name in ("filters", "feature", "measure", "morphology", "segmentation")
    )
    smooth = ndimage.gaussian_filter(image.astype(np.float32), SETTINGS.sigma)
    mask = smooth > SETTINGS.fraction * filters.threshold_otsu(smooth)
    mask &= smooth > filters.threshold_local(smooth, SETTINGS.block)
    mask = morphology.remove_small_objects(ndimage.binary_fill_holes(mask), max_size=SETTINGS.small)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), SETTINGS.split_sigma)
    peaks = feature.peak_local_max(depth, min_distance=SETTINGS.distance, exclude_border=False)
    middles = np.zeros(mask.shape, np.bool_)
    middles[tuple(peaks.T)] = True
    labels = segmentation.watershed(-depth, ndimage.label(middles & mask)[0], mask=mask)
    return len(measure.regionprops_table(labels, image, properties=SHAPE)["label"])


def by_dask_image(mask: npt.NDArray[np.bool_], image: Image) -> int:
    """Label, and area, centroid and mean of each, in chunks of 1024²; return how many there are."""
    dask = importlib.import_module("dask.array")
    measure = importlib.import_module("dask_image.ndmeasure")
    values = dask.from_array(image, (1024, 1024))
    labels, count = measure.label(dask.from_array(mask, (1024, 1024)))
    labels = labels.persist()
    index = np.arange(1, int(count) + 1)
    columns = (measure.area(values, labels, index), measure.center_of_mass(mask, labels, index))
    dask.compute(*columns, measure.mean(values, labels, index), scheduler="threads", num_workers=1)
    return len(index)


def compare(case: str, pixels: int, calls: dict[str, Callable[[], int]], rounds: int, peer: str) -> None:
    """Time ours and, on one rank, the peer's in turn; print a line. Collective."""
    missing = [] if importlib.util.find_spec(PEERS[peer]) else [peer]
    if COMM.size > 1 or missing:
        calls.pop(peer)
    timed, cells = kept(calls)
    times = timings(timed, rounds)
    report(case, times, missing, pixels=pixels, cells=cells)


def run(*, quick: bool) -> None:
    """Time everything from a mosaic to its table. Collective."""
    image, rounds = mosaic(2048 if quick else 4096), 2 if quick else 5
    grid = mb.Grid(image.shape)
    slide = mb.scatter(image, grid)
    calls: dict[str, Callable[[], int]] = {
        "ours": lambda: measured(segmented(slide, SETTINGS)[0], slide, SHAPE).rows,
        "scikit-image": lambda: by_scikit_image(image),
    }
    compare("cells", image.size, calls, rounds, "scikit-image")


def run_table(*, quick: bool) -> None:
    """Time labels and a table of them. Collective."""
    side, rounds = (512, 1) if quick else (1024, 3)  # dask-image has tasks for each label and chunk
    image = np.ascontiguousarray(mosaic(2048)[:side, :side])
    whole = image > 400
    grid = mb.Grid(image.shape)
    slide, mask = mb.scatter(image, grid), mb.scatter(whole, grid)
    calls: dict[str, Callable[[], int]] = {
        "ours": lambda: measured(mb.label(mask)[0], slide, FEW).rows,
        "dask-image": lambda: by_dask_image(whole, image),
    }
    compare("cells-table", image.size, calls, rounds, "dask-image")


def run_memory(*, quick: bool) -> None:
    """Tell what a rank takes at most, in all and beyond what it had, over the bytes of its block. Collective."""
    side = 2048 if quick else 8192
    for n in (1024, side):  # the first, so that nothing is compiled in the second
        slide = mb.Grid((n, n)).empty("u2")
        tile, (top, left), (bottom, right) = mosaic(2048), slide.box.start, slide.box.stop
        for row, out in zip(range(top, bottom), slide.owned, strict=True):
            out[...] = tile[row % 2048][np.arange(left, right) % 2048]
        del tile
        restart_peak()
        before = peak_memory()
        cells = measured(segmented(slide, SETTINGS)[0], slide, SHAPE).rows
        most = [
            COMM.allreduce(size / slide.owned.nbytes, op=MPI.MAX) for size in (peak_memory(), peak_memory() - before)
        ]
    if COMM.rank == 0:
        line = {"case": "cells-memory", "ranks": COMM.size, "pixels": side * side, "cells": cells}
        line |= {"memory_over_block": round(most[0], 1), "added_over_block": round(most[1], 1)}
        print(json.dumps(line), flush=True)


CELLS: dict[str, Any] = {"cells": run, "cells-memory": run_memory, "cells-table": run_table}
