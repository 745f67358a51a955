"""Quantiles of the elements of a Field: exact order statistics, and NumPy's ways to interpolate between two of them.

The methods are those of R. J. Hyndman and Y. Fan, "Sample quantiles in statistical packages",
doi:10.1080/00031305.1996.10473566, and NumPy's four others; the operations and their order are NumPy's, for equal bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field
from mpibatch.reduce.axes import Axis, lines_of
from mpibatch.reduce.extremes import NOWHERE
from mpibatch.reduce.lines.quantiles import sort_lines
from mpibatch.reduce.operands import Operand, operand
from mpibatch.reduce.selection import order_statistics

__all__ = ["METHODS", "median", "nanmedian", "nanquantile", "percentile", "quantile"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def _between(alpha: float, beta: float) -> Callable[[int, Floats], Floats]:
    """Return the place of a quantile, which need not be whole, by Hyndman and Fan's two numbers. Local."""
    return lambda n, q: n * q + (alpha + q * (1 - alpha - beta)) - 1


def _upper_unless(place: Floats, is_lower: Any) -> Array:
    return np.maximum(np.where(is_lower, np.floor(place), np.floor(place) + 1).astype(np.int64), 0)


def _closest(n: int, q: Floats) -> Array:
    place = n * q - 1 - 0.5
    below = np.floor(place)
    return _upper_unless(place, (place == below) & (below % 2 == 1))


def _inverted(n: int, q: Floats) -> Array:
    place = n * q - 1
    return _upper_unless(place, place == np.floor(place))


# Place of the quantile among n ordered elements: integers where one element is taken, else floats.
METHODS: dict[str, Callable[[int, Floats], Array]] = {
    "inverted_cdf": _inverted,
    "averaged_inverted_cdf": lambda n, q: n * q - 1,
    "closest_observation": _closest,
    "interpolated_inverted_cdf": _between(0, 1),
    "hazen": _between(0.5, 0.5),
    "weibull": _between(0, 0),
    "linear": lambda n, q: (n - 1) * q,
    "median_unbiased": _between(1 / 3.0, 1 / 3.0),
    "normal_unbiased": _between(3 / 8.0, 3 / 8.0),
    "lower": lambda n, q: np.floor((n - 1) * q).astype(np.int64),
    "higher": lambda n, q: np.ceil((n - 1) * q).astype(np.int64),
    "midpoint": lambda n, q: 0.5 * (np.floor((n - 1) * q) + np.ceil((n - 1) * q)),
    "nearest": lambda n, q: np.around((n - 1) * q).astype(np.int64),
}


