"""Philox4x32-10 (doi:10.1145/2063384.2063405), and numbers made of its words. Imported late, since this loads numba.

The counter is (place in the global array, number of the draw), 64 bits each; the key is the seed. 32-bit words are held
in 64 bits, where their products are exact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled, compiled_inline

__all__ = ["integers", "normal", "philox", "uniform"]

Values = npt.NDArray[Any]
Starts = npt.NDArray[np.uint64]

# The paper's multipliers, and the increments of the key: 2^32 over the golden ratio, and the root of 3, less 1.
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
R0, R1, R2, R3, R4, R5, R6, R7, R8, R9 = (np.uint64(number) for number in range(10))
S5, S6, S8, S26 = np.uint64(5), np.uint64(6), np.uint64(8), np.uint64(26)
ONE_53, ONE_24 = 2.0**-53, np.float32(2.0**-24)
TURN = 2.0 * math.pi


@compiled_inline
def _round(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any, number: Any) -> Any:
    p0, p1 = M0 * c0, M1 * c2
    k0, k1 = (k0 + number * W0) & LOW, (k1 + number * W1) & LOW
    return (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW


@compiled_inline
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Return four random words for a counter of four words and a key of two. Local.

    Ten rounds written one by one: of a loop within theirs, LLVM would make no vectors of loops over counters.
    """
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1, R0)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1, R1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1, R2)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1, R3)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1, R4)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1, R5)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1, R6)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1, R7)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1, R8)
    return _round(c0, c1, c2, c3, k0, k1, R9)


@compiled_inline
def _words(place: Any, draw: Any, seed: Any) -> Any:
    return philox(place & LOW, place >> HALF, draw & LOW, draw >> HALF, seed & LOW, seed >> HALF)


@compiled
def _unit(high: Any, low: Any) -> Any:
    """A multiple of 2^-53 in [0, 1), of two words."""
    return np.float64(((high >> S5) << S26) | (low >> S6)) * ONE_53


@compiled
def uniform(out: Values, starts: Starts, draw: Any, seed: Any, low: Any, width: Any, is_single: bool) -> None:
    """Fill the rows of `out`, of which row i begins at place ``starts[i]``, with numbers in [low, low + width)."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            a, b, _, _ = _words(starts[i] + np.uint64(j), draw, seed)
            # Of 24 bits for f4: rounding 53 of them to f4 could give the upper end.
            unit = np.float64(np.float32(a >> S8) * ONE_24) if is_single else _unit(a, b)
            out[i, j] = low + width * unit


@compiled
def normal(out: Values, starts: Starts, draw: Any, seed: Any, mean: Any, sd: Any) -> None:
    """Fill `out`, as above, with normal deviates: doi:10.1214/aoms/1177706645 (Box and Muller)."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            a, b, c, d = _words(starts[i] + np.uint64(j), draw, seed)
            radius = math.sqrt(-2.0 * math.log(1.0 - _unit(a, b)))
            out[i, j] = mean + sd * (radius * math.cos(TURN * _unit(c, d)))


@compiled
def integers(out: Values, starts: Starts, draw: Any, seed: Any, low: Any, count: Any) -> None:
    """Fill `out`, as above, with whole numbers in [low, low + count), modulo 2^64; a `count` of 0 stands for 2^64."""
    high_count, low_count = count >> HALF, count & LOW
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            a, b, _, _ = _words(starts[i] + np.uint64(j), draw, seed)
            if count == np.uint64(0):
                out[i, j] = low + ((a << HALF) | b)
                continue
            # The upper 64 bits of (a, b) · count, doi:10.1145/3230636; uneven by count / 2^64 at most.
            middle = a * low_count + ((b * low_count) >> HALF)
            other = b * high_count + (middle & LOW)
            out[i, j] = low + (a * high_count + (middle >> HALF) + (other >> HALF))
