"""Variances, dot products and norms of Fields: exact sums of products, divided and rounded once.

An element enters as an integer multiple of 2**-1074, a product as one of 2**-2148: the variance is a quotient of two
integers, whatever the values and however large the mean.
"""

from __future__ import annotations

import builtins
import math
import operator
from typing import Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.reduce.arrays import together
from mpibatch.reduce.axes import Axis, lines_of
from mpibatch.reduce.exact_sums import (
    INTEGER_PARTS,
    PRODUCT_UNIT,
    SUM_UNIT,
    float_parts,
    float_total,
    integer_parts,
    integer_total,
    product_parts,
    product_total,
    ratio,
    root,
    rounded,
)
from mpibatch.reduce.extremes import some_extremes
from mpibatch.reduce.lines.norms import norm_lines
from mpibatch.reduce.lines.sums import sum_lines
from mpibatch.reduce.operands import Operand, add_up, check_dtype, check_same_grid, operand
from mpibatch.reduce.totals import count_nonzero

__all__ = ["check_ddof", "dot", "nanstd", "nanvar", "norm", "std", "var"]


def check_ddof(ddof: Any, request: str) -> int:
    """Return `ddof` as an int, or raise UsageError. Local."""
    try:
        return operator.index(ddof)
    except TypeError:
        raise UsageError(f"{request} with ddof={ddof!r} is not valid; give a whole number, such as 0 or 1") from None


def _variance(op: Operand, ddof: Any) -> tuple[float | None, int, int]:
    """Return NaN, or None and the variance as numerator and denominator. Collective."""
    delta = check_ddof(ddof, op.request)
    op.check_elements()
    is_float = op.u.dtype.kind == "f"
    parts_of = float_parts if is_float else integer_parts
    nothing = np.empty(0, op.u.dtype)
    count = 0
    with phase("compute"):
        sums, squares = parts_of(nothing), product_parts(nothing, nothing)
        for part in op.parts():
            sums = sums + parts_of(part)
            squares = squares + product_parts(part, part)
            count += part.size
    total = add_up(op.u.grid.comm, np.concatenate([sums, squares, [count]]), f"{op.text}, ddof={delta}")
    n = int(total[-1])
    special, square = product_total(total[sums.size : -1])
    first = float_total(total[: sums.size])[1] if is_float else integer_total(total[:INTEGER_PARTS]) << SUM_UNIT
    if special is not None or n - delta <= 0:
        return math.nan, 0, 1
    return None, n * square - first * first, n * (n - delta) << PRODUCT_UNIT


def _var(op: Operand, axis: Axis | None, ddof: Any) -> Any:
    if axis is not None:
        lines = lines_of(op, axis)
        return lines.spread(sum_lines(lines, "var", check_ddof(ddof, op.request)))
    special, numerator, denominator = _variance(op, ddof)
    return ratio(numerator, denominator) if special is None else special


def _std(op: Operand, axis: Axis | None, ddof: Any) -> Any:
    if axis is not None:
        lines = lines_of(op, axis)
        return lines.spread(sum_lines(lines, "std", check_ddof(ddof, op.request)))
    special, numerator, denominator = _variance(op, ddof)
    return root(numerator, denominator) if special is None else special


def var(u: Field, axis: Axis | None = None, *, ddof: int = 0, where: Field | None = None) -> Any:
    """Return the variance of all elements, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    ddof : int, default 0
        The squared deviations are divided by the number of elements less this: 1 for the estimate from a sample.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    float
        The exact variance, rounded once to f8, ties to even: what ``statistics.pvariance`` returns. NaN if an element
        is NaN or infinite, or if there are not more elements than `ddof`.

    Raises
    ------
    UsageError
        On every rank, for complex fields, for fields without elements, and for a `ddof` or `where` that does not fit.

    Notes
    -----
    Collective: one all-reduce of 2 KiB. One pass: exact sums of the elements and of their squares, as integers
    (doi:10.48550/arXiv.1505.05571), so that a large mean costs no digits.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4,)).from_function(lambda x: x + 1e9)
    >>> mb.var(u), mb.var(u, where=u < 1e9 + 2)
    (1.25, 0.25)
    """
    return _var(operand(u, "the variance", where), axis, ddof)


def nanvar(u: Field, axis: Axis | None = None, *, ddof: int = 0, where: Field | None = None) -> Any:
    """Return the variance of all elements that are not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    ddof : int, default 0
        The squared deviations are divided by the number of elements less this: 1 for the estimate from a sample.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    float
        As `var`; NaN if not more than `ddof` elements are left.

    Notes
    -----
    Collective, at the cost of `var`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4,)).from_function(lambda x: x)
    >>> u.owned[u.owned == 3] = float("nan")
    >>> mb.nanvar(u, ddof=1)
    1.0
    """
    return _var(operand(u, "the variance without NaN", where, skips_nan=True), axis, ddof)


def std(u: Field, axis: Axis | None = None, *, ddof: int = 0, where: Field | None = None) -> Any:
    """Return the standard deviation of all elements, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    ddof : int, default 0
        The squared deviations are divided by the number of elements less this: 1 for the estimate from a sample.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    float
        The square root of the exact variance, rounded once: not that of a rounded one.

    Raises
    ------
    UsageError
        As `var`.

    Notes
    -----
    Collective, at the cost of `var`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 2)).from_function(lambda y, x: 2 * x + 1e9)
    >>> mb.std(u)
    1.0
    """
    return _std(operand(u, "the standard deviation", where), axis, ddof)


