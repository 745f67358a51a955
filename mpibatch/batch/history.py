"""What became of every item so far, in this run and in earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.batch import records
from mpibatch.batch.log import Failure, failure_of
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["KILLS", "History", "Notes", "place_of", "rank_of"]

Ints = npt.NDArray[np.int64]

KILLS = 2  # runs that ended while an item ran, after which it is left out
RANK_BITS = 32

Failures = dict[int, tuple[int, Failure]]  # by item, with their places
Notes = tuple[int, bytes]  # a place, and the records of the rank and run that it stands for
Opened = Callable[[int, "Iterator[records.Record]"], "Iterator[records.Record]"]


def place_of(run: int, rank: int) -> int:
    """Return a number, not 0, for a rank of a run. Local."""
    return run << RANK_BITS | rank + 1


def rank_of(place: int) -> tuple[int, int]:
    """Return run and rank of a place. Local."""
    return place >> RANK_BITS, (place & (1 << RANK_BITS) - 1) - 1


@dataclass
class History:
    """Of every item, on every rank.

    Attributes
    ----------
    places : where its result is kept: of the rank and run that made it, see `place_of`; 0: there is none.
    offsets, lengths, digests : the bytes of the result there.
    unended : in how many runs it began, and neither ended nor was the run asked to stop.
    failures : of those that failed and have no result.
    """

    places: Ints
    offsets: Ints
    lengths: Ints
    digests: Ints
    unended: Ints
    failures: dict[int, Failure] = field(default_factory=dict)

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        """Whether there is a result. Local."""
        return self.places > 0

    @property
    def killers(self) -> npt.NDArray[np.bool_]:
        """Whether it ended its rank in so many runs that it is left out. Local."""
        return ~self.done & (self.unended >= KILLS)

    @property
    def left(self) -> npt.NDArray[np.bool_]:
        """Whether it has neither a result nor a failure. Local."""
        open_ = ~self.done & ~self.killers
        open_[[*self.failures]] = False
        return open_


def collected(
    comm: MPI.Intracomm, mark: int, total: int, notes: Iterable[Notes], opened: Opened | None = None
) -> History:
    """Return what the notes of all ranks tell together, each of which is read by one rank. Collective.

    `opened` makes plain records of those of a place, if they are sealed.
    """
    own = _Own(total)
    for place, text in notes:
        noted = records.scan(text, mark)
        own.add(place, noted if opened is None else opened(place, noted))
    lost: set[tuple[int, int]] = comm.allreduce(own.lost, op=set.union)
    places = np.zeros(total, np.int64)
    for item, place in own.results:
        if (item, place) not in lost:
            places[item] = max(places[item], place)
    mine = places.copy()
    comm.Allreduce(MPI.IN_PLACE, places, op=MPI.MAX)
    where = np.full((3, total), np.iinfo(np.int64).min)
    for item in np.flatnonzero((mine == places) & (places > 0)).tolist():
        where[:, item] = own.results[item, mine[item]]
    comm.Allreduce(MPI.IN_PLACE, where, op=MPI.MAX)
    comm.Allreduce(MPI.IN_PLACE, own.unended, op=MPI.SUM)
    failures: Failures = comm.allreduce(own.failures, op=_merge)
    # In order of items, whoever read them.
    kept = {item: failures[item][1] for item in sorted(failures) if not places[item]}
    return History(places, where[0], where[1], where[2], own.unended, kept)


class _Own:
    """What one rank has read."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.results: dict[tuple[int, int], tuple[int, int, int]] = {}
        self.failures: Failures = {}
        self.lost: set[tuple[int, int]] = set()
        self.unended = np.zeros(total, np.int64)

    def add(self, place: int, notes: Iterator[records.Record]) -> None:
        """Add what a rank noted in a run."""
        begun: set[int] = set()
        raised: Failures = {}
        for kind, item, data in notes:
            if not 0 <= item < self.total:
                continue
            if kind == records.START:
                begun.add(item)
                continue
            if kind == records.LOST:
                self.lost.add((item, int.from_bytes(data, "little")))
                continue
            if kind == records.RAISED:
                raised.pop(item, None)
                if data:
                    raised[item] = place, failure_of(item, data)
                continue
            begun.discard(item)
            if kind == records.DONE:
                offset, length, digest = records.PLACE.unpack(data)
                self.results[item, place] = offset, length, digest - (1 << 64) * (digest >> 63)
            elif kind == records.FAILED:
                _keep_latest(self.failures, item, (place, failure_of(item, data)))
        self.failures = _merge(self.failures, raised)
        self.unended[[*begun]] += 1


def _merge(a: Failures, b: Failures) -> Failures:
    """Keep the latest of each item."""
    both = dict(a)
    for item, entry in b.items():
        _keep_latest(both, item, entry)
    return both


def _keep_latest(failures: Failures, item: int, entry: tuple[int, Failure]) -> None:
    if item not in failures or failures[item][0] <= entry[0]:
        failures[item] = entry
