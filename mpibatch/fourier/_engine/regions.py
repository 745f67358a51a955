"""A region of cells brought to another place, on the same or on another grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.domain import Box
from mpibatch.fields.redistribution import move

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mpibatch.domain import Decomposition
    from mpibatch.fields.field import Field

__all__ = ["bring"]


@dataclass(frozen=True, slots=True)
class _Offset:
    """Who owns the cells of a region, which are numbered by where they shall go."""

    decomposition: Decomposition
    region: Box
    offset: Sequence[int]

    def box(self, rank: int) -> Box:
        return _moved(self.decomposition.box(rank).intersect(self.region), self.offset, 1)

    def overlapping(self, box: Box) -> Iterable[int]:
        return self.decomposition.overlapping(_moved(box, self.offset, -1).intersect(self.region))


def _moved(box: Box, offset: Sequence[int], sign: int) -> Box:
    return Box(
        tuple(low + sign * by for low, by in zip(box.start, offset, strict=True)),
        tuple(high + sign * by for high, by in zip(box.stop, offset, strict=True)),
    )


def bring(u: Field, region: Box, offset: Sequence[int], target: Field) -> None:
    """Copy the cells of a region to `target`, so much further along each axis. Collective."""
    mine = u.box.intersect(region)
    old = _Offset(u.grid.decomposition, region, tuple(offset))
    move(u.grid.comm, old, u.owned[mine.slices(u.box.start)], target.grid.decomposition, target.owned)
