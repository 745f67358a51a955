"""Who sends which cells to whom: pure functions of the decomposition, for any rank, without a message.

A halo is a product of intervals, and walls act on each axis alone. So everything is worked out on one axis at
a time, between the coordinates of a receiver and a sender, and then multiplied out. The cost for a rank grows
with its neighbors, not with the number of ranks.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mpibatch.domain import Blocks, Box, Decomposition, IndexRun, wall_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Halo", "Modes", "Move", "Phase", "phase"]

# One axis: a canonical mode for both sides, or one per side, (low, high).
Modes = str | None | tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Halo:
    """What is asked for of a halo exchange: widths, modes, corners.

    Parameters
    ----------
    widths : tuple of (int, int)
        The (low, high) widths in cells, one pair for each axis.
    modes : tuple
        For each axis "reflect", "mirror", "nearest", "wrap" or "constant", or a pair of them (low, high); "wrap" if the
        axis is periodic, None where there are no walls to be filled.
    corners : bool, default True
        Whether cells outside along two axes or more are wanted too.

    Notes
    -----
    Local. All three are attributes; it cannot be changed.

    Examples
    --------
    >>> from mpibatch.halo import Halo
    >>> Halo(((1, 1), (0, 2)), ("reflect", ("nearest", None))).sides(1)
    ('nearest', None)
    """

    widths: tuple[tuple[int, int], ...]
    modes: tuple[Modes, ...]
    corners: bool = True

    def sides(self, axis: int) -> tuple[str | None, str | None]:
        """Return the modes of the low and of the high wall of an axis.

        Parameters
        ----------
        axis : int
            Its number.

        Returns
        -------
        tuple of (str or None, str or None)
            The modes, the same twice if one was given.

        Notes
        -----
        Local.

        Examples
        --------
        >>> from mpibatch.halo import Halo
        >>> Halo(((1, 1),), ("reflect",)).sides(0)
        ('reflect', 'reflect')
        """
        modes = self.modes[axis]
        return modes if isinstance(modes, tuple) else (modes, modes)


class Move(NamedTuple):
    """Cells from one rank to another; along every axis ``target + i`` is ``source + step * i``.

    Parameters
    ----------
    target : tuple of int
        The global index of the first cell that is filled, perhaps outside the domain.
    shape : tuple of int
        How many cells along each axis.
    source : tuple of int
        The global index of the cell that the first one gets its value from.
    step : tuple of int
        For each axis 1, -1 where cells are mirrored, or 0 where one cell is repeated.

    Notes
    -----
    Local.

    Examples
    --------
    >>> from mpibatch.halo import Move
    >>> Move(target=(-2,), shape=(2,), source=(1,), step=(-1,)).box
    Box(start=(-2,), stop=(0,))
    """

    target: tuple[int, ...]
    shape: tuple[int, ...]
    source: tuple[int, ...]
    step: tuple[int, ...]

    @property
    def box(self) -> Box:
        """The target's global indices, a Box, some of them perhaps outside the domain. Local.

        Examples
        --------
        >>> from mpibatch.halo import Move
        >>> Move((-2,), (2,), (1,), (-1,)).box
        Box(start=(-2,), stop=(0,))
        """
        return Box(self.target, tuple(t + n for t, n in zip(self.target, self.shape, strict=True)))

    @property
    def wire(self) -> tuple[int, ...]:
        """The shape that travels, a tuple of int: a cell that is repeated (step 0) travels once. Local.

        Examples
        --------
        >>> from mpibatch.halo import Move
        >>> Move((-2, 0), (2, 5), (0, 0), (0, 1)).wire
        (1, 5)
        """
        return tuple(n if step else 1 for n, step in zip(self.shape, self.step, strict=True))


@dataclass(frozen=True, slots=True)
class Phase:
    """What one rank does at once: moves from and to other ranks, moves within itself, and boxes of `cval`."""

    receives: dict[int, list[Move]]
    sends: dict[int, list[Move]]
    copies: list[Move]
    fills: list[Box]


class _SourceRun(NamedTuple):
    """A run on one axis whose source lies in one block (owner None: a "constant" wall)."""

    owner: int | None
    run: IndexRun
    inside: bool  # the receiver's own cells, not halo


def phase(decomposition: Decomposition, rank: int, halo: Halo, axes: Sequence[int] | None = None) -> Phase:
    """Return what `rank` does to fill the halo of `axes` (default: all). Local.

    With all axes this is the whole exchange, corners included if `halo.corners`. With a single axis the cross
    section is the owned cells, widened (for corners) by the halos of the axes before it: filling axis after
    axis in order carries the corners along.
    """
    chosen = tuple(range(len(halo.widths))) if axes is None else tuple(axes)
    me = decomposition.coords(rank)
    mine = [_axis_pieces(decomposition, halo, chosen, axis, coord) for axis, coord in enumerate(me)]
    owners = [sorted({p.owner for p in pieces if p.owner is not None}) for pieces in mine]
    receives: dict[int, list[Move]] = {}
    copies: list[Move] = []
    for coords in itertools.product(*owners):
        moves = list(_moves(mine, coords, halo.corners))
        sender = decomposition.rank(coords)
        if moves and sender == rank:
            copies = moves
        elif moves:
            receives[sender] = moves
    sends: dict[int, list[Move]] = {}
    readers = [_readers(decomposition.axes[axis], halo, chosen, axis, coord) for axis, coord in enumerate(me)]
    for coords in itertools.product(*readers):
        receiver = decomposition.rank(coords)
        if receiver == rank:
            continue
        theirs = [_axis_pieces(decomposition, halo, chosen, axis, coord) for axis, coord in enumerate(coords)]
        moves = list(_moves(theirs, me, halo.corners))
        if moves:
            sends[receiver] = moves
    fills = [] if not decomposition.box(rank).size else list(_fills(mine, halo.corners))
    return Phase(receives, sends, copies, fills)


def _axis_pieces(
    decomposition: Decomposition, halo: Halo, chosen: tuple[int, ...], axis: int, coord: int
) -> list[_SourceRun]:
    """Return where the receiver at `coord` finds the cells of its padded interval along one axis."""
    blocks = decomposition.axes[axis]
    low, high = blocks.bounds(coord)
    below, above = halo.widths[axis]
    if low == high:
        return []
    if axis not in chosen:
        # Cross section: this rank's own cells, and what earlier phases put around them.
        if not (halo.corners and axis < min(chosen)):
            below = above = 0
        return [_SourceRun(coord, IndexRun(low - below, high - low + below + above, low - below, 1), True)]
    pieces = [_SourceRun(coord, IndexRun(low, high - low, low, 1), True)]
    # The low side's cells never lie beyond the high wall, nor the other way round: each side has one mode.
    sides = ((low - below, low), (high, high + above))
    for mode, (start, stop) in zip(halo.sides(axis), sides, strict=True):
        first, end = (start, stop) if mode else (max(start, 0), min(stop, blocks.cells))
        for run in wall_runs(first, end, blocks.cells, mode or "nearest"):
            pieces += [_SourceRun(owner, part, False) for owner, part in _by_owner(blocks, run)]
    return pieces


def _by_owner(blocks: Blocks, run: IndexRun) -> Iterator[tuple[int | None, IndexRun]]:
    """Cut a run along the blocks that own its source."""
    if run.source is None:
        yield None, run
    elif run.step == 0:
        yield blocks.owner(run.source), run
    else:
        last = run.source + run.step * (run.length - 1)
        owners = list(blocks.overlapping(min(run.source, last), max(run.source, last) + 1))
        for owner in owners[:: run.step]:
            low, high = blocks.bounds(owner)
            first = max(run.source, low) if run.step > 0 else min(run.source, high - 1)
            end = min(last, high - 1) if run.step > 0 else max(last, low)
            offset = abs(first - run.source)
            yield owner, IndexRun(run.target + offset, abs(end - first) + 1, first, run.step)


def _moves(pieces: list[list[_SourceRun]], sender: Sequence[int], corners: bool) -> Iterator[Move]:
    """Yield what the sender at these coordinates gives a receiver with these pieces, in an order both can work out."""
    matching = ([p for p in along if p.owner == coord] for along, coord in zip(pieces, sender, strict=True))
    for combination in itertools.product(*matching):
        outside = sum(not piece.inside for piece in combination)
        if outside == 0 or (outside > 1 and not corners):
            continue
        runs = [piece.run for piece in combination]
        yield Move(
            tuple(run.target for run in runs),
            tuple(run.length for run in runs),
            tuple(run.source for run in runs if run.source is not None),
            tuple(run.step for run in runs),
        )


def _fills(pieces: list[list[_SourceRun]], corners: bool) -> Iterator[Box]:
    """Yield the boxes outside a "constant" wall on some axis."""
    if not any(piece.owner is None for along in pieces for piece in along):
        return
    for combination in itertools.product(*pieces):
        outside = sum(not piece.inside for piece in combination)
        if all(piece.owner is not None for piece in combination) or (outside > 1 and not corners):
            continue
        start = tuple(piece.run.target for piece in combination)
        yield Box(start, tuple(piece.run.target + piece.run.length for piece in combination))


def _readers(blocks: Blocks, halo: Halo, chosen: tuple[int, ...], axis: int, coord: int) -> list[int]:
    """Return the coordinates along one axis whose padded interval may read from the block at `coord`, sorted."""
    low, high = blocks.bounds(coord)
    if low == high:
        return []
    if axis not in chosen:
        return [coord]
    below, above = halo.widths[axis]
    # Straight neighbors, and the blocks that reach across a wall (which may fold back to anywhere).
    reading = set(blocks.overlapping(low - above, high + below))
    if any(mode is not None for mode in halo.sides(axis)):
        reading.update(blocks.overlapping(0, below), blocks.overlapping(blocks.cells - above, blocks.cells))
    return sorted(reading)
