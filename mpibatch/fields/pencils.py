"""Grids made of grids: of pencils, which leave an axis whole, and of other shapes; and a scan over an axis's blocks.

What works line by line needs whole lines. Where it only needs a little of the cells before and after a block,
`before_and_after` brings that in a number of messages that grows with the logarithm of the blocks; for all else the
field is redistributed to `pencils`, and what became of it back to the grid that it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.domain import Blocks
from mpibatch.fields.grid import Grid
from mpibatch.fields.plans import planned
from mpibatch.mpi import Transfers, transfer
from mpibatch.mpi.transfers import Target

__all__ = ["alike", "are_whole", "before_and_after", "pencils"]

Array = npt.NDArray[Any]
Sides = tuple[Sequence[Array], Sequence[Array]]  # before, after


def are_whole(grid: Grid, axis: int) -> bool:
    """Return whether one block has all cells of an axis; others along it are empty. Local."""
    blocks = grid.decomposition.axes[axis]
    return blocks.owner(0) == blocks.owner(blocks.cells - 1)


def pencils(grid: Grid, axis: int) -> Grid:
    """Return a grid that leaves `axis` whole, of the same shape, communicator and geometry. Collective.

    It is `grid` itself if that leaves the axis whole. Else the other axes are cut as a new grid would cut them; ranks
    that are more than there are lines get empty blocks, and of one single line the first rank has all cells.

    Parameters
    ----------
    grid : Grid
        Where the field lies.
    axis : int
        Axis of the grid, from 0.

    Returns
    -------
    Grid
        For `redistribute`, there; the way back is another one, to `grid`.

    Raises
    ------
    UsageError
        If the grid has no such axis.

    Notes
    -----
    Collective; no cell is moved. A new grid gives each rank about as many lines as the others, whatever `grid` does;
    it is made once, and kept with `grid`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> from mpibatch.fields.pencils import pencils
    >>> grid = mb.Grid((4, 6, 8))
    >>> pencils(grid, 0).topology[0]
    1
    """
    if not 0 <= axis < grid.ndim:
        raise UsageError(f"pencils along axis {axis} of a grid of {grid.ndim} axes; give 0 … {grid.ndim - 1}")
    if are_whole(grid, axis):
        return grid
    whole: Grid = planned(grid, ("pencils", axis), lambda: _pencils(grid, axis))
    return whole


def _pencils(grid: Grid, axis: int) -> Grid:
    topology: list[int | None] = [None] * grid.ndim
    sizes: list[Sequence[int] | None] = [None] * grid.ndim
    if grid.ndim == 1:
        sizes[0] = [grid.shape[0]] + [0] * (grid.size - 1)
    else:
        topology[axis] = 1
    return _of(grid, grid.shape, topology, sizes)


def alike(grid: Grid, shape: Sequence[int]) -> Grid:
    """Return a grid of another shape on the same ranks, with the geometry of a grid and cut as it is. Collective.

    Even blocks stay even ones, others keep their proportions, and axes that do not change their blocks. It is made
    once, and kept with `grid`, of which it is the other shape, too.
    """
    cells = tuple(shape)
    if cells == grid.shape:
        return grid
    return _kept(grid, cells)


def _kept(grid: Grid, cells: tuple[int, ...]) -> Grid:
    def make() -> Grid:
        sizes = [
            None if blocks.starts is None else _in_proportion(blocks, n)
            for blocks, n in zip(grid.decomposition.axes, cells, strict=True)
        ]
        made = _of(grid, cells, grid.topology, sizes)
        made.plans["alike", grid.shape] = grid  # so that the way back ends where it began
        return made

    result: Grid = planned(grid, ("alike", cells), make)
    return result


def _in_proportion(blocks: Blocks, cells: int) -> list[int]:
    sizes = [high - low for low, high in map(blocks.bounds, range(blocks.parts))]
    if cells == blocks.cells:
        return sizes
    other = Blocks.of_weights(cells, sizes)
    return [high - low for low, high in map(other.bounds, range(other.parts))]


def _of(
    grid: Grid, shape: Sequence[int], topology: Sequence[int | None], sizes: Sequence[Sequence[int] | None]
) -> Grid:
    """Return another grid with the communicator and the geometry of one. Collective."""
    return Grid(
        shape,
        comm=grid.comm,
        topology=topology,
        sizes=sizes,
        periodic=grid.periodic,
        spacing=grid.spacing,
        origin=grid.origin,
        units=grid.units,
        axes=grid.axes,
    )


def before_and_after(
    grid: Grid, axis: int, last: Sequence[Array], first: Sequence[Array], *, is_ring: bool = False
) -> tuple[list[Array], list[Array]]:
    """Return the nearest of what the blocks before and after this one have, line by line along an axis. Collective.

    Parameters
    ----------
    grid : Grid
        Where the lines lie.
    axis : int
        Along which they run.
    last, first : sequence of ndarray
        What this rank has nearest to the end, and to the beginning, of its block: arrays with an entry for each of its
        lines. The first array of each is of integers, negative where the block has nothing; the others go with it.
    is_ring : bool
        Whether the axis is taken as a ring. The integers are then places on it plus its cells, so that those of a whole
        turn before are not negative; behind all other blocks comes this one.

    Returns
    -------
    tuple of two lists of ndarray
        The `last` of the nearest block before this one that has something, and the `first` of the nearest after it;
        where none has, -1, and 0 in the arrays that go with it. New arrays.

    Notes
    -----
    Collective. As many rounds as the blocks along the axis have binary digits; in each, a rank sends at most two
    messages of the size of `last`.
    """
    before, after = ([np.full_like(parts[0], -1), *map(np.zeros_like, parts[1:])] for parts in (last, first))
    if grid.topology[axis] > 1:
        _reach(grid, axis, 1, (last, first), (before, after), is_ring=is_ring)
    known = 1
    while known < grid.topology[axis] - 1:
        # A block that knows about as many others passes on what it knows: twice as many from round to round.
        _reach(grid, axis, known, (before, after), (before, after), is_ring=is_ring)
        known *= 2
    if is_ring:
        for way, mine, parts in ((-1, before, last), (1, after, first)):
            _fill(mine, parts, way * grid.shape[axis])
    return before, after


def _reach(grid: Grid, axis: int, distance: int, leaving: Sides, known: Sides, *, is_ring: bool) -> None:
    """Fill up what is `known` before and after with what the blocks at a distance along the axis send."""
    moves = Transfers()
    arrived = []
    for way, parts, mine in zip((1, -1), leaving, known, strict=True):
        (to, _), (giver, turns) = (_rank(grid, axis, way * sign * distance, is_ring=is_ring) for sign in (1, -1))
        # Of two blocks in a ring each is before and after the other.
        if to is not None:
            moves.sends[to] = [*moves.sends.get(to, ()), *(part.reshape(-1) for part in parts)]
        if giver is not None:
            coming = [np.empty(part.size, part.dtype) for part in mine]
            moves.receives[giver] = [*moves.receives.get(giver, ()), *(Target(part, part.shape) for part in coming)]
            arrived.append((mine, coming, turns))
    with timed("halo"):
        transfer(grid.comm, moves)
    for mine, coming, turns in arrived:
        _fill(mine, coming, turns * grid.shape[axis])


def _fill(mine: Sequence[Array], coming: Sequence[Array], shift: int) -> None:
    """Take what comes where there is nothing yet, with its places shifted. Local."""
    places = coming[0].reshape(mine[0].shape)
    taken = (mine[0] < 0) & (places >= 0)
    np.copyto(mine[0], places + places.dtype.type(shift), where=taken)
    for part, other in zip(mine[1:], coming[1:], strict=True):
        np.copyto(part, other.reshape(part.shape), where=taken)


def _rank(grid: Grid, axis: int, distance: int, *, is_ring: bool) -> tuple[int | None, int]:
    """Return the rank of the block so far along the axis, None where there is none, and the turns of a ring to it."""
    coords = list(grid.coords)
    turns, place = divmod(coords[axis] + distance, grid.topology[axis])
    if turns and not is_ring:
        return None, 0
    coords[axis] = place
    return grid.decomposition.rank(coords), turns
