"""Sum, mean and number of nonzero elements of a Field."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field, check_field
from mpibatch.mpi import MPI, differ, mark
from mpibatch.reduce.exact import float_parts, integer_parts, integer_total, rounded
from mpibatch.reduce.operands import check_dtype

__all__ = ["add_up", "count_nonzero", "mean", "sum"]


def add_up(u: Field, mine: npt.NDArray[np.int64], asked: str) -> npt.NDArray[np.int64]:
    """Return the element-wise sum of every rank's small int64 array. Collective: one all-reduce of it, and 8 bytes.

    Raises UsageError, on every rank, if not all have asked for the same.
    """
    text = f"{asked} of a field of shape {u.shape} and dtype {u.dtype}"
    number = mark(text)
    sent = np.append(mine, number)
    total = np.empty_like(sent)
    with REDUCTION:
        u.grid.comm.Allreduce(sent, total, op=MPI.SUM)
    if total[-1] != number * u.grid.size:
        differ(u.grid.comm, text)
    return total[:-1]


def _all_parts(u: Field, asked: str) -> npt.NDArray[np.int64]:
    check_dtype(u, asked)
    with phase("compute"):
        mine = float_parts(u.owned) if u.dtype.kind == "f" else integer_parts(u.owned)
    return add_up(u, mine, asked)


def sum(u: Field) -> int | float:
    """Sum all elements of a field, components included.

    Nothing is rounded but the end result, so that it has the same bits for any decomposition, halo and MPI.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats (f2, f4, f8).

    Returns
    -------
    int or float
        The same on every rank. For floats a Python float, the exact sum rounded once to f8, ties to even: what
        ``math.fsum`` returns. For an f4 field, too, the result is f8 and not rounded to f4. For bool and integers the
        exact Python int; it cannot overflow.

    Raises
    ------
    UsageError
        On every rank, for complex fields, and if ranks ask for different things.

    Notes
    -----
    Collective: one all-reduce, of 592 bytes for floats, 40 for bool and integers. One pass through the owned cells.

    Special cases of floats: NaN if an element is NaN or infinities of both signs occur; an infinity if those of one
    sign do, or if the exact sum rounds beyond the largest f8 (``math.fsum`` raises OverflowError there); intermediate
    sums cannot overflow. An empty field sums up to 0.0; a zero sum is -0.0 only if every element is -0.0 (``math.fsum``
    loses that sign), as in IEEE 754.

    Methods: superaccumulator, doi:10.48550/arXiv.1505.05571, which slices reach by doi:10.1137/050645671.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.scatter(np.array([1e16, 1.0, -1e16, 0.5]), mb.Grid(4))
    >>> mb.sum(u)
    1.5
    """
    total = _all_parts(u, "the sum")
    return rounded(total) if u.dtype.kind == "f" else integer_total(total)


def mean(u: Field) -> float:
    """Return the arithmetic mean of all elements of a field, components included.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats (f2, f4, f8), with at least one element.

    Returns
    -------
    float
        The same on every rank: the exact sum divided by the number of elements, rounded once to f8, ties to even (not
        the rounded sum divided and rounded again, and it cannot overflow), for every dtype.

    Raises
    ------
    UsageError
        On every rank, for complex fields and for fields without elements, and if ranks ask for different things.

    Notes
    -----
    Collective: one all-reduce, of 592 bytes for floats, 40 for bool and integers. One pass through the owned cells.

    NaN and infinities as in `sum`; a mean of -0.0 only if every element is -0.0 or the exact mean is negative and
    underflows. Methods: doi:10.48550/arXiv.1505.05571 and doi:10.1137/050645671, as in `sum`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.mean(mb.Grid(4).from_function(lambda x: x * x))
    3.5
    """
    check_field("the mean", u)
    count = math.prod(u.shape)
    if count == 0:
        raise UsageError(f"the mean of a field of shape {u.shape} was asked for, which has no elements; give it some")
    total = _all_parts(u, "the mean")
    # Integers of 8 bytes divided by their number stay in the range of f8: no overflow.
    return rounded(total, count) if u.dtype.kind == "f" else integer_total(total) / count


def count_nonzero(u: Field) -> int:
    """Count the elements of a field, components included, that are not zero.

    Parameters
    ----------
    u : Field
        Of any dtype. NaN is not zero, -0.0 is.

    Returns
    -------
    int
        The same on every rank.

    Raises
    ------
    UsageError
        On every rank, if `u` is no field, or if ranks ask for different things.

    Notes
    -----
    Collective: one all-reduce of 16 bytes. One pass through the owned cells.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: x)
    >>> mb.count_nonzero(u), mb.count_nonzero(u > 1)
    (4, 2)
    """
    check_field("count_nonzero", u)
    with phase("compute"):
        mine: Any = np.count_nonzero(u.owned)
    return int(add_up(u, np.array([mine], np.int64), "the number of nonzero elements")[0])
