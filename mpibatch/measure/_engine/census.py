"""The labels of a block."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.measure._engine.memory import signed
from mpibatch.measure._engine.rows import ROOM

__all__ = ["Census"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


class Census:
    """The labels that occur in a block, none of which is negative or has more than 63 bits. Local.

    Attributes
    ----------
    values, counts : the labels, in order, and how many cells have each.
    """

    def __init__(self, owned: Array) -> None:
        from mpibatch.measure._loops import census, regions

        self._cells = np.ascontiguousarray(signed(owned)).reshape(-1)
        begin, used, room = 0, 1, ROOM
        known, counts = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._keys = self._slots = np.zeros(2, np.int64)
        while begin < self._cells.size:
            known = np.concatenate([known[:used], np.empty(room, np.int64)])
            counts = np.concatenate([counts[:used], np.zeros(room, np.int64)])
            self._keys, self._slots = np.zeros((2, 1 << (2 * len(known) - 1).bit_length()), np.int64)
            regions.rehash(known[1:used], self._keys, self._slots)
            self._slots[self._keys != 0] += 1
            begin, used = census.count(self._cells, begin, used, self._keys, self._slots, known, counts)
            room = len(known)
        self._order = np.argsort(known[:used])[int(counts[0] == 0) :]
        self._used = used
        self.values, self.counts = known[self._order], counts[self._order]

    def put(self, table: Array, out: Array) -> None:
        """Write to a contiguous array what the table has for each cell's label, in the order of `values`. Local."""
        from mpibatch.measure._loops import census

        by_slot = np.zeros(self._used, out.dtype)
        by_slot[self._order] = table
        census.put(self._cells, self._keys, self._slots, by_slot, out.reshape(-1))
