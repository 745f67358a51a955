"""One axis cut into consecutive blocks: who owns which index, by arithmetic or by bisection."""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Blocks"]


@dataclass(frozen=True, slots=True)
class Blocks:
    """One axis cut into blocks; even blocks need no table, given sizes keep their starts.

    Parameters
    ----------
    cells : int
        Indices of the axis.
    parts : int
        Number of blocks. Even ones differ by one cell at most, the larger ones first.
    starts : tuple of int, optional
        Where each block begins, and the end of the last: ``parts + 1`` indices. Default: even blocks.

    Notes
    -----
    Local. All three are attributes; blocks cannot be changed.

    Examples
    --------
    >>> from mpibatch.domain import Blocks
    >>> blocks = Blocks(10, 4)
    >>> [blocks.bounds(part) for part in (0, 1, 2, 3)]
    [(0, 3), (3, 6), (6, 8), (8, 10)]
    """

    cells: int
    parts: int
    starts: tuple[int, ...] | None = None

    @classmethod
    def of_sizes(cls, cells: int, sizes: Sequence[int]) -> Blocks:
        """Return blocks of the given sizes.

        Parameters
        ----------
        cells : int
            Indices of the axis.
        sizes : sequence of int
            The cells of each block; they must be >= 0 and add up to `cells`.

        Returns
        -------
        Blocks
            As many as there are sizes.

        Raises
        ------
        UsageError
            If a size is negative, or they do not add up.

        Notes
        -----
        Local.

        Examples
        --------
        >>> from mpibatch.domain import Blocks
        >>> Blocks.of_sizes(10, [7, 0, 3]).bounds(2)
        (7, 10)
        """
        if any(size < 0 for size in sizes) or sum(sizes) != cells:
            raise UsageError(
                f"block sizes {list(sizes)} do not fit an axis of {cells} cells: they are negative or add up "
                f"to {sum(sizes)}; give sizes >= 0 that add up to {cells}"
            )
        return cls(cells, len(sizes), tuple(itertools.accumulate(sizes, initial=0)))

    @classmethod
    def of_weights(cls, cells: int, weights: Sequence[float]) -> Blocks:
        """Return blocks in proportion to weights, each within one cell of its share.

        Parameters
        ----------
        cells : int
            Indices of the axis.
        weights : sequence of float
            Finite numbers >= 0, of which one is more.

        Returns
        -------
        Blocks
            As many as there are weights. Where they begin is rounded by exact arithmetic: every rank cuts alike.

        Raises
        ------
        UsageError
            If the weights are no such numbers.

        Notes
        -----
        Local.

        Examples
        --------
        >>> from mpibatch.domain import Blocks
        >>> Blocks.of_weights(10, [1.0, 3.0]).starts
        (0, 3, 10)
        """
        try:
            shares = [Fraction(float(weight)) for weight in weights]
        except (TypeError, ValueError, OverflowError):  # no number, NaN, infinite
            shares = []
        if not any(shares) or min(shares) < 0:
            raise UsageError(f"weights {list(weights)} are not valid; give numbers >= 0, at least one of them > 0")
        sums = list(itertools.accumulate(shares, initial=Fraction(0)))
        # Rounded by exact arithmetic: every rank cuts alike.
        return cls(cells, len(weights), tuple(int(cells * part / sums[-1] + Fraction(1, 2)) for part in sums))

    def bounds(self, part: int) -> tuple[int, int]:
        """Return the half-open interval of a block.

        Parameters
        ----------
        part : int
            The number of the block, from 0.

        Returns
        -------
        tuple of (int, int)
            Its first index, and the one behind its last.

        Notes
        -----
        Local; the time does not depend on the number of blocks.

        Examples
        --------
        >>> from mpibatch.domain import Blocks
        >>> Blocks(10, 4).bounds(1)
        (3, 6)
        """
        if self.starts is not None:
            return self.starts[part], self.starts[part + 1]
        size, extra = divmod(self.cells, self.parts)
        low = part * size + min(part, extra)
        return low, low + size + (part < extra)

    def owner(self, index: int) -> int:
        """Return the block that holds an index.

        Parameters
        ----------
        index : int
            From 0, below `cells`.

        Returns
        -------
        int
            The number of the block.

        Notes
        -----
        Local. By arithmetic for even blocks, by bisection for given ones.

        Examples
        --------
        >>> from mpibatch.domain import Blocks
        >>> Blocks(10, 4).owner(6)
        2
        """
        if self.starts is not None:
            # Empty blocks start where the next one does; the last block that starts there is the full one.
            return bisect.bisect_right(self.starts, index) - 1
        size, extra = divmod(self.cells, self.parts)
        in_larger = extra * (size + 1)
        return index // (size + 1) if index < in_larger else extra + (index - in_larger) // size

    def overlapping(self, low: int, high: int) -> Iterator[int]:
        """Yield the blocks that own an index of an interval, clipped to the axis, in order.

        Parameters
        ----------
        low, high : int
            The half-open interval; it may reach beyond the axis.

        Yields
        ------
        int
            The number of a block that is not empty.

        Notes
        -----
        Local. The time grows with the blocks between both ends.

        Examples
        --------
        >>> from mpibatch.domain import Blocks
        >>> list(Blocks(10, 4).overlapping(-2, 7))
        [0, 1, 2]
        """
        low, high = max(low, 0), min(high, self.cells)
        if low >= high:
            return
        for part in range(self.owner(low), self.owner(high - 1) + 1):
            first, last = self.bounds(part)
            if first < last:
                yield part
