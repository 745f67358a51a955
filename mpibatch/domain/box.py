"""A half-open region of global indices."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Box"]


@dataclass(frozen=True, slots=True)
class Box:
    """The indices ``start[a] <= i < stop[a]`` on every axis ``a``; an inverted interval counts as empty.

    Parameters
    ----------
    start : tuple of int
        The first index along every axis.
    stop : tuple of int
        The index behind the last one along every axis, as many as `start` has. Both are attributes; a box cannot be
        changed.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> box = mb.Box((0, 2), (4, 5))
    >>> box.shape, box.size
    ((4, 3), 12)
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along every axis, a tuple of int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Box((0, 2), (4, 5)).shape
        (4, 3)
        """
        return tuple(max(0, high - low) for low, high in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of cells, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Box((0, 2), (4, 5)).size
        12
        """
        return math.prod(self.shape)

    def slices(self, origin: tuple[int, ...] | None = None) -> tuple[slice, ...]:
        """Return slices that cut this box out of an array whose first cell is `origin`.

        Parameters
        ----------
        origin : tuple of int, optional
            The global index of the array's first cell. Default: zeros.

        Returns
        -------
        tuple of slice
            One for each axis.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Box((0, 2), (4, 5)).slices((0, 1))
        (slice(0, 4, None), slice(1, 4, None))
        """
        first = origin if origin is not None else (0,) * len(self.start)
        return tuple(
            slice(low - zero, max(low, high) - zero)
            for low, high, zero in zip(self.start, self.stop, first, strict=True)
        )

    def intersect(self, other: Box) -> Box:
        """Return the common region of two boxes.

        Parameters
        ----------
        other : Box
            A box of as many axes.

        Returns
        -------
        Box
            Of size 0 when there is none.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Box((0, 2), (4, 5)).intersect(mb.Box((3, 0), (9, 4)))
        Box(start=(3, 2), stop=(4, 4))
        """
        start = tuple(map(max, self.start, other.start))
        return Box(start, tuple(map(max, start, map(min, self.stop, other.stop))))

    def grow(self, reach: tuple[tuple[int, int], ...]) -> Box:
        """Return this box widened by (low, high) cells on every axis.

        Parameters
        ----------
        reach : tuple of (int, int)
            The cells to add below and above, one pair for each axis.

        Returns
        -------
        Box
            It may lie partly outside the domain.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Box((0, 2), (4, 5)).grow(((1, 1), (0, 2)))
        Box(start=(-1, 2), stop=(5, 7))
        """
        return Box(
            tuple(low - r[0] for low, r in zip(self.start, reach, strict=True)),
            tuple(high + r[1] for high, r in zip(self.stop, reach, strict=True)),
        )
