"""What a row of the diagnostics says of the particles."""

from __future__ import annotations

import math

import numpy as np

import mpibatch as mb
from mpibatch.apps.nbody.beginnings import plane_wave, unmoved
from mpibatch.apps.nbody.gravity import Gravity
from mpibatch.apps.nbody.parameters import Parameters
from mpibatch.mpi import MPI

__all__ = ["row"]


def row(p: Parameters, gravity: Gravity, time: float) -> dict[str, float]:
    """Return the numbers of a row. Collective."""
    particles, background, density = gravity.particles, gravity.background, gravity.state["density"]
    a = background.scale(time)
    unit = p.spacing * p.speed_unit / a
    mean = unit / particles.count * mb.particles.momentum(particles)
    values = {"scale": a} | {f"velocity_{axis}": float(v) for axis, v in zip(gravity.grid.axes, mean, strict=True)}
    cells = math.prod(gravity.grid.shape)
    values["kinetic"] = 0.5 * unit**2 * mb.particles.square_velocity(particles) / particles.count
    # A periodic potential's mean is 0, so that that of its product with the density is that with the contrast.
    weight = 0.5 * background.coupling * p.speed_unit**2 / a / cells
    values["potential"] = weight * float(mb.dot(density, gravity.potential))
    values["largest_density"] = float(mb.max(density))
    if p.problem == "wave":
        values["error"] = distance(p, gravity, time)
    if p.shells:
        values |= power(p, density)
    return values


def power(p: Parameters, density: mb.Field) -> dict[str, float]:
    """Return the density of power of the first shells from 1 on, as many as there are. Collective."""
    spectrum, volume = mb.power_spectrum(density), math.prod(p.lengths)
    shells = range(1, min(p.shells + 1, len(spectrum.k)))
    return {f"power_{n}": volume * float(spectrum.power[n]) / int(spectrum.modes[n]) for n in shells}


def distance(p: Parameters, gravity: Gravity, time: float) -> float:
    """Return the largest distance along an axis from where particles of a plane wave should be. Collective."""
    particles = gravity.particles
    places = np.unravel_index(particles.ids, p.lattice)
    rest = [unmoved(p, axis, place) for axis, place in enumerate(places)]
    most = 0.0
    for axis, shift in enumerate(plane_wave(p, rest)):
        off = particles.position[:, axis] - rest[axis] - gravity.background.growth(time) * shift
        off -= p.shape[axis] * np.rint(off / p.shape[axis])
        most = max(most, float(np.abs(off).max(initial=0.0)))
    return p.spacing * float(gravity.grid.comm.allreduce(most, op=MPI.MAX))
