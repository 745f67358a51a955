"""Plateaus over any number of ranks: a mark that spreads among neighbors of equal value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.halo import padded_copy
from mpibatch.segment._engine.growth import lowest
from mpibatch.segment._engine.relaxation import lines_of, relax

if TYPE_CHECKING:
    from mpibatch.segment._engine.neighborhood import Neighborhood

__all__ = ["REACHED", "Plateaus"]

OPEN, REACHED, CLOSED = 0, 1, 2  # as in the loops


class Plateaus:
    """The cells of a field, and for each whether the mark has reached it. Collective to create: one exchange.

    Attributes
    ----------
    state : u1 view of the owned cells: 1 marked, else not; what is marked at the start spreads.
    """

    __slots__ = ("_cells", "_field", "_lines", "_name", "_near", "state")

    def __init__(self, name: str, u: Field, near: Neighborhood, beyond: Any = 0) -> None:
        """Fetch the halo; `beyond` is the value outside the walls. Collective."""
        check_memory(u.grid, name, padded_bytes(u, near.reach, u.dtype.itemsize + 1))
        cells = padded_copy(u, near.reach, "constant", beyond)
        self._cells = as_numbers(cells).reshape(-1)
        self._name, self._near = name, near
        self._field = Field(u.grid, np.uint8, near.reach)
        self._field.padded[...] = OPEN
        self._lines = lines_of(self._field)
        self.state = self._field.owned

    def mark_exceeded(self, floor: Any) -> None:
        """Mark the cells that a neighbor exceeds, and those that have the value `floor`. Local."""
        from mpibatch.segment._loops.plateaus import exceeded

        if not self.state.size:
            return
        least = lowest(self._cells.dtype)
        rows, steps = self._near.rows(self._field.padded.shape)
        with timed("compute"):
            exceeded(
                self._cells,
                self._field.padded.reshape(-1),
                self._lines.bases,
                self._lines.length,
                rows,
                steps,
                least,
                self._cells.dtype.type(floor),
            )

    def run(self) -> int:
        """Let marks spread until none can any more; return the rounds that it took. Collective."""
        from mpibatch.segment._loops.plateaus import reach

        lines, steps = self._lines, self._near.flat(self._field.padded.shape)
        state = self._field.padded.reshape(-1)

        def solve(is_first: bool) -> bool:
            for view in self._shells():
                view[view == OPEN] = CLOSED  # cells of other ranks are theirs to mark
            return bool(
                reach(
                    self._cells,
                    state,
                    lines.bases,
                    lines.length,
                    lines.at_face,
                    lines.low,
                    lines.high,
                    steps.every,
                    is_first,
                )
            )

        return relax(self._name, self._field, solve, CLOSED)

    def _shells(self) -> list[npt.NDArray[Any]]:
        """Return views that make up the halo. Local."""
        padded = self._field.padded
        return [
            padded[(slice(None),) * axis + (part,)]
            for axis, (low, high) in enumerate(self._field.halo)
            for part in (slice(0, low), slice(padded.shape[axis] - high, None))
        ]
