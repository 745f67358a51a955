"""Compiled sums of a few doubles that hold a total exactly, and the one rounding of what follows from them.

An expansion is a list of doubles whose exact sum is meant. Adding to one by error-free transformations (T. J. Dekker,
doi:10.1007/BF01397083; J. R. Shewchuk, doi:10.1007/PL00009321) loses nothing; rounding comes last, and is corrected by
the exact remainder, so that sums, quotients and roots are the nearest doubles. Imported late, since it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled

__all__ = ["append", "product", "quotient", "ratio", "root", "rounded", "two_product", "two_sum"]

Array = npt.NDArray[Any]
Int = Any

SPLITTER = 134217729.0  # 2**27 + 1: halves of 26 bits


@compiled
def two_sum(a: float, b: float) -> tuple[float, float]:
    """Return the rounded sum and its error. Local."""
    total = a + b
    from_b = total - a
    return total, (a - (total - from_b)) + (b - from_b)


@compiled
def two_product(a: float, b: float) -> tuple[float, float]:
    """Return the rounded product and its error; exact where neither half of it overflows or underflows. Local."""
    total = a * b
    big = SPLITTER * a
    a_high = big - (big - a)
    a_low = a - a_high
    big = SPLITTER * b
    b_high = big - (big - b)
    b_low = b - b_high
    return total, ((a_high * b_high - total) + a_high * b_low + a_low * b_high) + a_low * b_low


@compiled
def append(partials: Array, n: Int, value: float) -> Int:
    """Add a value to `n` partial sums that do not overlap, in ascending order; return how many there are now. Local."""
    kept = 0
    for i in range(n):
        value, error = two_sum(value, partials[i])
        if error != 0.0:
            partials[kept] = error
            kept += 1
    if value != 0.0:
        partials[kept] = value
        kept += 1
    return kept


@compiled
def product(partials: Array, n: Int, a: float, b: float) -> Int:
    """Add a product to partial sums; return how many there are now. Local."""
    high, low = two_product(a, b)
    n = append(partials, n, low)
    return append(partials, n, high)


@compiled
def rounded(partials: Array, n: Int) -> Any:
    """Return the double nearest to partial sums, ties to even. Local."""
    if n == 0:
        return 0.0
    i = n - 1
    total = partials[i]
    error = 0.0
    while i > 0 and error == 0.0:
        i -= 1
        total, error = two_sum(total, partials[i])
    # A tie was broken without regard to what lies below.
    if i > 0 and error != 0.0 and (error > 0.0) == (partials[i - 1] > 0.0):
        twice = 2.0 * error
        moved = total + twice
        if moved - total == twice:
            total = moved
    return total


@compiled
def neighbor(value: float, upward: bool) -> float:
    """Return the next double, of one that is finite and not 0. Local."""
    bits = np.float64(value).view(np.int64)
    step = 1 if (value > 0.0) == upward else -1
    return np.int64(bits + step).view(np.float64)


@compiled
def nearer(value: float, side: float, beyond: float) -> float:
    """Return a value, or its neighbor on a side, by the sign of what is left beyond the middle. Local."""
    other = neighbor(value, side > 0.0)
    is_odd = (np.float64(value).view(np.int64) & 1) == 1
    is_beyond = (beyond > 0.0) == (side > 0.0) if beyond != 0.0 else is_odd
    return other if is_beyond else value


@compiled
def quotient(partials: Array, n: Int, divisor: float, scratch: Array) -> Any:
    """Return the double nearest to partial sums over a whole number below 2**53, ties to even. Local.

    For results far from overflow and underflow, or 0.
    """
    value = rounded(partials, n) / divisor
    if value == 0.0:
        return value
    for i in range(n):
        scratch[i] = partials[i]
    left = product(scratch, n, -value, divisor)
    value += rounded(scratch, left) / divisor
    for i in range(n):
        scratch[i] = partials[i]
    left = product(scratch, n, -value, divisor)
    rest = rounded(scratch, left)
    if rest == 0.0:
        return value
    half = 0.5 * (neighbor(value, rest > 0.0) - value)
    left = product(scratch, left, -half, divisor)
    return nearer(value, rest, rounded(scratch, left))


@compiled
def remainder(partials: Array, n: Int, factor: float, divisor: Array, scratch: Array) -> Int:
    """Write partial sums less a factor times the sum of `divisor` to `scratch`; return how many there are. Local."""
    for i in range(n):
        scratch[i] = partials[i]
    for i in range(divisor.shape[0]):
        n = product(scratch, n, -factor, divisor[i])
    return n


@compiled
def ratio(partials: Array, n: Int, divisor: Array, scratch: Array) -> Any:
    """Return the double nearest to partial sums over the sum of `divisor`, not 0, ties to even. Local.

    For results far from overflow and underflow, or 0.
    """
    m = 0
    for i in range(divisor.shape[0]):
        m = append(scratch, m, divisor[i])
    about = rounded(scratch, m)
    value = rounded(partials, n) / about
    if value == 0.0:
        return value
    left = remainder(partials, n, value, divisor, scratch)
    value += rounded(scratch, left) / about
    left = remainder(partials, n, value, divisor, scratch)
    rest = rounded(scratch, left)
    if rest == 0.0:
        return value
    side = 1.0 if (rest > 0.0) == (about > 0.0) else -1.0
    half = 0.5 * (neighbor(value, side > 0.0) - value)
    for i in range(divisor.shape[0]):
        left = product(scratch, left, -half, divisor[i])
    beyond = rounded(scratch, left)
    return nearer(value, side, beyond if about > 0.0 else -beyond)


@compiled
def root(partials: Array, n: Int, divisor: float, scratch: Array) -> Any:
    """Return the double nearest to the square root of what `quotient` divides, which is not negative. Local."""
    value = np.sqrt(quotient(partials, n, divisor, scratch))
    if value == 0.0:
        return value
    for side in (1.0, -1.0):
        half = 0.5 * (neighbor(value, side > 0.0) - value)
        for i in range(n):
            scratch[i] = partials[i]
        # Less the square of the middle, (value + half)**2, times the divisor.
        left = n
        for a, b in ((value, value), (2.0 * value, half), (half, half)):
            high, low = two_product(a, b)
            left = product(scratch, left, -low, divisor)
            left = product(scratch, left, -high, divisor)
        corrected = nearer(value, side, rounded(scratch, left))
        if corrected != value:
            return corrected
    return value
