"""A flow on its grid: steps in time, and the pressure that keeps it solenoidal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import mpibatch as mb
from mpibatch.apps.dns.kernels import kernels
from mpibatch.apps.dns.parameters import Parameters
from mpibatch.simulate import Now

__all__ = ["Flow"]

STAGES = ((0.0, 1.0), (3 / 4, 1 / 4), (1 / 3, 2 / 3))  # shares of the state before the step, and of the stage's
State = dict[str, mb.Field]
Velocities = tuple[mb.Field, ...]


class Flow:
    """What stays the same while a flow moves; its velocities are the `state` of the simulation."""

    def __init__(self, p: Parameters, grid: mb.Grid) -> None:
        self.parameters, self.grid = p, grid
        self.names = tuple(f"velocity_{axis}" for axis in grid.axes)
        self.kernels = kernels(grid.ndim, walled=p.is_walled)
        self.rest = (0.0,) * grid.ndim
        self.spare: tuple[Velocities, Velocities] | None = None
        self.mean: float | None = None  # along x, that a channel keeps
        self.push = self.rest  # of a constant pressure gradient
        self.faces = [float(y) for y in p.faces]  # across the axis y
        self.planes = tuple(axis for axis in range(grid.ndim) if axis != grid.ndim - 2)  # along walls
        self.walls: dict[str, Any] = {}
        self.width: Any = 0.0
        if p.is_walled:
            self._add_walls()
            if p.keep == "gradient":
                self.push = (*self.rest[:-1], 2 * p.viscosity)

    def _add_walls(self) -> None:
        grid, wall = self.grid, self.grid.ndim - 2
        widths = np.diff(self.faces)[grid.box.start[wall] : grid.box.stop[wall]]
        width = grid.empty()
        width.owned[...] = widths.reshape([-1 if axis == wall else 1 for axis in range(grid.ndim)])
        self.width = width.frozen(halo=1)
        # No velocity at the walls: normal ones are there, others half a cell away.
        self.walls = dict.fromkeys("wu"[3 - grid.ndim :], ("reflect", -1)) | {"v": ("constant", 0.0)}

    @property
    def _metric(self) -> tuple[Any, ...]:
        return (self.width, *(1 / h for h in self.grid.spacing))

    def _poisson(self, u: mb.Field) -> mb.Field:
        p, ndim = self.parameters, self.grid.ndim
        bc = ["neumann" if p.is_walled and axis == ndim - 2 else "periodic" for axis in range(ndim)]
        field: mb.Field = mb.solve.poisson(u, bc, coordinates=self.faces if p.stretching else None, axis=ndim - 2)
        return field

    def longest(self, state: State) -> float:
        """Return the longest stable step. Collective."""
        rate = mb.max(self.kernels.rates(*state.values(), *self._metric, self.parameters.viscosity, walls=self.walls))
        if not 0 < rate < math.inf:
            raise mb.RunError(
                f"no step follows from the velocities, whose rate is {rate}: nothing moves, or they are not finite; "
                "look at the initial data, or give a viscosity"
            )
        return 1 / float(rate)

    def divergence(self, q: Sequence[mb.Field]) -> mb.Field:
        """Return what flows out of each cell, per volume. Collective."""
        field: mb.Field = self.kernels.divergence(*q, *self._metric, walls=self.walls)
        return field

    def make_solenoidal(self, q: Velocities) -> None:
        """Take away the gradient of a pressure, and keep the mean flow, in place. Collective."""
        push = self.rest
        if self.mean is not None:
            push = (*self.rest[:-1], self.mean - self.bulk(q))
        pressure = self._poisson(self.divergence(q))
        walls = {"p": "reflect"} if self.walls else {}
        self.kernels.corrected(*q, pressure, *self._metric, *push, out=q, walls=walls)

    def bulk(self, q: Sequence[mb.Field]) -> float:
        """Return the mean velocity along x. Collective."""
        if not self.walls:
            return float(mb.mean(q[-1]))
        return float(mb.dot(q[-1], self.width)) / math.prod(self.grid.shape) / self.grid.spacing[-2]

    def change(self, q: Sequence[mb.Field]) -> Velocities:
        """Return what changes velocities, but for the pressure. Collective."""
        nothing = (0.0, 0.0, 1.0)
        metric = self._metric
        fields: Velocities = self.kernels.stage(
            *q, *q, *metric, *nothing, self.parameters.viscosity, 0.0, *self.push, walls=self.walls
        )
        return fields

    def forcing(self, q: Sequence[mb.Field]) -> tuple[float, tuple[float, ...]]:
        """Return the rate at which velocities grow, and what is added to them. Collective."""
        power = self.parameters.power
        if not power:
            return 0.0, self.push
        cells = math.prod(self.grid.shape)
        means = [float(mb.mean(part)) for part in q]
        square = math.fsum(float(mb.dot(part, part)) / cells for part in q) - math.fsum(m * m for m in means)
        if not square > 0:
            raise mb.RunError(f"power = {power:g} stirs what moves, and nothing does; give velocities that differ")
        rate = power / square
        return rate, tuple(-rate * m for m in means)

    def step(self, state: State, now: Now) -> None:
        """Make a step. Collective."""
        if self.parameters.dt and not now.dt <= (longest := self.longest(state)):
            raise mb.RunError(
                f"dt = {now.dt:g} is not stable at t = {now.time:.6g}, step {now.step}: the longest step for these "
                f"cells and velocities is {longest:.6g}; give less, or leave dt out"
            )
        old = tuple(state.values())
        first, second = self.spare or (tuple(q.like() for q in old), tuple(q.like() for q in old))
        nu = self.parameters.viscosity
        for q, out, (before, share) in zip((old, first, second), (first, second, first), STAGES, strict=True):
            rate, push = self.forcing(q)
            shares = (before, share, share * now.dt)
            self.kernels.stage(*q, *old, *self._metric, *shares, nu, rate, *push, out=out, walls=self.walls)
            self.make_solenoidal(out)
        state.update(zip(self.names, first, strict=True))
        self.spare = old, second

    def keep(self, state: State) -> None:
        """Note the mean flow that a channel is to keep. Collective."""
        if self.parameters.is_walled and self.parameters.keep == "flow":
            self.mean = self.bulk(tuple(state.values()))

    def output(self, state: State) -> State:
        """Return what is written: velocities, the pressure and Q. Collective."""
        source = self.divergence(self.change(tuple(state.values())))
        fields = {**state, "pressure": self._poisson(source), "q": 0.5 * source}
        if self.walls:
            fields["mean_velocity_x"] = mb.mean(state["velocity_x"], axis=self.planes)
            fields |= {f"rms_{name}": mb.std(q, axis=self.planes) for name, q in state.items()}
        return fields

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return what the file says of fields. Local."""
        long_names = {name: f"{name.replace('_', ' along ')}, on the lower faces" for name in self.names}
        long_names |= {"pressure": "pressure / density", "q": "Q criterion"}
        if not self.walls:
            return {name: {"long_name": text} for name, text in long_names.items()}
        long_names["mean_velocity_x"] = "mean velocity along x"
        long_names |= {f"rms_{name}": "rms of what differs from the mean" for name in self.names}
        # The grid's spacing is that of even cells.
        return {name: {"long_name": text, "faces_y": self.faces} for name, text in long_names.items()}

    def energies(self, q: Sequence[mb.Field]) -> Velocities:
        """Return each component's energy, and what friction takes at viscosity 1, in each cell. Collective."""
        fields: Velocities = self.kernels.energies(*q, *self._metric, walls=self.walls)
        return fields
