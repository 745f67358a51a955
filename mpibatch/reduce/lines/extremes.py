"""Least and greatest elements along some axes of a Field, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.reduce.order.keys import FIRST, keys_of, values_of

if TYPE_CHECKING:
    from mpibatch.reduce.axes import Lines

__all__ = ["extreme_lines", "extreme_places"]

Array = npt.NDArray[Any]
Keys = npt.NDArray[np.int64]


def extreme_lines(lines: Lines, *, largest: bool) -> Array:
    """Return the greatest or least element of each line of this rank's share. Collective."""
    dtype = lines.op.u.dtype
    lines.agree()
    with phase("compute"):
        keys, has_some = _extreme_keys(lines, largest=largest)
    keys, has_some = lines.merged(np.array([keys, has_some], np.int64), _keep_greater)
    is_empty = has_some == 0
    if dtype.kind == "f" and lines.length:
        with phase("compute"):
            return np.where(is_empty, np.array(np.nan, dtype), values_of(keys, dtype, largest=largest))
    _check_lines(lines, is_empty)
    with phase("compute"):
        return values_of(keys, dtype, largest=largest)


def extreme_places(lines: Lines, *, largest: bool) -> Array:
    """Return the index, along the one reduced axis, of the first greatest or least element of each line. Collective."""
    lines.agree()
    values, _ = lines.turned()
    axis = lines.reduced[0]
    start = lines.op.u.box.start
    offset = start[axis] if axis < len(start) else 0
    with phase("compute"):
        # Zeros of both signs are equal in this, as in NumPy: the first one counts.
        keys = keys_of(values + 0 if values.dtype.kind == "f" else values, largest=largest)
        chosen = _chosen(lines)
        shape = lines.local_shape
        best, place, has_some = np.full(shape, FIRST), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        if values.shape[-1]:
            # The key of the least integer is that of nothing: what is not chosen must not come before it.
            some = np.ones((), bool) if chosen is None else chosen
            is_candidate = some & (keys == np.where(some, keys, FIRST).max(-1, keepdims=True))
            has_some[...] = is_candidate.any(-1)
            place[...] = is_candidate.argmax(-1)
            best[...] = np.take_along_axis(keys, place[..., np.newaxis], -1)[..., 0]
    state = lines.merged(np.array([best, place + offset, has_some], np.int64), _keep_first_greater)
    _check_lines(lines, state[2] == 0)
    places: Array = state[1]
    return places


def _check_lines(lines: Lines, is_empty: Array) -> None:
    """Raise UsageError on all ranks if there is a line of no elements. Collective."""
    if lines.agree(flag=bool(is_empty.any())):
        raise UsageError(f"{lines.text}: there are lines of no elements, in which there is nothing to choose from")


def _chosen(lines: Lines) -> Array | None:
    values, mask = lines.turned()
    if not lines.op.skips_nan:
        return mask
    known: Array = np.asarray(values == values)
    return known if mask is None else known & mask


def _extreme_keys(lines: Lines, *, largest: bool) -> tuple[Keys, Array]:
    values, _ = lines.turned()
    axes = tuple(range(len(lines.kept), values.ndim))
    chosen = _chosen(lines)
    has_elements = all(values.shape[a] for a in axes)
    if chosen is None and has_elements:
        some = np.asarray(values.max(axes) if largest else values.min(axes))
        # Which of two equal zeros NumPy returns depends on how it walks through the array.
        if some.dtype.kind != "f" or not np.any(some == 0):
            return keys_of(some, largest=largest), np.ones(some.shape, bool)
    keys = keys_of(values, largest=largest)
    if chosen is None:
        return keys.max(axes, initial=FIRST), np.full(lines.local_shape, has_elements)
    keys[~chosen] = FIRST
    return keys.max(axes, initial=FIRST), np.asarray(chosen.any(axes))


def _keep_greater(mine: Array, other: Array) -> None:
    np.maximum(mine, other, out=mine)


def _keep_first_greater(mine: Array, other: Array) -> None:
    """Keep key, place, and whether there is an element, of the greater key, or of the first of equal ones."""
    has_other, has_one = other[2] > 0, mine[2] > 0
    is_better = (other[0] > mine[0]) | ((other[0] == mine[0]) & (other[1] < mine[1]))
    takes = has_other & (~has_one | is_better)
    mine[:] = np.where(takes, other, mine)
