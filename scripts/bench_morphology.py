#!/usr/bin/env python3
"""Time what grows, floods, thins and peaks against scipy, scikit-image and fill_voids in one run, each on one thread.

`python scripts/bench_morphology.py` compares on one rank; `--ranks 1,2` starts itself under mpiexec with as many ranks
and compares with the first count instead. One JSON object a line, as of bench_filters.py, whose options these are:
--quick, --only CASE, --samples N, --full (also peers that take minutes), --no-peers.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch import segment

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bench_filters as bench  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from collections.abc import Callable

Array = npt.NDArray[Any]
CUBE, QUICK_CUBE = (256,) * 3, (64,) * 3


def smooth(shape: tuple[int, ...], dtype: str) -> Array:
    """Return smoothed noise: 0 … 255; its upper 30 percent for bool."""
    noise: Array = importlib.import_module("scipy.ndimage").gaussian_filter(
        np.random.default_rng(20).random(shape, np.float32), 2.0
    )
    if dtype == "?":
        return np.asarray(noise > np.quantile(noise, 0.7))
    return np.asarray((noise - noise.min()) / np.ptp(noise) * 255, dtype)


def skimage(module: str, function: str, *args: Any, **kwargs: Any) -> Callable[[Any, Array], Any]:
    """Return a call of a function of one of scikit-image's modules."""
    return lambda _, a: getattr(importlib.import_module(f"skimage.{module}"), function)(a, *args, **kwargs)


def lowered(u: Any) -> Any:
    return u - u.dtype.type(1)


def middle(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n // 2 for n in shape)


_reconstruction = bench.Case(
    "f4",
    lambda u: segment.reconstruction(lowered(u), u),
    slow={"skimage": lambda m, a: importlib.import_module("skimage.morphology").reconstruction(lowered(a), a)},
    shape=CUBE,
    quick=QUICK_CUBE,
)
_maxima = bench.Case(
    "f4",
    segment.local_maxima,
    {"skimage": skimage("morphology", "local_maxima")},
    shape=CUBE,
    quick=QUICK_CUBE,
)
_peaks = bench.Case(
    "f4", segment.peak_local_max, {"skimage": skimage("feature", "peak_local_max")}, shape=CUBE, quick=QUICK_CUBE
)
_holes = bench.Case(
    "?",
    segment.binary_fill_holes,
    {"scipy": lambda m, a: m.binary_fill_holes(a), "fill_voids": lambda m, a: m.fill(a)},
    shape=CUBE,
    quick=QUICK_CUBE,
)

CASES: dict[str, bench.Case] = {
    "reconstruction h=1 256^3 f4": _reconstruction,
    "reconstruction h=1 128^3 f4": replace(_reconstruction, shape=(128,) * 3, peers=_reconstruction.slow, slow={}),
    "local_maxima 256^3 f4": _maxima,
    "local_maxima 4096^2 u1": replace(_maxima, dtype="u1", shape=(4096, 4096), quick=(512, 512)),
    "peak_local_max 256^3 f4": _peaks,
    "peak_local_max 4096^2 f4": replace(_peaks, shape=(4096, 4096), quick=(512, 512)),
    "binary_fill_holes 256^3": _holes,
    "binary_fill_holes 4096^2": replace(_holes, shape=(4096, 4096), quick=(512, 512)),
    "flood tolerance=60 4096^2 u1": bench.Case(
        "u1",
        lambda u: segment.flood(u, middle(u.grid.shape), tolerance=60),
        {"skimage": lambda m, a: skimage("segmentation", "flood", middle(a.shape), tolerance=60)(m, a)},
        quick=(512, 512),
    ),
    "apply_hysteresis_threshold 256^3 f4": bench.Case(
        "f4",
        lambda u: segment.apply_hysteresis_threshold(u, 130.0, 180.0),
        {"skimage": skimage("filters", "apply_hysteresis_threshold", 130.0, 180.0)},
        shape=CUBE,
        quick=QUICK_CUBE,
    ),
    "clear_border 4096^2": bench.Case(
        "?", segment.clear_border, {"skimage": skimage("segmentation", "clear_border")}, quick=(512, 512)
    ),
    "skeletonize 4096^2": bench.Case(
        "?", segment.skeletonize, {"skimage": skimage("morphology", "skeletonize")}, quick=(512, 512)
    ),
    "thin 2048^2": bench.Case(
        "?", segment.thin, {"skimage": skimage("morphology", "thin")}, shape=(2048, 2048), quick=(512, 512)
    ),
}


if __name__ == "__main__":
    bench.command_line(__doc__, __file__, CASES, smooth)
