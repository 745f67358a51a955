"""Compiled loops of filters of spectra: sines and cosines by the C library, one value after another, as scipy has them.

NumPy's own are vector functions that round otherwise where a processor has them.
"""

from __future__ import annotations

import math
from typing import Any

from mpibatch.base.compiled import compiled

__all__ = ["ball", "turns"]

Array = Any


@compiled
def turns(angles: Array, cosines: Array, sines: Array) -> None:
    """Write the cosines and the sines of angles. Local."""
    for i in range(angles.size):
        cosines[i] = math.cos(angles[i])
        sines[i] = math.sin(angles[i])


@compiled
def ball(radii: Array, ndim: int, factors: Array) -> None:
    """Write the Fourier transform of a line (1 axis), or of a ball (3 axes), at these distances from zero. Local."""
    for i in range(radii.size):
        r = radii[i]
        if r == 0.0:
            factors[i] = 1.0
        elif ndim == 1:
            factors[i] = math.sin(r) / r
        else:
            factors[i] = 3.0 * (math.sin(r) - r * math.cos(r)) / (r * r * r)
