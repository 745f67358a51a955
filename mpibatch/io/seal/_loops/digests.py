"""The compiled loops of digests. Imported late, since this loads numba.

Sums of integers: they may be taken in any order, several at a time. Bytes are read as little-endian words.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled, compiled_lean, is_interpreted, loaded_numba

__all__ = ["add_rows", "digest"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

# SplitMix64 (doi:10.1145/2660193.2660195): the step is 2^64 over the golden ratio, made odd; shifts and factors are
# those of its finalizer, "variant 13" of David Stafford.
STEP = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR, SECOND_FACTOR = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S27, S30, S31, S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
LOW, ONE = np.uint64(0xFFFFFFFF), np.uint64(1)

PAGE = 4096  # bytes, each half of a word with a weight of its own: these, as many bytes again and twice, stay in L1


def _scattered(number: Any) -> Any:
    """Return random bits, the last of them set: that of a product with it depends on every bit of the other factor."""
    mixed = (number + ONE) * STEP
    mixed = (mixed ^ (mixed >> S30)) * FIRST_FACTOR
    mixed = (mixed ^ (mixed >> S27)) * SECOND_FACTOR
    return (mixed ^ (mixed >> S31)) | ONE


_scatter = compiled_lean(_scattered)
# Of the lower and the upper halves of the words of a page.
LOWER, UPPER = (_scattered(np.arange(half, PAGE // 4, 2, dtype=np.uint64)) for half in (0, 1))


def _loaded(_typing: Any, data: Any, begin: Any) -> Any:
    """The eight bytes of an array from one on, wherever that lies in memory."""
    from llvmlite import ir
    from numba import types

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = builder.load(place, align=1)
        return builder.bswap(word) if sys.byteorder == "big" else word

    return types.uint64(data, begin), emit


if is_interpreted():  # an intrinsic has no Python

    def _word(data: Bytes, begin: int) -> Any:
        return data[begin : begin + 8].view("<u8")[0]

else:
    _word = loaded_numba()[0].extending.intrinsic(_loaded)


@compiled_lean
def _page_sum(data: Bytes, begin: int, size: int, at: int) -> Any:
    """The sum of weighted halves of words: of `size` bytes from `begin` on, which lie in a page from its byte `at`."""
    head = min(-at & 7, size)
    count = (size - head) >> 3
    total = np.uint64(0)
    for i in range(head):
        total += _weighted(data[begin + i], at + i)
    for i in range(head + 8 * count, size):
        total += _weighted(data[begin + i], at + i)
    # A product of 64 bits in two of 32, for which all processors have vectors.
    high = np.uint64(0)
    place, first = begin + head, np.uint64((at + head) >> 3)
    for i in range(count):
        word = _word(data, place + 8 * i)
        lower, upper = LOWER[first + np.uint64(i)], UPPER[first + np.uint64(i)]
        total += (word & LOW) * (lower & LOW) + (word >> S32) * (upper & LOW)
        high += (word & LOW) * (lower >> S32) + (word >> S32) * (upper >> S32)
    return total + (high << S32)


@compiled_lean
def _weighted(value: Any, at: int) -> Any:
    """What one byte adds to its half of a word, times the weight of that."""
    weight = UPPER[at >> 3] if at & 4 else LOWER[at >> 3]
    return (np.uint64(value) << np.uint64(8 * (at & 3))) * weight


@compiled_lean
def _weighted_sum(data: Bytes, begin: Any, size: Any, first: Any) -> Any:
    """The weighted sum, modulo 2**64, of bytes from `begin` on, the first of them number `first`."""
    total = np.uint64(0)
    done = 0
    while done < size:
        page, at = divmod(first + done, PAGE)
        n = min(size - done, PAGE - at)
        # Numbered on from where the halves of a page end: else half i of page k would weigh as half k of page i.
        total += _page_sum(data, begin + done, n, at) * _scatter(np.uint64(page + PAGE // 4))
        done += n
    return total


@compiled_lean
def digest(flat: Bytes, first: int, per_digest: int, table: Any) -> None:
    """Put the digests of bytes, the first of them number `first`, into a table: one for each `per_digest`. Local."""
    for i in range(table.shape[0]):
        low = i * per_digest
        table[i] = _weighted_sum(flat, low, min(per_digest, flat.shape[0] - low), first + low)


@compiled
def add_rows(
    flat: Bytes, lengths: Ints, strides: Ints, numbers: Ints, first: int, origin: int, per_digest: int, table: Any
) -> None:
    """Add the bytes of an array to digests of `per_digest` bytes each. Local.

    Neighbors along axis k lie ``strides[k]`` bytes of memory apart, and their numbers differ by ``numbers[k]``; both
    are 1 for the last axis. ``flat[0]`` has the number `first`, and the first digest begins with the number `origin`.
    """
    outer = lengths.shape[0] - 1
    row = lengths[outer]
    counter = np.zeros(outer, np.int64)
    begin = np.int64(0)
    number = np.int64(first)
    rows = 1
    for axis in range(outer):
        rows *= lengths[axis]
    for _ in range(rows):
        done = np.int64(0)
        while done < row:
            digest = (number + done - origin) // per_digest
            n = min(row - done, origin + (digest + 1) * per_digest - (number + done))
            table[digest] += _weighted_sum(flat, begin + done, n, number + done)
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
