"""Connected objects of a Field over any number of ranks, and what is to be known of each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.filters._engine.memory import check_memory, largest_block
from mpibatch.measure._components.components import BlockComponents, Joint
from mpibatch.measure._engine.places import wide
from mpibatch.measure._engine.structure import backward
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from mpibatch.segment._engine.neighborhood import Neighborhood

__all__ = ["Objects", "Part", "joins_only_close", "wall_parts"]

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Part = tuple[slice, ...]


def joins_only_close(near: Neighborhood) -> bool:
    """Whether `Objects` can be made of a neighborhood: a symmetric one, of cells that share a corner. Local."""
    return near.is_symmetric and bool((np.abs(near.steps) <= 1).all())


class Objects:
    """The objects of a field, seen from a rank: those that have cells in its block. Collective to create.

    Arrays have an entry for each of these objects, from index 1 on; entry 0 is for what is in none. Cells are in an
    object if they are not zero; those of different values only belong together unless `by_value`.
    """

    def __init__(self, name: str, u: Field, near: Neighborhood, *, by_value: bool = False) -> None:
        offsets = backward(near.form())
        # The labels; what else there is grows with the number of runs of cells, which nobody knows before.
        item = 8 if wide(u.grid.shape) else 4
        check_memory(u.grid, name, item * math.prod(largest_block(u.grid)), "labels", "take more ranks")
        with agreed(u.grid.comm, name), timed("compute"):
            labels = Field(u.grid, np.int64 if wide(u.grid.shape) else np.int32)
            self._block = BlockComponents(
                u.grid.shape, u.box, u.owned, labels.owned, offsets=offsets, by_value=by_value
            )
        self._joint = Joint(u.grid, self._block, offsets)

    def sizes(self) -> Ints:
        """Return how many cells each object has. Collective."""
        with timed("compute"):
            counts = self._block.counts()
        self._joint.total(counts)
        return counts

    def touch(self, parts: list[Part], where: Bools | None = None) -> Bools:
        """Return which objects have a cell in one of the parts of a block, where it is True. Collective."""
        with timed("compute"):
            marks = np.zeros(self._block.count + 1, np.int64)
            for part in parts:
                np.maximum(marks, self._block.marked(part, where) > 0, out=marks)
        self._joint.total(marks, np.maximum)
        return np.asarray(marks != 0)

    def select(self, chosen: Bools, out: Field | Any) -> None:
        """Write to a field of bool which cells are of a chosen object. Local."""
        with timed("compute"):
            self._block.select(chosen, out.owned)


def wall_parts(u: Field, width: int) -> list[tuple[int, Part]]:
    """Return the parts of a block that are within `width` cells of a wall, each with the wall's axis. Local."""
    parts = []
    for axis, (wraps, n) in enumerate(zip(u.grid.periodic, u.grid.shape, strict=True)):
        start, stop = u.box.start[axis], u.box.stop[axis]
        for low, high in ((0, width), (n - width, n)):
            if not wraps and max(start, low) < min(stop, high):
                index = slice(max(start, low) - start, min(stop, high) - start)
                parts.append((axis, (slice(None),) * axis + (index,)))
    return parts
