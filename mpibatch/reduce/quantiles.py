"""Quantiles of the elements of a Field: exact order statistics, and what lies between two of them.

See `order.interpolation` for the methods.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.reduce.axes import Axis, lines_of
from mpibatch.reduce.extremes import NOWHERE
from mpibatch.reduce.lines.quantiles import sort_lines, type_of_rows
from mpibatch.reduce.operands import Operand, operand
from mpibatch.reduce.order.interpolation import METHODS, interpolated, neighbors, share_above
from mpibatch.reduce.order.selection import order_statistics

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["median", "nanmedian", "nanpercentile", "nanquantile", "percentile", "quantile"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def check_quantiles(q: Any, method: Any, request: str, percents: bool) -> tuple[Floats, bool]:
    """Return the quantiles as an array, and whether NumPy would take `q` for a number without a type. Local."""
    is_weak = type(q) in (int, float)
    try:
        array = np.asarray(q, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    most = 100 if percents else 1
    if not (np.all(array >= 0) and np.all(array <= most)):
        raise UsageError(f"{request} with q={q!r} is not valid; give numbers from 0 to {most}")
    if method not in METHODS:
        raise UsageError(f"{request} with method={method!r} is not valid; give one of {', '.join(METHODS)}")
    return (array / 100 if percents else array), is_weak


def _quantile(op: Operand, q: Any, axis: Axis | None, method: Any, percents: bool = False) -> Any:
    at, is_weak = check_quantiles(q, method, op.request, percents)
    text = f"{op.text}, q={at.tolist()}, method={method}, axis={axis}"
    if axis is None:
        return _quantile_of_all(op, at, is_weak, method, text)
    share = float(at) if is_weak else at
    return sort_lines(
        lines_of(op, axis),
        text,
        at.shape,
        lambda values, axes: np.quantile(values, share, axis=axes, method=method),
        partial(_quantiles_of_rows, at=at, is_weak=is_weak, method=method),
        lambda some: _quantile_of_all(some, at, is_weak, method, text),
    )


def _of_nothing(op: Operand, has_nan: bool, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> Any:
    """Return NaN, of the type of the results of numbers; UsageError, on all ranks, if that has none. Local."""
    if dtype.kind != "f" or not (has_nan or op.skips_nan):
        raise UsageError(NOWHERE.format(op.text))
    return np.full(shape, np.nan, dtype)[()]


def _quantile_of_all(op: Operand, at: Floats, is_weak: bool, method: str, text: str) -> Any:
    op.check_elements()

    def places(n: int) -> list[int]:
        place = np.asarray(METHODS[method](n, at))
        return [int(k) for some in neighbors(place, n) for k in some.flat]

    n, has_nan, values = order_statistics(op, places, text)
    dtype = np.dtype("u1") if op.u.dtype.kind == "b" else op.u.dtype
    if not n or (has_nan and not op.skips_nan):
        rows = partial(_quantiles_of_rows, at=at, is_weak=is_weak, method=method)
        return _of_nothing(op, has_nan, type_of_rows(rows, dtype), at.shape)
    place = np.asarray(METHODS[method](n, at))
    below, above = (
        np.array([values[int(k)] for k in some.flat], dtype).reshape(at.shape) for some in neighbors(place, n)
    )
    if place.dtype.kind == "i":
        return below[()]
    return interpolated(below, above, share_above(place, n, method), is_weak=is_weak)[()]


def _quantiles_of_rows(values: Array, count: Array, at: Floats, is_weak: bool, method: str) -> Array:
    """Return quantiles of the first `count` > 0 elements of sorted rows; axes of `at` come first. Local."""
    n = np.broadcast_to(count, at.shape + count.shape)
    place = np.asarray(METHODS[method](n, at.reshape(at.shape + (1,) * count.ndim)))
    below, above = (
        np.take_along_axis(values, some.reshape(at.size, count.size).T, axis=1).T.reshape(some.shape)
        for some in neighbors(place, n)
    )
    return (
        below if place.dtype.kind == "i" else interpolated(below, above, share_above(place, n, method), is_weak=is_weak)
    )


def _medians_of_rows(values: Array, count: Array) -> Array:
    low, high = (np.take_along_axis(values, k[:, np.newaxis], axis=1)[:, 0] for k in ((count - 1) // 2, count // 2))
    with np.errstate(over="ignore", invalid="ignore"):
        # The mean of the element in the middle alone, since that of it and itself might overflow.
        return np.asarray(np.where(count % 2 == 1, np.mean([low], axis=0), np.mean([low, high], axis=0)))


def _median(op: Operand, axis: Axis | None) -> Any:
    if axis is None:
        return _median_of_all(op)
    return sort_lines(
        lines_of(op, axis),
        f"{op.text}, axis={axis}",
        (),
        lambda values, axes: np.median(values, axis=axes),
        _medians_of_rows,
        _median_of_all,
    )


def _median_of_all(op: Operand) -> Any:
    op.check_elements()
    n, has_nan, values = order_statistics(op, lambda n: {(n - 1) // 2, n // 2}, op.text)
    if not n or (has_nan and not op.skips_nan):
        return _of_nothing(op, has_nan, type_of_rows(_medians_of_rows, op.u.dtype))
    dtype = np.dtype("u1") if op.u.dtype.kind == "b" else op.u.dtype
    return np.mean(np.array([values[place] for place in sorted(values)], dtype))


def quantile(u: Field, q: Any, axis: Axis | None = None, *, method: str = "linear", where: Field | None = None) -> Any:
    """Return quantiles of all elements, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    q : float or array of float
        From 0 to 1; all of them share the passes through the field.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are; the axes of `q` come last, as components.
    method : str, default "linear"
        NumPy's: inverted_cdf, averaged_inverted_cdf, closest_observation, interpolated_inverted_cdf, hazen, weibull,
        linear, median_unbiased, normal_unbiased, lower, higher, midpoint or nearest.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere; with `axis`, lines in which it is
        not give NaN.

    Returns
    -------
    scalar or array of the shape of `q`
        What ``np.quantile`` returns for the gathered elements, to the bit, but that a zero may have the other sign, and
        that differences of integers do not overflow. NaN if an element is NaN.
    Field or array
        With `axis`, as `sum` says; the axes of `q` come last, as components.

    Raises
    ------
    UsageError
        On every rank, for `q` outside 0 to 1 or NaN, for an unknown method, for complex fields, and for no elements.

    Notes
    -----
    Collective: elements are selected by their digits, exactly. At most four all-reduces of 512 KiB for one quantile of
    many elements (less for types of fewer bytes), and two passes through the owned cells; no element leaves its rank.
    With `axis` the field is redistributed, so that each line lies on one rank, and sorted there.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((5, 2)).from_function(lambda y, x: 2 * y + x)
    >>> print(mb.quantile(u, [0, 0.25, 1]))
    [0.   2.25 9.  ]
    """
    return _quantile(operand(u, "the quantile", where), q, axis, method)


def percentile(
    u: Field, q: Any, axis: Axis | None = None, *, method: str = "linear", where: Field | None = None
) -> Any:
    """Return percentiles of all elements, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    q : float or array of float
        From 0 to 100; all of them share the passes through the field.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are; the axes of `q` come last, as components.
    method : str, default "linear"
        NumPy's: inverted_cdf, averaged_inverted_cdf, closest_observation, interpolated_inverted_cdf, hazen, weibull,
        linear, median_unbiased, normal_unbiased, lower, higher, midpoint or nearest.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere; with `axis`, lines in which it is
        not give NaN.

    Returns
    -------
    scalar or array of the shape of `q`
        What ``np.percentile`` returns for the gathered elements, as `quantile`.

    Raises
    ------
    UsageError
        As `quantile`.

    Notes
    -----
    Collective, at the cost of `quantile`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((5, 2)).from_function(lambda y, x: 2 * y + x)
    >>> print(mb.percentile(u, 50, method="lower"))
    4.0
    """
    return _quantile(operand(u, "the percentile", where), q, axis, method, percents=True)


def nanquantile(
    u: Field, q: Any, axis: Axis | None = None, *, method: str = "linear", where: Field | None = None
) -> Any:
    """Return quantiles of all elements that are not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    q : float or array of float
        From 0 to 1; all of them share the passes through the field.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are; the axes of `q` come last, as components.
    method : str, default "linear"
        NumPy's: inverted_cdf, averaged_inverted_cdf, closest_observation, interpolated_inverted_cdf, hazen, weibull,
        linear, median_unbiased, normal_unbiased, lower, higher, midpoint or nearest.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. If it is True nowhere: NaN; without `axis` for floats
        only, a UsageError for others.

    Returns
    -------
    scalar or array of the shape of `q`
        As `quantile`; NaN if there are none but NaN.

    Notes
    -----
    Collective, at the cost of `quantile`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4,)).from_function(lambda x: x)
    >>> u.owned[u.owned == 3] = float("nan")
    >>> print(mb.nanquantile(u, 0.75))
    1.5
    """
    return _quantile(operand(u, "the quantile without NaN", where, skips_nan=True), q, axis, method)


def nanpercentile(
    u: Field, q: Any, axis: Axis | None = None, *, method: str = "linear", where: Field | None = None
) -> Any:
    """Return percentiles of all elements that are not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    q : float or array of float
        From 0 to 100; all of them share the passes through the field.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are; the axes of `q` come last, as components.
    method : str, default "linear"
        NumPy's: inverted_cdf, averaged_inverted_cdf, closest_observation, interpolated_inverted_cdf, hazen, weibull,
        linear, median_unbiased, normal_unbiased, lower, higher, midpoint or nearest.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. If it is True nowhere: NaN; without `axis` for floats
        only, a UsageError for others.

    Returns
    -------
    scalar or array of the shape of `q`
        As `percentile`; NaN if there are none but NaN.

    Notes
    -----
    Collective, at the cost of `quantile`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4,)).from_function(lambda x: x)
    >>> u.owned[u.owned == 3] = float("nan")
    >>> print(mb.nanpercentile(u, 75))
    1.5
    """
    return _quantile(operand(u, "the percentile without NaN", where, skips_nan=True), q, axis, method, percents=True)


def median(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the median of all elements, components included, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere; with `axis`, lines in which it is
        not give NaN.

    Returns
    -------
    scalar
        What ``np.median`` returns for the gathered elements, to the bit: the element in the middle, or the mean of the
        two there. f8 for bool and integers. NaN if an element is NaN.

    Raises
    ------
    UsageError
        On every rank, for complex fields, and for no elements.

    Notes
    -----
    Collective, at the cost of `quantile`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((12,)).from_function(lambda x: x)
    >>> print(mb.median(u))
    5.5
    """
    return _median(operand(u, "the median", where), axis)


def nanmedian(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the median of all elements that are not NaN, on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes, with at least one element.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all. With some, the result is a Field over the
        axes that are left, or an array if only components are, see `sum`.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. If it is True nowhere: NaN; without `axis` for floats
        only, a UsageError for others.

    Returns
    -------
    scalar
        As `median`; NaN if there are none but NaN.

    Notes
    -----
    Collective, at the cost of `quantile`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4,)).from_function(lambda x: x)
    >>> u.owned[u.owned == 3] = float("nan")
    >>> print(mb.nanmedian(u))
    1.0
    """
    return _median(operand(u, "the median without NaN", where, skips_nan=True), axis)
