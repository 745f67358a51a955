"""Sums, means and counts of the elements of a Field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.reduce.axes import Axis, lines_of
from mpibatch.reduce.exact_sums import float_parts, integer_parts, integer_total, rounded
from mpibatch.reduce.lines.sums import count_lines, sum_lines
from mpibatch.reduce.operands import Operand, add_up, operand

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["all", "any", "count_nonzero", "mean", "nanmean", "nansum", "sum"]


def _total(op: Operand) -> tuple[npt.NDArray[np.int64], int]:
    """Return all ranks' parts of the exact sum, and the number of elements. Collective."""
    parts_of = float_parts if op.u.dtype.kind == "f" else integer_parts
    count = 0
    with phase("compute"):
        mine = parts_of(np.empty(0, op.u.dtype))
        for part in op.parts():
            mine = mine + parts_of(part)
            count += part.size
    total = add_up(op.u.grid.comm, np.append(mine, count), op.text)
    return total[:-1], int(total[-1])


def _sum(op: Operand, axis: Axis | None) -> Any:
    if axis is not None:
        lines = lines_of(op, axis)
        return lines.spread(sum_lines(lines, "sum"))
    total, _ = _total(op)
    return rounded(total) if op.u.dtype.kind == "f" else integer_total(total)


def _mean(op: Operand, axis: Axis | None) -> Any:
    if axis is not None:
        lines = lines_of(op, axis)
        return lines.spread(sum_lines(lines, "mean"))
    op.check_elements()
    total, count = _total(op)
    if not count:
        return float("nan")
    # Integers of 8 bytes divided by their number stay in the range of f8: no overflow.
    return rounded(total, count) if op.u.dtype.kind == "f" else integer_total(total) / count


def _is_complex(u: Any) -> bool:
    return isinstance(u, Field) and u.dtype.kind == "c" and u.dtype.itemsize <= 16


def _parts(u: Any) -> tuple[Field, Field]:
    """The fields of real and imaginary parts."""
    return np.real(u), np.imag(u)


def _by_parts(function: Callable[..., Any], u: Field, axis: Axis | None, where: Field | None) -> Any:
    """Return what a linear reduction makes of real and imaginary parts, each by itself. Collective."""
    real, imaginary = (function(part, axis, where=where) for part in _parts(u))
    if axis is None:
        return complex(real, imaginary)
    if isinstance(real, Field):
        result = real.like(np.complex128)
        result.owned.real, result.owned.imag = real.owned, imaginary.owned
        return result
    both = np.empty(np.shape(real), np.complex128)
    both.real, both.imag = real, imaginary
    return both[()]


# Of complex fields it is complex; declared so, a type checker would refuse comparisons of all other sums.
@overload
def sum(u: Field, axis: None = None, *, where: Field | None = None) -> int | float: ...


@overload
def sum(u: Field, axis: Axis, *, where: Field | None = None) -> Any: ...


def sum(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the exact sum of all elements, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers, floats of up to 8 bytes, or complex numbers of such floats.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all.
    where : Field of bool, optional
        On the same grid; only elements where it is True are added. Without components it holds for all of them.

    Returns
    -------
    int, float or complex
        Of floats (f2, f4, f8) a float: the exact sum rounded once to f8, ties to even, as ``math.fsum`` (not rounded
        to f4 for an f4 field). Of bool and integers the exact int; it cannot overflow. Of complex numbers a complex
        one: the sums of real and imaginary parts.
    Field or array
        With `axis`: a Field on the grid of the axes that are left, ``mb.Grid(their shape)`` of the same ranks, of which
        each has its block: nothing grows with the number of ranks, and `gather_all` brings it to all. If only
        components are left, an array, and if nothing is, a scalar, on every rank. f8, each sum rounded once; of bool
        and integers of 8 bytes, which wrap around as NumPy's.

    Raises
    ------
    UsageError
        On every rank, for fields of other dtypes, and for a `where` that is no bool field of the same grid.

    Notes
    -----
    Collective: one all-reduce of 2 KiB. One pass through the owned cells. With `axis`
    the ranks that share lines exchange halves of them, 48 bytes a line, in as many steps as the number of these ranks
    has binary digits.

    NaN if an element is NaN or infinities of both signs occur; an infinity if those of one sign do, or if the exact
    sum rounds beyond the largest f8; intermediate sums cannot overflow. The sum of no elements is 0.0; a zero sum is
    -0.0 only if every element is -0.0, as in IEEE 754.
    Methods: doi:10.48550/arXiv.1505.05571 and doi:10.1137/050645671.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 10 * y + x)
    >>> mb.sum(u), mb.sum(u, where=u > 1)
    (36.0, 35.0)
    >>> print(mb.gather_all(mb.sum(u, axis=0)))
    [10. 12. 14.]
    """
    if _is_complex(u):
        return _by_parts(sum, u, axis, where)
    return _sum(operand(u, "the sum", where), axis)


def nansum(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the exact sum of all elements that are not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True are added. Without components it holds for all of them.

    Returns
    -------
    int or float
        As `sum`; 0.0 if there are none but NaN.

    Notes
    -----
    Collective, at the cost of `sum`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4,)).from_function(lambda x: x)
    >>> u.owned[u.owned == 2] = float("nan")
    >>> mb.nansum(u)
    4.0
    """
    return _sum(operand(u, "the sum without NaN", where, skips_nan=True), axis)


