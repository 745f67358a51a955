"""The compiled loops of digests. Imported late, since this loads numba.

Sums of integers: they may be taken in any order, several at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled

__all__ = ["add_rows", "mixed_sum"]

Words = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# SplitMix64 (doi:10.1145/2660193.2660195): the step is 2^64 over the golden ratio, made odd; shifts and factors are
# those of its finalizer, "variant 13" of David Stafford. Each line of the mixing below can be undone, so that the
# result and the place together tell the word: a changed word always changes it.
STEP = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR, SECOND_FACTOR = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S30, S27, S31 = np.uint64(30), np.uint64(27), np.uint64(31)


@compiled
def mixed_sum(words: Words, first: Any) -> Any:
    """Return the sum of the mixed words modulo 2**64; `first` is the number of the first one. Local."""
    total = np.uint64(0)
    begin = np.uint64(first) * STEP
    for i in range(words.shape[0]):
        mixed = np.uint64(words[i]) + (begin + np.uint64(i) * STEP)
        mixed = (mixed ^ (mixed >> S30)) * FIRST_FACTOR
        mixed = (mixed ^ (mixed >> S27)) * SECOND_FACTOR
        total += mixed ^ (mixed >> S31)
    return total


@compiled
def add_rows(
    flat: Words, lengths: Ints, strides: Ints, numbers: Ints, first: int, origin: int, per_digest: int, table: Any
) -> None:
    """Add the words of an array to digests of `per_digest` words each. Local.

    Neighbours along axis k lie ``strides[k]`` words of memory apart, and their numbers differ by ``numbers[k]``; both
    are 1 for the last axis. ``flat[0]`` has the number `first`, and the first digest begins with the number `origin`.
    """
    outer = lengths.shape[0] - 1
    row = lengths[outer]
    counter = np.zeros(outer, np.int64)
    begin = np.int64(0)
    number = np.int64(first)
    for _ in range(lengths[:outer].prod()):
        done = np.int64(0)
        while done < row:
            digest = (number + done - origin) // per_digest
            n = min(row - done, origin + (digest + 1) * per_digest - (number + done))
            table[digest] += mixed_sum(flat[begin + done : begin + done + n], number + done)
            done += n
        for axis in range(outer - 1, -1, -1):
            counter[axis] += 1
            begin += strides[axis]
            number += numbers[axis]
            if counter[axis] < lengths[axis]:
                break
            begin -= counter[axis] * strides[axis]
            number -= counter[axis] * numbers[axis]
            counter[axis] = 0
