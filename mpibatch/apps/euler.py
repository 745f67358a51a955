"""Gas dynamics: the Euler equations in 1 to 3 dimensions, with shock tube, blast wave and shear layer.

Equations: ∂ρ/∂t + ∇·m = 0,  ∂m/∂t + ∇·(m v + p) = 0,  ∂E/∂t + ∇·((E + p) v) = 0, with density ρ, momentum m = ρ v and
energy E = p / (γ − 1) + ρ v²/2 per volume. Units are any that fit together; lengths are those of ``length``.

Scheme: finite volumes, second order in space and time. Along each axis a cell's primitive values (ρ, v, p) get slopes
by van Leer's limiter, which become slopes of (ρ, m, E), so that the two edges of a cell have its mean; where density
or pressure of an edge is not positive, the cell has no slope. HLLC gives the fluxes between edges, with Einfeldt's
bounds of the wave speeds, and Heun's method (SSP-RK2) the steps. The flows along all
axes are those of one state: there is no splitting.

Stability and positivity: dt Σₐ (|vₐ| + c)/hₐ ≤ 1/2. The mean of two edges is then a mean of first-order steps of
HLLC, each of which keeps density and pressure positive. The speed is that of the cells, edges may be a little faster:
hence ``courant = 0.4``. Both faces' cells compute a flux by the same operations, so that mass, momentum and energy
are kept to round-off; the diagnostics hold their exact sums.

References: B. van Leer 1979, doi:10.1016/0021-9991(79)90145-1 (MUSCL); E. F. Toro, M. Spruce, W. Speares 1994,
doi:10.1007/BF01414629 (HLLC); P. Batten et al. 1997, doi:10.1137/S1064827593260140 (positivity).

Problems: "sod", the shock tube along the last axis (G. A. Sod 1978, doi:10.1016/0021-9991(78)90023-2); "rarefaction",
two that leave near-vacuum between them; "wave", of density in a uniform flow, an exact solution; "sedov", energy in a
corner between mirrors (G. I. Taylor 1950, doi:10.1098/rspa.1950.0049); "shear", Kelvin–Helmholtz billows on smooth
layers (C. P. McNally, W. Lyra, J.-C. Passy 2012, doi:10.1088/0067-0049/201/2/18).
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

import mpibatch as mb
from mpibatch.cli import run_program
from mpibatch.simulate import Count, Positive, Range

__all__ = ["Parameters", "run"]

WALLS = {"sod": "outflow", "rarefaction": "outflow", "wave": "periodic", "sedov": "mirror", "shear": "periodic"}
AMBIENT = 1e-5  # pressure around the blast, as good as none
BLAST_CELLS = 3  # radius in cells of where its energy is at the beginning


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    problem: Literal["sod", "rarefaction", "wave", "sedov", "shear"] = "sod"
    shape: tuple[Count, ...] = (400,)  # cells along each of 1 to 3 axes
    length: Positive | tuple[Positive, ...] = 1.0  # of all axes or of each
    gamma: Annotated[float, Range(above=1)] = 1.4  # ratio of specific heats
    walls: Literal["outflow", "mirror", "periodic"] | None = None  # default: as the problem is usually posed
    energy: Positive = 1.0  # of the whole blast, around the corner as well
    start: str | None = None  # an HDF5 file with density, velocity_x, ... and pressure, instead of `problem`
    courant: Annotated[float, Range(above=0, most=0.5)] = 0.4

    def __post_init__(self) -> None:
        axes = len(self.shape)
        if not 1 <= axes <= 3:
            raise mb.UsageError(f"shape = {list(self.shape)} has {axes} axes; give the cells along 1 to 3")
        if len(self.lengths) != axes:
            raise mb.UsageError(f"length = {list(self.lengths)} for {axes} axes; give one value for each axis")
        if min(self.shape) < 2:
            raise mb.UsageError(f"shape = {list(self.shape)}; give 2 or more cells along every axis, or leave it out")
        if self.problem == "shear" and axes == 1 and self.start is None:
            raise mb.UsageError('problem = "shear" has two layers side by side; give a shape of 2 or 3 axes')
        if self.problem == "sedov" and self.walls not in (None, "mirror") and self.start is None:
            raise mb.UsageError(
                f'problem = "sedov" is a blast between mirrors, and walls = "{self.walls}"; leave walls out'
            )

    @property
    def lengths(self) -> tuple[float, ...]:
        """The length of every axis. Local."""
        return self.length if isinstance(self.length, tuple) else (self.length,) * len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """The cell spacing along every axis. Local."""
        return tuple(length / cells for length, cells in zip(self.lengths, self.shape, strict=True))


# What follows, down to the kernels, is read by the compiler and inlined.


def state(mass, momenta, energy, gamma):
    """What a cell or an edge has, with velocities and pressure."""
    v = [m / mass for m in momenta]
    p = (gamma - 1.0) * (energy - 0.5 * sum([m * u for m, u in zip(momenta, v)]))  # noqa: B905
    return mass, momenta, energy, v, p


def state_at(q, at, gamma):
    """The state of the cell at an offset; q holds the fields of mass, momenta and energy."""
    return state(q[0][at], [q[n][at] for n in range(1, len(q) - 1)], q[len(q) - 1][at], gamma)


def van_leer(a, b):
    """The limited slope between two differences: their harmonic mean, or 0 at extrema."""
    return 2.0 * a * b / (a + b) if a * b > 0.0 else 0.0


def edges(before, center, after, gamma):
    """The states at the low and the high edge of a cell."""
    (r0, _, _, v0, p0), (r, m, e, v, p), (r1, _, _, v1, p1) = before, center, after
    axes = range(len(v))
    # Half the slopes: of density, velocities and pressure, then of mass, momenta and energy.
    dr = 0.5 * van_leer(r - r0, r1 - r)
    dv = [0.5 * van_leer(v[a] - v0[a], v1[a] - v[a]) for a in axes]
    dp = 0.5 * van_leer(p - p0, p1 - p)
    dm = [v[a] * dr + r * dv[a] for a in axes]
    de = sum([v[a] * (0.5 * v[a] * dr + r * dv[a]) for a in axes]) + dp / (gamma - 1.0)
    low = state(r - dr, [m[a] - dm[a] for a in axes], e - de, gamma)
    high = state(r + dr, [m[a] + dm[a] for a in axes], e + de, gamma)
    if min(low[0], high[0], low[4], high[4]) > 0.0:
        return low, high
    return center, center


def hllc(left, right, axis, gamma):
    """The flux of mass, momenta and energy through a face."""
    (rl, _, _, vl, pl), (rr, _, _, vr, pr) = left, right
    ul, ur = vl[axis], vr[axis]
    squared_l, squared_r = gamma * pl / rl, gamma * pr / rr
    # Einfeldt's bounds of the fastest waves.
    weight_l, weight_r = math.sqrt(rl), math.sqrt(rr)
    share_l = weight_l / (weight_l + weight_r)
    share_r, jump = 1.0 - share_l, ur - ul
    u = share_l * ul + share_r * ur
    c = math.sqrt(share_l * squared_l + share_r * squared_r + 0.5 * share_l * share_r * jump * jump)
    slowest, quickest = min(ul - math.sqrt(squared_l), u - c), max(ur + math.sqrt(squared_r), u + c)
    flow_l, flow_r = rl * (slowest - ul), rr * (quickest - ur)
    contact = (pr - pl + ul * flow_l - ur * flow_r) / (flow_l - flow_r)
    is_left = contact >= 0.0
    r, m, e, v, p = left if is_left else right
    flow, wave = (flow_l, slowest) if is_left else (flow_r, quickest)
    # Behind that wave; one that moves away from the face does not count.
    counts = min(wave, 0.0) if is_left else max(wave, 0.0)
    mass = flow / (wave - contact)
    u = v[axis]
    momenta = [mass * (contact if a == axis else v[a]) for a in range(len(v))]
    energy = mass * (e / r + (contact - u) * (contact + p / flow))
    through = [u * m[a] + (p if a == axis else 0.0) + counts * (momenta[a] - m[a]) for a in range(len(v))]
    return [u * r + counts * (mass - r)] + through + [u * (e + p) + counts * (energy - e)]  # noqa: RUF005


def inflow(q, axis, offsets, gamma):
    """What flows into the cell through its two faces along an axis."""
    w = [state_at(q, at, gamma) for at in offsets]
    before, center, after = [edges(w[n - 1], w[n], w[n + 1], gamma) for n in (1, 2, 3)]
    low, high = hllc(before[1], center[0], axis, gamma), hllc(center[1], after[0], axis, gamma)
    return [low[n] - high[n] for n in range(len(q))]


ALONG = {  # the offsets of five cells in a row, by number of axes and axis
    ndim: tuple(tuple(tuple(n if a == axis else 0 for a in range(ndim)) for n in range(-2, 3)) for axis in range(ndim))
    for ndim in (1, 2, 3)
}


def fastest(now, gamma):
    """The speed of the fastest wave along each axis."""
    r, _, _, v, p = state_at(now, ALONG[len(now) - 2][0][2], gamma)
    c = math.sqrt(gamma * p / r)
    return tuple([abs(a) + c for a in v])


def added(q, base, axis, a, b, k, gamma):
    """What is there, and what flows in along one axis: ``a * base + b * q + k * inflow``."""
    along = ALONG[len(q) - 2][axis]
    center = along[2]
    flow = inflow(q, axis, along, gamma)
    return tuple([a * base[n][center] + b * q[n][center] + k * flow[n] for n in range(len(q))])


@functools.cache
def kernels(ndim: int) -> tuple[list[mb.Kernel], mb.Kernel]:
    """Return what adds the flow along each axis, and what finds the speeds. Local."""
    return [along_axis(ndim, axis) for axis in range(ndim)], (speeds1, speeds2, speeds3)[ndim - 1]


def along_axis(ndim: int, axis: int) -> mb.Kernel:
    """Return the kernel that adds the flow along an axis. Local."""
    # An axis at a time: one kernel for all three would take a minute to compile.
    if ndim == 1:

        @mb.stencil
        def add(rho, mx, e, rho0, mx0, e0, a, b, k, gamma):
            return added((rho, mx, e), (rho0, mx0, e0), axis, a, b, k, gamma)

    elif ndim == 2:

        @mb.stencil
        def add(rho, my, mx, e, rho0, my0, mx0, e0, a, b, k, gamma):
            return added((rho, my, mx, e), (rho0, my0, mx0, e0), axis, a, b, k, gamma)

    else:

        @mb.stencil
        def add(rho, mz, my, mx, e, rho0, mz0, my0, mx0, e0, a, b, k, gamma):
            return added((rho, mz, my, mx, e), (rho0, mz0, my0, mx0, e0), axis, a, b, k, gamma)

    return add


@mb.stencil
def speeds1(rho, mx, e, gamma):
    """The speed of the fastest wave along one axis."""
    return fastest((rho, mx, e), gamma)


@mb.stencil
def speeds2(rho, my, mx, e, gamma):
    """The speed of the fastest wave along each of two axes."""
    return fastest((rho, my, mx, e), gamma)


@mb.stencil
def speeds3(rho, mz, my, mx, e, gamma):
    """The speed of the fastest wave along each of three axes."""
    return fastest((rho, mz, my, mx, e), gamma)


def run(p: Parameters, simulation: mb.Simulation) -> dict[str, mb.Field]:
    """Solve it, and return the last densities of mass, momentum and energy. Collective."""
    kind = p.walls or WALLS[p.problem]
    spacing = p.spacing
    grid = simulation.grid(p.shape, spacing=spacing, origin=tuple(h / 2 for h in spacing), periodic=kind == "periodic")
    flows, speeds = kernels(grid.ndim)
    walls = wall_conditions(kind, grid)
    begin = initial(p, grid)
    check_positive(begin)
    state = conserved(begin, p.gamma)
    spare = tuple(field.like() for field in state.values())
    fastest_waves = tuple(grid.empty() for _ in spacing)

    def longest(state: dict[str, mb.Field]) -> float:
        return mb.simulate.cfl_step(speeds(*state.values(), p.gamma, out=fastest_waves), p.courant)

    def diagnostics(state: dict[str, mb.Field]) -> dict[str, float]:
        row = {name: mb.sum(field) * math.prod(spacing) for name, field in state.items()}
        primitive = primitives(state, p.gamma)
        row |= {"least_density": mb.min(primitive["density"]), "least_pressure": mb.min(primitive["pressure"])}
        if p.problem == "wave" and p.start is None:
            row["error"] = mb.mean(abs(primitive["density"] - problem_fields(p, grid, simulation.time)["density"]))
        return row

    for now in simulation.steps(
        state, dt=longest, output=lambda state: primitives(state, p.gamma), diagnostics=diagnostics
    ):
        old = tuple(state.values())
        for fields, out, keep in ((old, spare, 0.0), (spare, old, 0.5)):
            # Heun: out = keep * old + (1 - keep) * (fields + dt * what flows in), an axis at a time.
            base, a, b = old, keep, 1.0 - keep
            for flow, h in zip(flows, spacing, strict=True):
                flow(*fields, *base, a, b, (1.0 - keep) * now.dt / h, p.gamma, out=out, walls=walls)
                base, a, b = out, 1.0, 0.0
    return state


def wall_conditions(kind: str, grid: mb.Grid) -> Any:
    """Return the walls of every field, by the kernels' names. Local."""
    if kind != "mirror":
        return "nearest"  # outflow; a periodic grid has no walls
    mirrored: dict[str, Any] = {"rho": "reflect", "e": "reflect"}
    for axis, name in enumerate(grid.axes):
        mirrored[f"m{name}"] = [("reflect", -1) if a == axis else "reflect" for a in range(grid.ndim)]
    return mirrored


