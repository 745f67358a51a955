"""Compiled loops over the pixels of sources: moments, and what is measured within the isophote."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["ellipse", "measure", "moments"]

ROUND = 1.0 / 12  # the variance of a pixel's place within it
SINGULAR = 0.00694  # determinant of the moments, below which they are those of pixels, not of a source


@compiled
def moments(places: Any, signal: Any, width: int) -> Any:
    """Return sum, barycenter x and y, and the second moments xx, yy and xy of pixels weighted by their signal.

    Sums are taken in the order of the pixels, about the first.
    """
    left, top = places[0] % width, places[0] // width
    total = x = y = xx = yy = xy = 0.0
    for n in range(places.size):
        w = np.float64(signal[n])
        dx, dy = float(places[n] % width - left), float(places[n] // width - top)
        total += w
        x += w * dx
        y += w * dy
        xx += w * dx * dx
        yy += w * dy * dy
        xy += w * dx * dy
    x /= total
    y /= total
    xx, yy, xy = xx / total - x * x, yy / total - y * y, xy / total - x * y
    if xx * yy - xy * xy < SINGULAR:
        xx += ROUND
        yy += ROUND
        if xx * yy - xy * xy < 0:
            xy = 0.0
    return total, left + x, top + y, xx, yy, xy


@compiled
def ellipse(xx: float, yy: float, xy: float) -> Any:
    """Return cxx, cyy, cxy of the ellipse cxx·x² + cyy·y² + cxy·x·y = 1 of moments, and their determinant."""
    determinant = xx * yy - xy * xy
    return yy / determinant, xx / determinant, -2 * xy / determinant, determinant


@compiled
def measure(
    ends: Any, places: Any, signal: Any, value: Any, noise: Any, shape: Any, gain: float, whole: Any, figures: Any
) -> None:
    """Set what the pixels of each source tell.

    whole: the first pixel, how many there are, the peak's place, flags. figures: x, y, a, b, theta, the moments xx, yy
    and xy, flux, its error, the peak, and the sum of the signal. gain: electrons per unit; 0: infinitely many.
    """
    width = shape[1]
    for k in range(ends.size - 1):
        low, high = ends[k], ends[k + 1]
        own = places[low:high]
        light, x, y, xx, yy, xy = moments(own, signal[low:high], width)
        flux = variance = 0.0
        top = low
        for n in range(low, high):
            flux += value[n]
            variance += np.float64(noise[n]) * noise[n]
            if value[n] > value[top]:
                top = n
        if gain > 0 and flux > 0:
            variance += flux / gain
        spread = math.sqrt((xx - yy) * (xx - yy) / 4 + xy * xy)
        whole[k, 0], whole[k, 1], whole[k, 2] = places[low], high - low, places[top]
        row = figures[k]
        row[0], row[1] = x, y
        row[2], row[3] = math.sqrt((xx + yy) / 2 + spread), math.sqrt(max((xx + yy) / 2 - spread, 0.0))
        row[4] = 0.5 * math.atan2(2 * xy, xx - yy)
        row[5], row[6], row[7] = xx, yy, xy
        row[8], row[9], row[10], row[11] = flux, math.sqrt(variance), value[top], light
        edge = False
        for place in own:
            column, line = place % width, place // width
            edge |= column == 0 or line == 0 or column == width - 1 or line == shape[0] - 1
        whole[k, 3] = 2 * edge
