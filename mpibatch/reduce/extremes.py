"""Least and greatest element of a Field, and where they are.

Ranks compare keys: integers that order as the values do, and have the greatest of all for NaN, so that one integer
all-reduce settles values, NaN and the signs of zeros. To find a minimum the keys' order is reversed by ``~``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.mpi import MPI, differ, mark
from mpibatch.reduce.arrays import chunks
from mpibatch.reduce.operands import check_dtype

__all__ = ["argmax", "argmin", "limits", "max", "min"]

Array = npt.NDArray[Any]

# Also the key of NaN: above infinity's, and no float's own bit pattern when taken as a magnitude.
LAST = (1 << 63) - 1
# A rank without cells; below the key of any float, and it never wins against a rank with cells.
FIRST = -(1 << 63)


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


def _local_extreme(owned: Array, largest: bool) -> Any:
    """Return the greatest (least) element, -0.0 below 0.0; NaN if there is one. Local."""
    found = owned.max() if largest else owned.min()
    if owned.dtype.kind == "f" and found == 0:
        # Which of two equal zeros NumPy returns depends on how it walks through the array.
        signs = (np.signbit(part[part == 0]) for _, part in chunks(owned))
        is_negative = all(s.all() for s in signs) if largest else any(s.any() for s in signs)
        return owned.dtype.type(-0.0 if is_negative else 0.0)
    return found


def _extremes(u: Field, asked: str, wanted: tuple[bool, ...]) -> list[Any]:
    check_dtype(u, asked)
    if math.prod(u.shape) == 0:
        raise UsageError(f"{asked} of a field of shape {u.shape} was asked for, which has no elements; give it some")
    mine = np.full(len(wanted) + 2, FIRST, np.int64)
    if u.owned.size:
        with phase("compute"):
            mine[:-2] = [_key(_local_extreme(u.owned, largest), largest) for largest in wanted]
    keys = _greatest(u, mine, asked)
    return [_value(int(key), u.dtype, largest) for key, largest in zip(keys, wanted, strict=True)]


def _greatest(u: Field, mine: Array, asked: str) -> Array:
    """Return all ranks' greatest keys; the last two places are for what each rank asks for. Collective."""
    text = f"{asked} of a field of shape {u.shape} and dtype {u.dtype}"
    mine[-2:] = mark(text), ~mark(text)
    keys = np.empty_like(mine)
    with REDUCTION:
        u.grid.comm.Allreduce(mine, keys, op=MPI.MAX)
    if keys[-2] != ~keys[-1]:
        differ(u.grid.comm, text)
    return keys[:-2]


def limits(u: Field, asked: str) -> tuple[Any, Any]:
    """Return minimum and maximum of `u`, as `min` and `max` do. Collective: one all-reduce of 32 bytes."""
    low, high = _extremes(u, asked, (False, True))
    return low, high


def min(u: Field) -> Any:
    """Return the least element of a field, components included.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats, with at least one element.

    Returns
    -------
    scalar
        The same on every rank, a NumPy scalar of the field's dtype. NaN if any element is NaN, as in NumPy; -0.0 counts
        as less than 0.0.

    Raises
    ------
    UsageError
        On every rank, for complex fields and for fields without elements, and if ranks ask for different things.

    Notes
    -----
    Collective: one all-reduce of 24 bytes. One pass through the owned cells.

    Examples
    --------
    >>> import mpibatch as mb
    >>> print(mb.min(mb.Grid(6).from_function(lambda x: (x - 2) ** 2)))
    0.0
    """
    return _extremes(u, "the minimum", (False,))[0]


def max(u: Field) -> Any:
    """Return the greatest element of a field, components included.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats, with at least one element.

    Returns
    -------
    scalar
        The same on every rank, a NumPy scalar of the field's dtype. NaN if any element is NaN, as in NumPy; 0.0 counts
        as greater than -0.0.

    Raises
    ------
    UsageError
        On every rank, for complex fields and for fields without elements, and if ranks ask for different things.

    Notes
    -----
    Collective: one all-reduce of 24 bytes. One pass through the owned cells.

    Examples
    --------
    >>> import mpibatch as mb
    >>> print(mb.max(mb.Grid(6).from_function(lambda x: (x - 2) ** 2)))
    9.0
    """
    return _extremes(u, "the maximum", (True,))[0]


def _first_extreme(owned: Array, largest: bool) -> tuple[Any, int]:
    """Return the greatest (least) element and its first flat index; a NaN before any other. Local."""
    best, place = None, -1
    for start, part in chunks(owned):
        index = int(part.argmax() if largest else part.argmin())
        value = part[index]
        is_nan = bool(value != value)
        if best is None or is_nan or (value > best if largest else value < best):
            best, place = value, start + index
        if is_nan:
            break
    return best, place


def _arg_extreme(u: Field, asked: str, largest: bool) -> int:
    check_dtype(u, asked)
    if math.prod(u.shape) == 0:
        raise UsageError(f"{asked} of a field of shape {u.shape} was asked for, which has no elements; give it some")
    mine, place, first = np.full(3, FIRST, np.int64), np.array([LAST], np.int64), np.empty(1, np.int64)
    local = -1
    if u.owned.size:
        with phase("compute"):
            value, local = _first_extreme(u.owned, largest)
        # Zeros of both signs are equal here, as in NumPy: the first one counts. (False + 0 would not be a bool.)
        mine[0] = _key(value + 0 if u.dtype.kind == "f" else value, largest)
    best = _greatest(u, mine, asked)
    if local >= 0 and mine[0] == best[0]:
        # Within a box, local and global raster order agree: the first here is the first of this rank globally.
        within = np.unravel_index(local, u.local_shape)
        start = (*u.box.start, *(0 for _ in u.components))
        place[0] = np.ravel_multi_index([int(i) + s for i, s in zip(within, start, strict=True)], u.shape)
    with REDUCTION:
        u.grid.comm.Allreduce(place, first, op=MPI.MIN)
    return int(first[0])


def argmin(u: Field) -> int:
    """Return the flat index of the least element of a field.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats, with at least one element.

    Returns
    -------
    int
        The same on every rank: the index into the GLOBAL shape ``u.shape``, components included, in C order, as
        ``np.argmin`` of the gathered array: the first of equal elements (0.0 and -0.0 are equal), the first NaN if
        there is one.

    Raises
    ------
    UsageError
        On every rank, for complex fields and for fields without elements, and if ranks ask for different things.

    Notes
    -----
    Collective: two all-reduces, of 24 and 8 bytes. One pass through the owned cells.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: abs(x - 1) - y)
    >>> index = mb.argmin(u)
    >>> index, [int(i) for i in np.unravel_index(index, u.shape)]
    (4, [1, 1])
    """
    return _arg_extreme(u, "the place of the minimum", largest=False)


def argmax(u: Field) -> int:
    """Return the flat index of the greatest element of a field.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats, with at least one element.

    Returns
    -------
    int
        The same on every rank: the index into the GLOBAL shape ``u.shape``, components included, in C order, as
        ``np.argmax`` of the gathered array: the first of equal elements (0.0 and -0.0 are equal), the first NaN if
        there is one.

    Raises
    ------
    UsageError
        On every rank, for complex fields and for fields without elements, and if ranks ask for different things.

    Notes
    -----
    Collective: two all-reduces, of 24 and 8 bytes. One pass through the owned cells.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: y - abs(x - 1))
    >>> index = mb.argmax(u)
    >>> index, [int(i) for i in np.unravel_index(index, u.shape)]
    (4, [1, 1])
    """
    return _arg_extreme(u, "the place of the maximum", largest=True)
