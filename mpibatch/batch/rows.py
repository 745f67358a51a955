"""The results of a batch in the order of items, of which each rank has an equal share of consecutive ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import RunError
from mpibatch.batch.history import rank_of
from mpibatch.batch.journal import Journal
from mpibatch.batch.payloads import Array, decoded
from mpibatch.mpi import agreed
from mpibatch.mpi.transfers import Target, Transfers, transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpibatch.batch.history import History
    from mpibatch.batch.journal import NoJournal
    from mpibatch.mpi import MPI

__all__ = ["Kind", "Numbers", "ResultRows", "rows_of", "survey"]

Numbers = dict[str, list[tuple[int, Any]]]  # by name: rows and values

ROUND_BYTES = 64 << 20  # of results that are held at once


@dataclass(frozen=True)
class ResultRows:
    """This rank's share.

    Attributes
    ----------
    items : their numbers.
    lengths : bytes of each result.
    first, total : the number of the first row among those of all ranks, and how many these are.
    payload : the bytes of an item's result.
    """

    items: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    first: int
    total: int
    payload: Callable[[int], bytes]

    def rounds(self) -> list[range]:
        """Return these rows in pieces that fit into memory. Local."""
        pieces, low, size = [], 0, 0
        for row, length in enumerate(self.lengths.tolist()):
            if size and size + length > ROUND_BYTES:
                pieces.append(range(low, row))
                low, size = row, 0
            size += length
        return [*pieces, range(low, len(self.items))] if low < len(self.items) else pieces

    def values(self, rows: range) -> Iterator[tuple[int, dict[str, Array]]]:
        """Yield some of these rows: each one's number among all, and its values. Local.

        RunError, after the others, if the results of some have changed since.
        """
        changed: list[RunError] = []
        for row in rows:
            try:
                payload = self.payload(int(self.items[row]))
            except RunError as error:
                changed.append(error)
            else:
                yield self.first + row, decoded(payload)
        if changed:
            raise changed[0]


@dataclass(frozen=True)
class Kind:
    """What all values of one name have in common.

    Attributes
    ----------
    dtypes : all that occur.
    shapes : all that occur, but no more than two.
    count : how many there are.
    """

    dtypes: frozenset[str]
    shapes: frozenset[tuple[int, ...]]
    count: int

    def __add__(self, other: Kind) -> Kind:
        shapes = self.shapes | other.shapes
        few = shapes if len(shapes) <= 2 else frozenset(sorted(shapes)[:2])
        return Kind(self.dtypes | other.dtypes, few, self.count + other.count)

    def is_number(self) -> bool:
        """Whether every value is a single number. Local."""
        return self.shapes == frozenset([()])

    def dtype(self, total: int) -> np.dtype[Any]:
        """Return what holds all values, and NaN where there is none, of `total` rows. Local."""
        dtype = np.result_type(*sorted(self.dtypes))
        if self.count < total and dtype.kind in "biu":
            return np.dtype(np.float64)
        return dtype


def rows_of(comm: MPI.Intracomm, source: Journal | NoJournal, history: History) -> ResultRows:
    """Return this rank's share of what was done. Collective: without a journal results move between ranks."""
    items = np.flatnonzero(history.done)
    cuts = [len(items) * rank // comm.size for rank in range(comm.rank, comm.rank + 2)]
    own = items[slice(*cuts)]
    lengths = history.lengths[own]
    if isinstance(source, Journal):
        return ResultRows(own, lengths, cuts[0], len(items), lambda item: source.result(item, history))
    held = _moved(comm, source, history, items, own)
    return ResultRows(own, lengths, cuts[0], len(items), lambda item: held[item].tobytes())


def _moved(
    comm: MPI.Intracomm, source: NoJournal, history: History, items: npt.NDArray[np.int64], own: npt.NDArray[np.int64]
) -> dict[int, Array]:
    """Bring the results of this rank's rows from the ranks that made them."""
    # Row n is on the first rank whose share ends after it.
    holders = ((np.arange(len(items)) + 1) * comm.size - 1) // max(1, len(items))
    moves, held = Transfers(), {}
    for item, holder in zip(items.tolist(), holders.tolist(), strict=True):
        maker = rank_of(int(history.places[item]))[1]
        if maker == comm.rank:
            payload = np.frombuffer(source.result(item, history), "u1")
            if holder == comm.rank:
                held[item] = payload
            elif payload.size:
                moves.sends.setdefault(holder, []).append(payload)
    for item in own.tolist():
        maker = rank_of(int(history.places[item]))[1]
        if maker != comm.rank:
            held[item] = np.empty(int(history.lengths[item]), "u1")
            if held[item].size:
                moves.receives.setdefault(maker, []).append(Target(held[item], held[item].shape))
    transfer(comm, moves)
    return held


def survey(comm: MPI.Intracomm, rows: ResultRows) -> tuple[dict[str, Kind], Numbers]:
    """Return what the values of each name have in common, on all ranks, and this rank's numbers. Collective.

    Each result is read once, and verified.
    """
    mine: dict[str, Kind] = {}
    numbers: Numbers = {}
    with agreed(comm, "reading the results of a batch"):
        for row, values in rows.values(range(len(rows.items))):
            for name, value in values.items():
                kind = Kind(frozenset([value.dtype.str]), frozenset([value.shape]), 1)
                mine[name] = mine[name] + kind if name in mine else kind
                if not value.shape:
                    numbers.setdefault(name, []).append((row, value[()]))
    every: dict[str, Kind] = comm.allreduce(mine, op=_joined)
    return {name: every[name] for name in sorted(every)}, numbers


def _joined(a: dict[str, Kind], b: dict[str, Kind]) -> dict[str, Kind]:
    return {name: a[name] + b[name] if name in a and name in b else (a.get(name) or b[name]) for name in {**a, **b}}
