"""The compiled loop of exact sums of products: products of significands, as integers, in bins by exponent.

Nothing is rounded, overflows or underflows on the way, whatever the factors. Imported late, since it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.exact_sums import FRACTION, HIDDEN, INFINITY, LOW32, MAGNITUDE, deposit

__all__ = ["LIMBS", "NAN", "NEGATIVE_INFINITY", "PARTS", "POSITIVE_INFINITY", "UNIT", "accumulate"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Int = Any

# Limb i counts units of 2**(32 i - UNIT): the least product of two doubles is 2**-2148, and the largest has 2048 bits
# before the point; 64 more for up to 2**64 of them.
UNIT = 2148
LIMBS = 136
# After the limbs: whether (a positive number) such a product was met.
NAN, POSITIVE_INFINITY, NEGATIVE_INFINITY = range(LIMBS, LIMBS + 3)
PARTS = LIMBS + 3

EXPONENTS = 4096
HALF27 = (1 << 27) - 1


@compiled
def accumulate(x: Array, y: Array, limb: Int, parts: Ints) -> None:
    """Add the products of two f8 arrays, times 2**(32 limb), to `parts`, exactly; carried afterwards. Local.

    For at most 2**30 elements; and a limb other than 0 for whole numbers only, which lie in the middle.
    """
    bins = np.zeros((EXPONENTS, 4), np.int64)
    for i in range(x.shape[0]):
        a = np.float64(x[i]).view(np.int64)
        b = np.float64(y[i]).view(np.int64)
        if (a & MAGNITUDE) >= INFINITY or (b & MAGNITUDE) >= INFINITY:
            product = x[i] * y[i]
            if product != product:
                parts[NAN] = 1
            elif product > 0:
                parts[POSITIVE_INFINITY] = 1
            else:
                parts[NEGATIVE_INFINITY] = 1
            continue
        a_exponent: Int = (a >> 52) & 2047
        b_exponent: Int = (b >> 52) & 2047
        a_digits: Int = a & FRACTION
        b_digits: Int = b & FRACTION
        if a_exponent != 0:
            a_digits |= HIDDEN
            a_exponent -= 1
        if b_exponent != 0:
            b_digits |= HIDDEN
            b_exponent -= 1
        # 53 bits times 53 bits, by halves of 27: low 54 bits (and a carry), and the rest.
        a_high, a_low = a_digits >> 27, a_digits & HALF27
        b_high, b_low = b_digits >> 27, b_digits & HALF27
        middle = a_high * b_low + a_low * b_high
        low = a_low * b_low + ((middle & HALF27) << 27)
        high = a_high * b_high + (middle >> 27)
        sign = (a ^ b) >> 63
        at = a_exponent + b_exponent
        bins[at, 0] += ((low & LOW32) ^ sign) - sign
        bins[at, 1] += ((low >> 32) ^ sign) - sign
        bins[at, 2] += ((high & LOW32) ^ sign) - sign
        bins[at, 3] += ((high >> 32) ^ sign) - sign
    for at in range(EXPONENTS):
        for column in range(4):
            if bins[at, column] != 0:
                # The halves meet at bit 54, their 32-bit parts above that.
                deposit(parts, bins[at, column], 32 * limb + at + (column >> 1) * 54 + (column & 1) * 32)
    for i in range(LIMBS - 1):
        parts[i + 1] += parts[i] >> 32
        parts[i] &= LOW32
