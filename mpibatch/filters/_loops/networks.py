"""Comparator networks that bring one order statistic of n values into a known place. Pure."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

__all__ = ["selection_network"]


@functools.lru_cache(maxsize=64)
def selection_network(count: int, rank: int) -> npt.NDArray[np.int32]:
    """Return comparators (i, j, keep) after which value i == `rank` is the one of that rank. Local.

    Batcher's merge exchange sort (Knuth, The Art of Computer Programming, vol. 3, 5.2.2, algorithm M) for any
    count, without the comparators, and without the halves of comparators, that the answer does not depend on.
    `keep` is 1 where only the smaller value matters (it goes to i), 2 where only the larger does (to j), else 3.
    """
    needed = {rank}
    kept = []
    for low, high in reversed(_merge_exchange(count)):
        keep = (low in needed) + 2 * (high in needed)
        if keep:
            kept.append((low, high, keep))
            needed |= {low, high}
    return np.array(kept[::-1], dtype=np.int32).reshape(-1, 3)


def _merge_exchange(count: int) -> list[tuple[int, int]]:
    """Return the comparators of a full sort of `count` values. Local."""
    comparators = []
    top = 1 << max(0, (count - 1).bit_length() - 1)
    span = top
    while span:
        group, rest, distance = top, 0, span
        while True:
            comparators += [(i, i + distance) for i in range(count - distance) if i & span == rest]
            if group == span:
                break
            distance, rest = group - span, span
            group >>= 1
        span >>= 1
    return comparators
