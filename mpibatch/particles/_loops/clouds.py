"""Particles as clouds over the cells around them: their mass into cells, and cells' values for them.

Positions are in cells: cell i reaches from i to i + 1, and its middle is at i + 1/2. `low` is the index of the first
cell of the array, which has a halo of one cell on each side of those in which particles are.

A particle's mass is the whole number `unit`. It is cut in two (or three) along z, each part along y, and each of these
along x, so that the parts add up to it; and since they are integers, their sums do not depend on an order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled

__all__ = ["deposit_linear", "deposit_quadratic", "interpolate_linear", "interpolate_quadratic"]

Vectors = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@compiled
def _linear(x: float, low: int) -> Any:
    """Return the place of the first of two cells, and the share of the second. Local."""
    middle = x - 0.5
    first = math.floor(middle)
    return int(first) - low, middle - first


@compiled
def _quadratic(x: float, low: int) -> Any:
    """Return the place of the first of three cells, and the shares of the first and of the third. Local."""
    index = math.floor(x)
    off = x - index - 0.5
    return int(index) - low - 1, 0.5 * (0.5 - off) * (0.5 - off), 0.5 * (0.5 + off) * (0.5 + off)


@compiled
def _part(mass: int, share: float) -> Any:
    """Return a share of a mass, as a whole number. Local."""
    return np.int64(np.float64(mass) * share + 0.5)


@compiled
def deposit_linear(position: Vectors, low: Ints, unit: int, out: Ints) -> None:
    """Add each particle's mass to eight cells."""
    for n in range(position.shape[0]):
        z, share_z = _linear(position[n, 0], low[0])
        y, share_y = _linear(position[n, 1], low[1])
        x, share_x = _linear(position[n, 2], low[2])
        high_z = _part(unit, share_z)
        for dz in range(2):
            plane = high_z if dz else unit - high_z
            high_y = _part(plane, share_y)
            for dy in range(2):
                row = high_y if dy else plane - high_y
                high_x = _part(row, share_x)
                out[z + dz, y + dy, x] += row - high_x
                out[z + dz, y + dy, x + 1] += high_x


@compiled
def deposit_quadratic(position: Vectors, low: Ints, unit: int, out: Ints) -> None:
    """Add each particle's mass to 27 cells."""
    for n in range(position.shape[0]):
        z, first_z, third_z = _quadratic(position[n, 0], low[0])
        y, first_y, third_y = _quadratic(position[n, 1], low[1])
        x, first_x, third_x = _quadratic(position[n, 2], low[2])
        low_z, high_z = _part(unit, first_z), _part(unit, third_z)
        for dz in range(3):
            plane = low_z if dz == 0 else high_z if dz == 2 else unit - low_z - high_z
            low_y, high_y = _part(plane, first_y), _part(plane, third_y)
            for dy in range(3):
                row = low_y if dy == 0 else high_y if dy == 2 else plane - low_y - high_y
                low_x, high_x = _part(row, first_x), _part(row, third_x)
                out[z + dz, y + dy, x] += low_x
                out[z + dz, y + dy, x + 1] += row - low_x - high_x
                out[z + dz, y + dy, x + 2] += high_x


@compiled
def interpolate_linear(position: Vectors, low: Ints, values: Any, out: Vectors) -> None:
    """Write the vector at each particle, from those of eight cells."""
    for n in range(position.shape[0]):
        z, share_z = _linear(position[n, 0], low[0])
        y, share_y = _linear(position[n, 1], low[1])
        x, share_x = _linear(position[n, 2], low[2])
        a, b, c = 0.0, 0.0, 0.0
        for dz in range(2):
            plane = share_z if dz else 1.0 - share_z
            for dy in range(2):
                row = plane * (share_y if dy else 1.0 - share_y)
                for dx in range(2):
                    share = row * (share_x if dx else 1.0 - share_x)
                    a += share * values[z + dz, y + dy, x + dx, 0]
                    b += share * values[z + dz, y + dy, x + dx, 1]
                    c += share * values[z + dz, y + dy, x + dx, 2]
        out[n, 0], out[n, 1], out[n, 2] = a, b, c


@compiled
def interpolate_quadratic(position: Vectors, low: Ints, values: Any, out: Vectors) -> None:
    """Write the vector at each particle, from those of 27 cells."""
    for n in range(position.shape[0]):
        z, first_z, third_z = _quadratic(position[n, 0], low[0])
        y, first_y, third_y = _quadratic(position[n, 1], low[1])
        x, first_x, third_x = _quadratic(position[n, 2], low[2])
        a, b, c = 0.0, 0.0, 0.0
        for dz in range(3):
            plane = first_z if dz == 0 else third_z if dz == 2 else 1.0 - first_z - third_z
            for dy in range(3):
                row = plane * (first_y if dy == 0 else third_y if dy == 2 else 1.0 - first_y - third_y)
                for dx in range(3):
                    share = row * (first_x if dx == 0 else third_x if dx == 2 else 1.0 - first_x - third_x)
                    a += share * values[z + dz, y + dy, x + dx, 0]
                    b += share * values[z + dz, y + dy, x + dx, 1]
                    c += share * values[z + dz, y + dy, x + dx, 2]
        out[n, 0], out[n, 1], out[n, 2] = a, b, c