def nanstd(u: Field, axis: Axis | None = None, *, ddof: int = 0, where: Field | None = None) -> Any:
    """Return the standard deviation of all elements that are not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    ddof : int, default 0
        The squared deviations are divided by the number of elements less this: 1 for the estimate from a sample.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    float
        As `std`; NaN if not more than `ddof` elements are left.

    Notes
    -----
    Collective, at the cost of `var`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((3,)).from_function(lambda x: 2 * x)
    >>> u.owned[u.owned == 4] = float("nan")
    >>> mb.nanstd(u)
    1.0
    """
    return _std(operand(u, "the standard deviation without NaN", where, skips_nan=True), axis, ddof)


def dot(u: Field, v: Field, *, where: Field | None = None) -> int | float:
    """Return the sum of the products of the elements of two fields, on every rank.

    Parameters
    ----------
    u, v : Field
        On the same grid, with the same components, of bool, integers or floats of up to 8 bytes.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    int or float
        Of two fields of bool or integers the exact int; else the exact sum of the exact products, rounded once to f8.

    Raises
    ------
    UsageError
        On every rank, for complex fields, and for fields of different grids or components.

    Notes
    -----
    Collective: one all-reduce of 2 KiB. One pass through the owned cells of both. A zero result is 0.0; a product of
    an infinity and zero is NaN.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4,)).from_function(lambda x: x)
    >>> mb.dot(u, u), mb.dot(u, u > 1)
    (14.0, 5.0)
    """
    op = operand(u, "the dot product", where)
    check_dtype(v, op.request)
    check_same_grid(u, v, op.request)
    if u.components != v.components:
        raise UsageError(f"{op.request} of fields with components {u.components} and {v.components}; give the same")
    nothing = np.empty(0)
    with phase("compute"):
        mine = product_parts(nothing, nothing)
        if op.mask is None:
            mine = product_parts(u.owned, v.owned)
        else:
            for left, other, chosen in together(u.owned, v.owned, op.mask):
                mine = mine + product_parts(left[chosen], other[chosen])
    special, total = product_total(add_up(u.grid.comm, mine, f"{op.text} and one of dtype {v.dtype}"))
    if u.dtype.kind != "f" and v.dtype.kind != "f":
        return total >> PRODUCT_UNIT
    return ratio(total, 1 << PRODUCT_UNIT) if special is None else special


def norm(u: Field, ord: float | None = None, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return a norm of all elements, components included, taken as one vector, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers, floats of up to 8 bytes, or complex numbers of such floats.
    ord : {None, 0, 1, 2, inf}, optional
        2 or None: root of the sum of squares. 1: sum of magnitudes. inf: largest magnitude. 0: number of elements
        that are not zero.
    axis : int or sequence of int, optional
        Axes of the vectors, components behind those of the grid; by default all. With some, the result is a Field over
        the axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    float
        The exact norm, rounded once to f8; of complex numbers with `axis`, or `ord` 1 or inf, that of magnitudes as
        ``np.abs`` rounds them.

    Raises
    ------
    UsageError
        On every rank, for fields of other dtypes, for another `ord`, and for the largest magnitude of no elements.

    Notes
    -----
    Collective: one all-reduce of 2 KiB. Squares neither overflow nor underflow.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2,)).from_function(lambda x: (3 + x) * 2.0**1000)
    >>> mb.norm(u) / 2.0**1000, mb.norm(u, ord=1) / 2.0**1000
    (5.0, 7.0)
    >>> v = mb.Grid((2, 2)).from_function(lambda y, x: 3 * y + 4 * x)
    >>> print(mb.gather_all(mb.norm(v, axis=0)))
    [3.         8.06225775]
    """
    is_complex = isinstance(u, Field) and u.dtype.kind == "c" and u.dtype.itemsize <= 16
    if is_complex and (ord in (1, math.inf) or axis is not None):
        return norm(np.abs(u), ord, axis, where=where)
    op = operand(u, f"the norm with ord={ord!r}", where, any_dtype=is_complex)
    if ord not in (None, 0, 1, 2, math.inf):
        raise UsageError(f"{op.request} is not valid; give 0, 1, 2 or inf")
    if axis is not None:
        return norm_lines(op, ord, axis)
    if ord == 0:
        return float(count_nonzero(u, where=where))
    if ord == 1:
        return _sum_of_magnitudes(op)
    if ord == math.inf:
        low, high = some_extremes(op, (False, True))
        return math.nan if low != low else float(builtins.max(abs(low.item()), abs(high.item())))
    mine = product_parts(np.empty(0), np.empty(0))
    with phase("compute"):
        for part in op.parts():
            for values in (part.real, part.imag) if is_complex else (part,):
                mine = mine + product_parts(values, values)
    special, total = product_total(add_up(u.grid.comm, mine, op.text))
    return root(total, 1 << PRODUCT_UNIT) if special is None else special


def _sum_of_magnitudes(op: Operand) -> float:
    is_float = op.u.dtype.kind == "f"
    parts_of = float_parts if is_float else integer_parts
    mine = parts_of(np.empty(0, op.u.dtype))
    with phase("compute"):
        for part in op.flat_parts():
            magnitudes = np.abs(part)
            # The magnitude of the least integer is one more than its type can hold, and right as unsigned.
            mine = mine + parts_of(magnitudes.view(f"u{part.itemsize}") if part.dtype.kind == "i" else magnitudes)
    total = add_up(op.u.grid.comm, mine, op.text)
    return rounded(total) if is_float else float(integer_total(total))
