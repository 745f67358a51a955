"""One axis cut into consecutive blocks: who owns which index, by arithmetic or by bisection."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mpibatch.base.errors import UsageError

__all__ = ["Blocks"]


@dataclass(frozen=True, slots=True)
class Blocks:
    """`cells` indices in `parts` blocks; even blocks need no table, given sizes keep their starts."""

    cells: int
    parts: int
    starts: tuple[int, ...] | None = None

    @classmethod
    def of_sizes(cls, cells: int, sizes: Sequence[int]) -> Blocks:
        """Return blocks of the given sizes, which must be >= 0 and add up to `cells`. Local."""
        if any(size < 0 for size in sizes) or sum(sizes) != cells:
            raise UsageError(
                f"block sizes {list(sizes)} were asked for an axis of {cells} cells, but they are negative or add up "
                f"to {sum(sizes)}; give sizes >= 0 that add up to {cells}"
            )
        return cls(cells, len(sizes), tuple(itertools.accumulate(sizes, initial=0)))

    @classmethod
    def of_weights(cls, cells: int, weights: Sequence[float]) -> Blocks:
        """Return blocks in proportion to `weights`, each within one cell of its share. Local."""
        try:
            shares = [Fraction(float(weight)) for weight in weights]
        except (TypeError, ValueError, OverflowError):  # no number, NaN, infinite
            shares = []
        if not any(shares) or min(shares) < 0:
            raise UsageError(f"weights {list(weights)} were asked for; give numbers >= 0 of which one is more")
        sums = list(itertools.accumulate(shares, initial=Fraction(0)))
        # Rounded by exact arithmetic: every rank cuts alike.
        return cls(cells, len(weights), tuple(int(cells * part / sums[-1] + Fraction(1, 2)) for part in sums))

    def bounds(self, part: int) -> tuple[int, int]:
        """Return the half-open interval of block `part`. Local."""
        if self.starts is not None:
            return self.starts[part], self.starts[part + 1]
        size, extra = divmod(self.cells, self.parts)
        low = part * size + min(part, extra)
        return low, low + size + (part < extra)

    def owner(self, index: int) -> int:
        """Return the block that holds `index` (0 <= index < cells). Local."""
        if self.starts is not None:
            # Empty blocks start where the next one does; the last block that starts there is the full one.
            return bisect.bisect_right(self.starts, index) - 1
        size, extra = divmod(self.cells, self.parts)
        in_larger = extra * (size + 1)
        return index // (size + 1) if index < in_larger else extra + (index - in_larger) // size

    def overlapping(self, low: int, high: int) -> Iterator[int]:
        """Yield the blocks that own a cell of the interval, clipped to the axis, in order. Local."""
        low, high = max(low, 0), min(high, self.cells)
        if low >= high:
            return
        for part in range(self.owner(low), self.owner(high - 1) + 1):
            first, last = self.bounds(part)
            if first < last:
                yield part
