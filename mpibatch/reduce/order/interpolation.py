"""Between order statistics: which two a quantile lies between, and what lies between them.

The methods are those of R. J. Hyndman and Y. Fan, "Sample quantiles in statistical packages",
doi:10.1080/00031305.1996.10473566, and NumPy's four others; the operations and their order are NumPy's, for equal bits.
Numbers of elements may be arrays, of the shape of the places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["METHODS", "interpolated", "neighbors", "share_above"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def _between(alpha: float, beta: float) -> Callable[[Any, Floats], Floats]:
    """Return the place of a quantile, which need not be whole, by Hyndman and Fan's two numbers. Local."""
    return lambda n, q: n * q + (alpha + q * (1 - alpha - beta)) - 1


def _upper_unless(place: Floats, is_lower: Any) -> Array:
    return np.maximum(np.where(is_lower, np.floor(place), np.floor(place) + 1).astype(np.int64), 0)


def _closest(n: Any, q: Floats) -> Array:
    place = n * q - 1 - 0.5
    below = np.floor(place)
    return _upper_unless(place, (place == below) & (below % 2 == 1))


def _inverted(n: Any, q: Floats) -> Array:
    place = n * q - 1
    return _upper_unless(place, place == np.floor(place))


# Place of the quantile among n ordered elements: integers where one element is taken, else floats.
METHODS: dict[str, Callable[[Any, Floats], Array]] = {
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


def neighbors(place: Array, n: Any) -> tuple[Array, Array]:
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


def share_above(place: Floats, n: Any, method: str) -> Floats:
    """Return the weight of the element above. Local."""
    # NumPy subtracts the index that it looks up, which at the upper end is -1, counted from behind.
    base = np.where(place >= n - 1, -1.0, np.where(place < 0, 0.0, np.floor(place)))
    share = np.asarray(place - base)
    if method == "averaged_inverted_cdf":
        share = np.where(share == 0, 0.5, 1.0)
    elif method == "midpoint":
        share = np.where(place % 1 == 0, 0.0, 0.5)
    return share


def interpolated(below: Array, above: Array, share: Floats, *, is_weak: bool) -> Array:
    """Return what lies at `share` of the way from one to the other; `is_weak` keeps floats in their type. Local."""
    if below.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            return _way(below, above, above - below, share, below.dtype if is_weak else share.dtype)
    wide = np.dtype("u8" if below.dtype == np.uint64 else "i8")
    below, above = below.astype(wide), above.astype(wide)
    # The difference of two integers as an unsigned one, which holds it.
    step = above.view("u8") - below.view("u8")
    if wide.kind == "i":
        step = np.where(step < 1 << 63, step.view("i8"), above.astype("f8") - below)
    return _way(below, above, step, share, share.dtype)


def _way(below: Array, above: Array, step: Array, share: Floats, dtype: np.dtype[Any]) -> Array:
    # The weights are rounded to the type one by one: 1 - share of a rounded share would be another number.
    rest, part = (1 - share).astype(dtype), share.astype(dtype)
    way: Array = np.where(share >= 0.5, above - step * rest, below + step * part)
    return way
