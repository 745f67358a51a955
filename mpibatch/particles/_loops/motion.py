"""Particles that move in a periodic box, in units of its cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled

__all__ = ["drift", "kick", "largest_speed", "locate"]

Vectors = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@compiled
def kick(velocity: Vectors, acceleration: Vectors, factor: float) -> None:
    """Add accelerations times a factor."""
    for n in range(velocity.shape[0]):
        for axis in range(3):
            velocity[n, axis] += factor * acceleration[n, axis]


@compiled
def drift(position: Vectors, velocity: Vectors, factor: float) -> None:
    """Add velocities times a factor."""
    for n in range(position.shape[0]):
        for axis in range(3):
            position[n, axis] += factor * velocity[n, axis]


@compiled
def locate(position: Vectors, shape: Ints, start: Ints, stop: Ints, leaves: Any) -> Any:
    """Bring positions into the box, mark those outside of a block of cells, and return the first that is lost.

    Lost are those that are not finite, or more than a box away; -1 is returned if there is none.
    """
    lost = -1
    for n in range(position.shape[0]):
        is_outside = False
        for axis in range(3):
            side = np.float64(shape[axis])
            x = position[n, axis]
            if x < 0.0:
                x += side
            elif x >= side:
                x -= side
            if x == side:
                x = 0.0  # of a number below 0 that is too small to be told from it
            if not 0.0 <= x < side:
                if lost < 0:
                    lost = n
                continue
            position[n, axis] = x
            index = np.int64(x)
            is_outside = is_outside or index < start[axis] or index >= stop[axis]
        leaves[n] = is_outside
    return lost


@compiled
def largest_speed(velocity: Vectors) -> Any:
    """Return the largest component of all, without its sign; NaN if there is one."""
    most = 0.0
    for n in range(velocity.shape[0]):
        for axis in range(3):
            size = abs(velocity[n, axis])
            if not size <= most:
                most = size
                if math.isnan(size):
                    return size
    return most
