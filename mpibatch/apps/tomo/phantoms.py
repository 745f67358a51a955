"""Bodies whose pores are known: a cylinder with spherical pores, and ellipsoids of a denser material."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.mpi import MPI

__all__ = ["Phantom", "phantom"]

Array = npt.NDArray[np.float64]
TRIES = 20_000
GAP = 3.0  # voxels between what is in the body, and to its surface
RADII = (0.16, 0.28)  # in those of the cylinder
DENSE = 1.5


@dataclass(frozen=True)
class Phantom:
    """A volume, and the centers and radii of its pores."""

    volume: mb.Field
    places: Array
    radii: Array


def phantom(shape: tuple[int, int, int], pores: int, comm: MPI.Intracomm, seed: int = 0, grains: int = 0) -> Phantom:
    """Return a cylinder of attenuation 1 along the first axis, with pores of 0 in it. Collective. UsageError."""
    depth, side = shape[0], min(shape[1:])
    middle = np.array([depth // 2, shape[1] // 2, shape[2] // 2], float)
    radius, half = 0.4 * side, depth / 2 - 2
    places, radii = _packed(pores + grains, middle, radius, half, seed)
    turns = np.where(np.arange(pores + grains) < pores, 1.0, 0.7)  # grains are flat

    def values(z: Array, y: Array, x: Array) -> Array:
        r2 = (y - middle[1]) ** 2 + (x - middle[2]) ** 2
        inside = (r2 <= radius**2) & (abs(z - middle[0]) <= half)
        result: Array = inside.astype(float)
        for number, (place, r) in enumerate(zip(places, radii, strict=True)):
            squared = (y - place[1]) ** 2 + (x - place[2]) ** 2 + ((z - place[0]) / turns[number]) ** 2
            result = np.where(squared <= r * r, 0.0 if number < pores else DENSE, result)
        return result

    grid = mb.Grid(shape, comm=comm, topology=(None, 1, 1))
    return Phantom(grid.from_function(values, "f8"), places[:pores], radii[:pores])


def _packed(count: int, middle: Array, radius: float, half: float, seed: int) -> tuple[Array, Array]:
    """Return centers and radii of spheres in a cylinder, none of which touch. Local. UsageError."""
    rng = np.random.default_rng(seed)
    places, radii = np.empty((0, 3)), np.empty(0)
    for _ in range(TRIES):
        if len(radii) == count:
            return places, radii
        r = radius * rng.uniform(*RADII)
        around = rng.uniform(-1, 1, 3) * [half, radius, radius]
        if abs(around[0]) + r + GAP > half or np.hypot(*around[1:]) + r + GAP > radius:
            continue
        place = middle + around
        if np.all(np.linalg.norm(places - place, axis=1) > radii + r + GAP):
            places, radii = np.vstack([places, place]), np.append(radii, r)
    raise mb.UsageError(f"a body of this size has no room for {count} pores and grains; give fewer, or a larger --size")
