"""Particles of a sphere in equilibrium, each a function of its number alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.random._loops.philox import HALF, LOW, philox

__all__ = ["draw_stars"]

Ints = npt.NDArray[np.int64]

S5, S6, S26 = np.uint64(5), np.uint64(6), np.uint64(26)
UNIT = 2.0**-53
PLACE, COURSE, SPEED = np.uint64(0), np.uint64(1), np.uint64(2)  # what is drawn; of speeds there may be several


@compiled
def draw_stars(numbers: Ints, count: int, share: float, seed: Any, position: Any, velocity: Any) -> None:
    """Fill rows with places in units of the radius, and velocities in units of √(mass / radius).

    Particles 2n and 2n + 1 are opposite one another and move so, and pairs have even shares of the mass within the
    edge. Speeds are drawn as S. J. Aarseth, M. Hénon and R. Wielen (1974, A&A 37, 183) draw them, of those with which a
    particle does not pass the edge.
    """
    edge = share ** (1.0 / 3.0)
    lowest = math.sqrt(1.0 - edge * edge)  # 1/√(1 + r²), the potential, at the edge
    for row in range(len(numbers)):
        pair, sign = numbers[row] // 2, 1.0 - 2.0 * (numbers[row] % 2)
        inner = (share * (2 * pair + 1) / count) ** (1.0 / 3.0)
        depth = math.sqrt(1.0 - inner * inner)
        place = np.uint64(pair)
        r = inner / depth
        z, y, x = _direction(place, PLACE, seed)
        position[row, 0], position[row, 1], position[row, 2] = sign * r * z, sign * r * y, sign * r * x
        # In units of the speed of escape; the most likely one is √(2/9).
        largest = math.sqrt(1.0 - lowest / depth)
        height = _likelihood(min(largest, math.sqrt(2.0 / 9.0)))
        speed, draw = 0.0, SPEED
        while True:
            first, second = _units(place, draw, seed)
            speed = largest * first
            if height * second < _likelihood(speed):
                break
            draw += np.uint64(1)
        speed *= math.sqrt(2.0 * depth)
        z, y, x = _direction(place, COURSE, seed)
        velocity[row, 0], velocity[row, 1], velocity[row, 2] = sign * speed * z, sign * speed * y, sign * speed * x


@compiled
def _likelihood(speed: float) -> float:
    """Of a speed, in units of that of escape."""
    rest = 1.0 - speed * speed
    return speed * speed * rest * rest * rest * math.sqrt(rest)


@compiled
def _units(place: Any, draw: Any, seed: Any) -> Any:
    """Two numbers in [0, 1)."""
    a, b, c, d = philox(place & LOW, place >> HALF, draw & LOW, draw >> HALF, seed & LOW, seed >> HALF)
    first, second = ((a >> S5) << S26) | (b >> S6), ((c >> S5) << S26) | (d >> S6)
    return np.float64(first) * UNIT, np.float64(second) * UNIT


@compiled
def _direction(place: Any, draw: Any, seed: Any) -> Any:
    """A vector of length 1, any as likely as another."""
    first, second = _units(place, draw, seed)
    z = 2.0 * first - 1.0
    across, angle = math.sqrt(1.0 - z * z), 2.0 * math.pi * second
    return z, across * math.sin(angle), across * math.cos(angle)
