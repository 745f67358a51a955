"""A global shape over a process grid: the owned box of every rank by arithmetic, without a message."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.domain.blocks import Blocks
from mpibatch.domain.box import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Decomposition", "choose_topology"]


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Axes cut into blocks; ranks are numbered over them in C order (last axis fastest).

    The box of every rank follows by arithmetic, without a message. `over` makes one from a shape.

    Parameters
    ----------
    axes : tuple of Blocks
        How each axis is cut, see `mpibatch.domain.Blocks`. Also an attribute; a decomposition cannot be changed.

    Notes
    -----
    Local. It takes no memory for each rank, unless sizes or weights were given: then one int for each block of an axis.

    Examples
    --------
    >>> import mpibatch as mb
    >>> decomposition = mb.Decomposition.over((6, 8), ranks=4)
    >>> decomposition.topology
    (2, 2)
    >>> decomposition.box(3)
    Box(start=(3, 4), stop=(6, 8))
    """

    axes: tuple[Blocks, ...]

    @classmethod
    def over(
        cls,
        shape: Sequence[int],
        ranks: int,
        topology: Sequence[int | None] | None = None,
        sizes: Sequence[Sequence[int] | None] | None = None,
        weights: Sequence[Sequence[float] | None] | None = None,
    ) -> Decomposition:
        """Return a global shape over so many ranks.

        Parameters
        ----------
        shape : sequence of int
            Cells along each axis, >= 1.
        ranks : int
            How many there are.
        topology : sequence of int or None, optional
            Ranks along each axis, None where they are to be chosen; see `mpibatch.domain.choose_topology`. Default: all
            are.
        sizes : sequence of (sequence of int or None), optional
            For each axis None (even blocks), or the cells of every block; 0 is allowed.
        weights : sequence of (sequence of float or None), optional
            For each axis None (even blocks), or what its blocks are in proportion to.

        Returns
        -------
        Decomposition
            Its blocks may be empty.

        Raises
        ------
        UsageError
            If the parts do not fit one another.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Decomposition.over((6, 8), ranks=2, sizes=(None, (5, 3))).box(1)
        Box(start=(0, 5), stop=(6, 8))
        """
        cells = tuple(int(n) for n in shape)
        if not cells or any(n < 1 for n in cells):
            raise UsageError(f"a grid of shape {cells} is not valid; give at least one axis and >= 1 cell on each")
        tables = [_table(cells, axis, sizes, weights) for axis in range(len(cells))]
        given = _merge(cells, topology, tables)
        ranks_along = choose_topology(cells, ranks, given)
        blocks = []
        for n, parts, table in zip(cells, ranks_along, tables, strict=True):
            blocks.append(Blocks(n, parts) if table is None else table)
        return cls(tuple(blocks))

    @property
    def shape(self) -> tuple[int, ...]:
        """The global shape, a tuple of int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Decomposition.over((6, 8), ranks=4).shape
        (6, 8)
        """
        return tuple(blocks.cells for blocks in self.axes)

    @property
    def topology(self) -> tuple[int, ...]:
        """Ranks along each axis, a tuple of int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Decomposition.over((6, 8), ranks=4).topology
        (2, 2)
        """
        return tuple(blocks.parts for blocks in self.axes)

    @property
    def size(self) -> int:
        """Number of ranks, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Decomposition.over((6, 8), ranks=4).size
        4
        """
        return math.prod(self.topology)

    def coords(self, rank: int) -> tuple[int, ...]:
        """Return the Cartesian coordinates of a rank. Local.

        Parameters
        ----------
        rank : int
            Its number.

        Returns
        -------
        tuple of int
            Its place along each axis of the topology.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Decomposition.over((6, 8), ranks=4).coords(2)
        (1, 0)
        """
        coords = []
        for parts in reversed(self.topology):
            rank, coord = divmod(rank, parts)
            coords.append(coord)
        return tuple(reversed(coords))

    def rank(self, coords: Sequence[int]) -> int:
        """Return the rank at some coordinates. Local.

        Parameters
        ----------
        coords : sequence of int
            The place along each axis of the topology.

        Returns
        -------
        int
            The number of the rank.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Decomposition.over((6, 8), ranks=4).rank((1, 0))
        2
        """
        rank = 0
        for coord, parts in zip(coords, self.topology, strict=True):
            rank = rank * parts + coord
        return rank

    def box(self, rank: int) -> Box:
        """Return the cells that a rank owns.

        Parameters
        ----------
        rank : int
            Its number; any rank's box is known.

        Returns
        -------
        Box
            Its global indices; of size 0 if it owns none.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Decomposition.over((6, 8), ranks=4).box(2)
        Box(start=(3, 0), stop=(6, 4))
        """
        bounds = [blocks.bounds(coord) for blocks, coord in zip(self.axes, self.coords(rank), strict=True)]
        return Box(tuple(low for low, _ in bounds), tuple(high for _, high in bounds))

    def owner(self, index: Sequence[int]) -> int:
        """Return the rank that owns a cell. Local.

        Parameters
        ----------
        index : sequence of int
            The cell's global index, within the shape.

        Returns
        -------
        int
            The number of the rank.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Decomposition.over((6, 8), ranks=4).owner((5, 7))
        3
        """
        return self.rank([blocks.owner(i) for blocks, i in zip(self.axes, index, strict=True)])

    def overlapping(self, box: Box) -> Iterator[int]:
        """Yield the ranks that own a cell of a box, in order.

        Parameters
        ----------
        box : Box
            Global indices; what lies outside the domain is left out.

        Yields
        ------
        int
            The number of a rank.

        Notes
        -----
        Local. The time grows with the ranks that are yielded.

        Examples
        --------
        >>> import mpibatch as mb
        >>> decomposition = mb.Decomposition.over((6, 8), ranks=4)
        >>> list(decomposition.overlapping(mb.Box((2, 0), (4, 2))))
        [0, 2]
        """
        if not box.size:
            return
        along = (b.overlapping(low, high) for b, low, high in zip(self.axes, box.start, box.stop, strict=True))
        for coords in itertools.product(*map(list, along)):
            yield self.rank(coords)

    def imbalance(self) -> float:
        """Return the largest block's cells over the mean block's.

        Returns
        -------
        float
            1.0 if all blocks have the same number of cells.

        Notes
        -----
        Local. The time grows with the sum of the topology.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Decomposition.over((6, 8), ranks=2, sizes=(None, (6, 2))).imbalance()
        1.5
        """
        largest = math.prod(max(b - a for a, b in map(axis.bounds, range(axis.parts))) for axis in self.axes)
        return largest * self.size / math.prod(self.shape)