def initial(p: Parameters, grid: mb.Grid) -> dict[str, mb.Field]:
    """Return density, velocities and pressure at the beginning. Collective."""
    if p.start is None:
        return problem_fields(p, grid, 0.0)
    names = ("density", *(f"velocity_{axis}" for axis in grid.axes), "pressure")
    return {name: mb.load(f"{p.start}::{name}", grid=grid).astype("f8") for name in names}


def problem_fields(p: Parameters, grid: mb.Grid, time: float) -> dict[str, mb.Field]:
    """Return the state of a problem; at later times than 0 only the exact solution of "wave". Local."""
    if p.problem == "sedov":
        return blast(p, grid)
    functions: dict[str, Callable[..., Any]] = {"sod": sod, "rarefaction": rarefaction, "wave": wave, "shear": shear}
    axes = grid.ndim

    def part(number: int) -> Callable[..., Any]:
        def values(*coordinates: Any) -> Any:
            places = [x / length for x, length in zip(coordinates, p.lengths, strict=True)]
            density, velocities, pressure = functions[p.problem](*places, time=time, lengths=p.lengths)
            return (density, *velocities, pressure)[number] + 0.0 * sum(places)

        return values

    names = ("density", *(f"velocity_{axis}" for axis in grid.axes), "pressure")
    return {name: grid.from_function(part(number)) for number, name in enumerate(names[: axes + 2])}


