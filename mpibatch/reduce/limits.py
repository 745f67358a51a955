"""Least and greatest element of a Field, or of its lines along some axes, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.reduce.axes import Axis, lines_of
from mpibatch.reduce.extremes import extreme_place, some_extremes
from mpibatch.reduce.lines.extremes import extreme_lines, extreme_places
from mpibatch.reduce.operands import Operand, operand

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["argmax", "argmin", "max", "min", "minmax", "nanargmax", "nanargmin", "nanmax", "nanmin"]


def _extreme(op: Operand, axis: Axis | None, *, largest: bool) -> Any:
    if axis is None:
        return some_extremes(op, (largest,))[0]
    lines = lines_of(op, axis)
    return lines.spread(extreme_lines(lines, largest=largest))


def _place(op: Operand, axis: Any, *, largest: bool) -> Any:
    if axis is None:
        return extreme_place(op, largest)
    lines = lines_of(op, axis)
    if len(lines.reduced) != 1:
        raise UsageError(f"{op.request} along axis={axis!r} is not valid; give one axis, or None for all")
    return lines.spread(extreme_places(lines, largest=largest))


def min(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the least element, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere, with `axis` in each line (of
        floats, lines in which it is not give NaN).

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
    return _extreme(operand(u, "the minimum", where), axis, largest=False)


def max(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the greatest element, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere, with `axis` in each line (of
        floats, lines in which it is not give NaN).

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
    return _extreme(operand(u, "the maximum", where), axis, largest=True)


def minmax(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the least and the greatest element, on every rank, for the price of one message.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere, with `axis` in each line (of
        floats, lines in which it is not give NaN).

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
    op = operand(u, "minimum and maximum", where)
    if axis is not None:
        return _extreme(op, axis, largest=False), _extreme(op, axis, largest=True)
    low, high = some_extremes(op, (False, True))
    return low, high


def nanmin(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the least element that is not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere, with `axis` in each line: if not,
        NaN for floats, a UsageError for others.

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
    return _extreme(operand(u, "the minimum without NaN", where, skips_nan=True), axis, largest=False)


def nanmax(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the greatest element that is not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere, with `axis` in each line: if not,
        NaN for floats, a UsageError for others.

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
    return _extreme(operand(u, "the maximum without NaN", where, skips_nan=True), axis, largest=True)


def argmin(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the flat index of the least element, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int, optional
        Axis of the lines in which places are sought, components behind those of the grid; by default all elements are
        one line. With it, the result is a Field of indices along it, over the axes that are left, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere, with `axis` in each line.

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
    return _place(operand(u, "the place of the minimum", where), axis, largest=False)


def argmax(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the flat index of the greatest element, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int, optional
        Axis of the lines in which places are sought, components behind those of the grid; by default all elements are
        one line. With it, the result is a Field of indices along it, over the axes that are left, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere, with `axis` in each line.

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
    return _place(operand(u, "the place of the maximum", where), axis, largest=True)


def nanargmin(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the flat index of the least element that is not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with an element that is not NaN.
    axis : int, optional
        Axis of the lines in which places are sought, components behind those of the grid; by default all elements are
        one line. With it, the result is a Field of indices along it, over the axes that are left, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    int
        As `argmin`, without regard to NaN: that of ``np.nanargmin`` of the gathered array.

    Raises
    ------
    UsageError
        On all ranks alike: another dtype, an axis that `u` has not, or all elements, with `axis` all of a line, are NaN
        or left out by `where`.

    Notes
    -----
    Collective: two all-reduces, of 2 KiB and 8 bytes.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).from_function(lambda x: x + 1.0)
    >>> u.owned[u.owned == 1] = float("nan")
    >>> mb.argmin(u), mb.nanargmin(u)
    (0, 1)
    """
    return _place(operand(u, "the place of the minimum without NaN", where, skips_nan=True), axis, largest=False)


def nanargmax(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the flat index of the greatest element that is not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with an element that is not NaN.
    axis : int, optional
        Axis of the lines in which places are sought, components behind those of the grid; by default all elements are
        one line. With it, the result is a Field of indices along it, over the axes that are left, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    int
        As `argmax`, without regard to NaN: that of ``np.nanargmax`` of the gathered array.

    Raises
    ------
    UsageError
        On all ranks alike: another dtype, an axis that `u` has not, or all elements, with `axis` all of a line, are NaN
        or left out by `where`.

    Notes
    -----
    Collective: two all-reduces, of 2 KiB and 8 bytes.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).from_function(lambda x: 4.0 - x)
    >>> u.owned[u.owned == 4] = float("nan")
    >>> mb.argmax(u), mb.nanargmax(u)
    (0, 1)
    """
    return _place(operand(u, "the place of the maximum without NaN", where, skips_nan=True), axis, largest=True)
