"""More thresholds that follow from a global histogram, or from the means of two classes: scikit-image's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch import reduce
from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import integers_of, real_of
from mpibatch.filters.passes import checked
from mpibatch.filters.thresholds.otsu import count_levels

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpibatch.fields.field import Field

__all__ = [
    "count_bins",
    "isodata",
    "threshold_isodata",
    "threshold_li",
    "threshold_triangle",
    "threshold_yen",
    "triangle",
    "yen",
]

Array = npt.NDArray[Any]


def count_bins(name: str, u: Field, nbins: Any) -> tuple[npt.NDArray[np.int64], Array]:
    """Return the global histogram and the centers of its bins: of integers, a bin for each level. Collective."""
    checked(name, u)
    bins = integers_of(name, "nbins", nbins, 1, 1)[0]
    if u.dtype.kind not in "iu":
        counts, edges = reduce.histogram(u, bins)
        return counts, (edges[:-1] + edges[1:]) / 2.0
    least, most = int(reduce.min(u)), int(reduce.max(u))
    if most >= 1 << 63:
        raise UsageError(f"{name}: the field has values up to {most}, from 2**63 on; convert it to 'f8' first")
    return count_levels(name, u, least, most), np.arange(least, most + 1)


def threshold_yen(u: Field, nbins: int = 256) -> Any:
    """Return Yen's threshold of the global histogram, as skimage.filters.threshold_yen. Collective.

    Parameters
    ----------
    u : Field
        Of any real dtype, components included.
    nbins : int, default 256
        Bins between minimum and maximum, at least 1. Integer fields have one bin per level instead.

    Returns
    -------
    scalar
        A NumPy scalar, the same on every rank: cells above it are foreground.

    Raises
    ------
    UsageError
        For parameters that are not valid, and for integers over more than 2**24 levels.

    Notes
    -----
    Collective: one all-reduce of the histogram. Method: doi:10.1109/83.366472.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.scatter(np.array([1, 2, 1, 2, 9, 8, 9]), mb.Grid(7))
    >>> int(mb.filters.threshold_yen(u))
    2
    """
    return yen(*count_bins("threshold_yen", u, nbins))


def yen(counts: npt.NDArray[np.int64], centers: Array) -> Any:
    """Return Yen's threshold of a histogram. Local."""
    if centers.size == 1:
        return centers[0]
    # f4, and in this order, for scikit-image's bits; as there, bins of no share give NaN or infinity.
    numbers = counts.astype(np.float32)
    share = numbers / numbers.sum()
    below, below_squared = np.cumsum(share), np.cumsum(share**2)
    above_squared = np.cumsum(share[::-1] ** 2)[::-1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = (below_squared[:-1] * above_squared[1:]) ** -1
        criterion = np.log(inverse * (below[:-1] * (1.0 - below[:-1])) ** 2)
    return centers[criterion.argmax()]


def threshold_isodata(u: Field, nbins: int = 256, return_all: bool = False) -> Any:
    """Return the threshold halfway between the means below and above it, as scikit-image's. Collective.

    Parameters
    ----------
    u : Field
        Of any real dtype, components included.
    nbins : int, default 256
        Bins between minimum and maximum, at least 1. Integer fields have one bin per level instead.
    return_all : bool, default False
        Whether to return all such thresholds, as an array, and not the lowest.

    Returns
    -------
    scalar or ndarray
        The same on every rank: cells above it are foreground.

    Raises
    ------
    UsageError
        For parameters that are not valid, for integers over more than 2**24 levels, and if there is no such
        threshold.

    Notes
    -----
    Collective: one all-reduce of the histogram. Method: doi:10.1109/TSMC.1978.4310039.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.scatter(np.array([1, 2, 1, 2, 9, 8, 9]), mb.Grid(7))
    >>> int(mb.filters.threshold_isodata(u))
    5
    """
    return isodata(*count_bins("threshold_isodata", u, nbins), return_all)


def isodata(counts: npt.NDArray[np.int64], centers: Array, return_all: bool = False) -> Any:
    """Return the threshold of a histogram that is halfway between the means below and above it. Local. UsageError."""
    if centers.size == 1:
        return centers if return_all else centers[0]
    numbers = counts.astype(np.float32)
    below = np.cumsum(numbers)
    above = below[-1] - below
    total = np.cumsum(numbers * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        lower, higher = total[:-1] / below[:-1], (total[-1] - total[:-1]) / above[:-1]
    away = (lower + higher) / 2.0 - centers[:-1]
    thresholds = centers[:-1][(away >= 0) & (away < centers[1] - centers[0])]
    if return_all:
        return thresholds
    if not thresholds.size:
        raise UsageError(
            "threshold_isodata: no bin is halfway between the means below and above it; give more than "
            f"{centers.size} bins"
        )
    return thresholds[0]


def threshold_triangle(u: Field, nbins: int = 256) -> Any:
    """Return the level that is furthest below the line from the histogram's peak to its far end. Collective.

    Parameters
    ----------
    u : Field
        Of any real dtype, components included.
    nbins : int, default 256
        Bins between minimum and maximum, at least 1. Integer fields have one bin per level instead.

    Returns
    -------
    scalar
        A NumPy scalar, the same on every rank, as skimage.filters.threshold_triangle gives it: cells above it are
        foreground.

    Raises
    ------
    UsageError
        For parameters that are not valid, and for integers over more than 2**24 levels.

    Notes
    -----
    Collective: one all-reduce of the histogram. Method: doi:10.1177/25.7.70454.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.scatter(np.array([1, 1, 1, 1, 1, 2, 2, 3, 9]), mb.Grid(9))
    >>> int(mb.filters.threshold_triangle(u))
    4
    """
    return triangle(*count_bins("threshold_triangle", u, nbins), lambda: reduce.min(u))


def triangle(counts: npt.NDArray[np.int64], centers: Array, least: Callable[[], Any]) -> Any:
    """Return the level of a histogram furthest below the line from its peak to its far end; of a single one, `least`.

    As collective as `least`, the least value, which is asked for only then.
    """
    occupied = np.flatnonzero(counts)
    low, high, peak = int(occupied[0]), int(occupied[-1]), int(np.argmax(counts))
    if low == high:
        return least()
    flipped = peak - low < high - peak
    if flipped:
        # The longer tail is to lie to the left of the peak.
        counts = counts[::-1]
        low, peak = counts.size - high - 1, counts.size - peak - 1
    height, width = counts[peak], peak - low
    norm = math.sqrt(int(height) ** 2 + width**2)  # in whole numbers of any length
    steps = np.arange(width)
    away = height / norm * steps - width / norm * counts[steps + low]
    level = int(np.argmax(away)) + low
    return centers[counts.size - level - 1 if flipped else level]


def threshold_li(u: Field, *, tolerance: float | None = None, initial_guess: float | None = None) -> Any:
    """Return the threshold of least cross entropy, as skimage.filters.threshold_li. Collective.

    Parameters
    ----------
    u : Field
        Of any real dtype, components included. NaN and infinite values are left out.
    tolerance : float, optional
        The search ends when a step is not longer; default 0.5 for integers, and for floats when no cell changes its
        class, where scikit-image takes half of the smallest difference between two values.
    initial_guess : float, optional
        Where it begins, between minimum and maximum; default the mean.

    Returns
    -------
    scalar
        The same on every rank: cells above it are foreground.

    Raises
    ------
    UsageError
        For parameters that are not valid, for integers over more than 2**24 levels, and for a field of NaN alone.

    Notes
    -----
    Collective. For integers, equal to scikit-image's result: one all-reduce of the histogram. For floats means are
    exact, and there is a pass over the cells, and an all-reduce, for every step; scikit-image's means are rounded, and
    results differ by as much. Method: doi:10.1016/0031-3203(93)90115-D, doi:10.1016/S0167-8655(98)00057-9.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.scatter(np.array([1, 2, 1, 2, 9, 8, 9]), mb.Grid(7))
    >>> round(float(mb.filters.threshold_li(u)), 6)
    3.625125
    """
    name = "threshold_li"
    checked(name, u)
    least_step = None if tolerance is None else real_of(name, "tolerance", tolerance, 0.0)
    guess = None if initial_guess is None else real_of(name, "initial_guess", initial_guess)
    classes: _Integers | _Floats = _Integers(name, u) if u.dtype.kind in "biu" else _Floats(name, u)
    if classes.most == classes.least:
        return u.dtype.type(classes.least)
    if guess is not None and not classes.least < guess < classes.most:
        raise UsageError(
            f"{name}: initial_guess = {guess:g} is not between the field's minimum {classes.least} and maximum "
            f"{classes.most}; give a number that is"
        )
    if least_step is None or least_step == 0:
        least_step = 0.5 if isinstance(classes, _Integers) else 0.0
    following: Any = classes.mean if guess is None else classes.type(guess - float(classes.least))
    current = earlier = -math.inf
    # Each step lowers the cross entropy, but for rounding: to come back to where it was before is the end, too.
    while abs(following - current) > least_step and following != earlier:
        earlier, current = current, following
        back, fore = classes.means(current)
        if back == 0:
            break
        following = (back - fore) / (np.log(back) - np.log(fore))
    return following + classes.least


class _Integers:
    """Integers, less the least, by their histogram: means in the bits of scikit-image."""

    def __init__(self, name: str, u: Field) -> None:
        self.type = np.int64
        self.least, self.most = int(reduce.min(u)), int(reduce.max(u))
        counts = count_levels(name, u, self.least, self.most)
        self.levels = np.arange(counts.size)
        self.counts = counts.astype(np.float32)
        self.mean = np.float64(int(np.dot(counts, self.levels)) / int(counts.sum()))

    def means(self, threshold: Any) -> tuple[Any, Any]:
        """Return the means up to the threshold, and above it. Local."""
        above = self.levels > threshold
        back, fore = (np.average(self.levels[part], weights=self.counts[part]) for part in (~above, above))
        return back, fore


class _Floats:
    """Floats, less the least finite one: exact means by passes over the cells."""

    def __init__(self, name: str, u: Field) -> None:
        self.type = np.float64
        finite = np.isfinite(u)
        self._count = reduce.count_nonzero(finite)
        if not self._count:
            raise UsageError(f"{name}: the field has no finite value; give one that has")
        self.least, self.most = reduce.min(_where(finite, u, np.inf)), reduce.max(_where(finite, u, -np.inf))
        # What is not finite adds 0 to the class below, in which it does not count.
        self._values = _where(finite, u - self.least, 0).astype(np.float64)
        self.mean = np.float64(reduce.sum(self._values) / self._count)

    def means(self, threshold: Any) -> tuple[Any, Any]:
        """Return the means up to the threshold, and above it. Collective."""
        above = self._values > threshold
        count = reduce.count_nonzero(above)
        fore, back = (reduce.sum(_where(part, self._values, 0)) for part in (above, ~above))
        return np.float64(back / (self._count - count)), np.float64(fore / count)


def _where(keep: Field, values: Field, other: float) -> Field:
    """Return the values where they are to be kept, and something else elsewhere. Local."""
    result = values.like(halo=0)
    result.owned[...] = other
    np.copyto(result.owned, values.owned, where=keep.owned)
    return result