State = tuple[Any, list[Any], Any]


def sod(*places: Any, **_: Any) -> State:
    """Gas of high pressure to the left of a membrane in the middle, of low pressure to the right."""
    is_left = places[-1] < 0.5
    return np.where(is_left, 1.0, 0.125), [0.0] * len(places), np.where(is_left, 1.0, 0.1)


def rarefaction(*places: Any, **_: Any) -> State:
    """Gas that flies apart (Toro's second test)."""
    return 1.0, [0.0] * (len(places) - 1) + [np.where(places[-1] < 0.5, -2.0, 2.0)], 0.4


def wave(*places: Any, time: float, lengths: tuple[float, ...]) -> State:
    """A sine of density that moves along the diagonal."""
    phase = sum(x - time / length for x, length in zip(places, lengths, strict=True))
    return 1.0 + 0.2 * np.sin(2 * math.pi * phase), [1.0] * len(places), 1.0


def shear(*places: Any, **_: Any) -> State:
    """A dense layer between thin ones that flow the other way, touched by a wave across them."""
    y, x = places[-2:]
    is_inside = abs(y - 0.5) < 0.25
    decay = np.exp(-abs(abs(y - 0.5) - 0.25) / 0.025)
    density = np.where(is_inside, 2.0 - 0.5 * decay, 1.0 + 0.5 * decay)
    flow = np.where(is_inside, -0.5 + 0.5 * decay, 0.5 - 0.5 * decay)
    return density, [0.0] * (len(places) - 2) + [0.01 * np.sin(4 * math.pi * x), flow], 2.5


