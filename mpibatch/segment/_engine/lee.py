"""Thinning by Lee, Kashyap and Chu (1994, doi:10.1006/cgip.1994.1042), in scikit-image's order, on any ranks.

From one side after the other, cells that may go are chosen; then one by one, in raster order, each goes if it still may
after those before it. A cell waits for its 13 earlier neighbors alone: each rank decides in order, with what it knows
of the cells around its block, and again when that has changed. No decision waits for itself in a circle, so that where
nothing changes any more, all are those of one rank.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.halo import Exchange
from mpibatch.segment._engine.relaxation import lines_of, total

__all__ = ["thinned"]

Ints = npt.NDArray[np.int64]
CUBE = list(itertools.product((-1, 0, 1), repeat=3))
# From which sides cells go, in order: that of scikit-image 0.26. In a single plane, the first four.
SIDES = ((0, -1, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0))


def thinned(u: Field) -> Field:
    """Return the skeleton of the cells that are not zero, in two or three dimensions. Collective."""
    from mpibatch.segment._loops.lee import candidates, settle

    state, goes = Field(u.grid, np.uint8, 1), Field(u.grid, np.uint8, 1)
    np.not_equal(u.owned, 0, out=state.owned.view(np.bool_))
    goes.padded[...] = 0
    lines, cells, marks = lines_of(state), state.padded.reshape(-1), goes.padded.reshape(-1)
    steps, bits = _ring(u.grid.ndim)
    strides = np.array(state.padded.strides, np.int64)  # in cells: they have a byte
    ring = np.array(steps, np.int64) @ strides
    corners, weights = _corners(), _weights()
    is_plane = u.grid.ndim == 2 or u.grid.shape[0] == 1
    sides = SIDES[:4] if is_plane else SIDES
    with Exchange(state, mode="constant", cval=0) as fill:
        fill()
    unchanged = 0
    with Exchange(goes, mode="constant", cval=0) as fill:
        while unchanged < len(sides):
            unchanged = 0
            for side in sides:
                step = int(np.array(side[-u.grid.ndim :], np.int64) @ strides)
                with timed("compute"):
                    chosen = candidates(cells, lines.bases, lines.length, step, ring, bits, corners, weights)
                    changed = int(settle(cells, marks, chosen, ring, bits))
                changed = total(u, changed)
                if not changed:
                    unchanged += 1
                    continue
                while changed and u.grid.size > 1:
                    fill()
                    with timed("compute"):
                        changed = int(settle(cells, marks, chosen, ring, bits))
                    changed = total(u, changed)
                with timed("compute"):
                    cells -= marks  # in the halo, too
                    marks[...] = 0
    out = Field(u.grid, np.bool_)
    np.not_equal(state.owned, 0, out=out.owned)
    return out


def _ring(ndim: int) -> tuple[list[tuple[int, ...]], Ints]:
    """Return the steps to the neighbors in raster order, and their bits in a pattern. Local."""
    chosen = [(bit, step) for bit, step in enumerate(CUBE) if any(step) and not any(step[: 3 - ndim])]
    return [step[3 - ndim :] for _, step in chosen], np.array([bit for bit, _ in chosen], np.int64)


def _corners() -> Ints:
    """Return what the cells of an outer plane, and of the middle one, are in each of its four octants: a byte each.

    Bit k - 1 of the byte is the cell that lies one step along each axis that is a bit of k: 1, 2, 4.
    """
    result = np.zeros((2, 512), np.int64)
    for plane in range(512):
        for o, (down, right) in enumerate(itertools.product((-1, 1), repeat=2)):
            for k in range(1, 8):
                at = 3 * (1 + down * (k >> 1 & 1)) + 1 + right * (k >> 2)
                result[1 - (k & 1), plane] |= (plane >> at & 1) << (8 * o + k - 1)
    return result


def _weights() -> Ints:
    """Return for each set of others in an octant what the cell in its corner adds to eight times its Euler number.

    A cell is a cube with its faces, edges and corners. An octant has one of its corners, half of three edges, a quarter
    of three faces, and an eighth of the cell; those that it shares with others in the octant are there without it.
    """
    result = np.empty(128, np.int64)
    for others in range(128):
        is_set = [bool(others >> (k - 1) & 1) for k in range(1, 8)]

        def is_free(axes: int, is_set: list[bool] = is_set) -> bool:
            """Whether no other touches what is left of the cell where only these axes lead on. Local."""
            return not any(is_set[k - 1] for k in range(1, 8) if k & axes == k)

        corner, edges, faces = is_free(7), sum(map(is_free, (3, 5, 6))), sum(map(is_free, (1, 2, 4)))
        result[others] = 8 * corner - 4 * edges + 2 * faces - 1
    return result
