"""Hashes of k-mers, as sourmash has them: MurmurHash3 of their letters, the first 64 bits of 128.

A. Appleby's MurmurHash3_x64_128, which is in the public domain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled_lean

__all__ = ["WORDS", "keep", "murmur", "quads"]

Codes = npt.NDArray[np.uint64]

WORDS = 4  # of 8 letters, in which a k-mer is
C1, C2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
A1, A2, FIVE = np.uint64(0x52DCE729), np.uint64(0x38495AB5), np.uint64(5)
F1, F2, S33 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33)
S64, S32, EIGHT, BYTE, ONE = np.uint64(64), np.uint64(32), np.uint64(8), np.uint64(0xFF), np.uint64(1)
R27, R31, R33 = np.uint64(27), np.uint64(31), np.uint64(33)


@compiled_lean
def _turned(x: Any, by: Any) -> Any:
    return (x << by) | (x >> (S64 - by))


@compiled_lean
def _mixed(x: Any) -> Any:
    x = (x ^ (x >> S33)) * F1
    x = (x ^ (x >> S33)) * F2
    return x ^ (x >> S33)


@compiled_lean
def _murmur(words: Codes, length: int, seed: Any) -> Any:
    h1, h2 = seed, seed
    for block in range(length // 16):
        h1 ^= _turned(words[2 * block] * C1, R31) * C2
        h1 = (_turned(h1, R27) + h2) * FIVE + A1
        h2 ^= _turned(words[2 * block + 1] * C2, R33) * C1
        h2 = (_turned(h2, R31) + h1) * FIVE + A2
    rest, after = length % 16, 2 * (length // 16)
    if rest > 8:
        h2 ^= _turned(words[after + 1] * C2, R33) * C1
    if rest > 0:
        h1 ^= _turned(words[after] * C1, R31) * C2
    h1 ^= np.uint64(length)
    h2 ^= np.uint64(length)
    h1 += h2
    h2 += h1
    h1, h2 = _mixed(h1), _mixed(h2)
    h1 += h2
    return h1, h2 + h1


@compiled_lean
def murmur(words: Codes, length: int, seed: Any) -> Any:
    """Return both halves of the hash of `length` bytes, in little-endian words with zeros behind. Local."""
    return _murmur(words, length, seed)


def quads() -> Codes:
    """Return, for four bases as a number of 8 bits, their letters as one of 32. Local."""
    letters = np.frombuffer(b"ACGT", np.uint8).astype(np.uint64)
    four = np.arange(256)
    result: Codes = np.bitwise_or.reduce([letters[four >> (6 - 2 * n) & 3] << np.uint64(8 * n) for n in range(4)])
    return result


@compiled_lean
def keep(codes: Codes, k: int, seed: Any, most: Any, letters: Codes, words: Codes, out: Codes) -> Any:
    """Write the hashes of k-mers that are `most` or less, and return how many. Local.

    `letters` is what `quads` returns, `words` space for WORDS words. `out` may be `codes`.
    """
    full, part = k // 8, np.uint64(k % 8)
    last = (ONE << (EIGHT * part)) - ONE  # of the word that is not full
    shift = S64 - np.uint64(2 * k)
    count = 0
    for n in range(codes.size):
        code = codes[n] << shift
        for word in range(WORDS):
            high = np.uint64(56 - 16 * word)
            low = high - EIGHT
            value = letters[np.int64((code >> high) & BYTE)] | (letters[np.int64((code >> low) & BYTE)] << S32)
            words[word] = value if word < full else (value & last if word == full else np.uint64(0))
        h1, _ = _murmur(words, k, seed)
        if h1 <= most:
            out[count] = h1
            count += 1
    return count
