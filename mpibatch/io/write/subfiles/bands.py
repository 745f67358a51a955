"""Which rows of an array go to which subfile, and who writes them: pure integers.

Subfiles are bands of whole rows along the first axis, even ones, whoever owns the cells: so they have the same bytes on
any ranks. Ranks are cut into as many groups as there are subfiles, neighbors together; where there are more subfiles
than ranks, each rank writes several, one after the other: in turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.domain import Blocks, Box

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Bands", "Turn"]


@dataclass(frozen=True, slots=True)
class Bands:
    """The rows of an array of `shape`, in `count` subfiles, written by `ranks`; no band cuts `step` rows.

    An array with few rows is in the first subfiles alone.
    """

    shape: tuple[int, ...]
    step: int
    count: int
    ranks: int

    @property
    def groups(self) -> int:
        """Groups of ranks. Local."""
        return min(self.count, self.ranks)

    @property
    def turns(self) -> int:
        """How many subfiles the first group writes, which no other exceeds. Local."""
        return -(-self.count // self.groups)

    def rows(self, number: int) -> tuple[int, int]:
        """Return the first row of a subfile, and the one after its last. Local."""
        low, high = self._steps.bounds(number)
        return min(low * self.step, self.shape[0]), min(high * self.step, self.shape[0])

    def group(self, rank: int) -> int:
        """Return the group of a rank. Local."""
        return Blocks(self.ranks, self.groups).owner(rank)

    def members(self, group: int) -> tuple[int, int]:
        """Return the first rank of a group, and the one after its last. Local."""
        return Blocks(self.ranks, self.groups).bounds(group)

    def subfile(self, group: int, turn: int) -> int | None:
        """Return the subfile that a group writes in a turn; None if it has no more. Local."""
        first, end = Blocks(self.count, self.groups).bounds(group)
        return first + turn if first + turn < end else None

    def within(self, low: int, high: int) -> range:
        """Return the subfiles that hold some of the rows. Local."""
        steps = self._steps
        return range(steps.owner(low // self.step), steps.owner((high - 1) // self.step) + 1)

    def place(self, number: int) -> tuple[int, int]:
        """Return the group that writes a subfile, and in which turn. Local."""
        files = Blocks(self.count, self.groups)
        group = files.owner(number)
        return group, number - files.bounds(group)[0]

    @property
    def _steps(self) -> Blocks:
        return Blocks(-(-self.shape[0] // self.step), self.count)


@dataclass(frozen=True, slots=True)
class Turn:
    """What each rank writes in one turn: a layout, as `mpibatch.fields.redistribution` moves cells to."""

    bands: Bands
    number: int

    def box(self, rank: int) -> Box:
        """Return the cells that a rank writes. Local."""
        bands = self.bands
        group = bands.group(rank)
        subfile = bands.subfile(group, self.number)
        low, high = (0, 0) if subfile is None else bands.rows(subfile)
        first, end = bands.members(group)
        begin, stop = Blocks(high - low, end - first).bounds(rank - first)
        return Box((low + begin, *(0 for _ in bands.shape[1:])), (low + stop, *bands.shape[1:]))

    def overlapping(self, box: Box) -> Iterator[int]:
        """Yield the ranks that write a cell of `box`. Local."""
        if not box.size:
            return
        start, stop = box.start[0], box.stop[0]
        for subfile in self.bands.within(start, stop):
            group, turn = self.bands.place(subfile)
            if turn != self.number:
                continue
            low, high = self.bands.rows(subfile)
            first, end = self.bands.members(group)
            shares = Blocks(high - low, end - first)
            yield from range(
                first + shares.owner(max(start, low) - low), first + shares.owner(min(stop, high) - 1 - low) + 1
            )
