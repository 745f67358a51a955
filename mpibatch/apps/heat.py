"""Heat conduction in a rod, a plate or a block.

Equation: ∂u/∂t = D ∇²u on [0, L₁] × … in 1, 2 or 3 dimensions, with u in kelvin, lengths in meters, time in seconds,
and the diffusivity D in m²/s. Walls are insulated (∂u/∂n = 0), of fixed temperature, or periodic.

Scheme: cells with the value at their center, central differences in space and the explicit Euler step in time,

    u⁺ = u + Σₐ D dt/hₐ² (u₋ − 2u + u₊)    along every axis a.

It is stable for dt ≤ 1 / (2 D Σₐ 1/hₐ²), and its error is O(dt) + O(h²): with dt at a fixed share of that limit, of
second order in h. Reference: R. J. LeVeque, Finite Difference Methods for Ordinary and Partial Differential Equations,
SIAM 2007, chapter 9, doi:10.1137/1.9780898717839.

Check: Fourier modes decay as exp(−D |k|² t); with ``initial = "mode"`` the diagnostics hold the largest error.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import mpibatch as mb
from mpibatch.cli import run_program
from mpibatch.simulate import Count, Positive

__all__ = ["Parameters", "run"]


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    shape: tuple[Count, ...] = (128, 128)  # cells along each of 1 to 3 axes
    length: Positive | tuple[Positive, ...] = 1.0  # m, of all axes or of each
    diffusivity: Positive = 1.0  # m²/s
    walls: Literal["insulated", "fixed", "periodic"] = "insulated"
    wall_temperature: float = 0.0  # K, of fixed walls
    initial: Literal["hill", "box", "mode"] = "hill"
    mode: tuple[int, ...] = (1, 1)  # half waves along each axis; whole waves if periodic
    start: str | None = None  # FILE::DATASET with the initial temperature, instead of `initial`
    share: Positive = 0.8  # of the longest stable step
    dt: Positive | None = None  # s, instead of `share`
    dtype: Literal["f8", "f4"] = "f8"

    def __post_init__(self) -> None:
        if not 1 <= len(self.shape) <= 3:
            raise mb.UsageError(f"shape = {list(self.shape)} has {len(self.shape)} axes; give the cells along 1 to 3")
        for name, values in (("length", self.lengths), ("mode", self.mode if self.initial == "mode" else self.shape)):
            if len(values) != len(self.shape):
                raise mb.UsageError(f"{name} = {list(values)} for {len(self.shape)} axes; give one value for each axis")
        if self.dt is not None and self.dt > self.longest:
            raise mb.UsageError(
                f"dt = {self.dt:g} is not stable: the longest step for these cells and diffusivity is "
                f"{self.longest:.6g}; give that or less, or leave dt out"
            )
        if self.share > 1:
            raise mb.UsageError(f"share = {self.share:g} of the longest stable step is not stable; give 1 or less")

    @property
    def lengths(self) -> tuple[float, ...]:
        """The length of every axis. Local."""
        return self.length if isinstance(self.length, tuple) else (self.length,) * len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """The cell spacing along every axis. Local."""
        return tuple(length / cells for length, cells in zip(self.lengths, self.shape, strict=True))

    @property
    def longest(self) -> float:
        """The longest stable step. Local."""
        return 1 / (2 * self.diffusivity * math.fsum(1 / h**2 for h in self.spacing))


@mb.stencil
def step1(u, kx):
    """One step along one axis."""
    return u[0] + kx * (u[-1] - 2.0 * u[0] + u[1])


@mb.stencil
def step2(u, ky, kx):
    """One step along two."""
    return u[0, 0] + (ky * (u[-1, 0] - 2.0 * u[0, 0] + u[1, 0]) + kx * (u[0, -1] - 2.0 * u[0, 0] + u[0, 1]))


@mb.stencil
def step3(u, kz, ky, kx):
    """One step along three."""
    return u[0, 0, 0] + (
        kz * (u[-1, 0, 0] - 2.0 * u[0, 0, 0] + u[1, 0, 0])
        + ky * (u[0, -1, 0] - 2.0 * u[0, 0, 0] + u[0, 1, 0])
        + kx * (u[0, 0, -1] - 2.0 * u[0, 0, 0] + u[0, 0, 1])
    )


def run(p: Parameters, simulation: mb.Simulation) -> mb.Field:
    """Solve it, and return the last temperature. Collective."""
    spacing = p.spacing
    grid = simulation.grid(
        p.shape, spacing=spacing, origin=tuple(h / 2 for h in spacing), periodic=p.walls == "periodic", units="m"
    )
    walls = ("dirichlet", p.wall_temperature) if p.walls == "fixed" else "reflect"
    step = (step1, step2, step3)[grid.ndim - 1]
    state = {"u": initial(p, grid)}

    def diagnostics(state: dict[str, mb.Field]) -> dict[str, float]:
        u = state["u"]
        row = {"mean": mb.mean(u), "min": mb.min(u), "max": mb.max(u)}
        if p.initial == "mode" and p.start is None:
            row["error"] = mb.max(abs(u - fourier_mode(p, grid, simulation.time)))
        return row

    for now in simulation.steps(
        state,
        dt=p.dt or p.share * p.longest,
        diagnostics=diagnostics,
        max_steps=None,
        time_units="s",
        attrs={"u": {"units": "K", "long_name": "temperature"}},
    ):
        factors = [p.diffusivity * now.dt / h**2 for h in spacing]
        mb.iterate(step, state["u"], *factors, steps=now.count, out=state["u"], walls=walls)
    return state["u"]


def initial(p: Parameters, grid: mb.Grid) -> mb.Field:
    """Return the temperature at the beginning. Collective."""
    if p.start is not None:
        return mb.load(p.start, grid=grid, halo=1).astype(p.dtype)
    if p.initial == "mode":
        return fourier_mode(p, grid, 0.0)

    def shape(*coordinates: Any) -> Any:
        from_middle = [x / length - 0.5 for x, length in zip(coordinates, p.lengths, strict=True)]
        if p.initial == "box":
            return math.prod(abs(a) < 0.25 for a in from_middle)
        return np.exp(-50 * sum(a * a for a in from_middle))

    return grid.from_function(shape, p.dtype, halo=1)


def fourier_mode(p: Parameters, grid: mb.Grid, time: float) -> mb.Field:
    """Return the exact solution at a time. Local."""
    wave, level = (np.sin, p.wall_temperature) if p.walls == "fixed" else (np.cos, 0.0)
    half = 2 * math.pi if p.walls == "periodic" else math.pi
    numbers = [half * n / length for n, length in zip(p.mode, p.lengths, strict=True)]
    decay = math.exp(-p.diffusivity * math.fsum(k * k for k in numbers) * time)

    def mode(*coordinates: Any) -> Any:
        return level + decay * math.prod(wave(k * x) for k, x in zip(numbers, coordinates, strict=True))

    return grid.from_function(mode, p.dtype, halo=1)


if __name__ == "__main__":
    sys.exit(run_program(__file__))
