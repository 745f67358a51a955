"""Rows of cells for a window to run over, without a padded copy of the whole block.

The inner cells are computed where they lie. Only a thin strip along each face of the block, whose windows reach
into the halo, is put together from owned cells and what the neighbors sent. A block that is small against the
window, or whose halo already is as wide as the window's reach, is read as one padded array.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.processes.threads import share_out
from mpibatch.domain.regions import inner_box, outer_slabs
from mpibatch.halo.checks import halo_of
from mpibatch.halo.exchanges import kept_exchange
from mpibatch.halo.stages import Memory
from mpibatch.halo.surroundings import Frame, frame_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpibatch.domain import Box
    from mpibatch.fields.field import Field
    from mpibatch.filters._engine.footprints import Window

__all__ = ["WindowRows", "rows_of", "starts"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

THIN = 8  # strips pay while the window's reach is below this part of the block, 1/8
LONG_AGAINST = 4  # an axis this many times longer than the last one is worth to be swapped with it


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Rows of a flat output, and where the windows of their first cells begin in flat `cells`.

    The cell x of row r reads ``cells[bases[r] + offset + x]`` for every offset and is ``out[targets[r] + x]``,
    0 <= x < length. Components lie within the row, so that offsets along the last axis are multiples of them.
    Offsets are in the order of the window's cells. `shape` is the window's, in the order of the axes in `cells`.
    """

    cells: Array
    bases: Ints
    offsets: Ints
    out: Array
    targets: Ints
    length: int
    shape: tuple[int, ...]
    moves: tuple[Array, Array] | None  # what to copy once the rows are computed: to, from

    def run(self, loop: Callable[[Ints, Ints], None]) -> None:
        """Run a loop over (bases, targets) of some rows for all of them, and put the cells where they belong. Local."""
        count = self.bases.size
        share_out(lambda a, b: loop(self.bases[a:b], self.targets[a:b]), count, count * self.length)
        if self.moves:
            self.moves[0][...] = self.moves[1]


def rows_of(u: Field, out: Field, window: Window, modes: tuple[str, ...], cval: Any) -> list[WindowRows]:
    """Return the rows that make up the owned cells of `out`, to be read in `u` and its surroundings. Collective."""
    reach = window.reach
    if u.halo == reach:  # on all ranks, or on none
        kept_exchange(u, None, modes, cval)()
        return [_rows(u.padded, u.origin, u.box, out, window)] if u.box.size else []
    frame = frame_of(u, halo_of(u.grid, reach, modes))
    frame.fetch(u, cval)
    # From here on ranks may differ: the messages are over.
    if not u.box.size:
        return []
    if any(THIN * (low + high) > n for (low, high), n in zip(reach, u.box.shape, strict=True)):
        whole = u.box.grow(reach)
        return [_rows(_read(frame, u, whole), whole.start, u.box, out, window)]
    inner = inner_box(u.box, reach)
    parts = [_rows(u.padded, u.origin, inner, out, window)]
    for box in (slab for pair in outer_slabs(u.box, inner) for slab in pair if slab.size):
        longest = max(range(len(box.shape)), key=lambda axis: box.shape[axis])
        cells = _read(frame, u, box.grow(reach))
        # Rows of a few cells leave vectors empty: the longest axis becomes the last one.
        swap = longest if LONG_AGAINST * box.shape[-1] < box.shape[longest] else None
        parts.append(_rows(cells, box.grow(reach).start, box, out, window, swap))
    return parts


def _rows(
    cells: Array, origin: tuple[int, ...], box: Box, out: Field, window: Window, swap: int | None = None
) -> WindowRows:
    """Return the rows of `box` in `out`; the windows lie in `cells`, whose first cell is `origin`. Local.

    With `swap` the cells, and the rows, are laid out with that axis and the last one exchanged.
    """
    ndim = window.footprint.ndim
    order = list(range(ndim))
    target, zero, moves = out.padded, out.origin, None
    if swap is not None:
        order[swap], order[-1] = order[-1], order[swap]
        cells = np.ascontiguousarray(cells.swapaxes(swap, ndim - 1))
        view = out.owned[box.slices(out.box.start)].swapaxes(swap, ndim - 1)
        target, zero = np.empty(view.shape, view.dtype), box.start
        moves = view, target
    width = math.prod(cells.shape[ndim:])
    corner = [s - o - low for s, o, (low, _) in zip(box.start, origin, window.reach, strict=True)]
    shape = tuple(box.shape[axis] for axis in order)
    return WindowRows(
        cells=cells.reshape(-1),
        bases=starts(cells.shape[:ndim], tuple(corner[axis] for axis in order), shape) * width,
        offsets=window.offsets(cells.shape[:ndim], order) * width,
        out=target.reshape(-1),
        targets=starts(target.shape[:ndim], tuple(box.start[axis] - zero[axis] for axis in order), shape) * width,
        length=shape[-1] * width,
        shape=tuple(window.footprint.shape[axis] for axis in order),
        moves=moves,
    )


def starts(shape: tuple[int, ...], corner: tuple[int, ...], count: tuple[int, ...]) -> Ints:
    """Return the flat indices, in an array of `shape`, of the first cells of the rows of a box. Local."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    starts = np.array([corner[-1]], dtype=np.int64)
    for axis in range(len(shape) - 2, -1, -1):
        along = (corner[axis] + np.arange(count[axis], dtype=np.int64)) * strides[axis]
        starts = (along[:, None] + starts[None, :]).reshape(-1)
    return starts


def _read(frame: Frame, u: Field, box: Box) -> Array:
    """Return a copy of the cells of a box, from the block and what was brought around it. Local."""
    result = Memory(np.empty(box.shape + u.components, u.dtype), box.start)
    for memory in (Memory(u.owned, u.box.start), *(slab for pair in frame.slabs for slab in pair)):
        common = memory.box.intersect(box)
        if common.size:
            result.at(common)[...] = memory.at(common)
    return result.array
