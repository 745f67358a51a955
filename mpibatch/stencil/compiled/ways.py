"""Ways to have a kernel compiled, all with the same bits; which is the fastest is found by timing.

The compiler takes the longest vectors that the processor has. Rows of a field rarely begin on a cache line, so that
each vector of 64 bytes lies in two lines, and half as long ones can be faster, by a sixth to a quarter on Zen 5, but
not where more is computed than loaded.

The processor's prefetchers follow a row, and find the next one late. So a row of each plane that comes into the cache
may be asked for two rows ahead: with short vectors, the 7 points of f8 then take two thirds of the time on Zen 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpibatch.base.host import has_long_vectors

__all__ = ["PLAIN", "WAYS", "Way", "way_text", "ways_for"]

AHEAD = 2  # rows


@dataclass(frozen=True, slots=True)
class Way:
    """What the compiler is told: rows to be asked for ahead, and whether vectors have 256 bits at most."""

    ahead: int = 0
    is_narrow: bool = False


PLAIN = Way()
WAYS = (PLAIN, Way(AHEAD), Way(is_narrow=True), Way(AHEAD, is_narrow=True))


def ways_for(ndim: int) -> tuple[int, ...]:
    """Return which of `WAYS` to try for kernels of so many axes on this processor, the compiler's own first. Local.

    Only in three dimensions is the next row, whose plane is known, a short way ahead.
    """
    if ndim < 3:
        return (0, 2) if has_long_vectors() else (0,)
    return (0, 1, 3) if has_long_vectors() else (0, 1)


def way_text(number: int) -> str:
    """Return what one of `WAYS` is, for people, behind a comma; "" for the compiler's own. Local."""
    way = WAYS[number]
    return (f", {way.ahead} rows ahead" if way.ahead else "") + (", 256 bits" if way.is_narrow else "")
