"""Sound waves from a point source: the acoustic wave equation with an absorbing layer.

Equation: ∂²u/∂t² + η ∂u/∂t = c² (∇²u + s(t) δ(x − x₀)) in 1, 2 or 3 dimensions, with the pressure u, lengths in meters,
times in seconds, the speed of sound c in m/s, constant or of each cell, and Ricker's wavelet as the source,

    s(t) = (1 − 2a²) exp(−a²),  a = π f (t − delay).

In the outer ``sponge`` cells η grows smoothly from 0: of a wave that enters about 2 % come back if the sponge is three
wavelengths wide, and 5 % if it is two. Behind it are walls, where u = 0 ("fixed") or ∂u/∂n = 0 ("free"); or the domain
is periodic.

Scheme: central differences of order 2, 4 or 8 in space, leapfrog of order 2 in time, from rest,

    u⁺ = (2u − (1 − η dt/2) u⁻ + dt² c² (∇²u + s δ)) / (1 + η dt/2),

with δ = 1 / (volume of a cell) in the source's cell. It is stable for dt ≤ 2 / (c √(Σₐ W/hₐ²)), where W, the sum of
the weights' moduli, is 4, 16/3 or 6.502. All steps have one length. Reference: M. A. Dablain 1986, The application
of high-order differencing to the scalar wave equation, doi:10.1190/1.1442040.

Check: standing waves oscillate with ω = c |k|; with ``initial = "mode"`` the diagnostics hold the largest error. In
three dimensions a source in a uniform medium gives u = s(t − r/c) / (4π r).
"""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import mpibatch as mb
from mpibatch.cli import run_program
from mpibatch.simulate import Count, NotNegative, Positive

__all__ = ["Parameters", "run"]

