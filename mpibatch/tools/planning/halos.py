"""Which halos a job needs, as far as its text tells: for plans of jobs that were not probed. Pure, no MPI.

A filter's reach follows from its parameters, which mean the same in every filter (`sigma`, `truncate`, `radius`,
`size`, `footprint`, `structure`, `weights`, `iterations`); a kernel's from its own text. What depends on the data (how
often a fill goes on until nothing changes) is counted once.
"""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch import filters
from mpibatch.job.file.functions import parameters_of
from mpibatch.job.file.signatures import THRESHOLDS
from mpibatch.tools.planning.machine import HaloTraffic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["bytes_after", "of_filter", "of_kernels"]

Widths = tuple[tuple[int, int], ...]

# Reach 1 whatever the parameters say.
_NEXT = ("laplace", "prewitt", "sobel", "sobel_magnitude")
# All axes at once; others go axis by axis.
_AT_ONCE = ("convolve", "correlate", "median_filter", "percentile_filter", "rank_filter", "sobel_magnitude")
_TWICE = (
    "binary_closing", "binary_opening", "black_tophat", "grey_closing", "grey_opening", "morphological_gradient",
    "white_tophat",
)  # fmt: skip
# A pass over all axes for each axis.
_FOR_EACH_AXIS = ("gaussian_gradient_magnitude", "gaussian_laplace")
_FLOATS = ("canny", "channel_mean", "rgb2gray", "sobel_magnitude", "unsharp_mask")
_TRUNCATE = 4.0
_MASKS = (
    "apply_hysteresis_threshold", "binarize", "canny", "flood", "local_maxima", "local_minima", "skeletonize", "thin",
    *THRESHOLDS,
)  # fmt: skip
_KNOWN = {"distance_transform_cdt": "i4", "distance_transform_edt": "f8", "label": "i4"}


def of_filter(
    name: str, given: Mapping[str, Any], ndim: int, dtype: str, channels: int = 1, wraps: Sequence[bool] = ()
) -> tuple[HaloTraffic, ...]:
    """Return the exchanges of a filter on a grid of `ndim` axes, with so many values of a dtype in a cell. Local."""
    if name not in filters.MODULES or name.startswith("fourier_"):
        return ()  # how far labels, distances and floods reach is decided by the data; spectra stay where they are
    values = {p.name: ast.literal_eval(p.default) for p in parameters_of(name) if p.default is not None} | dict(given)
    kinds = {p.name: p.annotation for p in parameters_of(name)}
    axes = _axes(name, values, ndim)
    reach = _reach(name, values, kinds, len(axes))
    if reach is None:
        return ()
    round_about = tuple(wraps) or (False,) * ndim
    widths = [(0, 0)] * ndim
    for axis, pair in zip(axes, reach, strict=True):
        widths[axis] = pair
    times = 2 if name in _TWICE else ndim if name in _FOR_EACH_AXIS else 1
    binary = name.startswith("binary_")
    cell_bytes = channels * (1 if binary else np.dtype(dtype).itemsize)
    if binary and not _is_box(values.get("structure"), default=False):
        times *= max(1, int(values["iterations"]))
    if (
        name in _AT_ONCE
        or (binary and not _is_box(values.get("structure"), default=False))
        or not _is_box(values.get("footprint"))
    ):
        return (HaloTraffic(tuple(widths), True, round_about, cell_bytes, times),) if any(map(any, widths)) else ()
    alone: list[Widths] = [
        tuple(pair if a == axis else (0, 0) for a in range(ndim)) for axis, pair in enumerate(widths) if any(pair)
    ]
    return tuple(HaloTraffic(axis_widths, False, round_about, cell_bytes, times) for axis_widths in alone)


def _axes(name: str, values: Mapping[str, Any], ndim: int) -> list[int]:
    chosen = values.get("axes") if "axes" in values else None
    if chosen is None and name.endswith("1d"):
        chosen = values.get("axis", -1)
    if chosen is None:
        return [*range(ndim)]
    return [axis % ndim for axis in (chosen if isinstance(chosen, list | tuple) else [chosen])]


def _reach(name: str, values: Mapping[str, Any], kinds: Mapping[str, str], count: int) -> list[tuple[int, int]] | None:
    """Return cells below and above along each filtered axis; None for filters that read the cell itself alone."""
    if name in _NEXT:
        return [(1, 1)] * count
    if name == "unsharp_mask":  # whose radius is a Gaussian's sigma
        return _gaussian(values["radius"], _TRUNCATE, None, count)
    if "sigma" in kinds:
        return _gaussian(values["sigma"], values.get("truncate", _TRUNCATE), values.get("radius"), count)
    sizes = _sizes(name, values, kinds, count)
    if sizes is None:
        return None
    origins = _each(values.get("origin", 0), count)
    repeats = 1
    if name.startswith("binary_") and _is_box(values.get("structure"), default=False):
        repeats = max(1, int(values["iterations"]))
    pairs = []
    for size, origin in zip(sizes, origins, strict=True):
        low = size // 2 + int(origin)
        pairs.append((repeats * low, repeats * (size - 1 - low)))
    return pairs


def _gaussian(sigma: Any, truncate: float, radius: Any, count: int) -> list[tuple[int, int]]:
    if radius is not None:
        # No wider than asked for, and nothing at all where nothing is to be smoothed.
        radii = [int(r) for r in _each(radius, count)]
    else:
        radii = [int(truncate * float(s) + 0.5) for s in _each(sigma, count)]
    return [(r, r) for r in radii]


def _sizes(name: str, values: Mapping[str, Any], kinds: Mapping[str, str], count: int) -> list[int] | None:
    for key in ("structure", "footprint", "weights", "size"):
        if values.get(key) is None:
            continue
        if key == "size":
            return [int(size) for size in _each(values[key], count)]
        return list(np.shape(values[key]))[-count:] if count > 1 else [np.size(values[key])]
    return [3] * count if name.startswith("binary_") or "size" in kinds else None


def _is_box(window: Any, default: bool = True) -> bool:
    """Whether a window is full, so that it can be gone through axis by axis."""
    return default if window is None else bool(np.all(np.asarray(window) != 0))


def _each(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] * count


def bytes_after(name: str, given: Mapping[str, Any], dtype: str) -> str:
    """Return the dtype of a filter's result, as far as its parameters tell. Local."""
    if name in _MASKS or name.startswith("binary_"):
        return "?"
    if name in _KNOWN:
        return _KNOWN[name]
    requested = given.get("dtype") or given.get("output")
    if isinstance(requested, str):
        return requested
    kind = np.dtype(dtype)
    return "f8" if name in _FLOATS and kind.kind != "f" else dtype


def of_kernels(module: Any, ndim: int, itemsize: int, wraps: Sequence[bool] = ()) -> tuple[HaloTraffic, ...]:
    """Return an exchange for each kernel of a program that fits the grid, as if each ran once in a step. Local."""
    exchanges = []
    for name, value in vars(module).items():
        # A kernel: told by what it has, so that nothing of stencils is loaded here.
        footprint = None if name.startswith("__") else getattr(value, "footprint", None)
        if getattr(footprint, "ndim", None) != ndim or not hasattr(footprint, "needs_corners"):
            continue
        assert footprint is not None
        wide = [reads for reads in footprint.fields.values() if not reads.is_local]
        if wide:
            cell_bytes = itemsize * math.fsum(reads.words for reads in wide)
            exchanges.append(
                HaloTraffic(
                    footprint.reach, footprint.needs_corners, tuple(wraps) or (False,) * ndim, int(cell_bytes), 1.0
                )
            )
    return tuple(exchanges)
