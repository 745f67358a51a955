"""Least and greatest element of a Field, and where they are.

Ranks compare keys: integers that order as the values do, and have the greatest of all for NaN, so that one integer
all-reduce settles values, NaN and the signs of zeros. To find a minimum the keys' order is reversed by ``~``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.mpi import MPI
from mpibatch.reduce.operands import Operand, all_reduce, operand

__all__ = ["argmax", "argmin", "extremes", "limits", "max", "min", "minmax", "nanmax", "nanmin", "some_extremes"]

Array = npt.NDArray[Any]

# Also the key of NaN: above infinity's, and no float's own bit pattern when taken as a magnitude.
LAST = (1 << 63) - 1
# A rank without cells; below the key of any float, and it never wins against a rank with cells.
FIRST = -(1 << 63)
NOWHERE = "{}, which it is nowhere: there is nothing to choose from; test the field with mpibatch.any"


def _key(value: Any, largest: bool) -> int:
    """Return the integer by which `value` takes part in the search for a maximum (minimum). Local."""
    if value.dtype.kind == "f":
        bits = int(np.float64(value).view(np.int64))
        # A negative float's bits count its magnitude: reversed, and below +0.0, -0.0 comes out as -1.
        key = LAST if np.isnan(value) else bits if bits >= 0 else bits ^ LAST
        return key if largest or key == LAST else ~key
    key = int(value) - (1 << 63) if value.dtype == np.uint64 else int(value)
    return key if largest else ~key


def _value(key: int, dtype: np.dtype[Any], largest: bool) -> Any:
    """Return the scalar of `dtype` that has this key. Local."""
    if dtype.kind == "f":
        if key == LAST:
            return dtype.type(np.nan)
        key = key if largest else ~key
        return dtype.type(np.int64(key if key >= 0 else key ^ LAST).view(np.float64))
    key = key if largest else ~key
    return dtype.type(key + (1 << 63) if dtype == np.uint64 else key)


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
    return [_value(int(key), op.u.dtype, is_largest) for key, is_largest in zip(keys[:-1], largest, strict=True)]


def some_extremes(op: Operand, largest: tuple[bool, ...]) -> list[Any]:
    """Return what `extremes` does, and raise UsageError on all ranks if there is nothing. Collective."""
    op.check_elements()
    values = extremes(op, largest)
    if values is None and op.skips_nan:
        return [np.asarray(np.nan, op.u.dtype)[()] for _ in largest]
    if values is None:
        raise UsageError(NOWHERE.format(op.text))
    return values


def limits(u: Field, asked: str) -> tuple[Any, Any]:
    """Return minimum and maximum of `u`, as `min` and `max` do, for what is `asked`. Collective: 2 KiB."""
    low, high = some_extremes(operand(u, asked), (False, True))
    return low, high


def min(u: Field, *, where: Field | None = None) -> Any:
    """Return the least element, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere.

    Returns
    -------
    scalar
        Of the field's dtype; NaN if any element is NaN, as in NumPy; -0.0 counts as less than 0.0.

    Raises
    ------
    UsageError
        On every rank, for complex fields and where there are no elements.

    Notes
    -----
    Collective: one all-reduce of 2 KiB.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 10 * y + x)
    >>> print(mb.min(u), mb.min(u, where=u > 2))
    0.0 10.0
    """
    return some_extremes(operand(u, "the minimum", where), (False,))[0]


def max(u: Field, *, where: Field | None = None) -> Any:
    """Return the greatest element, components included, on every rank.

    Parameters
    ----------
    u : Field
        As for `min`.
    where : Field of bool, optional
        As for `min`.

    Returns
    -------
    scalar
        Of the field's dtype; NaN if any element is NaN, as in NumPy; 0.0 counts as greater than -0.0.

    Raises
    ------
    UsageError
        As `min`.

    Notes
    -----
    Collective: one all-reduce of 2 KiB.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 10 * y + x)
    >>> print(mb.max(u), mb.max(u, where=u < 10))
    12.0 2.0
    """
    return some_extremes(operand(u, "the maximum", where), (True,))[0]


def minmax(u: Field, *, where: Field | None = None) -> tuple[Any, Any]:
    """Return the least and the greatest element, on every rank, for the price of one message.

    Parameters
    ----------
    u : Field
        As for `min`.
    where : Field of bool, optional
        As for `min`.

    Returns
    -------
    low, high : scalar
        As `min` and `max`.

    Raises
    ------
    UsageError
        As `min`.

    Notes
    -----
    Collective: one all-reduce of 2 KiB.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 10 * y + x)
    >>> print(*mb.minmax(u))
    0.0 12.0
    """
    low, high = some_extremes(operand(u, "minimum and maximum", where), (False, True))
    return low, high


def nanmin(u: Field, *, where: Field | None = None) -> Any:
    """Return the least element that is not NaN, on every rank.

    Parameters
    ----------
    u : Field
        As for `min`.
    where : Field of bool, optional
        As for `min`.

    Returns
    -------
    scalar
        As `min`; NaN if there are none but NaN.

    Notes
    -----
    Collective, at the cost of `min`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((3,)).from_function(lambda x: x)
    >>> u.owned[u.owned == 0] = float("nan")
    >>> print(mb.min(u), mb.nanmin(u))
    nan 1.0
    """
    return some_extremes(operand(u, "the minimum without NaN", where, skips_nan=True), (False,))[0]


def nanmax(u: Field, *, where: Field | None = None) -> Any:
    """Return the greatest element that is not NaN, on every rank.

    Parameters
    ----------
    u : Field
        As for `min`.
    where : Field of bool, optional
        As for `min`.

    Returns
    -------
    scalar
        As `max`; NaN if there are none but NaN.

    Notes
    -----
    Collective, at the cost of `max`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((3,)).from_function(lambda x: x)
    >>> u.owned[u.owned == 2] = float("nan")
    >>> print(mb.max(u), mb.nanmax(u))
    nan 1.0
    """
    return some_extremes(operand(u, "the maximum without NaN", where, skips_nan=True), (True,))[0]


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


def _arg_extreme(op: Operand, largest: bool) -> int:
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


def argmin(u: Field, *, where: Field | None = None) -> int:
    """Return the flat index of the least element, on every rank.

    Parameters
    ----------
    u : Field
        As for `min`.
    where : Field of bool, optional
        As for `min`.

    Returns
    -------
    int
        The index into the GLOBAL shape ``u.shape``, components included, in C order, as ``np.argmin`` of the gathered
        array: the first of equal elements (0.0 and -0.0 are equal), the first NaN if there is one.
        ``np.unravel_index(index, u.shape)`` gives the coordinates.

    Raises
    ------
    UsageError
        As `min`.

    Notes
    -----
    Collective: two all-reduces, of 2 KiB and 8 bytes.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: y - x)
    >>> mb.argmin(u), mb.argmin(u, where=u > 0)
    (2, 3)
    """
    return _arg_extreme(operand(u, "the place of the minimum", where), largest=False)


def argmax(u: Field, *, where: Field | None = None) -> int:
    """Return the flat index of the greatest element, on every rank.

    Parameters
    ----------
    u : Field
        As for `min`.
    where : Field of bool, optional
        As for `min`.

    Returns
    -------
    int
        As `argmin`, for the greatest element.

    Raises
    ------
    UsageError
        As `min`.

    Notes
    -----
    Collective: two all-reduces, of 2 KiB and 8 bytes.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: y - x)
    >>> mb.argmax(u), mb.argmax(u, where=u < 1)
    (3, 0)
    """
    return _arg_extreme(operand(u, "the place of the maximum", where), largest=True)
