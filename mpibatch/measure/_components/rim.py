"""Pairs of components that touch across the edges of a block.

Neighbors' cells come as the places of their components' first cells, one cell deep, on those sides only on which
earlier neighbors lie, so that every contact is seen by one of the two. A periodic axis of one rank is the same case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.domain import Box
from mpibatch.halo.plan import Halo, Move
from mpibatch.halo.plan import phase as plan
from mpibatch.measure._engine.structure import Offset, has_corners
from mpibatch.mpi import Transfers, transfer
from mpibatch.mpi.transfers import Target

if TYPE_CHECKING:
    from mpibatch.fields.grid import Grid

__all__ = ["NOTHING", "contacts"]

Ints = npt.NDArray[np.int64]
Look = Callable[[Box], Ints]

NOTHING = -1  # the place of a cell that is in no component


def contacts(grid: Grid, offsets: list[Offset], looks: tuple[Look, ...]) -> tuple[Ints, Ints]:
    """Return pairs of places, mine and theirs, and all places of this rank's components in them, or in theirs.

    Collective. `looks[0]` returns, for a box of this rank's cells, the places of their components' first cells
    (`NOTHING` where there is none). Of the others, if any, all must agree for two cells to belong together.
    """
    reach = tuple((1, 0 if axis == 0 else 1) for axis in range(grid.ndim))
    if not has_corners(offsets):
        reach = ((1, 0),) * grid.ndim
    modes = tuple("wrap" if wraps else None for wraps in grid.periodic)
    moves = plan(grid.decomposition, grid.rank, Halo(reach, modes, has_corners(offsets)))
    transfers = Transfers()
    mentioned = [np.empty(0, np.int64)]
    with phase("pack"):
        for rank, sent in moves.sends.items():
            views = [[look(_source(move)) for look in looks] for move in sent]
            mentioned += [view[0].ravel() for view in views]
            transfers.sends[rank] = [part for view in views for part in view]
        rims: list[tuple[Box, list[Ints]]] = []
        for rank, received in moves.receives.items():
            rims += [(move.box, [np.empty(move.shape, np.int64) for _ in looks]) for move in received]
            new = rims[len(rims) - len(received) :]
            transfers.receives[rank] = [Target(part, part.shape) for _, parts in new for part in parts]
    with phase("halo"):
        transfer(grid.comm, transfers)
    with phase("pack"):
        rims += (copies := [(move.box, [look(_source(move)) for look in looks]) for move in moves.copies])
        mentioned += [parts[0].ravel() for _, parts in copies]
        pairs = [_touching(grid.box, rim, offset, looks) for rim in rims for offset in offsets]
        joined = np.concatenate([np.empty((0, 2), np.int64), *pairs])
        mentioned.append(joined[:, 0])
        every = np.unique(np.concatenate(mentioned))
    return joined, every[every != NOTHING]


def _source(move: Move) -> Box:
    """Where a move's cells come from. Local."""
    return Box(move.source, tuple(low + n for low, n in zip(move.source, move.shape, strict=True)))


def _shifted(box: Box, offset: Offset, sign: int) -> Box:
    ends = ([low + sign * d for low, d in zip(corner, offset, strict=True)] for corner in (box.start, box.stop))
    return Box(*map(tuple, ends))


def _touching(own: Box, rim: tuple[Box, list[Ints]], offset: Offset, looks: tuple[Look, ...]) -> Ints:
    """Return the pairs of places of own cells and of those at `offset` from them that a rim holds. Local."""
    box, theirs = rim
    near = own.intersect(_shifted(box, offset, -1))
    if not near.size:
        return np.empty((0, 2), np.int64)
    there = _shifted(near, offset, 1).slices(box.start)
    mine = looks[0](near)
    touches = (mine != NOTHING) & (theirs[0][there] != NOTHING)
    for look, other in zip(looks[1:], theirs[1:], strict=True):
        touches &= look(near) == other[there]
    pairs = np.column_stack([mine[touches], theirs[0][there][touches]])
    # Along an edge the same two touch again and again: most repetitions are neighbors.
    again = np.zeros(len(pairs), np.bool_)
    again[1:] = (pairs[1:] == pairs[:-1]).all(axis=1)
    return pairs[~again]