def _table(
    cells: tuple[int, ...],
    axis: int,
    sizes: Sequence[Sequence[int] | None] | None,
    weights: Sequence[Sequence[float] | None] | None,
) -> Blocks | None:
    """The blocks of an axis whose sizes or weights were given."""
    for name, value in (("sizes", sizes), ("weights", weights)):
        if value is not None and len(value) != len(cells):
            raise UsageError(f"{name} has {len(value)} entries for a grid of {len(cells)} axes; give one per axis")
    axis_sizes = sizes[axis] if sizes is not None else None
    share = weights[axis] if weights is not None else None
    if axis_sizes is not None and share is not None:
        raise UsageError(f"axis {axis}: both sizes and weights were given; give one of them")
    if axis_sizes is not None:
        return Blocks.of_sizes(cells[axis], [int(size) for size in axis_sizes])
    return None if share is None else Blocks.of_weights(cells[axis], share)


def _merge(
    cells: tuple[int, ...], topology: Sequence[int | None] | None, tables: Sequence[Blocks | None]
) -> tuple[int | None, ...]:
    if topology is not None and len(topology) != len(cells):
        raise UsageError(f"topology has {len(topology)} entries for a grid of {len(cells)} axes; give one per axis")
    merged: list[int | None] = []
    for axis, table in enumerate(tables):
        ranks = topology[axis] if topology is not None else None
        if table is not None:
            if ranks is not None and ranks != table.parts:
                words = f"topology says {ranks} ranks, sizes or weights lists {table.parts} blocks"
                raise UsageError(f"axis {axis}: {words}")
            ranks = table.parts
        if ranks is not None and ranks < 1:
            raise UsageError(f"axis {axis}: {ranks} ranks are not valid; give 1 or more, or None for any number")
        merged.append(ranks)
    return tuple(merged)


def choose_topology(shape: Sequence[int], ranks: int, given: Sequence[int | None] | None = None) -> tuple[int, ...]:
    """Return the ranks along each axis that cost least: cells that travel plus cells that others wait for.

    Parameters
    ----------
    shape : sequence of int
        Cells along each axis.
    ranks : int
        How many there are.
    given : sequence of int or None, optional
        Ranks along each axis, None where they are to be chosen. Default: all are.

    Returns
    -------
    tuple of int
        The ranks along each axis; their product is `ranks`.

    Raises
    ------
    UsageError
        If what is given does not divide the number of ranks.

    Notes
    -----
    Local. Traveling cells are the largest block's faces towards other ranks; waited-for cells are what the largest
    block has above the mean. Both follow the grid's aspect and divisibility. Among equals the earlier axis is cut,
    because its faces are contiguous in memory.

    Examples
    --------
    >>> from mpibatch.domain import choose_topology
    >>> choose_topology((100, 100), 6)
    (3, 2)
    >>> choose_topology((100, 100), 6, given=(None, 1))
    (6, 1)
    """
    fixed = tuple(given) if given is not None else (None,) * len(shape)
    known = math.prod(parts for parts in fixed if parts is not None)
    free = [axis for axis, parts in enumerate(fixed) if parts is None]
    if ranks % known or (not free and known != ranks):
        raise UsageError(
            f"a process grid of {'×'.join('?' if p is None else str(p) for p in fixed)} does not fit "
            f"{ranks} ranks; start {known} ranks or change the topology"
        )
    mean = math.prod(shape) / ranks
    best: tuple[float, tuple[int, ...]] | None = None
    for factors in _factorizations(ranks // known, len(free)):
        candidate = [parts if parts is not None else 1 for parts in fixed]
        for axis, parts in zip(free, factors, strict=True):
            candidate[axis] = parts
        block = [-(-n // parts) for n, parts in zip(shape, candidate, strict=True)]
        cells = math.prod(block)
        faces = sum(min(2, parts - 1) * cells // side for side, parts in zip(block, candidate, strict=True))
        key = (faces + cells - mean, tuple(reversed(candidate)))
        if best is None or key < best:
            best = key
    assert best is not None
    return tuple(reversed(best[1]))


def _factorizations(number: int, factors: int) -> Iterator[tuple[int, ...]]:
    if factors == 0:
        if number == 1:
            yield ()
        return
    if factors == 1:
        yield (number,)
        return
    for divisor in _divisors(number):
        for rest in _factorizations(number // divisor, factors - 1):
            yield (divisor, *rest)


def _divisors(number: int) -> list[int]:
    low = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return [*low, *(number // divisor for divisor in reversed(low) if divisor * divisor != number)]
