"""The compiled loops of the exact sum of floats.

Imported late, since it loads numba. Loops index from 0 over slices, and branch per block rather than per
element, so that they vectorize; integer sums may be re-associated freely, which is why everything is one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled

__all__ = ["BLOCK", "LIMBS", "NAN", "NEGATIVE_INFINITY", "NEGATIVE_ZERO", "OTHER", "PARTS", "POSITIVE_INFINITY"]
__all__ += ["accumulate"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
# Compiled code has 64-bit integers only, which Python sees as int or np.int64.
Int = Any

# Limb i counts units of 2**(32 i - 1074). The largest double needs 2098 bits; 64 more for up to 2**64 addends.
LIMBS = 68
# After the limbs: whether (a positive number) such an addend was met; OTHER is whatever is not -0.0.
NAN, POSITIVE_INFINITY, NEGATIVE_INFINITY, NEGATIVE_ZERO, OTHER = range(LIMBS, LIMBS + 5)
PARTS = LIMBS + 5

# Elements taken at once: 2048 integers of at most 2**51 sum up below 2**63, and 16 KiB stay in the L1 cache.
BLOCK = 2048
# Largest biased exponent whose block can be sliced without the slicing constant overflowing.
SLICEABLE = 2044
# Blocks that go to the bins untried after one that had to.
SKIPPED = 7
# Elements after which the bins (32 bits of each element, in 64) are emptied.
BIN_CAPACITY = 1 << 30

LOW32 = 0xFFFFFFFF
FRACTION = 0xFFFFFFFFFFFFF
HIDDEN = 0x10000000000000
MAGNITUDE = 0x7FFFFFFFFFFFFFFF
INFINITY = 0x7FF0000000000000
# The fraction bits of 1.5.
HALF = 0x8000000000000


@compiled
def deposit(parts: Ints, amount: Int, offset: Int) -> None:
    """Add ``amount * 2**(offset - 1074)``. Local.

    For amounts of at most 2**62 either way; each limb changes by less than 2**33.
    """
    limb = offset >> 5
    shift = offset & 31
    low = (amount & LOW32) << shift
    high = (amount >> 32) << shift
    parts[limb] += low & LOW32
    parts[limb + 1] += (low >> 32) + (high & LOW32)
    parts[limb + 2] += high >> 32


@compiled
def carry(parts: Ints) -> None:
    """Bring every limb but the last into 0 ... 2**32 - 1; the last one bears the sign. Local."""
    for i in range(LIMBS - 1):
        parts[i + 1] += parts[i] >> 32
        parts[i] &= LOW32


@compiled
def scan(block: Array, top: Int) -> tuple[Int, Int, Int, Int]:
    """Slice a block into two sums of whole numbers, if no biased exponent exceeds `top`. Local.

    Adding 1.5 * 2**(52 + s) to a value below 2**(51 + s) rounds it to a multiple of 2**s, and leaves that
    multiple in the last bits of the result: the bit patterns then add up as integers. What was rounded away
    is exact, and sliced again, 52 bits lower. Returns the bits of the largest magnitude, the two sums (in
    units of 2**(top - 1073) and of 2**max(top - 1125, -1074)), and nonzero bits if anything was left over.
    """
    high_magic = np.int64(((top + 2) << 52) | HALF)
    low_magic = np.int64(((max(top - 51, 0) + 1) << 52) | HALF)
    high_shift = np.int64(high_magic).view(np.float64)
    low_shift = np.int64(low_magic).view(np.float64)
    largest = np.int64(0)
    high = np.int64(0)
    low = np.int64(0)
    left = np.int64(0)
    for i in range(block.shape[0]):
        value = np.float64(block[i])
        largest = max(largest, np.float64(value).view(np.int64) & MAGNITUDE)
        raised = value + high_shift
        rest = value - (raised - high_shift)
        raised_rest = rest + low_shift
        last = rest - (raised_rest - low_shift)
        high += np.float64(raised).view(np.int64) - high_magic
        low += np.float64(raised_rest).view(np.int64) - low_magic
        left |= np.float64(last).view(np.int64)
    return largest, high, low, left & MAGNITUDE


@compiled
def fill_bins(block: Array, bins: Ints) -> Int:
    """Add each significand, in two parts, to its exponent's bin; return the largest magnitude's bits. Local."""
    largest = np.int64(0)
    for i in range(block.shape[0]):
        bits = np.float64(block[i]).view(np.int64)
        largest = max(largest, bits & MAGNITUDE)
        exponent = (bits >> 52) & 2047
        significand = bits & FRACTION
        if exponent != 0:
            significand |= HIDDEN
        sign = bits >> 63
        significand = (significand ^ sign) - sign
        bins[exponent, 0] += significand & LOW32
        bins[exponent, 1] += significand >> 32
    return largest


@compiled
def empty_bins(bins: Ints, parts: Ints) -> None:
    """Add the bins to the limbs and clear them; the last bin (infinities and NaN) is only cleared. Local."""
    for exponent in range(2047):
        offset = max(exponent - 1, 0)
        if bins[exponent, 0] != 0:
            deposit(parts, bins[exponent, 0], offset)
        if bins[exponent, 1] != 0:
            deposit(parts, bins[exponent, 1], offset + 32)
    bins[:] = 0
    carry(parts)


@compiled
def mark_special(block: Array, parts: Ints) -> None:
    """Note which of NaN and the infinities a block has. Local."""
    for i in range(block.shape[0]):
        bits = np.float64(block[i]).view(np.int64)
        if (bits & MAGNITUDE) > INFINITY:
            parts[NAN] = 1
        elif bits == INFINITY:
            parts[POSITIVE_INFINITY] = 1
        elif (bits & MAGNITUDE) == INFINITY:
            parts[NEGATIVE_INFINITY] = 1


@compiled
def mark_zeros(block: Array, parts: Ints) -> None:
    """Note which signs a block of zeros has. Local."""
    for i in range(block.shape[0]):
        if np.float64(block[i]).view(np.int64) == 0:
            parts[OTHER] = 1
        else:
            parts[NEGATIVE_ZERO] = 1


@compiled
def add_block(block: Array, parts: Ints, bins: Ints, top: Int, skip: Int) -> tuple[Int, Int]:
    """Add a block; return what to pass as `top` and `skip` with the next one. Local.

    `top` is a guess of the largest biased exponent. A good one saves the pass that would find it, and the sum then
    costs one pass through memory. After a block that slices cannot hold, `skip` blocks are not tried.
    """
    largest, high, low, left = np.int64(0), np.int64(0), np.int64(0), np.int64(1)
    if skip == 0:
        largest, high, low, left = scan(block, top)
        largest_exponent = max(largest >> 52, 1)
        if (largest_exponent > top or left != 0) and largest_exponent != top and largest_exponent <= SLICEABLE:
            top = largest_exponent
            largest, high, low, left = scan(block, top)
        if largest_exponent > top:
            left = np.int64(1)
        if left != 0:
            skip = SKIPPED
    else:
        skip -= 1
    if left != 0:
        largest = fill_bins(block, bins)
        if largest >= INFINITY:
            mark_special(block, parts)
    else:
        deposit(parts, high, top + 1)
        deposit(parts, low, max(top - 51, 0))
    if largest != 0:
        parts[OTHER] = 1
    elif parts[OTHER] == 0:
        mark_zeros(block, parts)
    return top, skip


@compiled
def step(counter: Ints, outer: Ints, strides: Ints) -> Int:
    """Advance `counter` to the next run; return how far it lies from the present one. Local."""
    moved = np.int64(0)
    for axis in range(outer.shape[0] - 1, -1, -1):
        counter[axis] += 1
        moved += strides[axis]
        if counter[axis] < outer[axis]:
            break
        moved -= counter[axis] * strides[axis]
        counter[axis] = 0
    return moved


@compiled
def accumulate(flat: Array, outer: Ints, strides: Ints, inner: Int, parts: Ints) -> None:
    """Add all elements of f4 or f8 `Rows` to `parts`, exactly; carried afterwards. Local.

    Limbs are carried per call: it would take 2**30 blocks, 16 TiB of memory, to overflow one.
    """
    bins = np.zeros((2048, 2), np.int64)
    counter = np.zeros_like(outer)
    offset: Int = np.int64(0)
    top: Int = np.int64(1)
    skip: Int = np.int64(0)
    in_bins = 0
    rows = 1  # not outer.prod(), for which numba imports all that it knows of arrays, BLAS too
    for axis in range(outer.size):
        rows *= outer[axis]
    for _ in range(rows):
        for start in range(0, inner, BLOCK):
            n = min(BLOCK, inner - start)
            top, skip = add_block(flat[offset + start : offset + start + n], parts, bins, top, skip)
            in_bins += n
            if in_bins > BIN_CAPACITY:
                empty_bins(bins, parts)
                in_bins = 0
        offset += step(counter, outer, strides)
    empty_bins(bins, parts)
