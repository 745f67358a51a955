"""Spots that grow and divide: the Gray–Scott model of two substances that react and diffuse.

Equations, for a substance u that is fed, and v that consumes it, multiplies (u + 2 v → 3 v) and decays:

    ∂u/∂t = Dᵤ ∇²u − u v² + F (1 − u)        ∂v/∂t = Dᵥ ∇²v + u v² − (F + k) v

on a periodic plane. Concentrations are in those of the feed, times and lengths in the units of the rates F and k (per
time) and diffusivities Dᵤ and Dᵥ (length² per time), as in Pearson's paper, where the plane is 2.5 long.

Scheme: five-point differences in space and the explicit Euler step in time, of error O(dt) + O(h²). Diffusion and decay
are stable for

    dt ≤ 2 / (8 Dᵤ/h² + F)    and    dt ≤ 2 / (8 Dᵥ/h² + F + k),

which is the limit used; reactions are slower in all known patterns (v² stays below 0.3).

Reference: J. E. Pearson, Complex Patterns in a Simple System, Science 261 (1993) 189, doi:10.1126/science.261.5118.189.
At F = 0.035, k = 0.065 a few spots divide until they fill the plane. Uniform states at rest are u = 1, v = 0, and

    u = (1 ± √(1 − 4 (F + k)²/F)) / 2,    v = F (1 − u) / (F + k),    where F ≥ 4 (F + k)².

Checks: with ``initial = "uniform"`` these stay as they are; without v, u goes to 1 as exp(−F t); and the mean of u + v
changes by dt (F (1 − mean u) − (F + k) mean v) in a step, to round-off.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.cli import run_program
from mpibatch.simulate import Count, NotNegative, Positive

__all__ = ["Parameters", "run"]


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    shape: tuple[Count, ...] = (256, 256)  # cells along y and x
    length: Positive = 2.5  # of the longer axis; cells are square
    diffusivity_u: Positive = 2e-5
    diffusivity_v: Positive = 1e-5
    feed: NotNegative = 0.035  # F
    kill: NotNegative = 0.065  # k
    initial: Literal["seeds", "uniform"] = "seeds"
    seeds: Count = 1  # squares at random places, the first one in the middle
    seed_size: Count = 20  # cells
    noise: NotNegative = 0.01  # of u and v, relative
    random: int = 1  # another number, other places and noise
    u: float = 1.0  # of initial = "uniform"
    v: float = 0.0
    start: str | None = None  # FILE::DATASET with u and v as components, instead of `initial`
    share: Positive = 0.8  # of the longest stable step
    dt: Positive | None = None  # instead of `share`
    dtype: Literal["f8", "f4"] = "f8"

    def __post_init__(self) -> None:
        if len(self.shape) != 2:
            raise mb.UsageError(f"shape = {list(self.shape)} has {len(self.shape)} axes; give the cells along two")
        if min(self.shape) < 3:
            raise mb.UsageError(f"shape = {list(self.shape)} is too small for a pattern; give 3 cells or more")
        above = (self.length, self.diffusivity_u, self.diffusivity_v, self.share)
        if not all(0 < number < math.inf for number in above):
            raise mb.UsageError(f"{self} has a length, diffusivity or share that is no finite number above 0")
        if not all(0 <= number < math.inf for number in (self.feed, self.kill, self.noise)):
            raise mb.UsageError(f"feed = {self.feed}, kill = {self.kill}, noise = {self.noise}; give numbers from 0")
        if not (math.isfinite(self.u) and math.isfinite(self.v)):
            raise mb.UsageError(f"u = {self.u} and v = {self.v} at the beginning; give finite numbers")
        if self.dt is not None and not 0 < self.dt <= self.longest:
            raise mb.UsageError(
                f"dt = {self.dt:g} is not stable: the longest step for these cells and diffusivities is "
                f"{self.longest:.6g}; give that or less, or leave dt out"
            )
        if self.share > 1:
            raise mb.UsageError(f"share = {self.share:g} of the longest stable step is not stable; give 1 or less")

    @property
    def spacing(self) -> float:
        """The cell spacing. Local."""
        return self.length / max(self.shape)

    @property
    def longest(self) -> float:
        """The longest stable step. Local."""
        curvature = 8 / self.spacing**2
        rates = self.diffusivity_u * curvature, self.diffusivity_v * curvature + self.kill
        return 2 / (max(rates) + self.feed)


def laplacian(c: Any) -> Any:
    """Return the sum of the differences to the four neighbors."""
    return (c[-1, 0] + c[1, 0]) + (c[0, -1] + c[0, 1]) - 4.0 * c[0, 0]


@mb.stencil
def step(u, v, spread_u, spread_v, feed, decay, dt):
    """One step; `spread` is D dt / h², `decay` is F + k."""
    reaction = u[0, 0] * v[0, 0] * v[0, 0]
    u_after = u[0, 0] + (spread_u * laplacian(u) + dt * (feed * (1.0 - u[0, 0]) - reaction))
    v_after = v[0, 0] + (spread_v * laplacian(v) + dt * (reaction - decay * v[0, 0]))
    return u_after, v_after


def run(p: Parameters, simulation: mb.Simulation) -> tuple[mb.Field, mb.Field]:
    """Solve it, and return the last u and v. Collective."""
    h = p.spacing
    grid = simulation.grid(p.shape, spacing=h, origin=h / 2, periodic=True)
    state = initial(p, grid)
    both = (state["u"], state["v"])

    def diagnostics(state: dict[str, mb.Field]) -> dict[str, float]:
        u, v = state["u"], state["v"]
        # The share of the plane that spots cover tells how far they have spread.
        covered = mb.count_nonzero(v > 0.1) / math.prod(p.shape)
        return {"mean_u": mb.mean(u), "mean_v": mb.mean(v), "max_v": mb.max(v), "covered": covered}

    dt = p.dt or p.share * p.longest
    for now in simulation.steps(state, dt=dt, diagnostics=diagnostics, max_steps=None):
        spread_u, spread_v = (d * now.dt / h**2 for d in (p.diffusivity_u, p.diffusivity_v))
        rates = (spread_u, spread_v, p.feed, p.feed + p.kill, now.dt)
        mb.iterate(step, both, *rates, steps=now.count, out=both)
    return both


def initial(p: Parameters, grid: mb.Grid) -> dict[str, mb.Field]:
    """Return u and v at the beginning. Collective."""
    u, v = grid.empty(p.dtype, halo=1), grid.empty(p.dtype, halo=1)
    if p.start is not None:
        both = mb.load(p.start, grid=grid, components=1).astype(p.dtype)
        u.owned[...], v.owned[...] = both.owned[..., 0], both.owned[..., 1]
        return {"u": u, "v": v}
    if p.initial == "uniform":
        u.owned[...], v.owned[...] = p.u, p.v
        return {"u": u, "v": v}
    rows, columns = (np.arange(low, high) for low, high in zip(grid.box.start, grid.box.stop, strict=True))
    inside = np.zeros(grid.box.shape, bool)
    for place in places(p):
        y, x = ((i - at) % n < p.seed_size for i, at, n in zip((rows, columns), place, p.shape, strict=True))
        inside |= y[:, None] & x
    index = rows[:, None].astype("u8") * np.uint64(p.shape[1]) + columns.astype("u8")
    u.owned[...] = np.where(inside, 0.5, 1.0) * (1 + p.noise * (2 * uniform(index, 2 * p.random) - 1))
    v.owned[...] = np.where(inside, 0.25, 0.0) * (1 + p.noise * (2 * uniform(index, 2 * p.random + 1) - 1))
    return {"u": u, "v": v}


def places(p: Parameters) -> list[tuple[int, int]]:
    """Return the first cell of each square. Local."""
    middle = ((p.shape[0] - p.seed_size) // 2, (p.shape[1] - p.seed_size) // 2)
    generator = np.random.default_rng(abs(p.random))
    others = generator.random((p.seeds - 1, 2)) * p.shape
    return [middle, *((int(y), int(x)) for y, x in others)]


def uniform(index: npt.NDArray[np.uint64], stream: int) -> Any:
    """Return numbers in [0, 1) that depend on the cell only, not on ranks: SplitMix64, doi:10.1145/2660193.2660195."""
    with np.errstate(over="ignore"):
        z = (index + np.uint64(stream % 2**32) * np.uint64(2**32) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


if __name__ == "__main__":
    sys.exit(run_program(__file__))
