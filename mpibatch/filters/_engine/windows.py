"""Correlation with windows of any shape: what each row reads, and which weights count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers
from mpibatch.domain import check_mode
from mpibatch.filters._engine.footprints import window_from
from mpibatch.filters._engine.lines import EPSILON
from mpibatch.filters._engine.rows import WindowRows, rows_of
from mpibatch.filters._engine.work import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["correlate_magnitude", "correlate_window", "holds"]

Weights = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether a cell of `dtype` can hold the f64 `value` unchanged. Local."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.isnan(value)) or float(dtype.type(value)) == value
    least, most = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    return bool(np.isfinite(value)) and float(value).is_integer() and least <= int(value) <= most


def correlate_window(u: Field, out: Field, weights: Weights, origins: Sequence[int], mode: str, cval: float) -> None:
    """Correlate `u` with `weights` (one axis per grid axis) into `out`, which has no halo. Collective."""
    window = window_from(_counting(weights), origins)
    parts = rows_of(*_walled(u, mode, cval, out, window))
    with counted(u, out, 2 * window.count - 1):
        for rows in parts:
            _correlate(rows, np.ascontiguousarray(weights[window.footprint]))


def _correlate(rows: WindowRows, taps: Weights) -> None:
    from mpibatch.filters._loops.correlation import correlate_rows

    cells, out = as_numbers(rows.cells), as_numbers(rows.out)
    rows.run(lambda bases, targets: correlate_rows(cells, bases, rows.offsets, taps, out, targets, rows.length))


def correlate_magnitude(
    u: Field, out: Field, weights: Sequence[Weights], divisor: float, mode: str, cval: float
) -> None:
    """Write the root of the sum of squares of correlations, over `divisor`, to `out`; of one, what it is. Collective.

    weights : of the same odd shape, with one axis per grid axis. Sums, root and quotient are taken in the dtype of
    `out`, which is floating and has no halo.
    """
    kept = [_counting(array) for array in weights]
    window = window_from(np.logical_or.reduce(kept), (0,) * u.grid.ndim)
    quotient = np.asarray(divisor, out.dtype)[()]
    taps = np.concatenate([array[some] for array, some in zip(weights, kept, strict=True)])
    parts = rows_of(*_walled(u, mode, cval, out, window))
    with counted(u, out, 2 * taps.size + 2):
        for rows in parts:
            _take_magnitude(rows, [rows.offsets[some[window.footprint]] for some in kept], taps, quotient)


def _take_magnitude(rows: WindowRows, kept: Sequence[Ints], taps: Weights, quotient: Any) -> None:
    from mpibatch.filters._loops.correlation import magnitude_rows

    cells, out, offsets, ends = rows.cells, rows.out, np.concatenate(kept), np.cumsum([part.size for part in kept])
    rows.run(
        lambda bases, targets: magnitude_rows(cells, bases, offsets, taps, ends, quotient, out, targets, rows.length)
    )


def _counting(weights: Weights) -> npt.NDArray[np.bool_]:
    """As scipy: weights that are nearly zero are left out, the others follow one another in C order."""
    return np.asarray(np.abs(weights) > EPSILON)


def _walled(u: Field, mode: str, cval: float, out: Field, window: Any) -> tuple[Any, ...]:
    """What `rows_of` takes. scipy keeps the wall's value in f64; if the dtype cannot hold it, cells are f64, too."""
    walls = check_mode(mode) == "constant"
    source = u if not walls or holds(u.dtype, cval) else u.astype(np.float64)
    return source, out, window, (mode,) * u.grid.ndim, cval if walls else 0
