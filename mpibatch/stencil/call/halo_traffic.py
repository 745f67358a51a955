"""Whose walls a compiled sweep fills itself: fields all of whose cells outside the domain come from the same rank."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mpibatch.base.tally import Need, need
from mpibatch.stencil.compiled.edges import Edges
from mpibatch.stencil.compiled.fills import AXES, FAR, Surroundings
from mpibatch.stencil.compiled.numba_run import flat_arguments
from mpibatch.stencil.compiled.types import Array, Stored
from mpibatch.stencil.walls import Condition, Sides, conditions_along

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.stencil.language.footprint import Reach

__all__ = ["edges_of", "exchanged", "need_of", "within_ranks"]


def within_ranks(grid: Grid, sides: Sides, reach: Reach) -> bool:
    """Whether no wall needs cells of another rank, nor a user's function. Local, and the same on every rank."""
    for axis, widths in enumerate(reach):
        if not any(widths):
            continue
        kinds = {condition.kind for condition in conditions_along(axis, sides, grid.periodic)}
        if "function" in kinds:
            return False
        if grid.topology[axis] > 1 and kinds != {"wrap"}:
            blocks = grid.decomposition.axes[axis]
            bounds = map(blocks.bounds, range(blocks.parts))
            # The furthest source is one that is mirrored at a cell's center.
            if "wrap" in kinds or min(high - low for low, high in bounds) <= max(widths):
                return False
    return True


def exchanged(grid: Grid, sides: Sides, reach: Reach) -> tuple[Reach, tuple[tuple[str | None, str | None], ...]]:
    """Return how wide, and by which modes, other ranks' cells have to come where the sweep fills the walls. Local."""
    shared = [parts > 1 for parts in grid.topology]
    wraps = [_is_wrapped(grid, sides, axis) for axis in range(grid.ndim)]
    modes = (("wrap", "wrap") if cut and wrap else (None, None) for cut, wrap in zip(shared, wraps, strict=True))
    return tuple(pair if cut else (0, 0) for pair, cut in zip(reach, shared, strict=True)), tuple(modes)


def need_of(fields: Sequence[Field], sides: Sides, reach: Reach, corners: bool, steps: int = 1) -> Need:
    """Return what would have to come for fields if all axes were shared by ranks. Local."""
    grid = fields[0].grid
    wraps = tuple(_is_wrapped(grid, sides, axis) for axis in range(grid.ndim))
    nbytes = sum(field.dtype.itemsize * math.prod(field.components) for field in fields)
    return need(grid.shape, reach, corners and sum(map(any, reach)) > 1, wraps, nbytes, steps)


def edges_of(field: Field, sides: Sides, reach: Reach, corners: bool) -> Edges:
    """Return what the sweep is to fill around a field. Local."""
    grid, box = field.grid, field.box
    # Axes that the grid does not have are one cell long, and have no walls.
    cells, domain, widths, spacing = [1] * 3, [(0, 1)] * 3, [(0, 0)] * 3, [1.0] * 3
    conditions: list[tuple[Condition, ...]] = [()] * 3
    for at, axis in enumerate(AXES[grid.ndim]):
        if axis is None:
            continue
        cells[at], widths[at], spacing[at] = box.shape[axis], reach[axis], grid.spacing[axis]
        if grid.topology[axis] > 1 and _is_wrapped(grid, sides, axis):
            domain[at] = (-FAR, FAR)
        else:
            domain[at] = (-box.start[axis], grid.shape[axis] - box.start[axis])
            conditions[at] = conditions_along(axis, sides, grid.periodic)
    most = max(1, *(n for pair in widths for n in pair))
    array = Array(field.dtype, field.components)
    walls = Surroundings(array, tuple(domain), tuple(conditions), tuple(spacing), most)
    _, first, *strides = flat_arguments(Stored(field.memory.cells, tuple(low for low, _ in field.halo)), grid.ndim)
    return Edges(walls, tuple(cells), tuple(widths), corners, first, (strides[0], strides[1]))


def _is_wrapped(grid: Grid, sides: Sides, axis: int) -> bool:
    return all(condition.kind == "wrap" for condition in conditions_along(axis, sides, grid.periodic))
