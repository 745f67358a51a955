"""Particles in a periodic box, each on the rank that owns its cell: they move, and meet the cells of fields.

    particles = mb.particles.Particles(grid, position, velocity)    # two fields, a particle in each of their cells
    density = mb.particles.deposit(particles)                       # order-free: integers
    particles.kick(mb.particles.interpolate(particles, force), dt)
    particles.drift(dt)                                             # and to other ranks
    mb.save("particles.h5", **particles.to_fields())                # in the order of their numbers

In dependency order: ``_loops`` (compiled), ``particles``, ``clouds`` (to cells and back) and ``totals``. Importing this
package loads none of them; names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import nearest
from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.particles.clouds import deposit, interpolate
    from mpibatch.particles.particles import Particles
    from mpibatch.particles.totals import largest_speed, momentum, square_velocity

__all__ = ["Particles", "deposit", "interpolate", "largest_speed", "momentum", "square_velocity"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "particles": ("Particles",),
            "clouds": ("deposit", "interpolate"),
            "totals": ("largest_speed", "momentum", "square_velocity"),
        },
        explain=lambda name: nearest(name, __all__),
    )
