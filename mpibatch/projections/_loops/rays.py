"""Sums along turned rows of an image, and the smearing back of sums, operation by operation as scikit-image's."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled, told_apart

__all__ = ["back_project", "project_turned"]

Array = Any

ROWS = 16  # of a tile, which goes through all angles


@told_apart
@compiled
def _smear(row: Array, line: Array, begin: float, cos: float, rest: float, moved: float, half: int) -> None:
    """Add a filtered projection to a row of cells: between its values; 0 outside."""
    last = line.size - 2.0  # there is a value more, so that the last has a next
    for j in range(np.uint64(row.size)):
        t = (begin + np.float64(np.int32(j))) * cos - rest + moved
        low = np.floor(t)
        place = low + half
        is_inside = t >= -1.0 * half and t <= last - half
        k = np.uint64(np.int32(min(max(place, 0.0), last)))
        value = (line[k + np.uint64(1)] - line[k]) * (t - low) + line[k]
        row[j] += value if is_inside else 0.0


@compiled
def back_project(
    lines: Array, cosines: Array, sines: Array, corner: Array, radius: int, moved: float, circle: bool, out: Array
) -> None:  # fmt: skip
    """Write to a block of an image, whose first cell is `corner`, the sum of what all projections smear over it."""
    half = (lines.shape[1] - 1) // 2
    out[:] = 0
    begin = np.float64(corner[1] - radius)
    for first in range(0, out.shape[0], ROWS):
        for a in range(cosines.size):
            for i in range(first, min(first + ROWS, out.shape[0])):
                rest = np.float64(corner[0] + i - radius) * sines[a]
                _smear(out[i], lines[a], begin, cosines[a], rest, moved, half)
    if circle:
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                x, y = corner[0] + i - radius, corner[1] + j - radius
                if x * x + y * y > radius * radius:
                    out[i, j] = 0


@compiled
def _cell(image: Array, i: Any, j: Any) -> Any:
    if i < 0 or i >= image.shape[0] or j < 0 or j >= image.shape[1]:
        return image.dtype.type(0)
    return image[i, j]


@compiled
def project_turned(image: Array, turn: Array, out: Array) -> None:
    """Write the sums over the rows of a square image that is turned, between four cells, of its own dtype."""
    unit = image.dtype.type(1)
    out[:] = 0
    is_straight = turn[0, 1] == 0 and turn[1, 0] == 0
    for i in range(image.shape[0]):
        r = image.dtype.type(i)
        for j in range(image.shape[1]):
            c = image.dtype.type(j)
            if is_straight:
                x, y = turn[0, 0] * c + turn[0, 2], turn[1, 1] * r + turn[1, 2]
            else:
                x = turn[0, 0] * c + turn[0, 1] * r + turn[0, 2]
                y = turn[1, 0] * c + turn[1, 1] * r + turn[1, 2]
            top, left = np.floor(y), np.floor(x)
            a, b, d, e = np.int64(top), np.int64(np.ceil(y)), np.int64(left), np.int64(np.ceil(x))
            dy, dx = y - top, x - left
            upper = np.float64((unit - dx) * _cell(image, a, d) + dx * _cell(image, a, e))
            lower = np.float64((unit - dx) * _cell(image, b, d) + dx * _cell(image, b, e))
            out[j] += image.dtype.type((unit - dy) * upper + dy * lower)