def mean(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the arithmetic mean of all elements, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers, floats of up to 8 bytes, or complex numbers of such floats, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    float or complex
        The exact sum divided by the number of elements, rounded once to f8, ties to even: not a rounded sum that is
        divided and rounded again, and it cannot overflow. NaN if `where` is True nowhere. Of complex numbers a complex
        one.

    Raises
    ------
    UsageError
        On every rank, for fields of other dtypes or without elements, and for a `where` that does not fit.

    Notes
    -----
    Collective, at the cost of `sum`. NaN and infinities as there; a mean of -0.0 only if every element is -0.0, or
    the exact mean is negative and underflows.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 10 * y + x)
    >>> mb.mean(u), mb.mean(u, where=u < 10)
    (6.0, 1.0)
    """
    if _is_complex(u):
        return _by_parts(mean, u, axis, where)
    return _mean(operand(u, "the mean", where), axis)


def nanmean(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the mean of all elements that are not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    float
        As `mean`; NaN if there are none but NaN.

    Notes
    -----
    Collective, at the cost of `sum`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4,)).from_function(lambda x: x)
    >>> u.owned[u.owned == 3] = float("nan")
    >>> mb.nanmean(u)
    1.0
    """
    return _mean(operand(u, "the mean without NaN", where, skips_nan=True), axis)


def _count(op: Operand, truths: bool, axis: Axis | None) -> Any:
    """Return how many elements are true, or false: in all, or of each line of this rank's share. Collective."""
    if axis is not None:
        return count_lines(lines_of(op, axis), truths=truths)
    mine = 0
    with phase("compute"):
        for part in op.parts():
            nonzero = int(np.count_nonzero(part))
            mine += nonzero if truths else part.size - nonzero
    return int(add_up(op.u.grid.comm, np.array([mine], np.int64), op.text)[0])


def _spread(op: Operand, axis: Axis | None, result: Any) -> Any:
    return result if axis is None else lines_of(op, axis).spread(result)


def count_nonzero(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return how many elements, components included, are not zero, on every rank.

    Parameters
    ----------
    u : Field
        Of any dtype. NaN is not zero, -0.0 is.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    int

    Notes
    -----
    Collective: one all-reduce of 2 KiB.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 10 * y + x)
    >>> mb.count_nonzero(u), mb.count_nonzero(u > 1)
    (5, 4)
    """
    op = operand(u, "the number of nonzero elements", where, any_dtype=True)
    return _spread(op, axis, _count(op, True, axis))


def any(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return whether any element, components included, is true, that is not zero, on every rank.

    Parameters
    ----------
    u : Field
        Of any dtype; NaN is true.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    bool
        False if there are no elements.

    Notes
    -----
    Collective: one all-reduce of 2 KiB.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((5,)).from_function(lambda x: x)
    >>> mb.any(u > 3), mb.any(u > 4)
    (True, False)
    """
    op = operand(u, "any", where, any_dtype=True)
    return _spread(op, axis, _count(op, True, axis) > 0)


def all(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return whether every element, components included, is true, that is not zero, on every rank.

    Parameters
    ----------
    u : Field
        Of any dtype; NaN is true.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    bool
        True if there are no elements.

    Notes
    -----
    Collective: one all-reduce of 2 KiB.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((5,)).from_function(lambda x: x)
    >>> mb.all(u < 5), mb.all(u), mb.all(u, where=u > 0)
    (True, False, True)
    """
    op = operand(u, "all", where, any_dtype=True)
    return _spread(op, axis, _count(op, False, axis) == 0)
