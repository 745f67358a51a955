"""Particles at the beginning: a lattice displaced by random waves or by a plane one, as Zel'dovich has it; a sphere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.nbody.parameters import Parameters
from mpibatch.apps.nbody.spectra import power_of

__all__ = ["beginning", "plane_wave", "stars", "unmoved"]

Array = npt.NDArray[Any]


def beginning(p: Parameters, grid: mb.Grid, lattice: mb.Grid) -> mb.particles.Particles:
    """Return the particles. Collective."""
    background = p.background
    growth, velocity = background.growth(0.0), background.growth_velocity(0.0)
    position, moving = lattice.empty(components=(3,)), lattice.empty(components=(3,))
    places = np.ix_(*(np.arange(low, high) for low, high in zip(lattice.box.start, lattice.box.stop, strict=True)))
    if p.is_isolated:
        numbers = np.ravel_multi_index(np.broadcast_arrays(*places), lattice.shape)
        position.owned[...], moving.owned[...] = stars(p, numbers)
        return mb.particles.Particles(grid, position, moving)
    rest = [unmoved(p, axis, place) for axis, place in enumerate(places)]
    shifts = plane_wave(p, rest) if p.problem == "wave" else [u.owned for u in random_waves(p, lattice)]
    for axis, shift in enumerate(shifts):
        position.owned[..., axis] = rest[axis] + growth * shift
        moving.owned[..., axis] = velocity * shift
    return mb.particles.Particles(grid, position, moving)


def unmoved(p: Parameters, axis: int, place: npt.NDArray[np.int64]) -> Array:
    """Return where particles of these places of the lattice are before they are displaced, in cells. Local."""
    return (place + 0.5) * (p.shape[axis] / p.lattice[axis])


def plane_wave(p: Parameters, rest: list[Array]) -> list[Array]:
    """Return the displacements along each axis, at growth 1, in cells. Local."""
    k = [2 * math.pi * number / n for number, n in zip(p.wave, p.shape, strict=True)]
    square = math.fsum(x * x for x in k)
    phase = k[0] * rest[0] + k[1] * rest[1] + k[2] * rest[2]
    background = p.background
    met = background.growth(p.crossing - p.begin if p.expansion else p.crossing)
    return [-x / (square * met) * np.sin(phase) for x in k]


def stars(p: Parameters, numbers: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """Return places and velocities of the particles of a sphere that have these numbers, in cells. Local."""
    from mpibatch.apps.nbody._loops import stars as loops

    sphere, flat = p.sphere, numbers.ravel()
    position, moving = np.empty((len(flat), 3)), np.empty((len(flat), 3))
    loops.draw_stars(flat, math.prod(p.lattice), sphere.share, np.uint64(p.random), position, moving)
    position *= p.radius / p.spacing
    position += np.array(p.shape) / 2
    moving *= math.sqrt(sphere.mass / p.radius) / p.spacing
    return position.reshape(*numbers.shape, 3), moving.reshape(*numbers.shape, 3)


def random_waves(p: Parameters, lattice: mb.Grid) -> list[mb.Field]:
    """Return the displacements along each axis, at growth 1, in cells. Collective."""
    from mpibatch.apps.nbody._loops import waves as loops

    half = mb.fft.rfftn(lattice.zeros())
    start, shape = np.array(half.box.start, np.int64), np.array(lattice.shape, np.int64)
    loops.draw(half.owned, start, shape, np.uint64(p.random))
    k = []
    for axis, (low, high) in enumerate(zip(half.box.start, half.box.stop, strict=True)):
        n, places = lattice.shape[axis], np.arange(low, high)
        k.append(np.where(2 * places > n, places - n, places) * (2 * math.pi / p.lengths[axis]))
    z, y, x = np.ix_(*k)
    squares, inverse = np.unique(z * z + y * y + x * x, return_inverse=True)
    power, volume = power_of(p), math.prod(p.lengths)
    today = p.background.growth(1 - p.begin) if p.expansion else 1.0
    # What the amplitude of a wave is multiplied by, and over its square: the displacement's is i k of that.
    sizes = [math.sqrt(power(math.sqrt(s)) / volume) / s / today / p.spacing if s else 0.0 for s in squares.tolist()]
    half.owned[...] *= np.array(sizes)[inverse.reshape(half.owned.shape)]
    shifts = []
    for along in (z, y, x):
        wave = half.like()
        wave.owned.real = -along * half.owned.imag
        wave.owned.imag = along * half.owned.real
        shifts.append(mb.fft.irfftn(wave, norm="forward"))
    return shifts