# Weights of the second derivative, from the middle outward.
WEIGHTS = {
    2: (-2.0, 1.0),
    4: (-5 / 2, 4 / 3, -1 / 12),
    8: (-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560),
}
# The share of a short wave's amplitude that the sponge lets through and back. Less would need a steeper sponge, off
# which long waves bounce: of a wavelet, this value returns the least from sponges of one to three wavelengths.
RETURNED = 1e-2


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    shape: tuple[Count, ...] = (200, 200)  # cells along each of 1 to 3 axes, those of the sponge included
    length: Positive | tuple[Positive, ...] = 2000.0  # m, of all axes or of each
    speed: Positive | str = 1500.0  # m/s, or FILE::DATASET with that of each cell
    order: Literal[2, 4, 8] = 8  # in space
    walls: Literal["fixed", "free", "periodic"] = "free"
    sponge: int = 30  # cells, at every wall
    initial: Literal["rest", "mode"] = "rest"
    mode: tuple[int, ...] = (1, 1)  # half waves along each axis; whole waves if periodic
    start: str | None = None  # FILE::DATASET with the initial pressure, instead of `initial`
    source: tuple[NotNegative, ...] | None = None  # m; default: the middle, and none for a mode or a file
    frequency: Positive = 15.0  # Hz, the wavelet's peak
    delay: Positive | None = None  # s, when the wavelet is highest; default: 1.5 / frequency
    receivers: tuple[tuple[NotNegative, ...], ...] = ()  # m; the pressure there goes to the diagnostics
    share: Positive = 0.5  # of the longest stable step
    dt: Positive | None = None  # s, instead of `share`
    dtype: Literal["f8", "f4"] = "f8"

    def __post_init__(self) -> None:
        axes = len(self.shape)
        if not 1 <= axes <= 3:
            raise mb.UsageError(f"shape = {list(self.shape)} has {axes} axes; give the cells along 1 to 3")
        if self.order not in WEIGHTS:
            raise mb.UsageError(f"order = {self.order}; give one of {', '.join(map(str, WEIGHTS))}")
        for name, values in (("length", self.lengths), ("mode", self.mode if self.is_mode else self.shape)):
            if len(values) != axes:
                raise mb.UsageError(f"{name} = {list(values)} for {axes} axes; give one value for each axis")
        self._check_places()
        if min(self.shape) < max(self.order // 2, 2 * self.sponge + 1):
            raise mb.UsageError(
                f"shape = {list(self.shape)} leaves no room between two sponges of {self.sponge} cells, or is less "
                f"than the reach {self.order // 2} of order {self.order}; give more cells, or sponge = 0"
            )
        if self.sponge < 0 or (self.sponge and (self.is_mode or self.walls == "periodic")):
            raise mb.UsageError(f"sponge = {self.sponge} with a mode or a periodic domain; give sponge = 0")
        if self.is_mode and not isinstance(self.speed, float | int):
            raise mb.UsageError('initial = "mode" needs one speed of sound everywhere; give speed a number')
        if self.dt is None and self.share > 1:
            raise mb.UsageError(f"share = {self.share:g} of the longest stable step is not stable; give 1 or less")

    def _check_places(self) -> None:
        axes = len(self.shape)
        for name, place in (("source", self.source), *(("receivers", place) for place in self.receivers)):
            if place is None:
                continue
            if len(place) != axes or any(x > length for x, length in zip(place, self.lengths, strict=True)):
                raise mb.UsageError(
                    f"{name}: {list(place)} lies outside the domain, which goes from {[0.0] * axes} to "
                    f"{list(self.lengths)} m; give a place inside"
                )

    @property
    def is_mode(self) -> bool:
        """Whether it begins with a standing wave. Local."""
        return self.initial == "mode" and self.start is None

    @property
    def lengths(self) -> tuple[float, ...]:
        """The length of every axis. Local."""
        return self.length if isinstance(self.length, tuple) else (self.length,) * len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """The cell spacing along every axis. Local."""
        return tuple(length / cells for length, cells in zip(self.lengths, self.shape, strict=True))

    @property
    def source_place(self) -> tuple[float, ...] | None:
        """Where the source is, if there is one. Local."""
        if self.source is None and self.initial == "rest" and self.start is None:
            return tuple(length / 2 for length in self.lengths)
        return self.source

    def index_of(self, place: tuple[float, ...]) -> tuple[int, ...]:
        """Return the cell around a place. Local."""
        return tuple(min(int(x / h), cells - 1) for x, h, cells in zip(place, self.spacing, self.shape, strict=True))

    def longest(self, speed: float) -> float:
        """Return the longest stable step. Local."""
        weights = WEIGHTS[self.order]
        total = abs(weights[0]) + 2 * math.fsum(map(abs, weights[1:]))
        return 2 / (speed * math.sqrt(total * math.fsum(1 / h**2 for h in self.spacing)))

    def wavelet(self, time: float) -> float:
        """Return Ricker's wavelet. Local."""
        delay = 1.5 / self.frequency if self.delay is None else self.delay
        squared = (math.pi * self.frequency * (time - delay)) ** 2
        return (1 - 2 * squared) * math.exp(-squared)


def second_derivative(u, axis, ndim, weights):
    """The weighted sum of the cells in a row, over the square of their distance."""
    total = weights[0] * u[tuple([0] * ndim)]
    for n in range(1, len(weights)):
        low = tuple([-n if a == axis else 0 for a in range(ndim)])
        high = tuple([n if a == axis else 0 for a in range(ndim)])
        total = total + weights[n] * (u[low] + u[high])
    return total * (1.0 / (mb.spacing(axis) * mb.spacing(axis)))


@functools.cache
def kernel(ndim: int, order: int) -> mb.Kernel:
    """Return the step for a number of axes and an order. Local."""
    weights = WEIGHTS[order]
    center = (0,) * ndim

    @mb.stencil
    def step(u, before, speed, damping, dt):
        laplace = sum([second_derivative(u, axis, ndim, weights) for axis in range(ndim)])
        a = 0.5 * dt * damping[center]
        c = dt * speed[center]
        return (2.0 * u[center] - (1.0 - a) * before[center] + c * c * laplace) / (1.0 + a)

    return step


def run(p: Parameters, simulation: mb.Simulation) -> mb.Field:
    """Solve it, and return the last pressure. Collective."""
    spacing = p.spacing
    grid = simulation.grid(
        p.shape, spacing=spacing, origin=tuple(h / 2 for h in spacing), periodic=p.walls == "periodic", units="m"
    )
    step = kernel(grid.ndim, p.order)
    walls = ("dirichlet", 0.0) if p.walls == "fixed" else "reflect"
    speed = medium(p, grid)
    dt = step_length(p, mb.max(speed))
    damping = sponge(p, grid, mb.max(speed))
    state = {"u": initial(p, grid), "before": grid.zeros(p.dtype, halo=p.order // 2)}
    source, receivers = p.source_place, [p.index_of(place) for place in p.receivers]

    def diagnostics(state: dict[str, mb.Field]) -> dict[str, float]:
        u = state["u"]
        row = {"min": mb.min(u), "max": mb.max(u)}
        if p.is_mode:
            row["error"] = mb.max(abs(u - standing_wave(p, grid, simulation.time)))
        return row | {f"receiver_{n}": value_in(u, index) for n, index in enumerate(receivers)}

    first = 0.0
    for now in simulation.steps(
        state,
        dt=dt,
        output=lambda state: {"u": state["u"]},
        diagnostics=diagnostics,
        max_steps=None if source is None else 1,
        time_units="s",
        attrs={"u": {"long_name": "pressure"}},
    ):
        first = first or now.dt
        if abs(now.dt - first) > 1e-9 * first:
            raise mb.UsageError(
                f"a step of {now.dt:.9g} s is needed at t = {now.time:g} s to meet an output, after steps of "
                f"{first:.9g} s; leapfrog steps are of one length: give times that are multiples of the shortest "
                "between two outputs or rows, or count in steps"
            )
        u, before = state["u"], state["before"]
        if now.step == 0:
            # At rest u was before what it will be after: half of a step that does not know of it.
            step(u, before, speed, damping, now.dt, out=before, walls=walls)
            before.owned[...] *= 0.5
        if source is None:
            both = (u, before)
            mb.iterate(step, both, speed, damping, now.dt, steps=now.count, out=both, walls=walls)
        else:
            step(u, before, speed, damping, now.dt, out=before, walls=walls)
            amount = p.wavelet(now.time) * now.dt**2 / math.prod(spacing)
            add(before, p.index_of(source), amount, speed, damping, now.dt)
            state["u"], state["before"] = before, u
    return state["u"]


def step_length(p: Parameters, fastest: float) -> float:
    """Return how long a step may be; raise UsageError if it is asked to be longer than is stable. Local."""
    longest = p.longest(fastest)
    if p.dt is not None and p.dt > longest:
        raise mb.UsageError(
            f"dt = {p.dt:g} s is not stable: the longest step for these cells, order {p.order} and {fastest:g} m/s is "
            f"{longest:.6g} s; give that or less, or leave dt out"
        )
    return p.dt or p.share * longest


def medium(p: Parameters, grid: mb.Grid) -> mb.Field:
    """Return the speed of sound in every cell. Collective."""
    if not isinstance(p.speed, str):
        return grid.full(p.speed, p.dtype)
    speed = mb.load(p.speed, grid=grid).astype(p.dtype)
    least = mb.min(speed)
    if not 0 < least <= mb.max(speed) < math.inf:
        raise mb.RunError(
            f"the speed of sound in {p.speed} is between {least:g} and {mb.max(speed):g} m/s; it has to be a finite "
            "number above 0 in every cell"
        )
    return speed


def sponge(p: Parameters, grid: mb.Grid, speed: float) -> mb.Field:
    """Return η in every cell: 0 inside, smooth to its second derivative. Local."""

    def damping(*coordinates: Any) -> Any:
        total: Any = 0.0
        for x, length, h in zip(coordinates, p.lengths, p.spacing, strict=True):
            width = p.sponge * h
            depth = np.clip(1 - np.minimum(x, length - x) / width, 0, 1) if width else 0 * x
            # Half on the average: two crossings weaken a wave by exp(-highest * width / (2 * speed)).
            highest = 2 * speed * math.log(1 / RETURNED) / width if width else 0.0
            total = total + highest * (depth - np.sin(2 * math.pi * depth) / (2 * math.pi))
        return total

    return grid.from_function(damping, p.dtype)


def initial(p: Parameters, grid: mb.Grid) -> mb.Field:
    """Return the pressure at the beginning. Collective."""
    halo = p.order // 2
    if p.start is not None:
        return mb.load(p.start, grid=grid, halo=halo).astype(p.dtype)
    return standing_wave(p, grid, 0.0) if p.is_mode else grid.zeros(p.dtype, halo=halo)


def standing_wave(p: Parameters, grid: mb.Grid, time: float) -> mb.Field:
    """Return the exact solution at a time. Local."""
    form = np.sin if p.walls == "fixed" else np.cos
    half = 2 * math.pi if p.walls == "periodic" else math.pi
    numbers = [half * n / length for n, length in zip(p.mode, p.lengths, strict=True)]
    swing = math.cos(float(p.speed) * math.sqrt(math.fsum(k * k for k in numbers)) * time)

    def mode(*coordinates: Any) -> Any:
        return swing * math.prod(form(k * x) for k, x in zip(numbers, coordinates, strict=True))

    return grid.from_function(mode, p.dtype, halo=p.order // 2)


def add(u: mb.Field, index: tuple[int, ...], amount: float, speed: mb.Field, damping: mb.Field, dt: float) -> None:
    """Add what a source gives in a step to its cell, on the rank that owns it. Local."""
    if owns(u, index):
        local_index = tuple(i - low for i, low in zip(index, u.box.start, strict=True))
        u.owned[local_index] += (
            amount * float(speed.owned[local_index]) ** 2 / (1 + 0.5 * dt * float(damping.owned[local_index]))
        )


def value_in(u: mb.Field, index: tuple[int, ...]) -> float:
    """Return the value in a cell, on all ranks. Collective."""
    local_index = tuple(i - low for i, low in zip(index, u.box.start, strict=True))
    mine = float(u.owned[local_index]) if owns(u, index) else -math.inf
    return float(u.grid.comm.allreduce(mine, op=mb.mpi.MPI.MAX))


def owns(u: mb.Field, index: tuple[int, ...]) -> bool:
    """Whether the cell is this rank's. Local."""
    return all(low <= i < high for i, low, high in zip(index, u.box.start, u.box.stop, strict=True))


if __name__ == "__main__":
    sys.exit(run_program(__file__))
