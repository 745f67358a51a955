"""Sums and extremes over the particles of all ranks, the same on each and with the same bits on any number of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase as timed
from mpibatch.mpi import MPI
from mpibatch.reduce.exact_sums import PRODUCT_UNIT, float_parts, product_parts, product_total, ratio, rounded
from mpibatch.reduce.operands import add_up

if TYPE_CHECKING:
    from mpibatch.particles.particles import Particles

__all__ = ["largest_speed", "momentum", "square_velocity"]


def momentum(particles: Particles) -> npt.NDArray[np.float64]:
    """Return the sum of the velocities, exact and rounded once.

    Parameters
    ----------
    particles : Particles
        Of mass 1 each.

    Returns
    -------
    ndarray of float64
        Of three components, the same on every rank.

    Notes
    -----
    Collective: one all-reduce of a few KiB.

    Examples
    --------
    >>> import mpibatch as mb
    >>> line = mb.Grid(4)
    >>> position, velocity = (line.full(value, components=(3,)) for value in (0.5, 0.1))
    >>> particles = mb.particles.Particles(mb.Grid((4, 4, 4), periodic=True), position, velocity)
    >>> mb.particles.momentum(particles).tolist()
    [0.4, 0.4, 0.4]
    """
    with timed("compute"):
        mine = [float_parts(particles.velocity[:, axis]) for axis in range(3)]
    total = add_up(particles.grid.comm, np.concatenate(mine), "the momentum of particles")
    return np.array([rounded(parts) for parts in np.split(total, 3)])


def square_velocity(particles: Particles) -> float:
    """Return the sum of the squares of all velocities, exact and rounded once.

    Parameters
    ----------
    particles : Particles
        Of mass 1 each.

    Returns
    -------
    float
        Twice the kinetic energy, the same on every rank.

    Notes
    -----
    Collective: one all-reduce of a few KiB.

    Examples
    --------
    >>> import mpibatch as mb
    >>> line = mb.Grid(4)
    >>> position, velocity = (line.full(value, components=(3,)) for value in (0.5, 0.5))
    >>> particles = mb.particles.Particles(mb.Grid((4, 4, 4), periodic=True), position, velocity)
    >>> mb.particles.square_velocity(particles)
    3.0
    """
    with timed("compute"):
        mine = product_parts(particles.velocity, particles.velocity)
    special, total = product_total(add_up(particles.grid.comm, mine, "the squares of velocities"))
    return special if special is not None else ratio(total, 1 << PRODUCT_UNIT)


def largest_speed(particles: Particles) -> float:
    """Return the largest component of all velocities, without its sign.

    Parameters
    ----------
    particles : Particles
        Any.

    Returns
    -------
    float
        In cells per unit of time, the same on every rank; NaN if a velocity is NaN.

    Notes
    -----
    Collective: one all-reduce of 16 bytes.

    Examples
    --------
    >>> import mpibatch as mb
    >>> line = mb.Grid(4)
    >>> position, velocity = (line.full(value, components=(3,)) for value in (0.5, -2.0))
    >>> particles = mb.particles.Particles(mb.Grid((4, 4, 4), periodic=True), position, velocity)
    >>> mb.particles.largest_speed(particles)
    2.0
    """
    from mpibatch.particles._loops import motion

    with timed("compute"):
        most = motion.largest_speed(particles.velocity)
    # MPI_MAX of a NaN is not defined: it travels as a mark.
    mine, total = np.array([0.0 if np.isnan(most) else most, np.isnan(most)]), np.empty(2)
    with REDUCTION:
        particles.grid.comm.Allreduce(mine, total, op=MPI.MAX)
    return float("nan") if total[1] else float(total[0])
