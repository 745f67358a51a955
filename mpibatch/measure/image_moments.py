"""Moments of a whole field, with scikit-image's names, and its center of mass; exact, and rounded once."""

from __future__ import annotations

import itertools
import math
import operator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.measure._engine.power_sums import Powers, all_powers, power_sums
from mpibatch.reduce.exact_sums import ratio
from mpibatch.reduce.operands import check_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["moments", "moments_central"]

Sums = dict[Powers, float | Fraction]


def _check(call: str, u: Any, order: Any, **vectors: Any) -> tuple[int, dict[str, list[Fraction] | None], str]:
    """Return the order, vectors of a number for each axis, and the request in words; or raise UsageError. Local."""
    check_dtype(u, call)
    try:
        most = operator.index(order)
    except TypeError:
        most = -1
    if most < 0:
        raise UsageError(f"{call} with order={order!r} is not valid; give a whole number >= 0")
    exact: dict[str, list[Fraction] | None] = {}
    for name, vector in vectors.items():
        try:
            exact[name] = None if vector is None else [Fraction(float(number)) for number in vector]
        except (TypeError, ValueError, OverflowError):
            exact[name] = []
        if exact[name] is not None and len(exact[name] or ()) != u.ndim:
            raise UsageError(f"{call} with {name}={vector!r} is not valid; give {u.ndim} finite numbers, or None")
    text = f"{call} of a field of shape {u.shape} and dtype {u.dtype}, order={most}, {exact}"
    return most, exact, text


def _scaled(sums: Sums, spacing: list[Fraction] | None) -> Sums:
    """Return moments of coordinates, given those of indices. Local."""
    if spacing is None:
        return sums
    factors = {key: math.prod(s**p for s, p in zip(spacing, key, strict=True)) for key in sums}
    return {key: value * (factors[key] if isinstance(value, Fraction) else 1) for key, value in sums.items()}


def _array(values: Sums, ndim: int, order: int) -> npt.NDArray[np.float64]:
    out = np.zeros((order + 1,) * ndim)
    for key, value in values.items():
        out[key] = ratio(value.numerator, value.denominator) if isinstance(value, Fraction) else value
    return out


def moments(image: Field, order: int = 3, *, spacing: Sequence[float] | None = None) -> npt.NDArray[np.float64]:
    """Return all raw moments up to an order along each axis, on every rank.

    Parameters
    ----------
    image : Field
        Of bool, integers or floats of up to 8 bytes. Components are axes, too.
    order : int, default 3
        The greatest power of each coordinate.
    spacing : sequence of float, optional
        Distance of cells along each axis; by default 1.

    Returns
    -------
    f8 array
        Of ``order + 1`` along each axis: at ``[p, q]`` the sum of each element times its global coordinates to the
        powers p and q, as ``skimage.measure.moments`` has it, but exact, and rounded once. NaN, or an infinity, where
        an element is not finite.

    Raises
    ------
    UsageError
        On every rank, for complex fields, a negative order, and a spacing that does not fit.

    See Also
    --------
    moments_central : The same around a center.

    Notes
    -----
    Collective: an all-reduce of 2 KiB and, for more than one moment, another with 1.1 KiB for each. One pass through
    the owned cells, in sums of several doubles that lose nothing (doi:10.1007/PL00009321), which are then added as
    integers (doi:10.48550/arXiv.1505.05571).

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 10 * y + x)
    >>> print(mb.moments(u, order=1))
    [[36. 40.]
     [33. 35.]]
    """
    most, exact, text = _check("moments", image, order, spacing=spacing)
    sums = power_sums(image, all_powers(image.ndim, most), text)
    return _array(_scaled(sums, exact["spacing"]), image.ndim, most)


def moments_central(
    image: Field, center: Sequence[float] | None = None, order: int = 3, *, spacing: Sequence[float] | None = None
) -> npt.NDArray[np.float64]:
    """Return all moments around a center up to an order, on every rank.

    Parameters
    ----------
    image : Field
        Of bool, integers or floats of up to 8 bytes. Components are axes, too.
    center : sequence of float, optional
        Coordinates along each axis, in the unit of `spacing`; by default those of the center of mass, which is not
        rounded.
    order : int, default 3
        The greatest power of each coordinate; of all together, too, if no center is given: what lies beyond is 0.
    spacing : sequence of float, optional
        Distance of cells along each axis; by default 1.

    Returns
    -------
    f8 array
        As ``skimage.measure.moments_central`` has it, but exact, and rounded once. NaN if an element is not finite, or
        if there is no center, since the elements sum up to 0; not so the sum of the elements itself.

    Raises
    ------
    UsageError
        As `moments`, and for a center that does not fit.

    See Also
    --------
    moments : The same around the origin.

    Notes
    -----
    Collective, at the cost of `moments`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 4)).full(1.0)
    >>> print(mb.moments_central(u, order=2))
    [[ 8.  0. 10.]
     [ 0.  0.  0.]
     [ 2.  0.  0.]]
    """
    most, exact, text = _check("moments_central", image, order, center=center, spacing=spacing)
    ndim, at = image.ndim, exact["center"]
    powers = all_powers(ndim, most if at else max(most, 1), None if at else max(most, 1))
    sums = _scaled(power_sums(image, powers, text), exact["spacing"])
    known = {key: value for key, value in sums.items() if isinstance(value, Fraction)}
    mass = sums[(0,) * ndim]
    shown = [key for key in powers if max(key) <= most]
    if len(known) < len(sums) or (at is None and not mass):
        return _array({key: math.nan if any(key) else mass for key in shown}, ndim, most)
    if at is None:
        units = [tuple(int(a == b) for b in range(ndim)) for a in range(ndim)]
        at = [known[unit] / known[(0,) * ndim] for unit in units]
    return _array({key: _moved(known, key, at) for key in shown}, ndim, most)


def _moved(sums: dict[Powers, Fraction], key: Powers, center: list[Fraction]) -> Fraction:
    """Return a moment around a center, given those around the origin. Local."""
    total = Fraction(0)
    for lower in itertools.product(*(range(p + 1) for p in key)):
        factor = math.prod(math.comb(p, k) * (-c) ** (p - k) for p, k, c in zip(key, lower, center, strict=True))
        total += factor * sums[lower]
    return total
