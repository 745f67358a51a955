"""A magnetized gas on its grid, and its steps in time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import mpibatch as mb
from mpibatch.apps.mhd.beginnings import FIELD, GAS, beginning
from mpibatch.apps.mhd.kernels import across, kernels
from mpibatch.apps.mhd.parameters import Parameters
from mpibatch.simulate import Now
from mpibatch.simulate.checks import INITIAL, check_state

__all__ = ["Flow"]

STATE = ("mass", "momentum_z", "momentum_y", "momentum_x", "energy", *FIELD)
HALO = {"mass": 2}  # density is among the values that get slopes
CHARGE = 1e-6  # the largest divergence of a field, of its size over that of a cell, that is none but for rounding
State = dict[str, mb.Field]
Fields = tuple[mb.Field, ...]


class Flow:
    """What stays the same while a gas moves; its densities and field are the `state` of the simulation."""

    def __init__(self, p: Parameters, grid: mb.Grid) -> None:
        self.parameters, self.grid = p, grid
        self.kernels = kernels(p.wide, p.open)
        self.axes = [axis for axis in range(3) if p.wide[axis]]
        self.spare: Fields = tuple(grid.empty(halo=HALO.get(name, 1)) for name in STATE)
        self.cells: Fields = tuple(grid.empty(halo=2) for _ in range(7))  # velocities, pressure, field
        self.fluxes: dict[int, Fields] = {axis: tuple(grid.empty(halo=1) for _ in range(7)) for axis in self.axes}
        self.edges: dict[int, mb.Field] = {a: grid.empty(halo=1) for a in range(3) if self._is_edge(a)}

    def _is_edge(self, axis: int) -> bool:
        """Whether edges along an axis have four faces. Local."""
        return all(self.parameters.wide[other] for other in across(axis))

    def begin(self) -> State:
        """Return the state at the beginning. Collective."""
        fields = beginning(self.parameters, self.grid)
        check_state(fields, "in the initial data", INITIAL)
        check_positive(fields)
        state = {name: self.grid.empty(halo=HALO.get(name, 1)) for name in STATE}
        for name in FIELD:
            state[name].owned[...] = fields[name].owned
        self._check_free(state)
        gas = [fields[name] for name in GAS]
        state["mass"].owned[...] = fields["density"].owned
        parts = [state[name] for name in STATE]
        self.kernels.conserved(*gas, *parts[5:], self.parameters.gamma, out=tuple(parts[1:5]), walls="nearest")
        return state

    def _check_free(self, state: State) -> None:
        size = max(float(mb.max(abs(state[name]))) for name in FIELD)
        most = self.divergence(state) * min(self.grid.spacing[axis] for axis in self.axes)
        if most > CHARGE * size:
            raise mb.RunError(
                f"the magnetic field of the initial data is not free of divergence, but up to {most:.3g} of it in a "
                f"cell, where it is {size:.3g} at most; give its components on the lower faces, as differences of a "
                "vector potential on the edges"
            )

    def divergence(self, state: Mapping[str, mb.Field]) -> float:
        """Return the largest divergence of the magnetic field. Collective."""
        return float(mb.max(abs(self.kernels.divergence(*(state[name] for name in FIELD), walls="nearest"))))

    def longest(self, state: State) -> float:
        """Return the step's length. Collective."""
        rate = float(
            mb.max(self.kernels.rate(*(state[name] for name in STATE), self.parameters.gamma, walls="nearest"))
        )
        if not 0 < rate < math.inf:
            raise mb.RunError(
                "pressure or density is not above 0 in a cell anymore, and no step follows from them; give more cells, "
                "or a smaller courant"
            )
        return self.parameters.courant / rate

    def step(self, state: State, now: Now) -> None:
        """Make a step: Heun's method. Collective."""
        old = tuple(state[name] for name in STATE)
        self._stage(old, old, (0.0, 1.0, now.dt), self.spare)
        self._stage(self.spare, old, (0.5, 0.5, 0.5 * now.dt), old)

    def _stage(self, q: Fields, base: Fields, numbers: Sequence[float], out: Fields) -> None:
        sweeps, gamma = self.kernels, self.parameters.gamma
        sweeps.primitive(*q, gamma, out=self.cells, walls="nearest")
        v, pressure, b = self.cells[:3], self.cells[3], self.cells[4:]
        for a in self.axes:
            m, n = across(a)
            parts = (q[0], v[a], v[m], v[n], pressure, b[m], b[n])
            sweeps.flux[a](*parts, q[5 + a], gamma, out=self.fluxes[a], walls="nearest")
        edges = self._edges(v, b)
        nothing = (0.0,) * 7
        ends = any(self.parameters.open)
        fluxes = [part for a in range(3) for part in self.fluxes.get(a, nothing)[:5]]
        cells = self.cells if ends else nothing
        sweeps.gas(*q[:5], *base[:5], *fluxes, *cells, *numbers, gamma, out=out[:5], walls="nearest")
        # What is known in the middle of faces and of cells is read at open walls only.
        faces = [part for a in range(3) for part in (self.fluxes.get(a, nothing) if ends else nothing)[5:]]
        middles = (*v, *b) if ends else nothing[1:]
        sweeps.field(*q[5:], *base[5:], *edges, *faces, *middles, *numbers, out=out[5:], walls="nearest")

    def _edges(self, v: Fields, b: Fields) -> list[Any]:
        """Return the electric field on edges along z, y and x. Collective."""
        edges: list[Any] = []
        for c in range(3):
            m, n = across(c)
            # What faces have of it: those across m the last of their fluxes, those across n the last but one.
            if self._is_edge(c):
                flows = self.fluxes[m][6], self.fluxes[n][5], self.fluxes[m][0], self.fluxes[n][0]
                self.kernels.corner[c](*flows, v[m], v[n], b[m], b[n], out=self.edges[c], walls="nearest")
                edges.append(self.edges[c])
            elif m in self.fluxes:
                edges.append(self.fluxes[m][6])
            else:
                edges.append(self.fluxes[n][5] if n in self.fluxes else 0.0)
        return edges

    def output(self, state: Mapping[str, mb.Field]) -> State:
        """Return what is written. Collective."""
        parts = tuple(state[name] for name in STATE)
        *v, pressure, _, _, _ = self.kernels.primitive(*parts, self.parameters.gamma, walls="nearest")
        return dict(zip((*GAS, *FIELD), (parts[0], *v, pressure, *parts[5:]), strict=True))


def check_positive(fields: Mapping[str, mb.Field]) -> None:
    """Raise RunError, the same on every rank, where there is no gas. Collective."""
    for name in ("density", "pressure"):
        least = mb.min(fields[name])
        if least <= 0:
            index = tuple(map(int, np.unravel_index(mb.argmin(fields[name]), fields[name].shape)))
            raise mb.RunError(
                f"{name} is {least:g} in cell {index} of the initial data, and has to be above 0; repair them there "
                "(a near-vacuum is fine, such as 1e-3 of what is around)"
            )
