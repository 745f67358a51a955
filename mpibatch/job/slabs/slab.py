"""Slabs of a volume: planes along axis 0, those around them that steps read, and their cells over all ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.domain import Box
from mpibatch.fields.field import Field
from mpibatch.fields.grid import Grid
from mpibatch.fields.pencils import alike
from mpibatch.fields.plans import planned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.job.passes.schedule import SlabPass

__all__ = ["Slab", "converted", "cropped", "slabs_of"]


@dataclass(frozen=True)
class Slab:
    """Planes from `start` to `stop`, and from `low` to `high` with what is read around them."""

    start: int
    stop: int
    low: int
    high: int

    @classmethod
    def alone(cls, start: int, stop: int) -> Slab:
        """Return a slab without planes around it. Local."""
        return cls(start, stop, start, stop)

    def grid(self, base: Grid) -> Grid:
        """Return the grid of all its planes, cut as `base` is. Collective the first time."""
        return alike(base, (self.high - self.low, *base.shape[1:]))

    def inside(self, grid: Grid) -> Box:
        """Return the box of its own planes in that grid. Local."""
        zeros = (0,) * (grid.ndim - 1)
        return Box((self.start - self.low, *zeros), (self.stop - self.low, *grid.shape[1:]))


def slabs_of(slab_pass: SlabPass, planes: int, height: int, start: int = 0) -> Iterator[Slab]:
    """Yield the slabs of a pass from plane `start` on. Local."""
    for low in range(start, planes, height):
        first = max(0, low - slab_pass.reach[0]) // slab_pass.period * slab_pass.period
        yield Slab(low, min(low + height, planes), first, min(planes, low + height + slab_pass.reach[1]))


def cropped(u: Field, low: int, high: int) -> Field:
    """Return the planes from `low` to `high` as a field, in which every rank has what it has of them. Local.

    Collective the first time: the grid is kept with that of `u`.
    """
    grid = u.grid
    if (low, high) == (0, grid.shape[0]):
        return u
    part = planned(grid, ("planes", low, high), lambda: _grid_of(grid, low, high))
    result = Field(part, u.dtype, 0, u.components)
    start = grid.box.start[0]
    if result.owned.size:
        result.owned[...] = u.owned[part.box.start[0] + low - start : part.box.stop[0] + low - start]
    return result


def converted(u: Field, dtype: str) -> Field:
    """Return a field with this dtype, perhaps itself. Local."""
    return u if u.dtype == dtype else u.astype(dtype)


def _grid_of(grid: Grid, low: int, high: int) -> Grid:
    sizes = []
    for axis, blocks in enumerate(grid.decomposition.axes):
        ends = [blocks.bounds(number) for number in range(blocks.parts)]
        if axis == 0:
            ends = [(min(max(a, low), high), min(max(b, low), high)) for a, b in ends]
        sizes.append([b - a for a, b in ends])
    return Grid(
        (high - low, *grid.shape[1:]),
        comm=grid.comm,
        topology=grid.topology,
        sizes=sizes,
        periodic=grid.periodic,
        spacing=grid.spacing,
        origin=grid.origin,
        units=grid.units,
        axes=grid.axes,
    )