def blast(p: Parameters, grid: mb.Grid) -> dict[str, mb.Field]:
    """Return the state with energy in the corner at 0, the rest of the blast being behind the mirrors. Collective."""
    reach = BLAST_CELLS * max(grid.spacing)
    ball = grid.from_function(lambda *x: sum(a * a for a in x) < reach * reach)
    volume = mb.sum(ball) * math.prod(grid.spacing)
    burst = (p.gamma - 1) * p.energy / 2**grid.ndim / volume
    still = {f"velocity_{axis}": grid.zeros() for axis in grid.axes}
    pressure: Any = np.where(ball > 0, burst, AMBIENT)  # a Field, which NumPy's types do not know
    return {"density": grid.full(1.0), **still, "pressure": pressure}


def conserved(primitive: Mapping[str, mb.Field], gamma: float) -> dict[str, mb.Field]:
    """Return mass, momentum and energy per volume, with the halo that the kernels need. Local."""
    density, *velocities, pressure = primitive.values()
    names = [name.replace("velocity", "momentum") for name in list(primitive)[1:-1]]
    kinetic = 0.5 * density * sum_of_squares(velocities)
    parts = [density, *(density * v for v in velocities), pressure / (gamma - 1) + kinetic]
    state = {}
    for name, part in zip(["mass", *names, "energy"], parts, strict=True):
        state[name] = part.like(halo=2)
        state[name].owned[...] = part.owned
    return state


