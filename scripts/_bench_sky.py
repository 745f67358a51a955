"""A simulated mosaic of stars and galaxies, and catalogs of it by sep and photutils, for `bench_fields.py`."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.catalog.catalogs import Settings, make_catalog

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SKY"]

Values = npt.NDArray[np.float32]
NOISE, REACH = 4.0, 12
SETTINGS = Settings()
USUAL = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16


def frame(side: int) -> Values:
    """Return a mosaic with a source on every 2,500 pixels."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal((side, side), np.float32) * np.float32(NOISE) + np.float32(100)
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    for _ in range(side * side // 2500):
        at_y, at_x = rng.uniform(REACH, side - REACH - 1, 2)
        flux, sigma, ratio = 10 ** rng.uniform(2.3, 4.5), rng.uniform(1.2, 3.0), rng.uniform(0.5, 1)
        i, j = int(at_y), int(at_x)
        shape = np.exp(-0.5 * (((x + j - at_x) / sigma) ** 2 + ((y + i - at_y) / sigma / ratio) ** 2))
        array[i - REACH : i + REACH + 1, j - REACH : j + REACH + 1] += flux / (2 * np.pi * sigma**2 * ratio) * shape
    return array


def by_sep(sep: Any, array: Values) -> int:
    """Background, detection, deblending, circles, Kron's ellipse, windows, as ours; return the number of sources."""
    sep.set_extract_pixstack(array.size // 4 + 300_000)
    background = sep.Background(array)
    noise, value = background.globalrms, array - background.back()
    sources, _ = sep.extract(
        value, SETTINGS.threshold, err=noise, minarea=SETTINGS.area, filter_kernel=USUAL, clean=False,
        deblend_nthresh=SETTINGS.deblend_steps, deblend_cont=SETTINGS.contrast, segmentation_map=True,
    )  # fmt: skip
    x, y, a, b = (sources[name] for name in ("x", "y", "a", "b"))
    theta = np.clip(sources["theta"], -np.pi / 2, np.pi / 2)
    for radius in SETTINGS.apertures:
        sep.sum_circle(value, x, y, radius, err=noise)
    kron, _ = sep.kron_radius(value, x, y, a, b, theta, 6.0)
    flux, _, _ = sep.sum_ellipse(value, x, y, a, b, theta, np.maximum(2.5 * kron, 0.1), err=noise, subpix=1)
    half, _ = sep.flux_radius(value, x, y, 6.0 * a, 0.5, normflux=flux, subpix=5)
    sep.winpos(value, x, y, np.maximum(2 / 2.35 * half, 0.5), subpix=5)
    return len(sources)


def by_photutils(photutils: Any, array: Values) -> int:
    """The same steps; its deblending has other branches, so that it has another number of sources."""
    background = photutils.background.Background2D(array, 64, filter_size=3)
    value = array - background.background
    limit = SETTINGS.threshold * background.background_rms_median
    smooth = importlib.import_module("astropy.convolution").convolve(value, USUAL)
    segments = photutils.segmentation.detect_sources(smooth, limit, SETTINGS.area)
    segments = photutils.segmentation.deblend_sources(
        smooth, segments, SETTINGS.area, contrast=SETTINGS.contrast, progress_bar=False
    )
    catalog = photutils.segmentation.SourceCatalog(
        value, segments, convolved_data=smooth, error=np.full(array.shape, background.background_rms_median)
    )
    for radius in SETTINGS.apertures:
        catalog.circular_photometry(radius)
    catalog.flux_radius(0.5)
    catalog.to_table(
        columns=["label", "x_centroid", "y_centroid", "segment_flux", "kron_flux", "kron_flux_err", "centroid_win"]
    )
    return len(catalog)


def run(*, quick: bool) -> None:
    """Time ours and, on one rank, each peer in turn; print a line. Collective."""
    side, rounds = (2048, 2) if quick else (8192, 5)
    array = frame(side)
    grid = mb.Grid(array.shape)
    mosaic = mb.scatter(array, grid)
    calls: dict[str, Callable[[], int]] = {"ours": lambda: make_catalog(mosaic, SETTINGS).table.rows}
    missing, versions = [], {}
    for name, peer, modules in (
        ("sep", by_sep, ["sep"]),
        ("photutils", by_photutils, ["photutils", "photutils.background", "photutils.segmentation"]),
    ):
        if grid.size > 1:
            continue
        try:
            module, *_ = [importlib.import_module(each) for each in modules]
        except ImportError:
            missing.append(name)
            continue
        versions[name] = importlib.metadata.version(name)
        calls[name] = lambda peer=peer, module=module: peer(module, array)  # type: ignore[misc]
    make_catalog(mosaic, SETTINGS)  # compiled, or loaded
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    sources = {}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            sources[name] = call()
            seconds[name].append(time.perf_counter() - begin)
    mine = seconds.pop("ours")
    median = statistics.median(mine)
    peers = {name: statistics.median(times) for name, times in seconds.items()}
    line = {"case": "catalog", "ranks": grid.size, "threads": 1, "pixels": side * side, "sources": sources}
    line |= {"seconds": round(median, 4), "spread": [round(min(mine), 4), round(max(mine), 4)]}
    line |= {"against": {name: round(value, 4) for name, value in peers.items()}}
    line |= {"ratio": {name: round(value / median, 2) for name, value in peers.items()}}
    line |= {"versions": versions, "missing": missing}
    if grid.rank == 0:
        print(json.dumps(line), flush=True)


SKY = {"catalog": run}
