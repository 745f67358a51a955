"""Some axes of a Field that are reduced, the others kept: who holds which lines, and who gets their results.

The ranks that own the same cells of the kept axes are a group: each has a part of the same lines. What they know of
them is merged by halving: in each step the ranks of a group exchange half of what they still have, so that each ends
with a share of the lines, after as many steps as the group's size has binary digits. From there results go to the
blocks of an ordinary grid. A rank never holds more than its own block's lines, nor hears of more ranks than it has
steps.
"""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.domain import Box
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import move
from mpibatch.mpi import MPI, Transfers, transfer
from mpibatch.mpi.transfers import Target
from mpibatch.reduce.operands import Operand, agree

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["Axis", "Lines", "grid_of", "lines_of", "merge_halves", "share", "spread_halves"]

Array = npt.NDArray[Any]
Axis = int | Sequence[int]
Merge = Callable[[Array, Array], None]  # adds the second to the first


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a Field along reduced axes.

    Attributes
    ----------
    op : the field, and which of its elements.
    reduced, kept : its axes, components behind those of the grid.
    """

    op: Operand
    reduced: tuple[int, ...]
    kept: tuple[int, ...]

    @property
    def length(self) -> int:
        """Elements of a line, of all ranks. Local."""
        return math.prod(self.op.u.shape[a] for a in self.reduced)

    @property
    def kept_grid(self) -> tuple[int, ...]:
        """The kept axes of the grid. Local."""
        return tuple(a for a in self.kept if a < self.op.u.grid.ndim)

    @property
    def components(self) -> tuple[int, ...]:
        """Shape of the kept axes that are no grid axes. Local."""
        return tuple(self.op.u.shape[a] for a in self.kept if a >= self.op.u.grid.ndim)

    @property
    def local_shape(self) -> tuple[int, ...]:
        """Lines that this rank has a part of, along the kept axes. Local."""
        return tuple(self.op.u.local_shape[a] for a in self.kept)

    def turned(self) -> tuple[Array, Array | None]:
        """Return the owned cells, and their mask, with the kept axes first. Local."""
        order = (*self.kept, *self.reduced)
        mask = self.op.mask
        if mask is not None:
            mask = np.broadcast_to(mask, self.op.u.local_shape).transpose(order)
        return self.op.u.owned.transpose(order), mask

    def planes(self) -> tuple[Array, Array | None, int]:
        """Return the owned cells and their mask, as planes of lines in rows, and the kept axis that the rows are along.

        Axes: the other kept ones, in order, the other reduced ones, that of the rows (of length 1 if none is kept),
        that of the lines. Local.
        """
        values, mask = self.turned()
        n = len(self.kept)
        if values.size:
            values, mask = _joined(values, mask, n)
        if not n:
            values, mask, n = values[np.newaxis], None if mask is None else mask[np.newaxis], 1
        extent = values.shape
        row = max(range(n), key=lambda a: (extent[a], a))
        column = max(range(n, len(extent)), key=lambda a: (extent[a], a))
        order = (*(a for a in range(len(extent)) if a not in (row, column)), row, column)
        return values.transpose(order), None if mask is None else mask.transpose(order), row

    def merged(self, state: Array, merge: Merge) -> Array:
        """Return this rank's share of the lines, with what all ranks know of them. Collective over its group.

        `state` has axes before those of `local_shape`, which begin with axis 1; the share is cut along that one, or is
        all of it where no axis is kept.
        """
        u = self.op.u
        cells = state if self.kept else state.reshape(len(state), 1)
        if self.size == 1:
            return cells
        with REDUCTION:
            return merge_halves(u.grid.comm, self.size, self.index(u.grid.rank), self.member, cells, merge)

    def whole(self, mine: Array, rows: int) -> Array:
        """Return all rows of a table, of which each rank of the group has its share. Collective over the group."""
        u = self.op.u
        if self.size == 1:
            return mine
        with REDUCTION:
            return spread_halves(u.grid.comm, self.size, self.index(u.grid.rank), self.member, rows, mine)

    def agree(self, text: str = "", *, flag: bool = False) -> bool:
        """Return whether any rank has the flag; UsageError if not all ask for the same. Collective: 2 KiB."""
        return agree(self.op.u.grid.comm, f"{self.text}, {text}", flag=flag)

    @property
    def text(self) -> str:
        """What is asked for, in words. Local."""
        return f"{self.op.text}, axis={self.reduced}"

    @property
    def group(self) -> tuple[int, ...]:
        """Ranks along each reduced axis of the grid. Local."""
        topology = self.op.u.grid.topology
        return tuple(topology[a] for a in self.reduced if a < len(topology))

    @property
    def size(self) -> int:
        """Ranks of a group. Local."""
        return math.prod(self.group)

    def index(self, rank: int) -> int:
        """Return the place of a rank in its group. Local."""
        coords = self.op.u.grid.decomposition.coords(rank)
        place = 0
        for a in self.reduced:
            if a < len(coords):
                place = place * self.op.u.grid.topology[a] + coords[a]
        return place

    def member(self, index: int) -> int:
        """Return the rank at a place of this rank's group. Local."""
        return self.member_of(self.op.u.grid.coords, index)

    def member_of(self, coords: Sequence[int], index: int) -> int:
        """Return the rank at a place of the group of some coordinates. Local."""
        new = list(coords)
        for a in reversed(self.reduced):
            if a < len(new):
                index, new[a] = divmod(index, self.op.u.grid.topology[a])
        return self.op.u.grid.decomposition.rank(new)

    def spread(self, results: Array) -> Field | Array:
        """Return the results of this rank's share as a Field; as an array on all ranks if no grid axis is kept.

        Collective.
        """
        u, axes = self.op.u, self.kept_grid
        if not axes:
            whole: Array = self.whole(results, self.local_shape[0] if self.kept else 1).reshape(self.components)[()]
            return whole
        if not any(a < u.grid.ndim for a in self.reduced):
            local = u.like(results.dtype, 0, self.components)
            local.owned[...] = results
            return local
        result = grid_of(u.grid, axes).empty(results.dtype, 0, self.components)
        move(u.grid.comm, _LineShares(self), results, result.grid.decomposition, result.owned)
        return result


