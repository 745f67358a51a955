"""Thresholds that follow from a global histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch import reduce
from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.filters._engine.arguments import integers_of
from mpibatch.filters._engine.parts import parts
from mpibatch.filters.passes import checked
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["count_levels", "of_bins", "of_levels", "threshold_otsu"]

MOST_LEVELS = 1 << 24  # integer histograms have one bin per level between minimum and maximum
FAR = 1 << 32  # levels from here on scikit-image cannot count; below, sums run over the levels themselves, as there


def threshold_otsu(u: Field, nbins: int = 256) -> Any:
    """Return Otsu's threshold of the global histogram, as skimage.filters.threshold_otsu.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit; components
        are counted, too.
    nbins : int, default 256
        Bins between minimum and maximum, at least 1. Integer fields have one bin per level instead.

    Returns
    -------
    numpy scalar
        The same on every rank, in the unit of `u`: cells above it are foreground. Of integers it is one of their
        levels, exactly, up to 2**64 - 1; of floats and bool the center of a bin. If all cells are equal, it is their
        value.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid, if floats are NaN or infinite, or if integers span more than
        2**24 levels.

    Notes
    -----
    Collective. No halo; all-reduces of the extremes and of the histogram, 8 bytes a bin.

    Method: doi:10.1109/TSMC.1979.4310076.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: 10 + 190 * (x >= 8), "u1")
    >>> level = mb.filters.threshold_otsu(u)
    >>> int(level), mb.count_nonzero(u > level)
    (10, 128)
    """
    name = "threshold_otsu"
    checked(name, u)
    bins = integers_of(name, "nbins", nbins, 1, 1)[0]
    least, most = reduce.min(u), reduce.max(u)
    if least == most:
        return least
    if u.dtype.kind in "iu":
        return of_levels(count_levels(name, u, int(least), int(most)), int(least), int(most))
    counts, edges = reduce.histogram(u, bins)
    return of_bins(counts, (edges[:-1] + edges[1:]) / 2.0)


def of_bins(counts: npt.NDArray[np.int64], centers: npt.NDArray[Any]) -> Any:
    """Return the threshold of floats: the center of a bin. Local."""
    return centers[_split(counts, centers)]


def of_levels(counts: npt.NDArray[np.int64], least: int, most: int) -> np.int64 | np.uint64:
    """Return the threshold of integers: one of their levels, exactly. Local."""
    # Means of large levels lose the digits that tell the levels apart: there they are counted from the least.
    first = 0 if max(abs(least), abs(most)) >= FAR else least
    level = least + _split(counts, np.arange(first, first + counts.size))
    return np.int64(level) if level < 1 << 63 else np.uint64(level)


def count_levels(name: str, u: Field, least: int, most: int) -> npt.NDArray[np.int64]:
    """Return how often each integer from `least` to `most` occurs. Collective."""
    levels = most - least + 1
    if levels > MOST_LEVELS:
        raise UsageError(
            f"{name}: values from {least} to {most} would need {levels} bins; at most {MOST_LEVELS} are"
            " counted: convert the field to 'f8' first"
        )
    counts = np.zeros(levels, np.int64)
    for (part,) in parts(u.owned):
        # Unsigned cells may exceed i8, signed ones may be too narrow for the difference.
        above = part - u.dtype.type(least) if u.dtype.kind == "u" else part.astype(np.int64) - least
        counts += np.bincount(above.astype(np.int64).reshape(-1), minlength=levels)
    with REDUCTION:
        u.grid.comm.Allreduce(MPI.IN_PLACE, counts, op=MPI.SUM)
    return counts


def _split(times: npt.NDArray[np.int64], centers: npt.NDArray[Any]) -> int:
    """Return the place of the center that separates two classes of greatest variance between them. Local.

    Counts are f4 and sums run as in scikit-image, for equal bits.
    """
    counts = times.astype(np.float32)
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    weighted = counts * centers
    mean_below = np.cumsum(weighted) / below
    mean_above = (np.cumsum(weighted[::-1]) / above[::-1])[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return int(np.argmax(between))
