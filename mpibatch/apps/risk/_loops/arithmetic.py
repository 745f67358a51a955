"""Exponential, logarithm, normal deviates and the normal distribution, by + − × ÷, √ and the fused × + alone.

These six are rounded in one way only, on every machine, so that a price keeps its bits where another C library would
round exp or log otherwise. Without branches, so that loops over many paths are vectorized.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base._loops.operations import fused
from mpibatch.base.compiled import compiled_lean
from mpibatch.random._loops.philox import HALF, LOW, philox

__all__ = ["distribution", "exp", "fill", "fill_pair", "inverse", "log"]

Values = npt.NDArray[np.float64]

# ln 2 as a number of few bits, whose products with exponents are exact, and what it lacks.
LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
LOG2E = 1.4426950408889634
ROUND = 6755399441055744.0  # 1.5 · 2^52: adding it rounds to a whole number, which is then in the last bits
ROUND_BITS = 0x4338000000000000
FRACTION, ONE_BITS, BIAS = 0xFFFFFFFFFFFFF, 0x3FF0000000000000, 1023
WHOLE, WHOLE_BITS = 2.0**52, 0x4330000000000000
ROOT2 = 1.4142135623730951
S12, ONE = np.uint64(12), np.uint64(1)
FAR = 1.3887943864964021e-11  # e^-25, where the last of three approximations begins
UNIT = 2.0**-52


@compiled_lean
def exp(x: float) -> Any:
    """Return the exponential, to about an ulp; of ±708 beyond it. Local."""
    x = min(max(x, -708.0), 708.0)
    raised = fused(x, LOG2E, ROUND)
    whole = raised - ROUND
    r = fused(-whole, LN2_LOW, fused(-whole, LN2_HIGH, x))
    # Of (e^r - 1 - r) / r² for |r| < 0.3466, to 2^-59 of e^r.
    p = 2.5100472505694996e-08
    p = fused(p, r, 2.7620201591031547e-07)
    p = fused(p, r, 2.7557268276905696e-06)
    p = fused(p, r, 2.4801521057868204e-05)
    p = fused(p, r, 0.00019841269863171557)
    p = fused(p, r, 0.0013888888917367081)
    p = fused(p, r, 0.008333333333330039)
    p = fused(p, r, 0.041666666666623824)
    p = fused(p, r, 0.16666666666666669)
    p = fused(p, r, 0.5000000000000001)
    p = 1.0 + fused(r * r, p, r)
    power = np.float64(raised).view(np.int64) - ROUND_BITS
    return p * np.int64((power + BIAS) << 52).view(np.float64)


@compiled_lean
def log(x: float) -> Any:
    """Return the logarithm of a normal number above 0, to about an ulp. Local."""
    bits = np.float64(x).view(np.int64)
    m = np.int64((bits & FRACTION) | ONE_BITS).view(np.float64)
    is_high = m > ROOT2
    m = 0.5 * m if is_high else m
    # A small number in the last bits of 2^52: vectors of AVX2 turn no integers of 64 bits into floats.
    exponent = np.int64((bits >> 52) | WHOLE_BITS).view(np.float64) - (WHOLE + BIAS)
    e = exponent + (1.0 if is_high else 0.0)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    # Of (artanh(s) / s - 1) / z for |s| < 0.1716, to 2^-57 of the logarithm.
    p = 0.07308224842521703
    p = fused(p, z, 0.07665860800278021)
    p = fused(p, z, 0.09091444562630861)
    p = fused(p, z, 0.1111110556739754)
    p = fused(p, z, 0.14285714312987743)
    p = fused(p, z, 0.19999999999949752)
    p = fused(p, z, 0.3333333333333335)
    return fused(e, LN2_HIGH, fused(e, LN2_LOW, 2.0 * fused(s * z, p, s)))


@compiled_lean
def _middle(q: float) -> Any:
    r = fused(-q, q, 0.180625)
    a = 2.5090809287301226727e3
    a = fused(a, r, 3.3430575583588128105e4)
    a = fused(a, r, 6.7265770927008700853e4)
    a = fused(a, r, 4.5921953931549871457e4)
    a = fused(a, r, 1.3731693765509461125e4)
    a = fused(a, r, 1.9715909503065514427e3)
    a = fused(a, r, 1.3314166789178437745e2)
    a = fused(a, r, 3.3871328727963666080e0)
    b = 5.2264952788528545610e3
    b = fused(b, r, 2.8729085735721942674e4)
    b = fused(b, r, 3.9307895800092710610e4)
    b = fused(b, r, 2.1213794301586595867e4)
    b = fused(b, r, 5.3941960214247511077e3)
    b = fused(b, r, 6.8718700749205790830e2)
    b = fused(b, r, 4.2313330701600911252e1)
    b = fused(b, r, 1.0)
    return q * a / b


@compiled_lean
def _outside(r: float) -> Any:
    r -= 1.6
    a = 7.74545014278341407640e-4
    a = fused(a, r, 2.27238449892691845833e-2)
    a = fused(a, r, 2.41780725177450611770e-1)
    a = fused(a, r, 1.27045825245236838258e0)
    a = fused(a, r, 3.64784832476320460504e0)
    a = fused(a, r, 5.76949722146069140550e0)
    a = fused(a, r, 4.63033784615654529590e0)
    a = fused(a, r, 1.42343711074968357734e0)
    b = 1.05075007164441684324e-9
    b = fused(b, r, 5.47593808499534494600e-4)
    b = fused(b, r, 1.51986665636164571966e-2)
    b = fused(b, r, 1.48103976427480074590e-1)
    b = fused(b, r, 6.89767334985100004550e-1)
    b = fused(b, r, 1.67638483018380384940e0)
    b = fused(b, r, 2.05319162663775882187e0)
    return a / fused(b, r, 1.0)


@compiled_lean
def _far_outside(r: float) -> Any:
    r -= 5.0
    a = 2.01033439929228813265e-7
    a = fused(a, r, 2.71155556874348757815e-5)
    a = fused(a, r, 1.24266094738807843860e-3)
    a = fused(a, r, 2.65321895265761230930e-2)
    a = fused(a, r, 2.96560571828504891230e-1)
    a = fused(a, r, 1.78482653991729133580e0)
    a = fused(a, r, 5.46378491116411436990e0)
    a = fused(a, r, 6.65790464350110377720e0)
    b = 2.04426310338993978564e-15
    b = fused(b, r, 1.42151175831644588870e-7)
    b = fused(b, r, 1.84631831751005468180e-5)
    b = fused(b, r, 7.86869131145613259100e-4)
    b = fused(b, r, 1.48753612908506148525e-2)
    b = fused(b, r, 1.36929880922735805310e-1)
    b = fused(b, r, 5.99832206555887937690e-1)
    return a / fused(b, r, 1.0)


@compiled_lean
def inverse(u: Values, out: Values, some: Values, places: Values) -> None:
    """Write the normal deviates of probabilities: Wichura's AS 241, doi:10.2307/2347330. Local.

    The last two are of the same length, for what is set aside.
    """
    # All as if in the middle; those that are not, side by side, so that these loops are vectorized, too.
    count = 0
    for i in range(u.shape[0]):
        places[count] = np.int64(i).view(np.float64)  # its bits, as all work is of floats
        count += abs(u[i] - 0.5) > 0.425
    for i in range(u.shape[0]):
        out[i] = _middle(u[i] - 0.5)
    for k in range(count):
        some[k] = u[np.float64(places[k]).view(np.int64)]
    for k in range(count):
        v = some[k]
        deviate = _outside(math.sqrt(-log(min(v, 1.0 - v))))
        some[k] = deviate if v > 0.5 else -deviate
    for k in range(count):
        at = np.float64(places[k]).view(np.int64)
        v = u[at]
        if min(v, 1.0 - v) < FAR:
            deviate = _far_outside(math.sqrt(-log(min(v, 1.0 - v))))
            some[k] = deviate if v > 0.5 else -deviate
        out[at] = some[k]


@compiled_lean
def _unit(high: Any, low: Any) -> Any:
    """A number of 52 bits and a half, never 0 nor 1."""
    bits = np.int64(((high << HALF) | low) >> S12) | ONE_BITS
    return np.int64(bits).view(np.float64) - 1.0 + 0.5 * UNIT


@compiled_lean
def fill_pair(first: Any, place: Any, seed: Any, u: Values, other: Values) -> None:
    """Write two uniform numbers for each path from `first` on. Local.

    They are a function of the path, `place` (the step, and in its upper half the purpose) and the seed.
    """
    for i in range(u.shape[0]):
        path = first + np.uint64(i)
        a, b, c, d = philox(path & LOW, path >> HALF, place & LOW, place >> HALF, seed & LOW, seed >> HALF)
        u[i] = _unit(a, b)
        other[i] = _unit(c, d)


@compiled_lean
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


@compiled_lean
def distribution(x: float) -> Any:
    """Return the normal distribution function: Hart's rational functions, as in doi:10.1002/wilm.42820050315. Local."""
    a = min(abs(x), 37.0)
    density = exp(-0.5 * a * a)
    p = 3.52624965998911e-02
    p = fused(p, a, 0.700383064443688)
    p = fused(p, a, 6.37396220353165)
    p = fused(p, a, 33.912866078383)
    p = fused(p, a, 112.079291497871)
    p = fused(p, a, 221.213596169931)
    p = fused(p, a, 220.206867912376)
    b = 8.83883476483184e-02
    b = fused(b, a, 1.75566716318264)
    b = fused(b, a, 16.064177579207)
    b = fused(b, a, 86.7807322029461)
    b = fused(b, a, 296.564248779674)
    b = fused(b, a, 637.333633378831)
    b = fused(b, a, 793.826512519948)
    b = fused(b, a, 440.413735824752)
    far = a + 1.0 / (a + 2.0 / (a + 3.0 / (a + 4.0 / (a + 0.65))))
    above = density * p / b if a < 7.07106781186547 else density / (far * 2.506628274631)
    return 1.0 - above if x > 0.0 else above
