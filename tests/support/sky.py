"""A simulated frame of the sky: stars and galaxies on a sloping background with noise, some blended, some missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LEVEL", "NOISE", "gaussian", "simulated"]

LEVEL, NOISE = 100.0, 4.0


def gaussian(shape: tuple[int, int], x: float, y: float, flux: float, a: float, b: float, theta: float) -> npt.NDArray:
    """Return a source of two widths and an angle, sampled at the centers of pixels."""
    dy, dx = np.mgrid[: shape[0], : shape[1]] - np.array([y, x])[:, None, None]
    u, v = dx * np.cos(theta) + dy * np.sin(theta), dy * np.cos(theta) - dx * np.sin(theta)
    return flux / (2 * np.pi * a * b) * np.exp(-0.5 * ((u / a) ** 2 + (v / b) ** 2))


def simulated(shape: tuple[int, int], count: int, seed: int = 1) -> npt.NDArray[np.float32]:
    """Return a frame with so many sources, of which every fourth has a fainter neighbor; NaN in a bad column."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    frame = LEVEL + 0.05 * x + 0.03 * y + rng.normal(0, NOISE, shape)
    for n in range(count):
        at = rng.uniform(0, shape[1] - 1), rng.uniform(0, shape[0] - 1)
        flux, a = 10 ** rng.uniform(2.3, 4.5), rng.uniform(1.2, 3.5)
        frame += gaussian(shape, *at, flux, a, a * rng.uniform(0.5, 1), rng.uniform(0, np.pi))
        if n % 4 == 0:
            frame += gaussian(shape, at[0] + 3 * a, at[1] + 2, flux / 3, 1.5, 1.5, 0)
    frame[:, shape[1] // 3] = np.nan
    frame[: shape[0] // 4, shape[1] // 2 : shape[1] // 2 + shape[1] // 5] = np.nan
    return frame.astype(np.float32)
