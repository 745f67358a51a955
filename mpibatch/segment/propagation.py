"""Binary propagation and the filling of holes: scipy.ndimage's names, parameters and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.fields.field import Field
from mpibatch.filters._morphology.masks import Erosion, erosion, repeated
from mpibatch.filters.passes import checked
from mpibatch.mpi import same
from mpibatch.segment._engine.growth import spread_truths
from mpibatch.segment._engine.neighborhood import Neighborhood
from mpibatch.segment._engine.objects import Objects, joins_only_close, wall_parts

if TYPE_CHECKING:
    from mpibatch.filters._engine.footprints import Window

__all__ = ["binary_fill_holes", "binary_propagation"]

Origin = int | Sequence[int]
Axes = int | Sequence[int] | None


def binary_propagation(
    u: Field,
    structure: Any = None,
    mask: Field | None = None,
    border_value: int = 0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the set cells and all that are reached from them, step by step, without leaving the mask.

    Parameters
    ----------
    u : Field
        Nonzero cells are set; they stay so outside the mask, too, and spread from there.
    structure : array, optional
        Which cells are reached in one step; those that share a face unless given.
    mask : Field, optional
        Nonzero where cells may be reached; everywhere unless given.
    border_value : {0, 1}, default 0
        Whether cells outside the walls count as set.
    origin : int or sequence of int, default 0
        Shift of the structure.
    axes : int or sequence of int, optional
        The grid axes along which cells spread; all unless given.

    Returns
    -------
    Field
        Of bool, without a halo.

    Raises
    ------
    UsageError
        On all ranks, for a parameter that is not valid.

    Notes
    -----
    Collective. Equal to ``scipy.ndimage.binary_propagation``, which is a `binary_dilation` without end. Blocks are
    solved about as often as the longest path crosses from one rank to another; see `reconstruction`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> grid = mb.Grid(8)
    >>> u = grid.from_function(lambda x: x == 2, "?")
    >>> mask = grid.from_function(lambda x: x != 5, "?")
    >>> mb.gather_all(segment.binary_propagation(u, mask=mask)).astype(int).tolist()
    [1, 1, 1, 1, 1, 0, 0, 0]
    """
    todo = erosion("binary_propagation", u, structure, -1, mask, border_value, origin, axes, True)
    if not todo.centered or u.components:
        return repeated(todo)
    _check_calls(todo)
    allowed: Any = True if mask is None else mask.owned != 0
    return spread_truths(todo.name, u, u.owned != 0, allowed, _neighborhood(todo.window), todo.beyond)


def binary_fill_holes(u: Field, structure: Any = None, origin: Origin = 0, *, axes: Axes = None) -> Field:
    """Return the set cells and the holes: the cells that are not reached from outside the walls.

    Parameters
    ----------
    u : Field
        Nonzero cells are set.
    structure : array, optional
        Which cells are reached in one step through what is not set; those that share a face unless given.
    origin : int or sequence of int, default 0
        Shift of the structure.
    axes : int or sequence of int, optional
        The grid axes along which the outside spreads; all unless given.

    Returns
    -------
    Field
        Of bool, without a halo.

    Raises
    ------
    UsageError
        On all ranks, for a parameter that is not valid.

    Notes
    -----
    Collective. Equal to ``scipy.ndimage.binary_fill_holes``. A periodic axis has no walls: nothing enters there. Cost
    as `binary_propagation`.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> ring = mb.Grid((6, 6)).from_function(lambda y, x: np.hypot(y - 2, x - 2).round() == 2, "?")
    >>> mb.count_nonzero(ring), mb.count_nonzero(segment.binary_fill_holes(ring))
    (12, 21)
    """
    name = "binary_fill_holes"
    checked(name, u)
    free = Field(u.grid, np.bool_, 0, u.components)
    np.equal(u.owned, 0, out=free.owned)
    none = free.like()
    none.owned[...] = False
    todo = erosion(name, none, structure, -1, free, 1, origin, axes, True)
    near = _neighborhood(todo.window)
    if not todo.centered or u.components:
        outside = repeated(todo)
    else:
        _check_calls(todo)
        if joins_only_close(near):
            # What is connected to a wall lies outside: no walk from cell to cell is needed.
            objects = Objects(name, free, near)
            inside = ~objects.touch([part for axis, part in wall_parts(u, 1) if near.steps[:, axis].any()])
            inside[0] = True  # set cells
            objects.select(inside, free)
            return free
        outside = spread_truths(name, u, none.owned, free.owned, near, True)
    np.logical_not(outside.owned, out=outside.owned)
    return outside


def _check_calls(todo: Erosion) -> None:
    same(todo.u.grid.comm, f"{todo.name} of {todo.u.shape} over {todo.window.footprint.tolist()}, {todo.window.reach}")


def _neighborhood(window: Window) -> Neighborhood:
    """Return the steps from a cell to those whose window it lies in. Local."""
    reads = np.argwhere(window.footprint).astype(np.int64) - np.array([low for low, _ in window.reach], np.int64)
    return Neighborhood(-reads[reads.any(axis=1)])
