"""Which values a Field has, and how often."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.mpi.tables import Table, merge_tables
from mpibatch.reduce.bin_counts import tally
from mpibatch.reduce.extremes import extremes
from mpibatch.reduce.operands import Operand, add_up, agree, operand
from mpibatch.reduce.slot_sums import Weights, check_weights, sums

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["bincount", "unique"]

Array = npt.NDArray[Any]

# Numbers whose counts are 512 MiB on every rank; and, with weights, whose table, of 56 bytes each and copied once, is.
MOST_COUNTED, MOST_WEIGHED = 1 << 26, 1 << 22


def bincount(
    u: Field, weights: Field | None = None, minlength: int = 0, *, where: Field | None = None
) -> npt.NDArray[Any]:
    """Count how often each of the numbers 0, 1, 2, ... occurs, or add up weights; the same on every rank.

    Parameters
    ----------
    u : Field
        Of bool or integers >= 0.
    weights : Field, optional
        On the same grid, with the same components, of bool, integers or floats of up to 8 bytes: added up in place of
        counting.
    minlength : int, default 0
        Least length of the result.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    int64 or f8 array
        One more than the greatest element, or `minlength` if that is more: as ``np.bincount`` of the gathered elements.
        Of weights each exact sum, rounded once.

    Raises
    ------
    UsageError
        On every rank, for floats, negative elements, a result longer than 2**26, or with weights 2**22 (`unique`
        has no bound), a negative `minlength`, and weights that do not fit.

    Notes
    -----
    Collective: an all-reduce of 2 KiB, and one of the result, before which another of 2 KiB settles, if there are more
    than 254 numbers, that all ranks ask for the same. With weights ranks exchange halves of a table of 56 bytes for
    each number, in as many steps as their number has binary digits, and then of its results.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: y + x, dtype="i4")
    >>> print(mb.bincount(u))
    [1 2 2 1]
    """
    op = operand(u, "bincount", where)
    if weights is not None:
        check_weights(op, weights)
    try:
        length = operator.index(minlength)
    except TypeError:
        length = -1
    if length < 0:
        raise UsageError(f"bincount with minlength={minlength!r} is not valid; give a whole number >= 0")
    if u.dtype.kind == "f":
        raise UsageError(f"bincount of a field of dtype {u.dtype}; it counts integers: use mpibatch.histogram")
    limits = [int(value) for value in extremes(op, (False, True)) or (0, -1)]
    most = MOST_COUNTED if weights is None else MOST_WEIGHED
    text = f"{op.text}, minlength={length}"
    length = max(length, limits[1] + 1)
    if limits[0] < 0 or length > most:
        weighed = "" if weights is None else " with weights"
        raise UsageError(
            f"bincount{weighed} of a field with values from {limits[0]} to {limits[1]}, minlength={minlength}; it is "
            f"for the numbers from 0 to {most - 1}, since all ranks have the whole result: give fewer, or use "
            "mpibatch.unique(u, return_counts=True)"
        )
    if weights is not None:
        text = f"{text}, weights of dtype {weights.dtype}"
        agree(u.grid.comm, text)
        return sums(Weights(weights, text, length, op, lambda part: part.astype(np.int64)), "sum")
    counts = np.zeros(length, np.int64)
    with phase("compute"):
        for part in op.flat_parts():
            some = np.bincount(part)
            counts[: some.size] += some
    return add_up(u.grid.comm, counts, text)


def unique(u: Field, return_counts: bool = False, *, where: Field | None = None) -> Any:
    """Return the different values of a field, components included, in ascending order, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes.
    return_counts : bool, default False
        Whether to return how often each occurs, too.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    values : array
        Of the field's dtype, as ``np.unique`` of the gathered elements: NaN once, and last. Zero is 0.0, never -0.0.
    counts : int64 array
        Only if asked for.

    Raises
    ------
    UsageError
        On every rank, for complex fields, and for a `where` that does not fit.

    Notes
    -----
    Collective. Ranks merge what they have two by two, in steps of which there are as many as the number of ranks has
    binary digits. The result lies on every rank: it is meant for few different values, such as labels or classes.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: y + x, dtype="i4")
    >>> values, counts = mb.unique(u, return_counts=True)
    >>> print(values, counts)
    [0 1 2 3] [1 2 2 1]
    """
    op = operand(u, "unique", where)
    with phase("compute"):
        mine = _table(op)
    comm = u.grid.comm
    agree(comm, op.text)
    with REDUCTION:
        values, counts = merge_tables(comm, mine, _merge)
    return (values, counts) if return_counts else values


def _table(op: Operand) -> Table:
    """Return this rank's values. Local."""
    dtype = op.u.dtype
    if dtype.kind in "biu" and dtype.itemsize <= 2:
        plain = np.dtype("u1") if dtype.kind == "b" else dtype
        values, times = tally(op, plain)
        values, times = values[times > 0].view(dtype), times[times > 0]
        order = np.argsort(values)
        return values[order], times[order]
    table: Table = np.empty(0, dtype), np.empty(0, np.int64)
    for part in op.flat_parts():
        # Adding 0 turns -0.0 into 0.0.
        values, times = np.unique(part + dtype.type(0), return_counts=True)
        if dtype.kind == "f":
            values[values != values] = np.nan  # which of many bit patterns came first depends on the ranks
        table = _merge(table, (values, times.astype(np.int64)))
    return table


def _merge(mine: Table, other: Table) -> Table:
    values, places = np.unique(np.concatenate([mine[0], other[0]]), return_inverse=True)
    counts = np.zeros(values.size, np.int64)
    np.add.at(counts, places, np.concatenate([mine[1], other[1]]))
    return values, counts
