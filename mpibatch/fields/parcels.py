"""Cells of any ranks, brought by those who need them: a product of runs of indices, packed into one array.

Nobody knows who will need what of whom. So each rank writes to the owners of what it needs (`mpi.routes`), and then
cells travel as in all other moves.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase as timed
from mpibatch.domain import Box
from mpibatch.mpi import Transfers, transfer
from mpibatch.mpi.routes import forward
from mpibatch.mpi.transfers import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["Runs", "fetch", "length", "runs_of"]

Array = npt.NDArray[Any]
Runs = list[tuple[int, int]]  # half-open, ascending, apart


def runs_of(needed: npt.NDArray[np.bool_]) -> Runs:
    """Return the runs of a mask. Local."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], needed, [False]]).astype(np.int8)))
    return [(int(low), int(high)) for low, high in edges.reshape(-1, 2)]


def length(runs: Runs) -> int:
    """Return how many indices runs have. Local."""
    return sum(high - low for low, high in runs)


def fetch(u: Field, needs: Sequence[Runs]) -> Array:
    """Return the cells whose indices lie in a run of each axis, packed in their order. Collective.

    Parameters
    ----------
    u : whose owned cells are read.
    needs : for each axis the runs that this rank needs, inside the grid; none along an axis for no cells.

    Returns
    -------
    A C-contiguous array, components last; of one run along all axes that lies in this rank's block, a view of it.
    """
    grid, mine = u.grid, u.grid.box
    shape = tuple(length(runs) for runs in needs)
    is_inside = all(
        len(runs) == 1 and low <= runs[0][0] and runs[0][1] <= high
        for runs, low, high in zip(needs, mine.start, mine.stop, strict=True)
    )
    moves = Transfers()
    rows: list[tuple[int, ...]] = []
    to: list[int] = []
    if is_inside:
        packed = u.owned[Box(*zip(*(runs[0] for runs in needs), strict=True)).slices(mine.start)]
    else:
        packed = np.empty(shape + u.components, u.dtype)
    if math.prod(shape) and not is_inside:
        along = [_pieces(u, axis, runs) for axis, runs in enumerate(needs)]
        for pieces in itertools.product(*along):
            owner = grid.decomposition.rank([piece[0] for piece in pieces])
            box = Box(tuple(piece[1] for piece in pieces), tuple(piece[2] for piece in pieces))
            target = packed[tuple(slice(at, at + high - low) for _, low, high, at in pieces)]
            if owner == grid.rank:
                moves.copies.append((target, u.owned[box.slices(mine.start)]))
            else:
                moves.receives.setdefault(owner, []).append(Target(target, target.shape))
                rows.append((grid.rank, *box.start, *box.stop))
                to.append(owner)
    with timed("halo"):
        if grid.size > 1:
            columns = 1 + 2 * grid.ndim
            arrived = forward(grid.comm, np.array(to, np.int64), np.array(rows, np.int64).reshape(len(rows), columns))
            # As the one who asked has listed them.
            for row in arrived[np.lexsort(arrived.T[::-1])].tolist():
                box = Box(tuple(row[1 : 1 + grid.ndim]), tuple(row[1 + grid.ndim :]))
                moves.sends.setdefault(row[0], []).append(u.owned[box.slices(mine.start)])
        transfer(grid.comm, moves)
    return packed


def _pieces(u: Field, axis: int, runs: Runs) -> list[tuple[int, int, int, int]]:
    """Return (coordinate of the owner, first index, end, place among the packed) of the parts of runs. Local."""
    blocks = u.grid.decomposition.axes[axis]
    pieces, at = [], 0
    for low, high in runs:
        for owner in blocks.overlapping(low, high):
            first, end = blocks.bounds(owner)
            first, end = max(first, low), min(end, high)
            pieces.append((owner, first, end, at + first - low))
        at += high - low
    return pieces
