"""N-dimensional windows over a block: the padded array, and where in it each row and each weight reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.domain import check_mode
from mpibatch.field import Field
from mpibatch.filters._lines import EPSILON
from mpibatch.halo import padded_copy

__all__ = ["correlate_window", "holds"]


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether a cell of `dtype` can hold the f64 `value` unchanged. Local."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.isnan(value)) or float(dtype.type(value)) == value
    least, most = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    return bool(np.isfinite(value)) and float(value).is_integer() and least <= int(value) <= most


def correlate_window(
    u: Field, out: Field, weights: npt.NDArray[np.float64], origins: Sequence[int], mode: str, cval: float
) -> None:
    """Correlate `u` with `weights` (one axis per grid axis) into `out`, which has no halo. Collective."""
    from mpibatch.filters.loops_correlate import correlate_rows

    reach = tuple(
        (size // 2 + origin, size - 1 - size // 2 - origin) for size, origin in zip(weights.shape, origins, strict=True)
    )
    walls = check_mode(mode) == "constant"
    # scipy keeps the wall's value in f64; if the dtype cannot hold it, the padded copy must be f64, too.
    source = u if not walls or holds(u.dtype, cval) else u.astype(np.float64)
    padded = padded_copy(source, reach, mode, cval if walls else 0)
    if not u.owned.size:
        return
    # As scipy: weights that are nearly zero are left out, the others follow one another in C order.
    taps = np.nonzero(np.abs(weights) > EPSILON)
    steps = [stride // padded.itemsize for stride in padded.strides]
    offsets = sum((at * step for at, step in zip(taps, steps, strict=False)), np.zeros(taps[0].size, np.int64))
    last = u.grid.ndim - 1
    starts = np.zeros((), np.int64)
    for extent, step in zip(u.local_shape[:last], steps, strict=False):
        starts = np.add.outer(starts, np.arange(extent, dtype=np.int64) * step)
    cells = padded.view(np.uint8) if padded.dtype == np.bool_ else padded
    result = out.padded.view(np.uint8) if out.dtype == np.bool_ else out.padded
    correlate_rows(
        cells.reshape(-1),
        starts.reshape(-1),
        int(np.prod(u.local_shape[last:])),
        offsets.astype(np.uint64),
        np.ascontiguousarray(weights[taps]),
        result.reshape(-1),
    )
