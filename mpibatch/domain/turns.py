"""Fields whose axes are cut along other axes of the process grid than their own, and ways from one such to the next."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mpibatch.domain.blocks import Blocks
from mpibatch.domain.box import Box

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mpibatch.domain.decomposition import Decomposition

__all__ = ["Turned", "route"]


@dataclass(frozen=True, slots=True)
class Turned:
    """Who owns what where the axes of a field are cut along other axes of the process grid than their own.

    Attributes
    ----------
    topology : ranks along each axis of the process grid.
    axes : how each axis of the field is cut.
    ways : along which axes of the process grid it is, the slowest first.
    """

    topology: tuple[int, ...]
    axes: tuple[Blocks, ...]
    ways: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, decomposition: Decomposition) -> Turned:
        """Return a decomposition as it is. Local."""
        topology = decomposition.topology
        ways = tuple((axis,) if parts > 1 else () for axis, parts in enumerate(topology))
        return cls(topology, decomposition.axes, ways)

    def turned(self, axis: int, other: int) -> Turned:
        """Return what leaves `axis` whole: another is cut along its ways, too. Local."""
        ways, axes = list(self.ways), list(self.axes)
        ways[axis], ways[other] = (), self.ways[other] + self.ways[axis]
        for number in (axis, other):
            axes[number] = Blocks(axes[number].cells, self.parts(ways[number]))
        return replace(self, axes=tuple(axes), ways=tuple(ways))

    def resized(self, axis: int, cells: int) -> Turned:
        """Return it with another number of cells along an axis that is whole. Local."""
        axes = (*self.axes[:axis], Blocks(cells, 1), *self.axes[axis + 1 :])
        return self if self.axes[axis].cells == cells else replace(self, axes=axes)

    def parts(self, ways: Iterable[int]) -> int:
        """Return the ranks along axes of the process grid. Local."""
        return math.prod(self.topology[way] for way in ways)

    def largest(self) -> list[int]:
        """Return the most cells of a block along each axis. Local."""
        return [max(high - low for low, high in map(blocks.bounds, range(blocks.parts))) for blocks in self.axes]

    def box(self, rank: int) -> Box:
        """Return the cells that a rank owns. Local."""
        coords: list[int] = []
        for parts in reversed(self.topology):
            rank, coord = divmod(rank, parts)
            coords.insert(0, coord)
        bounds = []
        for blocks, ways in zip(self.axes, self.ways, strict=True):
            part = 0
            for way in ways:
                part = part * self.topology[way] + coords[way]
            bounds.append(blocks.bounds(part))
        return Box(tuple(low for low, _ in bounds), tuple(high for _, high in bounds))

    def overlapping(self, box: Box) -> Iterator[int]:
        """Yield the ranks that own a cell of a box. Local."""
        if not box.size:
            return
        owners = [
            blocks.overlapping(low, high) for blocks, low, high in zip(self.axes, box.start, box.stop, strict=True)
        ]
        for parts in itertools.product(*owners):
            coords = [0] * len(self.topology)
            for part, ways in zip(parts, self.ways, strict=True):
                for way in reversed(ways):
                    part, coords[way] = divmod(part, self.topology[way])  # noqa: PLW2901 - digit by digit
            rank = 0
            for coord, count in zip(coords, self.topology, strict=True):
                rank = rank * count + coord
            yield rank


def route(layout: Turned, axes: Sequence[int], cells: Sequence[int]) -> list[Turned] | None:
    """Return for each of several axes a layout that leaves it whole, one after the other. Local, the same on all ranks.

    None if there are fewer than two moves, if one would be between all ranks, or if ranks would have next to nothing
    to do. Of all others, the one of which no move is between many ranks, and blocks are small.
    """
    best: tuple[tuple[int, int], list[Turned]] | None = None
    for layouts, partners in _routes(layout, list(zip(axes, cells, strict=True))):
        sizes = [math.prod(each.largest()) for each in layouts]
        ranks = math.prod(layout.topology)
        evens = [math.prod(blocks.cells for blocks in each.axes) / ranks for each in layouts]
        is_even = all(size < 2 * even for size, even in zip(sizes, evens, strict=True))
        if len(partners) < 2 or max(partners) == ranks or not is_even:
            continue
        cost = max(partners), sum(sizes)
        if best is None or cost < best[0]:
            best = cost, layouts
    return None if best is None else best[1]


def _routes(layout: Turned, steps: list[tuple[int, int]]) -> Iterator[tuple[list[Turned], list[int]]]:
    """Yield all ways to make one axis after the other whole, and between how many ranks each of the moves is."""
    if not steps:
        yield [], []
        return
    (axis, cells), *left = steps
    ways = layout.ways[axis]
    others = [other for other in range(len(layout.axes)) if other != axis] if ways else [axis]
    for other in others:
        next_ = layout.turned(axis, other) if ways else layout
        for layouts, partners in _routes(next_.resized(axis, cells), left):
            yield [next_, *layouts], [layout.parts(ways), *partners] if ways else partners
