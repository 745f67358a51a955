"""Particles and their gravity: steps in time, and what they are between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import mpibatch as mb
from mpibatch.apps.nbody.empty_space import EmptySpace
from mpibatch.apps.nbody.parameters import MARGIN, Parameters
from mpibatch.mpi import agreed
from mpibatch.simulate import Now

__all__ = ["Gravity"]

State = dict[str, mb.Field]


class Gravity:
    """Particles, the density and the potential that they make, and the acceleration of each.

    The `state` of the simulation is the density; checkpoints hold the particles, from which all else follows.
    """

    def __init__(self, p: Parameters, particles: mb.particles.Particles, state: State) -> None:
        self.parameters, self.background, self.grid = p, p.background, particles.grid
        self.state = state
        self.space = EmptySpace(self.grid) if p.is_isolated else None
        self.set(particles)

    def set(self, particles: mb.particles.Particles) -> None:
        """Take on particles. Collective."""
        self.particles = particles
        self.solve()

    def solve(self) -> None:
        """Find density, potential and accelerations, but for their factors of the time. Collective."""
        from mpibatch.apps.nbody._loops import waves as loops

        p, grid = self.parameters, self.grid
        density = mb.particles.deposit(self.particles, p.cloud)
        density.owned[...] *= math.prod(grid.shape) / self.particles.count
        self.state["density"] = density
        self.potential = self.space.potential(density) if self.space else mb.solve.poisson(density, symbol=p.symbol)
        # Of a box in empty space this is wrong near its faces, where no particle is.
        around = mb.halo.padded_copy(self.potential, 2, "wrap")
        force = grid.empty(halo=1, components=(3,))
        loops.descend(around, 1 / (12 * p.spacing**2), force.owned)
        self.acceleration = mb.particles.interpolate(self.particles, force, p.cloud)

    def step(self, now: Now) -> None:
        """Make a step: half of a kick, a drift, and the other half. Collective."""
        self.check(now)
        background, particles = self.background, self.particles
        middle, end = now.time + now.dt / 2, now.time + now.dt
        particles.kick(self.acceleration, background.coupling * background.kick(now.time, middle))
        way = background.drift(now.time, end)
        if self.space:
            self.check_margin(now, way)
        particles.drift(way)
        self.solve()
        particles.kick(self.acceleration, background.coupling * background.kick(middle, end))

    def rates(self, time: float) -> tuple[float, float]:
        """Return how fast the densest cell would collapse, and particles cross cells. Collective."""
        a = self.background.scale(time)
        most = float(mb.max(self.state["density"]))
        return math.sqrt(self.background.coupling * most / a**3), mb.particles.largest_speed(self.particles) / a**2

    def longest(self, time: float) -> float:
        """Return the step to make, if none is given. Collective."""
        p = self.parameters
        return p.dt or p.courant * self.background.pace(time) / max(*self.rates(time), self.background.hubble(time))

    def check(self, now: Now) -> None:
        """Refuse a given step that is not stable, or that brings particles round the box. Collective."""
        if not self.parameters.dt:
            return
        collapse, speed = self.rates(now.time)
        longest = self.background.pace(now.time) * min(2 / collapse, min(self.grid.shape) / 2 / max(speed, 1e-300))
        if not now.dt <= longest:
            raise mb.RunError(
                f"dt = {now.dt:g} is not stable at t = {now.time:.6g}, step {now.step}: the longest step for this "
                f"density and these velocities is {longest:.6g}; give less, or leave dt out"
            )

    def check_margin(self, now: Now, way: float) -> None:
        """Refuse a drift by which a particle comes too near to a face of a box in empty space. Collective. RunError."""
        particles, shape = self.particles, np.array(self.grid.shape)
        with agreed(self.grid.comm, "particles in empty space"):
            to = particles.position + way * particles.velocity
            (out,) = np.nonzero(~((to >= MARGIN) & (to <= shape - MARGIN)).all(axis=1))
            if len(out):
                raise mb.RunError(
                    f"particle {particles.ids[out[0]]} is about to leave the box at t = {now.time:.6g}, step "
                    f"{now.step}, and outside there are no cells; give a longer length, with more cells"
                )

    def output(self, time: float) -> Mapping[str, mb.Field]:
        """Return what is written. Collective."""
        p = self.parameters
        fields = dict(self.state) if p.write != "particles" else {}
        if p.write != "density":
            columns = self.particles.to_fields()
            fields["position"] = p.spacing * columns["position"]
            fields["velocity"] = p.spacing * p.speed_unit / self.background.scale(time) * columns["velocity"]
        return fields

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return what the file says of fields. Local."""
        p = self.parameters
        names = {} if p.write == "particles" else {"density": {"long_name": "density / mean density"}}
        if p.write != "density":
            names["position"] = {"long_name": "comoving position along z, y, x"} | p.units("Mpc/h")
            names["velocity"] = {"long_name": "peculiar velocity along z, y, x"} | p.units("km/s")
        return names
