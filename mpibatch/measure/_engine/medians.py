"""The median of each label's values, chosen and not estimated: by halving the range in which it can be.

What lies on one rank alone is sorted there. Of a label on several, its rank asks all for the number of values up to a
pivot, some 64 times at most; values themselves do not travel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.measure._engine.tallies import MAGNITUDE, sortable
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.routes import ask, forward

__all__ = ["medians"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
LAST = np.iinfo(np.int64).max


def _keys_of(values: Array) -> Ints:
    """Return integers that order as values do; NaN is somewhere. Local."""
    if values.dtype.kind == "f":
        return sortable(values.astype(np.float64))
    if values.dtype == np.uint64:
        return (values ^ np.uint64(1 << 63)).view(np.int64)
    return values.astype(np.int64)


def _values_of(keys: Ints, dtype: np.dtype[Any]) -> npt.NDArray[np.float64]:
    """Return as floats what has these keys. Local."""
    if dtype.kind == "f":
        return np.where(keys >= 0, keys, keys ^ MAGNITUDE).view(np.float64)
    if dtype == np.uint64:
        return (keys.view(np.uint64) ^ np.uint64(1 << 63)).astype(np.float64)
    return keys.astype(np.float64)


def _merged(rows: Ints) -> Ints:
    """Return a row (label, sum, least, greatest) for each label, in order. Local."""
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    starts = np.flatnonzero(np.diff(rows[:, 0], prepend=0))
    if len(starts) == len(rows):
        return rows
    result = rows[starts]
    for column, fold in enumerate((np.add, np.minimum, np.maximum), 1):
        result[:, column] = fold.reduceat(rows[:, column], starts)
    return result


class _Parts:
    """The values of this rank's cells, sorted by label, and then by size."""

    def __init__(self, labels: Field, values: Field) -> None:
        inside = labels.owned > 0
        names, keys = labels.owned[inside].astype(np.int64), _keys_of(values.owned[inside])
        order = np.lexsort((keys, names))
        names, self._keys = names[order], keys[order]
        starts = np.flatnonzero(np.diff(names, prepend=0))
        self.names = names[starts]
        self._starts = np.append(starts, len(names)).astype(np.int64)

    def up_to(self, pivots: Ints) -> Ints:
        """Return rows of: label, values up to its pivot, the least above that, and its greatest. Local."""
        from mpibatch.measure._loops.medians import count_up_to

        counts, after = np.empty((2, len(self.names)), np.int64)
        count_up_to(self._keys, self._starts, pivots, counts, after)
        return np.column_stack([self.names, counts, after, self._keys[self._starts[1:] - 1]])

    def of_rank(self, chosen: Array, rank: Ints) -> Ints:
        """Return the keys of these ranks in the chosen parts. Local."""
        keys: Ints = self._keys[self._starts[:-1][chosen] + rank]
        return keys

    @property
    def sizes(self) -> Ints:
        """How many cells each label has on this rank."""
        return np.diff(self._starts)


def medians(labels: Field, values: Field, share: int, known: Ints, count: Ints) -> npt.NDArray[np.float64]:
    """Return the medians of these labels of so many cells, this rank's share of all. Collective."""
    comm = labels.grid.comm
    with agreed(comm, "regionprops_table"), phase("compute"):
        parts = _Parts(labels, values)
    to = (parts.names - 1) // share
    first, second = (count - 1) // 2, count // 2
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
    pairs[shared] = _halved(comm, parts, ~alone, share, known, shared, first[shared], second[shared])
    low, high = _values_of(pairs[:, 0], values.dtype), _values_of(pairs[:, 1], values.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        both = (low + high) / 2
        return np.where(np.isinf(both) & np.isfinite(low) & np.isfinite(high), low / 2 + high / 2, both)


def _halved(
    comm: MPI.Intracomm, parts: _Parts, mine: Array, share: int, known: Ints, shared: Ints, first: Ints, second: Ints
) -> Ints:
    """Return the keys of two ranks for labels that several ranks have: those numbered `shared`. Collective."""
    to, slots = (parts.names[mine] - 1) // share, np.searchsorted(known[shared], known)
    pivots = np.full(len(shared), LAST)

    def counted() -> Ints:
        """Return (label, values up to the pivot, the least above it, the greatest) over all ranks."""
        given = ask(comm, to, parts.names[mine], lambda names: pivots[slots[np.searchsorted(known, names)], None])
        every = np.zeros(len(parts.names), np.int64)
        every[mine] = given[:, 0]
        return _merged(forward(comm, to, parts.up_to(every)[mine], _merged))

    with phase("halo"):
        high = counted()[:, 3]
        pivots[:] = -LAST - 1
        rows = counted()
        low = np.where(rows[:, 1] > 0, -LAST - 1, rows[:, 2])
        while True:
            mine_open = np.array([np.count_nonzero(low < high)], np.int64)
            left = np.empty_like(mine_open)
            with REDUCTION:
                comm.Allreduce(mine_open, left, op=MPI.SUM)
            if not left[0]:
                break
            pivots[:] = (low & high) + ((low ^ high) >> 1)
            enough = counted()[:, 1] > first
            high = np.where(enough, pivots, high)
            low = np.where(enough, low, np.minimum(pivots, LAST - 1) + 1)
        pivots[:] = low
        rows = counted()
    return np.column_stack([low, np.where(rows[:, 1] > second, low, rows[:, 2])])
