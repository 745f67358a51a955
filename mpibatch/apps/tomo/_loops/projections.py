"""Compiled loops over projections: transmissions, absorption, a projection against another's mirror image, counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["absorb", "attenuate", "count", "mismatch", "transmit"]

FEW = 30.0  # expected counts, below which Poisson's distribution is summed up
MOST = 200  # counts where so few are expected


@compiled
def transmit(counts: Any, dark: Any, bright: Any, out: Any) -> None:
    """Set transmissions; 1 where a detector is dead. bright: flat less dark."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            b = bright[i, j]
            out[i, j] = (counts[i, j] - dark[i, j]) / b if b > 0 else 1.0


@compiled
def absorb(transmissions: Any, least: float) -> None:
    """Replace transmissions by -log of them; what is below the least is taken for it."""
    for i in range(transmissions.shape[0]):
        for j in range(transmissions.shape[1]):
            t = np.float64(transmissions[i, j])
            transmissions[i, j] = 0.0 - math.log(max(t, least))  # 0 rather than -0


@compiled
def attenuate(absorption: Any) -> None:
    """Replace absorption by transmissions."""
    for i in range(absorption.shape[0]):
        for j in range(absorption.shape[1]):
            absorption[i, j] = math.exp(-np.float64(absorption[i, j]))


@compiled
def mismatch(rows: Any, opposite: Any, first: int, out: Any) -> None:
    """Add, for each row and each sum of detectors from `first` on, the mean square of what mirror images differ by."""
    width = rows.shape[1]
    for i in range(out.shape[0]):
        for k in range(out.shape[1]):
            both = first + k  # of a detector and its mirror image
            low, high = max(0, both - width + 1), min(width - 1, both)
            total = 0.0
            for x in range(low, high + 1):
                d = np.float64(rows[i, x]) - np.float64(opposite[i, both - x])
                total += d * d
            out[i, k] += total / (high + 1 - low)


@compiled
def count(expected: Any, uniform: Any, normal: Any, out: Any) -> None:
    """Draw counts of Poisson's distribution, for each cell from its uniform and its normal deviate.

    From FEW on by Cornish's and Fisher's expansion (doi:10.2307/1400905), to a fraction of a count.
    """
    highest = np.iinfo(out.dtype).max
    for at in np.ndindex(out.shape):
        mean = expected[at]
        if mean < FEW:
            share = math.exp(-mean)
            rest = uniform[at] - share
            n = 0
            while rest >= 0 and n < MOST:
                n += 1
                share *= mean / n
                rest -= share
            out[at] = n
        else:
            z, root = normal[at], math.sqrt(mean)
            value = mean + root * z + (z * z - 1) / 6 + z * (1 - z * z) / (72 * root)
            out[at] = min(max(math.floor(value + 0.5), 0), highest)
