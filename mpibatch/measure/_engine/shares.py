"""Which rank each label belongs to: ranges of labels, of which each rank has about as many that occur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Shares"]

Ints = npt.NDArray[np.int64]

BINS = 4096  # that a histogram of labels begins with, and of new ones in a round
ROUNDS = 6  # each makes the bins in which most labels are up to 4096 times narrower: 63 bits are cut after five


@dataclass(frozen=True, slots=True)
class Shares:
    """Whole numbers from `low` to `high`, consecutive ranges of them for the ranks, in order.

    Without `bins` they are equal ranges. `bins` has three rows: where each of a few thousand bins begins, its first
    rank, and how many ranks share it: nothing here grows with the ranks.
    """

    low: int
    high: int
    ranks: int
    bins: Ints | None = None

    @classmethod
    def even(cls, comm: MPI.Intracomm, low: int, high: int, enough: int, occurring: Callable[[], Ints]) -> Shares:
        """Return shares with about as many labels each. Collective.

        Parameters
        ----------
        enough : as many labels as all ranks together have room for, the same on all: up to so wide a range, equal parts
            are small enough, however many labels occur in each.
        occurring : returns this rank's labels, each once; called where the range is wider.
        """
        if high - low < enough:
            return cls(low, high, comm.size)
        with agreed(comm, "sharing out labels"):
            values = np.sort(occurring())
        return cls(low, high, comm.size, _bins(comm, low, high, values))

    def owners(self, values: Ints) -> Ints:
        """Return the rank to which each number belongs. Local."""
        if self.ranks == 1:
            return np.zeros(len(values), np.int64)
        if self.bins is None:
            share = max(0, self.high - self.low) // self.ranks + 1
            return np.minimum((values - self.low) // share, self.ranks - 1)
        starts, first, ranks = self.bins
        place = np.searchsorted(starts, values, "right") - 1
        share = (_lasts(starts, self.high) - starts) // ranks + 1
        owners: Ints = first[place] + (values - starts[place]) // share[place]
        return owners


def _bins(comm: MPI.Intracomm, low: int, high: int, values: Ints) -> Ints:
    """Bins of which none has much more than others, where there is more than one number in it. Collective."""
    starts = _parts(low, high, BINS)
    counts = _counted(comm, values, starts)
    total = max(1, int(counts.sum()))
    for _ in range(ROUNDS):
        lasts = _lasts(starts, high)
        if not ((counts > max(1, 2 * total // BINS)) & (lasts > starts)).any():
            break
        parts = counts * BINS // total
        starts = np.concatenate(
            [_parts(*each) for each in zip(starts.tolist(), lasts.tolist(), parts.tolist(), strict=True)]
        )
        counts = _counted(comm, values, starts)
    # Whole numbers throughout: all ranks must agree. The last bins may be empty, and after the last rank's.
    first = np.minimum((np.cumsum(counts) - counts) * comm.size // total, comm.size - 1)
    return np.stack([starts, first, np.maximum(1, np.diff(first, append=comm.size - 1))])


def _counted(comm: MPI.Intracomm, values: Ints, starts: Ints) -> Ints:
    """How many of all ranks' numbers are in each bin."""
    counts: Ints = np.diff(np.searchsorted(values, starts), append=len(values))
    comm.Allreduce(MPI.IN_PLACE, counts, op=MPI.SUM)
    return counts


def _lasts(starts: Ints, high: int) -> Ints:
    """The last number of each bin: where the next one begins may be beyond 63 bits."""
    return np.append(starts[1:] - 1, high)


def _parts(first: int, last: int, parts: int) -> Ints:
    """Where equal parts of a range begin: as many as there are numbers in it, if that is fewer."""
    parts = max(1, min(parts, last - first + 1))
    # Not by a product, which 63 bits need not hold.
    step, more = divmod(last - first + 1, parts)
    place = np.arange(parts, dtype=np.int64)
    return first + place * step + np.minimum(place, more)