def _joined(values: Array, mask: Array | None, first: int) -> tuple[Array, Array | None]:
    """Return arrays whose axes from `first` on are fewer and longer, where they lie in memory as one. Local."""
    arrays = [values] if mask is None else [values, mask]
    for a in range(values.ndim - 2, first - 1, -1):
        if all(some.strides[a] == some.strides[a + 1] * some.shape[a + 1] for some in arrays):
            shape = (*arrays[0].shape[:a], -1, *arrays[0].shape[a + 2 :])
            arrays = [some.reshape(shape) for some in arrays]
    return arrays[0], None if mask is None else arrays[1]


def grid_of(grid: Grid, axes: tuple[int, ...]) -> Grid:
    """Return a grid of some axes of another, with blocks as an ordinary one has. Collective."""
    return Grid(
        [grid.shape[a] for a in axes],
        comm=grid.comm,
        periodic=[grid.periodic[a] for a in axes],
        spacing=[grid.spacing[a] for a in axes],
        origin=[grid.origin[a] for a in axes],
        units=grid.units,
        axes=[grid.axes[a] for a in axes],
    )


@dataclass(frozen=True, slots=True)
class _LineShares:
    """Which rank has the results of which lines after halving: a layout to move them from."""

    lines: Lines

    def box(self, rank: int) -> Box:
        """Return the kept cells whose results `rank` has. Local."""
        lines = self.lines
        whole = lines.op.u.grid.decomposition.box(rank)
        start = [whole.start[a] for a in lines.kept_grid]
        stop = [whole.stop[a] for a in lines.kept_grid]
        low, high = share(lines.size, lines.index(rank), stop[0] - start[0])
        return Box((start[0] + low, *start[1:]), (start[0] + high, *stop[1:]))

    def overlapping(self, box: Box) -> Iterator[int]:
        """Yield the ranks that have a result of `box`. Local."""
        lines = self.lines
        decomposition = lines.op.u.grid.decomposition
        if not box.size:
            return
        along: list[Iterable[int]] = [(0,)] * len(decomposition.axes)
        for a, low, high in zip(lines.kept_grid, box.start, box.stop, strict=True):
            along[a] = decomposition.axes[a].overlapping(low, high)
        first = lines.kept_grid[0]
        for coords in itertools.product(*map(list, along)):
            begin, end = decomposition.axes[first].bounds(coords[first])
            rows = end - begin
            low, high = max(box.start[0], begin) - begin, min(box.stop[0], end) - begin
            # Shares follow one another: the first that ends beyond the rows, and on until one begins there.
            index = bisect.bisect_right(range(lines.size), low, key=lambda i: share(lines.size, i, rows)[1])
            while index < lines.size and share(lines.size, index, rows)[0] < high:
                if share(lines.size, index, rows)[0] < share(lines.size, index, rows)[1]:
                    yield lines.member_of(coords, index)
                index += 1


