"""Exponential, logarithm, normal deviates and the normal distribution, by + − × ÷ and √ alone.

These five are rounded in one way only, on every machine, so that a price keeps its bits where another C library would
round exp or log otherwise. Without branches, so that loops over many paths are vectorized.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.random._loops.philox import HALF, LOW, philox

__all__ = ["distribution", "exp", "fill", "fill_pair", "inverse", "log"]

Values = npt.NDArray[np.float64]

# ln 2 as a number of few bits, whose products with exponents are exact, and what it lacks.
LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
LOG2E = 1.4426950408889634
ROUND = 6755399441055744.0  # 1.5 · 2^52: adding it rounds to a whole number, which is then in the last bits
ROUND_BITS = 0x4338000000000000
FRACTION, ONE_BITS, BIAS = 0xFFFFFFFFFFFFF, 0x3FF0000000000000, 1023
ROOT2 = 1.4142135623730951
S12, ONE = np.uint64(12), np.uint64(1)
FAR = 1.3887943864964021e-11  # e^-25, where the last of three approximations begins
UNIT = 2.0**-52


@compiled
def exp(x: float) -> Any:
    """Return the exponential, to about an ulp; of ±708 beyond it. Local."""
    x = min(max(x, -708.0), 708.0)
    raised = x * LOG2E + ROUND
    whole = raised - ROUND
    r = (x - whole * LN2_HIGH) - whole * LN2_LOW
    # Taylor's series: |r| < 0.35, so that the first term left out is below 2^-60.
    p = 1.0 / 87178291200.0
    p = p * r + 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = 1.0 + (r + r * r * p)
    power = np.float64(raised).view(np.int64) - ROUND_BITS
    return p * np.int64((power + BIAS) << 52).view(np.float64)


@compiled
def log(x: float) -> Any:
    """Return the logarithm of a normal number above 0, to about an ulp. Local."""
    bits = np.float64(x).view(np.int64)
    m = np.int64((bits & FRACTION) | ONE_BITS).view(np.float64)
    is_high = m > ROOT2
    m = 0.5 * m if is_high else m
    e = np.float64((bits >> 52) - BIAS) + (1.0 if is_high else 0.0)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1.0 / 21.0
    p = p * z + 1.0 / 19.0
    p = p * z + 1.0 / 17.0
    p = p * z + 1.0 / 15.0
    p = p * z + 1.0 / 13.0
    p = p * z + 1.0 / 11.0
    p = p * z + 1.0 / 9.0
    p = p * z + 1.0 / 7.0
    p = p * z + 1.0 / 5.0
    p = p * z + 1.0 / 3.0
    return e * LN2_HIGH + (e * LN2_LOW + 2.0 * (s + s * z * p))


@compiled
def _middle(q: float) -> Any:
    r = 0.180625 - q * q
    a = 2.5090809287301226727e3
    a = a * r + 3.3430575583588128105e4
    a = a * r + 6.7265770927008700853e4
    a = a * r + 4.5921953931549871457e4
    a = a * r + 1.3731693765509461125e4
    a = a * r + 1.9715909503065514427e3
    a = a * r + 1.3314166789178437745e2
    a = a * r + 3.3871328727963666080e0
    b = 5.2264952788528545610e3
    b = b * r + 2.8729085735721942674e4
    b = b * r + 3.9307895800092710610e4
    b = b * r + 2.1213794301586595867e4
    b = b * r + 5.3941960214247511077e3
    b = b * r + 6.8718700749205790830e2
    b = b * r + 4.2313330701600911252e1
    b = b * r + 1.0
    return q * a / b


@compiled
def _outside(r: float) -> Any:
    r -= 1.6
    a = 7.74545014278341407640e-4
    a = a * r + 2.27238449892691845833e-2
    a = a * r + 2.41780725177450611770e-1
    a = a * r + 1.27045825245236838258e0
    a = a * r + 3.64784832476320460504e0
    a = a * r + 5.76949722146069140550e0
    a = a * r + 4.63033784615654529590e0
    a = a * r + 1.42343711074968357734e0
    b = 1.05075007164441684324e-9
    b = b * r + 5.47593808499534494600e-4
    b = b * r + 1.51986665636164571966e-2
    b = b * r + 1.48103976427480074590e-1
    b = b * r + 6.89767334985100004550e-1
    b = b * r + 1.67638483018380384940e0
    b = b * r + 2.05319162663775882187e0
    return a / (b * r + 1.0)


@compiled
def _far_outside(r: float) -> Any:
    r -= 5.0
    a = 2.01033439929228813265e-7
    a = a * r + 2.71155556874348757815e-5
    a = a * r + 1.24266094738807843860e-3
    a = a * r + 2.65321895265761230930e-2
    a = a * r + 2.96560571828504891230e-1
    a = a * r + 1.78482653991729133580e0
    a = a * r + 5.46378491116411436990e0
    a = a * r + 6.65790464350110377720e0
    b = 2.04426310338993978564e-15
    b = b * r + 1.42151175831644588870e-7
    b = b * r + 1.84631831751005468180e-5
    b = b * r + 7.86869131145613259100e-4
    b = b * r + 1.48753612908506148525e-2
    b = b * r + 1.36929880922735805310e-1
    b = b * r + 5.99832206555887937690e-1
    return a / (b * r + 1.0)


@compiled
def inverse(u: Values, out: Values, some: Values, places: Values) -> None:
    """Write the normal deviates of probabilities: Wichura's AS 241, doi:10.2307/2347330. Local.

    The last two are of the same length, for what is set aside.
    """
    # All as if in the middle; those that are not, side by side, so that these loops are vectorized, too.
    count = 0
    for i in range(u.shape[0]):
        some[count] = u[i]
        places[count] = i  # a float, as all work is
        count += abs(u[i] - 0.5) > 0.425
    for i in range(u.shape[0]):
        out[i] = _middle(u[i] - 0.5)
    for k in range(count):
        v = some[k]
        deviate = _outside(math.sqrt(-log(min(v, 1.0 - v))))
        some[k] = deviate if v > 0.5 else -deviate
    for k in range(count):
        at = np.int64(places[k])
        v = u[at]
        if min(v, 1.0 - v) < FAR:
            deviate = _far_outside(math.sqrt(-log(min(v, 1.0 - v))))
            some[k] = deviate if v > 0.5 else -deviate
        out[at] = some[k]


@compiled
def _unit(high: Any, low: Any) -> Any:
    """A number of 52 bits and a half, never 0 nor 1."""
    bits = np.int64(((high << HALF) | low) >> S12) | ONE_BITS
    return np.int64(bits).view(np.float64) - 1.0 + 0.5 * UNIT


@compiled
def fill_pair(first: Any, place: Any, seed: Any, u: Values, other: Values) -> None:
    """Write two uniform numbers for each path from `first` on. Local.

    They are a function of the path, `place` (the step, and in its upper half the purpose) and the seed.
    """
    for i in range(u.shape[0]):
        path = first + np.uint64(i)
        a, b, c, d = philox(path & LOW, path >> HALF, place & LOW, place >> HALF, seed & LOW, seed >> HALF)
        u[i] = _unit(a, b)
        other[i] = _unit(c, d)


@compiled
def fill(first: Any, place: Any, seed: Any, u: Values, even: Values, odd: Values) -> None:
    """Write a uniform number for each path: two neighbors share random words. Local.

    The last two have room for half as many, and one.
    """
    count = u.shape[0]
    shift = np.int64(first & ONE)
    half = (count + shift + 1) // 2
    fill_pair(first >> ONE, place, seed, even[:half], odd[:half])
    if shift:
        u[0] = odd[0]
    whole = (count - shift) // 2
    for k in range(whole):
        u[shift + 2 * k] = even[shift + k]
        u[shift + 2 * k + 1] = odd[shift + k]
    if shift + 2 * whole < count:
        u[count - 1] = even[shift + whole]


@compiled
def distribution(x: float) -> Any:
    """Return the normal distribution function: Hart's rational functions, as in doi:10.1002/wilm.42820050315. Local."""
    a = min(abs(x), 37.0)
    density = exp(-0.5 * a * a)
    p = 3.52624965998911e-02
    p = p * a + 0.700383064443688
    p = p * a + 6.37396220353165
    p = p * a + 33.912866078383
    p = p * a + 112.079291497871
    p = p * a + 221.213596169931
    p = p * a + 220.206867912376
    b = 8.83883476483184e-02
    b = b * a + 1.75566716318264
    b = b * a + 16.064177579207
    b = b * a + 86.7807322029461
    b = b * a + 296.564248779674
    b = b * a + 637.333633378831
    b = b * a + 793.826512519948
    b = b * a + 440.413735824752
    far = a + 1.0 / (a + 2.0 / (a + 3.0 / (a + 4.0 / (a + 0.65))))
    above = density * p / b if a < 7.07106781186547 else density / (far * 2.506628274631)
    return 1.0 - above if x > 0.0 else above