def check_quantiles(q: Any, method: Any, request: str, percents: bool) -> tuple[Floats, bool]:
    """Return the quantiles as an array, and whether NumPy would take `q` for a number without a type. Local."""
    is_weak = type(q) in (int, float)
    try:
        array = np.asarray(q, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    most = 100 if percents else 1
    if not (np.all(array >= 0) and np.all(array <= most)):
        raise UsageError(f"{request} with q={q!r} was asked for; give numbers from 0 to {most}")
    if method not in METHODS:
        raise UsageError(f"{request} with method={method!r} was asked for; give one of {', '.join(METHODS)}")
    return (array / 100 if percents else array), is_weak


def _neighbours(place: Array, n: int) -> tuple[Array, Array]:
    """Return the elements below and above each place; at the ends, both are the same. Local."""
    if place.dtype.kind == "i":
        below = np.clip(place, 0, n - 1)
        return below, below
    below = np.floor(place)
    above = below + 1
    last, first = place >= n - 1, place < 0
    below = np.where(last, n - 1, np.where(first, 0, below)).astype(np.int64)
    above = np.where(last, n - 1, np.where(first, 0, above)).astype(np.int64)
    return below, above


def _share(place: Floats, n: int, method: str) -> Floats:
    """Return the weight of the element above. Local."""
    # NumPy subtracts the index that it looks up, which at the upper end is -1, counted from behind.
    base = np.where(place >= n - 1, -1.0, np.where(place < 0, 0.0, np.floor(place)))
    share = np.asarray(place - base)
    if method == "averaged_inverted_cdf":
        share = np.where(share == 0, 0.5, 1.0)
    elif method == "midpoint":
        share = np.where(place % 1 == 0, 0.0, 0.5)
    return share


def _interpolated(below: Array, above: Array, share: Any) -> Array:
    """Return what lies at `share` of the way from one to the other. Local."""
    if below.dtype.kind in "iu":
        # The difference of two integers can be more than their type holds.
        is_wide = below.dtype.itemsize == 8 and any(
            int(b) - int(a) >= 1 << 63 for a, b in zip(below.flat, above.flat, strict=True)
        )
        wide = np.dtype("f8" if is_wide else "u8" if below.dtype == np.uint64 else "i8")
        below, above = below.astype(wide), above.astype(wide)
    with np.errstate(invalid="ignore", over="ignore"):
        step = above - below
        way: Array = np.where(share >= 0.5, above - step * (1 - share), below + step * share)
    return way


def _quantile(op: Operand, q: Any, axis: Axis | None, method: Any, percents: bool = False) -> Any:
    at, is_weak = check_quantiles(q, method, op.request, percents)
    text = f"{op.text}, q={at.tolist()}, method={method}, axis={axis}"
    if axis is None:
        return _quantile_of_all(op, at, is_weak, method, text)
    take = np.nanquantile if op.skips_nan else np.quantile
    share = float(at) if is_weak else at
    return sort_lines(
        lines_of(op, axis),
        text,
        at.shape,
        lambda values, axes: take(values, share, axis=axes, method=method),
        lambda some: _quantile_of_all(some, at, is_weak, method, text),
    )


def _quantile_of_all(op: Operand, at: Floats, is_weak: bool, method: str, text: str) -> Any:
    op.check_elements()

    def places(n: int) -> list[int]:
        place = np.asarray(METHODS[method](n, at))
        return [int(k) for some in _neighbours(place, n) for k in some.flat]

    n, has_nan, values = order_statistics(op, places, text)
    dtype = np.dtype("u1") if op.u.dtype.kind == "b" else op.u.dtype
    if not n and not has_nan and not op.skips_nan:
        raise UsageError(NOWHERE.format(op.text))
    if not values and at.size:
        return np.full(at.shape, np.nan, dtype)[()]
    place = np.asarray(METHODS[method](n, at))
    below, above = (
        np.array([values[int(k)] for k in some.flat], dtype).reshape(at.shape) for some in _neighbours(place, n)
    )
    if place.dtype.kind == "i":
        return below[()]
    share = _share(place, n, method)
    return _interpolated(below, above, float(share) if is_weak else share)[()]


def _median(op: Operand, axis: Axis | None) -> Any:
    if axis is None:
        return _median_of_all(op)
    take = np.nanmedian if op.skips_nan else np.median
    return sort_lines(
        lines_of(op, axis), f"{op.text}, axis={axis}", (), lambda values, axes: take(values, axis=axes), _median_of_all
    )


def _median_of_all(op: Operand) -> Any:
    op.check_elements()
    n, has_nan, values = order_statistics(op, lambda n: {(n - 1) // 2, n // 2}, op.text)
    if not n and not has_nan and not op.skips_nan:
        raise UsageError(NOWHERE.format(op.text))
    dtype = np.dtype("u1") if op.u.dtype.kind == "b" else op.u.dtype
    if not values:
        return np.full((), np.nan, dtype)[()]
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
        Axes to reduce, components behind those of the grid; by default all.
    method : str, optional
        NumPy's: inverted_cdf, averaged_inverted_cdf, closest_observation, interpolated_inverted_cdf, hazen, weibull,
        linear, median_unbiased, normal_unbiased, lower, higher, midpoint or nearest.
    where : Field of bool, optional
        On the same grid; only elements where it is True count. It is True somewhere. Not together with `axis`.

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
        As for `quantile`.
    q : float or array of float
        From 0 to 100.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all.
    method : str, optional
        As for `quantile`.
    where : Field of bool, optional
        As for `quantile`.

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
        As for `quantile`.
    q : float or array of float
        As for `quantile`.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all.
    method : str, optional
        As for `quantile`.
    where : Field of bool, optional
        As for `quantile`.

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


def median(u: Field, axis: Axis | None = None, *, where: Field | None = None) -> Any:
    """Return the median of all elements, components included, on every rank.

    Parameters
    ----------
    u : Field
        As for `quantile`.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all.
    where : Field of bool, optional
        As for `quantile`.

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
        As for `quantile`.
    axis : int or sequence of int, optional
        Axes to reduce, components behind those of the grid; by default all.
    where : Field of bool, optional
        As for `quantile`.

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