def share(size: int, index: int, rows: int) -> tuple[int, int]:
    """Return the rows that one of a group ends with after halving. Local."""
    low, high = 0, rows
    for lower, upper, is_lower in _steps(size, index):
        cut = low + (high - low) * lower // (lower + upper)
        low, high = (low, cut) if is_lower else (cut, high)
    return low, high


def _steps(size: int, index: int) -> Iterator[tuple[int, int, bool]]:
    """Yield, for each step, the sizes of the halves of what is left of a group, and whether one is in the first."""
    while size > 1:
        lower = (size + 1) // 2
        yield lower, size - lower, index < lower
        size, index = (lower, index) if index < lower else (size - lower, index - lower)


def merge_halves(
    comm: MPI.Intracomm, size: int, index: int, member: Callable[[int], int], state: Array, merge: Merge
) -> Array:
    """Return the merged state of the rows of this rank's `share`. Collective over the group.

    The rows are axis 1 of `state`. In each step those of the lower half of the group send what belongs to the upper
    one, and the other way round; of an odd group the last of the lower half has no partner, and sends to the last.
    """
    first = 0  # of what is left of the group
    for lower, upper, is_lower in _steps(size, index):
        rows = state.shape[1]
        cut = rows * lower // (lower + upper)
        at = index - first
        if is_lower:
            kept, leaving = state[:, :cut], state[:, cut:]
            partners = [at + lower] if at + lower < lower + upper else []
            to = partners or [lower + upper - 1]
        else:
            kept, leaving = state[:, cut:], state[:, :cut]
            to = [at - lower]
            partners = [at - lower, *([lower - 1] if lower > upper and at == lower + upper - 1 else [])]
        kept = np.ascontiguousarray(kept)
        arriving = [np.empty_like(kept) for _ in partners]
        moves = Transfers()
        if leaving.size:
            moves.sends = {member(first + to[0]): [leaving]}
        if kept.size:
            moves.receives = {member(first + p): [Target(a, a.shape)] for p, a in zip(partners, arriving, strict=True)}
        transfer(comm, moves)
        for other in arriving:
            merge(kept, other)
        state = kept
        first += 0 if is_lower else lower
    return state


def spread_halves(
    comm: MPI.Intracomm, size: int, index: int, member: Callable[[int], int], rows: int, mine: Array
) -> Array:
    """Return all rows, of which each rank of a group has its `share`: `merge_halves` backwards. Collective over it."""
    levels = []
    first, low, high = 0, 0, rows
    for lower, upper, is_lower in _steps(size, index):
        cut = low + (high - low) * lower // (lower + upper)
        levels.append((first, lower, upper, is_lower, slice(low, cut), slice(cut, high)))
        low, high = (low, cut) if is_lower else (cut, high)
        first += 0 if is_lower else lower
    whole = np.empty((rows, *mine.shape[1:]), mine.dtype)
    whole[low:high] = mine
    for first, lower, upper, is_lower, below, above in reversed(levels):
        at = index - first
        is_last = lower > upper and at == lower + upper - 1
        if is_lower:
            giver = min(at + lower, lower + upper - 1)
            takers = [giver] if giver == at + lower else []
            leaving, arriving = whole[below], whole[above]
        else:
            giver = at - lower
            takers = [giver, *([lower - 1] if is_last else [])]
            leaving, arriving = whole[above], whole[below]
        moves = Transfers()
        if leaving.size:
            moves.sends = {member(first + taker): [leaving] for taker in takers}
        if arriving.size:
            moves.receives = {member(first + giver): [Target(arriving, arriving.shape)]}
        transfer(comm, moves)
    return whole


def lines_of(op: Operand, axis: Any) -> Lines:
    """Return the lines along the axes that a user names, or raise UsageError. Local."""
    ndim = op.u.ndim
    try:
        named = [operator.index(a) for a in (axis if isinstance(axis, Sequence | np.ndarray) else (axis,))]
    except TypeError:
        named = [ndim]
    axes = sorted(a + ndim if a < 0 else a for a in named)
    if not axes or len(set(axes)) != len(axes) or axes[0] < 0 or axes[-1] >= ndim:
        raise UsageError(
            f"{op.request} along axis={axis!r} of a field of {ndim} axes is not valid; give different numbers from "
            f"{-ndim} to {ndim - 1}, or None for all"
        )
    return Lines(op, tuple(axes), tuple(a for a in range(ndim) if a not in axes))