def primitives(state: Mapping[str, mb.Field], gamma: float) -> dict[str, mb.Field]:
    """Return density, velocities and pressure. Local."""
    density, *momenta, energy = state.values()
    velocities = [m / density for m in momenta]
    names = [name.replace("momentum", "velocity") for name in list(state)[1:-1]]
    pressure = (gamma - 1) * (energy - 0.5 * density * sum_of_squares(velocities))
    return {"density": density, **dict(zip(names, velocities, strict=True)), "pressure": pressure}


def sum_of_squares(parts: list[mb.Field]) -> Any:
    """Return the squares' sum, from left to right. Local."""
    return sum(v * v for v in parts)


def check_positive(primitive: Mapping[str, mb.Field]) -> None:
    """Raise RunError, the same on every rank, where there is no gas. Collective."""
    for name in ("density", "pressure"):
        least = mb.min(primitive[name])
        if least <= 0:
            index = tuple(map(int, np.unravel_index(mb.argmin(primitive[name]), primitive[name].shape)))
            raise mb.RunError(
                f"{name} is {least:g} in cell {index} of the initial data, and has to be above 0; repair them there "
                "(a near-vacuum is fine, such as 1e-6 of what is around)"
            )


if __name__ == "__main__":
    sys.exit(run_program(__file__))
