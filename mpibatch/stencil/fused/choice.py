"""Whether and how the steps of a kernel can be fused on a grid, with its walls.

An axis is wide if its halo grows with the number k of fused steps, and the cells in it are computed again on every
rank that holds them: axes that other ranks share, and periodic ones that the wavefront or its tiles run along. On
the others, and at walls, cells outside are filled level by level from cells of this rank: their sources are never
further inside than the reach, and cells there are computed as long as cells at the wall read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.stencil.walls import Condition, Sides, conditions_along

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.fields.grid import Grid
    from mpibatch.stencil.fused.wavefront import Chain
    from mpibatch.stencil.kernel import Kernel

__all__ = ["LEAST_BLOCK", "FusionLayout", "layout_of"]

Walls = tuple[Condition | None, Condition | None]

# A block has so many times the reach of all fused steps along a wide axis; more would mostly compute halo cells.
LEAST_BLOCK = 8
MOST_STEPS = 64  # fused; rings of more would leave the cache whatever the tile


@dataclass(frozen=True, slots=True)
class FusionLayout:
    """How a kernel is fused on a grid.

    Attributes
    ----------
    reach : of all fields to both sides, per axis.
    wide : whether an axis is wide.
    wraps : whether a wide axis has no walls.
    limit : the most steps that can be fused.
    walls : per chain and axis the conditions that count, None where its fields are not read beyond them.
    """

    reach: tuple[int, ...]
    wide: tuple[bool, ...]
    wraps: tuple[bool, ...]
    limit: int
    walls: tuple[tuple[Walls | None, ...], ...]

    def halo(self, steps: int) -> tuple[tuple[int, int], ...]:
        """The halo that fields need for so many fused steps. Local."""
        widths = [r * steps if wide else r for r, wide in zip(self.reach, self.wide, strict=True)]
        return tuple((width, width) for width in widths)

    def exchanged(self, steps: int) -> tuple[tuple[int, int], ...]:
        """The part of it that other cells have to come to. Local."""
        widths = [r * steps if wide else 0 for r, wide in zip(self.reach, self.wide, strict=True)]
        return tuple((width, width) for width in widths)


def layout_of(kernel: Kernel, grid: Grid, sides: Mapping[str, Sides], chains: Sequence[Chain]) -> FusionLayout | None:
    """Return how the kernel's steps can be fused, None if they cannot. Local, and the same on every rank."""
    if kernel.backend != "numba":
        return None
    footprint = kernel.footprint_on(grid.ndim)
    markers = {(op.name, op.data) for op in kernel.program.ops}
    names = list(footprint.fields)
    reach = tuple(max(pair) for pair in footprint.reach)
    walls: list[list[Walls | None]] = [[None] * grid.ndim for _ in chains]
    wide, wraps, limit = [False] * grid.ndim, [False] * grid.ndim, MOST_STEPS
    for axis in range(grid.ndim):
        readers = [n for n in names if any(footprint.fields[n].reach[axis])]
        reading = {n: conditions_along(axis, sides[n], grid.periodic) for n in readers}
        for chain_walls, chain in zip(walls, chains, strict=True):
            own = {reading[names[n]] for n in chain.inputs if names[n] in reading}
            if len(own) > 1:
                return None  # one value, two halos
            chain_walls[axis] = (
                _as_read(own.pop(), [footprint.fields[names[n]].reach[axis] for n in chain.inputs]) if own else None
            )
        entries = [condition for pair in reading.values() for condition in pair]
        wrapped = [condition.kind == "wrap" for condition in entries]
        is_whole = grid.topology[axis] == 1
        # The wavefront runs along axis 0, tiles cut axis 1 (in 1-D, axis 0).
        wide[axis] = bool(reading) and (not is_whole or (axis < 2 and all(wrapped)))
        wraps[axis] = wide[axis] and all(wrapped)
        if any(condition.kind == "function" for condition in entries):
            return None
        if any(wrapped) and not all(wrapped) and (not is_whole or axis < 2):
            return None
        if wraps[axis] and not markers.isdisjoint({("index", axis), ("coordinate", axis)}):
            return None  # cells that are computed again have another index here
        if wide[axis]:
            limit = min(limit, grid.shape[axis] // reach[axis])
        if reading and grid.shape[axis] <= reach[axis]:
            limit = 1
    return FusionLayout(reach, tuple(wide), tuple(wraps), limit, tuple(map(tuple, walls))) if limit > 1 else None


def _as_read(pair: Walls, widths: Sequence[tuple[int, int]]) -> Walls:
    """Return the conditions of the sides that are read beyond."""
    return pair[0] if any(low for low, _ in widths) else None, pair[1] if any(high for _, high in widths) else None
