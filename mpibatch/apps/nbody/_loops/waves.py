"""Random waves, each a function of its wave numbers alone; and differences of a potential."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.random._loops.philox import HALF, LOW, philox

__all__ = ["descend", "draw"]

Ints = npt.NDArray[np.int64]

BITS, MASK = 21, (1 << 21) - 1  # of a wave number, with its sign
S5, S6, S26 = np.uint64(5), np.uint64(6), np.uint64(26)
UNIT = 2.0**-53


@compiled
def draw(out: Any, start: Ints, shape: Ints, seed: Any) -> None:
    """Fill half a spectrum with complex deviates, of mean square 1, of a real field without waves of half its cells.

    `shape` is that of the field. A wave's deviate follows from its three wave numbers, so that a finer lattice has the
    same long waves; that of its opposite is the conjugate.
    """
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                z, y, x = start[0] + i, start[1] + j, start[2] + k
                if 2 * z == shape[0] or 2 * y == shape[1] or 2 * x == shape[2] or z + y + x == 0:
                    out[i, j, k] = 0.0
                    continue
                z = z - shape[0] if 2 * z > shape[0] else z
                y = y - shape[1] if 2 * y > shape[1] else y
                is_mirrored = x == 0 and (y < 0 or (y == 0 and z < 0))
                if is_mirrored:
                    z, y = -z, -y
                place = np.uint64(((z & MASK) << (2 * BITS)) | ((y & MASK) << BITS) | x)
                a, b, c, d = philox(place & LOW, place >> HALF, np.uint64(0), np.uint64(0), seed & LOW, seed >> HALF)
                size = math.sqrt(-math.log(1.0 - np.float64(((a >> S5) << S26) | (b >> S6)) * UNIT))
                # Particles are in the middles of the lattice's cells, where a wave is half a cell on.
                middle = 0.5 * (z / shape[0] + y / shape[1] + x / shape[2])
                angle = 2.0 * math.pi * (np.float64(((c >> S5) << S26) | (d >> S6)) * UNIT + middle)
                real, imaginary = size * math.cos(angle), size * math.sin(angle)
                out[i, j, k] = complex(real, -imaginary if is_mirrored else imaginary)


@compiled
def descend(potential: Any, scale: float, out: Any) -> None:
    """Write minus the gradient, by differences of fourth order, of a potential with two cells more on each side."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                z, y, x = i + 2, j + 2, k + 2
                near, far = (
                    potential[z - 1, y, x] - potential[z + 1, y, x],
                    potential[z - 2, y, x] - potential[z + 2, y, x],
                )
                out[i, j, k, 0] = scale * (8.0 * near - far)
                near, far = (
                    potential[z, y - 1, x] - potential[z, y + 1, x],
                    potential[z, y - 2, x] - potential[z, y + 2, x],
                )
                out[i, j, k, 1] = scale * (8.0 * near - far)
                near, far = (
                    potential[z, y, x - 1] - potential[z, y, x + 1],
                    potential[z, y, x - 2] - potential[z, y, x + 2],
                )
                out[i, j, k, 2] = scale * (8.0 * near - far)
