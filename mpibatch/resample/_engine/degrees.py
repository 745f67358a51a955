"""Sine and cosine of angles in degrees with scipy.special's bits: exact at multiples of 30 and 45 that have one.

The angle is reduced to at most 45 degrees before it becomes radians (S. L. Moshier's Cephes, where the polynomials come
from). Only additions, products and quotients: the same bits on every machine.
"""

from __future__ import annotations

import math

__all__ = ["cosine", "sine"]

_RADIANS = 1.74532925199432957692e-2
_SINE = (
    1.58962301572218447952e-10, -2.50507477628503540135e-8, 2.75573136213856773549e-6, -1.98412698295895384658e-4,
    8.33333333332211858862e-3, -1.66666666666666307295e-1,
)  # fmt: skip
_COSINE = (
    1.13678171382044553091e-11, -2.08758833757683644217e-9, 2.75573155429816611547e-7, -2.48015872936186303776e-5,
    1.38888888888806666760e-3, -4.16666666666666348141e-2, 4.99999999999999999798e-1,
)  # fmt: skip
MOST = 1e14  # degrees; beyond, nothing is left of the angle


def sine(degrees: float) -> float:
    """Return the sine of an angle in degrees; 0 beyond 1e14. Local."""
    sign = math.copysign(1.0, degrees)
    return _value(abs(degrees), sign, 0)


def cosine(degrees: float) -> float:
    """Return the cosine of an angle in degrees; 0 beyond 1e14. Local."""
    return _value(abs(degrees), 1.0, 1)


def _value(x: float, sign: float, is_cosine: int) -> float:
    if x > MOST:
        return 0.0
    octants = math.floor(x / 45.0)
    octant = math.floor(octants - 16.0 * math.floor(octants / 16.0))
    if octant & 1:
        octant += 1
        octants += 1
    octant &= 7
    if octant > 3:
        sign = -sign
        octant -= 4
    if is_cosine and octant > 1:
        sign = -sign
    z = (x - octants * 45.0) * _RADIANS
    zz = z * z
    uses_sine = (octant in (1, 2)) == bool(is_cosine)
    value = z + z * (zz * _polynomial(zz, _SINE)) if uses_sine else 1.0 - zz * _polynomial(zz, _COSINE)
    return sign * value


def _polynomial(x: float, coefficients: tuple[float, ...]) -> float:
    total = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total
