"""The median of each label's values, chosen and not estimated: by narrowing the range in which it can be.

What lies on one rank alone is sorted there. Of a label on several, its rank asks all for the numbers of values up to
some pivots, in rounds of four binary places each; values themselves do not travel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.progress.rounds import note
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.measure._engine.rows import fold_rows, sum_rows
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.routes import ask, forward
from mpibatch.reduce.order.keys import keys_of, values_of

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.measure._engine.shares import Shares

__all__ = ["medians"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
PIVOTS = 15  # four binary places a round


def _unsigned_zeros(values: Array) -> Array:
    """Return the same values, but 0.0 for -0.0. Local."""
    return np.asarray(values + values.dtype.type(0)) if values.dtype.kind == "f" else values


def _merged(rows: Ints) -> Ints:
    """Return a row (label, sum, least, greatest) for each label, in order. Local."""
    return fold_rows(rows, (np.add, slice(1, 2)), (np.minimum, slice(2, 3)), (np.maximum, slice(3, 4)))


def _pivots(low: Ints, high: Ints) -> Ints:
    """Return numbers that cut each range into even parts. Local."""
    width = high.view(np.uint64) - low.view(np.uint64)
    steps = (width // np.uint64(PIVOTS + 1) + np.uint64(1))[:, None] * np.arange(1, PIVOTS + 1, dtype=np.uint64)
    return (low.view(np.uint64)[:, None] + np.minimum(steps - np.uint64(1), width[:, None])).view(np.int64)


class _Parts:
    """The values of this rank's cells, sorted by label, and then by size."""

    def __init__(self, labels: Field, values: Field) -> None:
        inside = labels.owned > 0
        names, keys = labels.owned[inside].astype(np.int64), keys_of(_unsigned_zeros(values.owned[inside]))
        order = np.lexsort((keys, names))
        names, self._keys = names[order], keys[order]
        starts = np.flatnonzero(np.diff(names, prepend=0))
        self.names = names[starts]
        self._starts = np.append(starts, len(names)).astype(np.int64)

    def ends(self) -> Ints:
        """Return rows of: label, 0, its least and its greatest key. Local."""
        starts = self._starts
        return np.column_stack([self.names, self.sizes * 0, self._keys[starts[:-1]], self._keys[starts[1:] - 1]])

    def up_to(self, chosen: Array, pivots: Ints) -> tuple[Ints, Ints]:
        """Return how many keys of the chosen parts are at most their pivots, and the least above the last. Local."""
        from mpibatch.measure._loops.medians import count_up_to

        counts, after = np.empty(pivots.shape, np.int64), np.empty(len(pivots), np.int64)
        count_up_to(self._keys, self._starts[:-1][chosen], self._starts[1:][chosen], pivots, counts, after)
        return counts, after

    def of_rank(self, chosen: Array, rank: Ints) -> Ints:
        """Return the keys of these ranks in the chosen parts. Local."""
        keys: Ints = self._keys[self._starts[:-1][chosen] + rank]
        return keys

    @property
    def sizes(self) -> Ints:
        """How many cells each label has on this rank."""
        return np.diff(self._starts)


def medians(labels: Field, values: Field, shares: Shares, known: Ints, count: Ints) -> npt.NDArray[np.float64]:
    """Return the medians of these labels of so many cells, this rank's share of all. Collective."""
    comm = labels.grid.comm
    with agreed(comm, "regionprops_table"), phase("compute"):
        parts = _Parts(labels, values)
    to = shares.owners(parts.names)
    with phase("halo"):
        total = ask(comm, to, parts.names, lambda names: count[np.searchsorted(known, names), None])[:, 0]
        # (label, least, its pair) of what lies on one rank alone: the two in the middle.
        alone = total == parts.sizes
        middle = np.column_stack(
            [parts.names[alone]] + [parts.of_rank(alone, rank) for rank in ((total[alone] - 1) // 2, total[alone] // 2)]
        )
        middle = forward(comm, to[alone], middle)
    pairs = np.empty((len(known), 2), np.int64)
    done = np.searchsorted(known, middle[:, 0])
    pairs[done] = middle[:, 1:]
    is_open = np.ones(len(known), np.bool_)
    is_open[done] = False
    shared = np.flatnonzero(is_open)
    pairs[shared] = _narrowed(comm, parts, ~alone, shares, known[shared], count[shared])
    low, high = (values_of(keys, values.dtype).astype(np.float64) for keys in pairs.T)
    with np.errstate(over="ignore", invalid="ignore"):
        both = (low + high) / 2
        return np.where(np.isinf(both) & np.isfinite(low) & np.isfinite(high), low / 2 + high / 2, both)


def _narrowed(comm: MPI.Intracomm, parts: _Parts, mine: Array, shares: Shares, known: Ints, count: Ints) -> Ints:
    """Return the keys in the middle of labels of so many cells: of those `known` that several ranks have. Collective.

    `mine` : which parts of this rank are of such labels.
    """
    names, first, second = parts.names[mine], (count - 1) // 2, count // 2
    to = shares.owners(names)

    def pivots_of_parts(pivots: Ints) -> Ints:
        """Return the pivots of the labels that this rank has a part of."""
        return ask(comm, to, names, lambda keys: pivots[np.searchsorted(known, keys)])

    with phase("halo"):
        ends = _merged(forward(comm, to, parts.ends()[mine], _merged))
        low, high = ends[:, 2].copy(), ends[:, 3].copy()
        while True:
            still, left = np.array([np.count_nonzero(low < high)], np.int64), np.empty(1, np.int64)
            with REDUCTION:
                comm.Allreduce(still, left, op=MPI.SUM)
            note(int(left[0]))
            if not left[0]:
                break
            pivots = _pivots(low, high)
            counts, _ = parts.up_to(mine, pivots_of_parts(pivots))
            is_enough = sum_rows(forward(comm, to, np.column_stack([names, counts]), sum_rows))[:, 1:] > first[:, None]
            # The least pivot with enough keys up to it, and the one before.
            place = np.where(is_enough.any(axis=1), is_enough.argmax(axis=1), PIVOTS)
            every = np.column_stack([low - 1, pivots, high])
            row = np.arange(len(low))
            low, high = np.where(place > 0, every[row, place] + 1, low), every[row, place + 1]
        counts, after = parts.up_to(mine, pivots_of_parts(low[:, None]))
        rows = _merged(forward(comm, to, np.column_stack([names, counts, after, after]), _merged))
    return np.column_stack([low, np.where(rows[:, 1] > second, low, rows[:, 2])])
