"""A half-open region of global indices."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Box"]


@dataclass(frozen=True, slots=True)
class Box:
    """The indices ``start[a] <= i < stop[a]`` on every axis ``a``; an inverted interval counts as empty."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along every axis. Local."""
        return tuple(max(0, high - low) for low, high in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of cells. Local."""
        return math.prod(self.shape)

    def slices(self, origin: tuple[int, ...] | None = None) -> tuple[slice, ...]:
        """Return slices that cut this box out of an array whose first cell is `origin` (default: zeros). Local."""
        first = origin if origin is not None else (0,) * len(self.start)
        return tuple(
            slice(low - zero, max(low, high) - zero)
            for low, high, zero in zip(self.start, self.stop, first, strict=True)
        )

    def intersect(self, other: Box) -> Box:
        """Return the common region, of size 0 when there is none. Local."""
        start = tuple(map(max, self.start, other.start))
        return Box(start, tuple(map(max, start, map(min, self.stop, other.stop))))

    def grow(self, reach: tuple[tuple[int, int], ...]) -> Box:
        """Return this box widened by (low, high) cells on every axis. Local."""
        return Box(
            tuple(low - r[0] for low, r in zip(self.start, reach, strict=True)),
            tuple(high + r[1] for high, r in zip(self.stop, reach, strict=True)),
        )
