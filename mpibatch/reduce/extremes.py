"""The search for the least and the greatest element of a Field, and where they are.

Ranks compare keys: integers that order as the values do, and have the greatest of all for NaN, so that one integer
all-reduce settles values, NaN and the signs of zeros. To find a minimum the keys' order is reversed by ``~``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.mpi import MPI
from mpibatch.reduce.operands import Operand, all_reduce, operand
from mpibatch.reduce.order.keys import FIRST, LAST, keys_of, values_of

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["NOWHERE", "extreme_place", "extremes", "limits", "some_extremes"]

Array = npt.NDArray[Any]

NOWHERE = "{}, which it is nowhere: there is nothing to choose from; test the field with mpibatch.any"


def _key(value: Any, largest: bool) -> int:
    """Return the integer by which `value` takes part in the search for a maximum (minimum). Local."""
    return int(keys_of(np.asarray(value), largest=largest))


def _local_extreme(op: Operand, largest: bool) -> Any:
    """Return the greatest (least) element, -0.0 below 0.0; NaN if there is one; None of no elements. Local."""
    extreme = None
    has_signs = [False, False]  # zeros of either sign, once it matters
    for part in op.parts():
        if part.size:
            value = part.max() if largest else part.min()
            if extreme is None or value != value or (value > extreme if largest else value < extreme):
                extreme = value
    if extreme is None or op.u.dtype.kind != "f" or extreme != 0:
        return extreme
    # Which of two equal zeros NumPy returns depends on how it walks through the array.
    for part in op.flat_parts():
        signs = np.signbit(part[part == 0])
        has_signs = [has_signs[0] or not signs.all(), has_signs[1] or bool(signs.any())]
    value = -0.0 if (not has_signs[0] if largest else has_signs[1]) else 0.0
    return np.asarray(value, op.u.dtype)[()]


def extremes(op: Operand, largest: tuple[bool, ...]) -> list[Any] | None:
    """Return the greatest element for each True, the least for each False; None of no elements. Collective."""
    mine = np.full(len(largest) + 1, FIRST, np.int64)
    with phase("compute"):
        values = [_local_extreme(op, is_largest) for is_largest in largest]
    if values[0] is not None:
        mine[:-1] = [_key(value, is_largest) for value, is_largest in zip(values, largest, strict=True)]
        mine[-1] = 1
    keys = all_reduce(op.u.grid.comm, mine, MPI.MAX, op.text)
    if keys[-1] != 1:
        return None
    return [values_of(key, op.u.dtype, largest=some)[()] for key, some in zip(keys[:-1], largest, strict=True)]


def some_extremes(op: Operand, largest: tuple[bool, ...]) -> list[Any]:
    """Return what `extremes` does, and raise UsageError on all ranks if there is nothing. Collective."""
    op.check_elements()
    values = extremes(op, largest)
    if values is None and op.skips_nan:
        return [np.asarray(np.nan, op.u.dtype)[()] for _ in largest]
    if values is None:
        raise UsageError(NOWHERE.format(op.text))
    return values


def limits(u: Field, request: str) -> tuple[Any, Any]:
    """Return minimum and maximum of `u`, as `min` and `max` do, for the `request` in words. Collective: 2 KiB."""
    low, high = some_extremes(operand(u, request), (False, True))
    return low, high


def _first_extreme(op: Operand, largest: bool) -> tuple[Any, int]:
    """Return the greatest (least) element and its first flat local index; a NaN before any other. Local."""
    best, place = None, -1
    for places, part in op.placed():
        if not part.size:
            continue
        index = int(part.argmax() if largest else part.argmin())
        value = part[index]
        is_nan = bool(value != value)
        if best is None or is_nan or (value > best if largest else value < best):
            best, place = value, int(places[index])
        if is_nan:
            break
    return best, place


def extreme_place(op: Operand, largest: bool) -> int:
    """Return the flat index of the first greatest (least) element of all. Collective."""
    op.check_elements()
    u = op.u
    mine, place, first = np.full(2, FIRST, np.int64), np.array([LAST], np.int64), np.empty(1, np.int64)
    with phase("compute"):
        value, local = _first_extreme(op, largest)
    if local >= 0:
        # Zeros of both signs are equal in this, as in NumPy: the first one counts. (False + 0 would not be a bool.)
        mine[:] = _key(value + 0 if u.dtype.kind == "f" else value, largest), 1
    best = all_reduce(u.grid.comm, mine, MPI.MAX, op.text)
    if best[1] != 1:
        raise UsageError(NOWHERE.format(op.text))
    if local >= 0 and mine[0] == best[0]:
        # Within a box, local and global raster order agree: the first of this rank is its first globally.
        within = np.unravel_index(local, u.local_shape)
        start = (*u.box.start, *(0 for _ in u.components))
        place[0] = np.ravel_multi_index([int(i) + s for i, s in zip(within, start, strict=True)], u.shape)
    with REDUCTION:
        u.grid.comm.Allreduce(place, first, op=MPI.MIN)
    return int(first[0])
