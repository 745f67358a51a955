"""Several thresholds at once, which separate classes of greatest variance between them: scikit-image's."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import integers_of
from mpibatch.filters.thresholds.histogram import count_bins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.fields.field import Field

__all__ = ["threshold_multiotsu"]

Array = npt.NDArray[Any]
MOST_BINS = 4096  # tables have an entry for each pair of bins


def threshold_multiotsu(u: Field, classes: int = 3, nbins: int = 256) -> Array:
    """Return the thresholds of greatest variance between several classes, as scikit-image's. Collective.

    Parameters
    ----------
    u : Field
        Of any real dtype, components included.
    classes : int, default 3
        How many classes are separated, at least 2.
    nbins : int, default 256
        Bins between minimum and maximum, at least 1. Integer fields have one bin per level instead.

    Returns
    -------
    ndarray
        One threshold fewer than classes, the same on every rank, for ``np.digitize``.

    Raises
    ------
    UsageError
        For parameters that are not valid, for fewer different values than classes, and for more than 4096 bins.

    Notes
    -----
    Collective: one all-reduce of the histogram; then each rank tries all thresholds, in a time that grows with the
    bins to the power of ``classes - 1``. As in scikit-image, the lowest bin counts as if it were the one above,
    and adds nothing as a class of its own.

    Method: doi:10.6688/JISE.2001.17.5.1.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.scatter(np.array([1, 2, 1, 5, 6, 5, 9, 8, 9]), mb.Grid(9))
    >>> mb.filters.threshold_multiotsu(u).tolist()
    [2, 6]
    """
    name = "threshold_multiotsu"
    count = integers_of(name, "classes", classes, 1, 2)[0]
    return multiotsu(*count_bins(name, u, nbins), count)


def multiotsu(counts: npt.NDArray[np.int64], centers: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Return the thresholds of a histogram between so many classes. Local. UsageError."""
    name = "threshold_multiotsu"
    share = (counts / counts.sum()).astype(np.float32)
    occupied = np.flatnonzero(share)
    if occupied.size < count:
        raise UsageError(f"{name}: {occupied.size} bins of the histogram hold cells, too few for {count} classes")
    if occupied.size == count:
        return centers[occupied[:-1]]
    if share.size > MOST_BINS:
        raise UsageError(
            f"{name}: the histogram has {share.size} bins, and {MOST_BINS} is the most; give fewer, or convert "
            "integers to 'f8' first, which have as many bins as levels"
        )
    return centers[list(_best_places(_variances(share), count - 1))]


def _variances(share: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return for each pair of bins what a class from the one to the other adds to the variance between classes."""
    levels = np.maximum(np.arange(share.size), 1).astype(np.float32)
    zeroth, first = np.cumsum(share), np.cumsum(levels * share)
    before = [np.concatenate((np.zeros(1, np.float32), moment[:-1])) for moment in (zeroth, first)]
    total, moment = (m[None, :] - b[:, None] for m, b in zip((zeroth, first), before, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        result: npt.NDArray[np.float32] = np.where(total > 0, moment * moment / total, np.float32(0))
    result[0, 0] = 0.0  # scikit-image's table has no entry for the lowest bin alone
    return np.triu(result)


def _best_places(variances: npt.NDArray[np.float32], count: int) -> tuple[int, ...]:
    """Return the last bin of each class but the last: of equals the first, in the order of their numbers."""
    bins = variances.shape[0]
    # By the last bin but one: what the lowest and the highest class add, which scikit-image sums up first.
    lowest, highest = variances[0], np.append(variances[1:, -1], np.float32(0))
    if count == 1:
        return (int(np.argmax((lowest + highest)[:-1])),)
    # between[i, j]: of the class from bin i + 1 to bin j.
    between = np.vstack((variances[1:], np.zeros((1, bins), np.float32)))
    forbidden = ~np.triu(np.ones((bins, bins), bool), 1)
    forbidden[:, -1] = True
    best: tuple[float, tuple[int, ...]] = (-1.0, ())
    for leading in _leading(bins, count - 2):
        ends = lowest[leading[0]] + highest[None, :] if leading else lowest[:, None] + highest[None, :]
        inner = ends
        for before, after in itertools.pairwise(leading):
            inner = inner + between[before, after]
        if leading:
            inner = inner + between[leading[-1]][:, None]
        total = np.where(forbidden, np.float32(-1), inner + between)
        if leading:
            total[: leading[-1] + 1] = -1
        at = int(np.argmax(total))
        if total.flat[at] > best[0]:
            best = float(total.flat[at]), (*leading, *divmod(at, bins))
    return best[1]


def _leading(bins: int, count: int, first: int = 0) -> Iterator[tuple[int, ...]]:
    """Yield all ascending places of `count` thresholds, in order."""
    if not count:
        yield ()
        return
    for place in range(first, bins):
        for others in _leading(bins, count - 1, place + 1):
            yield (place, *others)
