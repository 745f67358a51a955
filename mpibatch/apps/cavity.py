"""Flow in a square box under a moving lid, by the lattice Boltzmann method.

Equations: incompressible Navier–Stokes, ∂u/∂t + u·∇u = −∇p + ∇²u / Re and ∇·u = 0. Lengths are in sides of the box,
velocities in the lid's, times in sides per lid velocity, pressures in density times the lid's velocity squared. The
lid is the upper wall and moves to the right; the other three are at rest.

Scheme: nine populations in each cell (D2Q9) fly to the neighboring cells, and relax there to an equilibrium of the
incompressible kind (He and Luo 1997, doi:10.1023/B:JOSS.0000015179.12689.e4). Kept are their differences from the
fluid at rest, g: with ρ = Σ g, u = Σ c g, of direction c and weight w,

    equilibrium = w (ρ + 3 c·u + 9/2 (c·u)² − 3/2 u·u).

Even and odd parts relax at two rates (Ginzburg and d'Humières 2003, doi:10.1103/PhysRevE.68.066614): the even one gives
the viscosity, and the odd one is such that walls are halfway between cells whatever that is. What flies against a wall
comes back in the opposite direction, plus 6 w c·(lid's velocity) from the lid (Ladd 1994,
doi:10.1017/S0022112094001771). The corners belong to the walls at rest: as parts of the lid they would make the error
one of first order. Mass is kept to round-off.

A step is dt = lattice_speed · h, with h the cell spacing and the lid moving by `lattice_speed` cells in a step. The
error is O(h²), plus O(lattice_speed²) from compressibility. There is no sharp limit for stability; refused are speeds
above 0.3, and more than 30 for Re · h, the Reynolds number of a cell: runs were stable at 25, and not at 31 and above.

Reference: U. Ghia, K. N. Ghia and C. T. Shin, J. Comput. Phys. 48 (1982) 387, doi:10.1016/0021-9991(82)90058-4. At
Re = 100, 400 and 1000 the diagnostics hold the largest differences from their velocities on the two center lines.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.cli import run_program
from mpibatch.simulate import Count, NotNegative, Positive

__all__ = ["Parameters", "run"]

# Direction (y, x) and weight of each population, and which one flies the other way.
CY = (0, 0, 1, 0, -1, 1, 1, -1, -1)
CX = (0, 1, 0, -1, 0, 1, -1, -1, 1)
WEIGHT = (4 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 36, 1 / 36, 1 / 36, 1 / 36)
OPPOSITE = (0, 3, 4, 1, 2, 7, 8, 5, 6)

FASTEST = 0.3  # cells in a step
COARSEST = 30.0  # Reynolds number of a cell
MAGIC = 3 / 16  # product of (1/rate − 1/2) of even and odd parts that puts walls halfway between cells

# Ghia, Ghia and Shin 1982: u_x at x = 1/2 (table I), and u_y at y = 1/2 (table II), by Reynolds number.
# fmt: off
GHIA_Y = (0.0547, 0.0625, 0.0703, 0.1016, 0.1719, 0.2813, 0.4531, 0.5, 0.6172, 0.7344, 0.8516,
          0.9531, 0.9609, 0.9688, 0.9766)
GHIA_X = (0.0625, 0.0703, 0.0781, 0.0938, 0.1563, 0.2266, 0.2344, 0.5, 0.8047, 0.8594, 0.9063,
          0.9453, 0.9531, 0.9609, 0.9688)
GHIA_UX = {
    100: (-0.03717, -0.04192, -0.04775, -0.06434, -0.10150, -0.15662, -0.21090, -0.20581, -0.13641, 0.00332, 0.23151,
          0.68717, 0.73722, 0.78871, 0.84123),
    400: (-0.08186, -0.09266, -0.10338, -0.14612, -0.24299, -0.32726, -0.17119, -0.11477, 0.02135, 0.16256, 0.29093,
          0.55892, 0.61756, 0.68439, 0.75837),
    1000: (-0.18109, -0.20196, -0.22220, -0.29730, -0.38289, -0.27805, -0.10648, -0.06080, 0.05702, 0.18719, 0.33304,
           0.46604, 0.51117, 0.57492, 0.65928),
}
# At Re = 400 and x = 0.9063 the table has -0.23827, which does not fit its neighbors: left out.
GHIA_UY = {
    100: (0.09233, 0.10091, 0.10890, 0.12317, 0.16077, 0.17507, 0.17527, 0.05454, -0.24533, -0.22445, -0.16914,
          -0.10313, -0.08864, -0.07391, -0.05906),
    400: (0.18360, 0.19713, 0.20920, 0.22965, 0.28124, 0.30203, 0.30174, 0.05186, -0.38598, -0.44993, math.nan,
          -0.22847, -0.19254, -0.15663, -0.12146),
    1000: (0.27485, 0.29012, 0.30353, 0.32627, 0.37095, 0.33075, 0.32235, 0.02526, -0.31966, -0.42665, -0.51550,
           -0.39188, -0.33714, -0.27669, -0.21388),
}
# fmt: on


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    reynolds: Positive = 1000.0
    cells: Count = 128  # along each side
    lattice_speed: Positive = 0.2  # of the lid: cells in a step
    steady: NotNegative = 0.0  # end when no velocity changes faster than this (lid velocity² / side); 0: never
    steady_every: Count = 500  # steps between looks whether it is steady

    def __post_init__(self) -> None:
        if not 0 < self.reynolds < math.inf:
            raise mb.UsageError(f"reynolds = {self.reynolds} is not valid; give a finite number above 0")
        if self.cells < 4:
            raise mb.UsageError(f"cells = {self.cells} along a side cannot show a flow; give 4 or more")
        if self.reynolds > COARSEST * self.cells:
            raise mb.UsageError(
                f"{self.cells} cells along a side are too few for a Reynolds number of {self.reynolds:g}: it would "
                f"not be stable; give {math.ceil(self.reynolds / COARSEST)} or more"
            )
        if not 0 < self.lattice_speed <= FASTEST:
            raise mb.UsageError(
                f"lattice_speed = {self.lattice_speed:g} (cells that the lid moves in a step) is not stable, or far "
                f"from incompressible; give one above 0, at most {FASTEST}"
            )


def wall_ahead(i: int) -> Any:
    """Whether population `i` came from beyond a wall, instead of from a cell."""
    y, x, top, right = mb.index(0), mb.index(1), mb.cells(0) - 1, mb.cells(1) - 1
    at_y = y == 0 if CY[i] > 0 else y == top if CY[i] < 0 else False
    at_x = x == 0 if CX[i] > 0 else x == right if CX[i] < 0 else False
    return at_y or at_x


def arriving(g: Any, i: int, lid: Any) -> Any:
    """Return population `i` as it arrives: from the cell behind it, or back from a wall."""
    back = g[OPPOSITE[i]][0, 0]
    if CX[i] != 0 and CY[i] < 0:
        # From the lid, which pushes; but not in the corners, which belong to the walls at rest.
        x, right = mb.index(1), mb.cells(1) - 1
        at_lid = (mb.index(0) == mb.cells(0) - 1) and (x > 0 if CX[i] > 0 else x < right)
        back = back + np.where(at_lid, 6.0 * WEIGHT[i] * CX[i] * lid, 0.0)
    return np.where(wall_ahead(i), back, g[i][-CY[i], -CX[i]])


def along(i: int, uy: Any, ux: Any) -> Any:
    """Return the velocity times the direction of population `i`."""
    if CX[i] == 0:
        return uy
    if CY[i] == 0:
        return ux
    return uy + ux if CX[i] > 0 else uy - ux


def velocity(f: Any) -> Any:
    """Return the velocity of nine populations, in cells in a step."""
    uy = (f[2] - f[4]) + ((f[5] + f[6]) - (f[7] + f[8]))
    ux = (f[1] - f[3]) + ((f[5] + f[8]) - (f[6] + f[7]))
    return uy, ux


# A field for each population, and not one with nine components: cells that lie side by side are computed at once.
@mb.stencil
def step(g0, g1, g2, g3, g4, g5, g6, g7, g8, lid, even, odd):
    """Let the populations fly, come back from walls, and relax."""
    g = (g0, g1, g2, g3, g4, g5, g6, g7, g8)
    f = [g0[0, 0]] + [arriving(g, i, lid) for i in range(1, 9)]
    uy, ux = velocity(f)
    common = sum(f) - 1.5 * (ux * ux + uy * uy)
    after = [f[0] - even * (f[0] - WEIGHT[0] * common)] + 8 * [0.0]
    for i in (1, 2, 5, 6):
        j, u = OPPOSITE[i], along(i, uy, ux)
        a = even * (0.5 * (f[i] + f[j]) - WEIGHT[i] * (common + 4.5 * u * u))
        b = odd * (0.5 * (f[i] - f[j]) - 3.0 * WEIGHT[i] * u)
        after[i] = f[i] - a - b
        after[j] = f[j] - a + b
    return tuple(after)


@mb.stencil
def flow(g0, g1, g2, g3, g4, g5, g6, g7, g8, lid):
    """Return velocity (x, y) and pressure in the units of the docstring."""
    f = [g[0, 0] for g in (g0, g1, g2, g3, g4, g5, g6, g7, g8)]
    uy, ux = velocity(f)
    return [ux / lid, uy / lid], sum(f) / (3.0 * lid * lid)


def run(p: Parameters, simulation: mb.Simulation) -> mb.Field:
    """Solve it, and return the last velocity. Collective."""
    h = 1 / p.cells
    dt = fitting_step(p.lattice_speed * h, simulation)
    lid = dt / h
    viscosity = lid / (p.reynolds * h)  # in cells² in a step
    even = 1 / (3 * viscosity + 0.5)
    odd = 1 / (MAGIC / (3 * viscosity) + 0.5)
    grid = simulation.grid((p.cells, p.cells), spacing=h, origin=h / 2, units="side")
    state = {f"g{i}": grid.zeros(halo=1) for i in range(9)}

    def output(state: dict[str, mb.Field]) -> dict[str, mb.Field]:
        u, pressure = flow(*state.values(), lid)
        return {"velocity": u, "pressure": pressure}

    def diagnostics(state: dict[str, mb.Field]) -> dict[str, float]:
        u, _ = flow(*state.values(), lid)
        mass = math.fsum(mb.sum(g) for g in state.values())
        return {"energy": mb.mean(u * u), "mass": mass} | differences(p, u)

    for now in simulation.steps(
        state,
        dt=dt,
        output=output,
        diagnostics=diagnostics,
        max_steps=None,
        align_every=p.steady_every if p.steady else 0,
        time_units="side / lid velocity",
        attrs={"velocity": {"units": "lid velocity", "long_name": "velocity (x, y)"}},
    ):
        g = tuple(state.values())
        mb.iterate(step, g, lid, even, odd, steps=now.count, out=g, walls="nearest")
        if p.steady and (now.step + now.count) % p.steady_every == 0:
            later = step(*g, lid, even, odd, walls="nearest")
            fastest = mb.max(abs(flow(*later, lid)[0] - flow(*g, lid)[0])) / dt
            if fastest < p.steady:
                simulation.stop(f"steady: no velocity changes faster than {p.steady:g}")
    velocity: mb.Field = flow(*state.values(), lid)[0]
    return velocity


def fitting_step(longest: float, simulation: mb.Simulation) -> float:
    """Return the longest step, up to `longest`, that meets all outputs: on a lattice, steps have one length. Local."""
    schedule = simulation.schedule
    times = [t for t in (schedule.until, schedule.output.time, schedule.diagnostics.time) if t is not None]
    if not times:
        return longest
    interval = min(times)
    for time in times:
        if abs(time / interval - round(time / interval)) > 1e-9:
            raise mb.UsageError(
                f"the end and the times between outputs and rows are {', '.join(f'{t:g}' for t in times)}; steps on a "
                f"lattice have one length: give multiples of the shortest, {interval:g}, or count in steps"
            )
    return float(interval / math.ceil(interval / longest * (1 - 1e-12)))


def center_lines(u: mb.Field) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return u_x along x = 1/2 and u_y along y = 1/2, in the middle of each cell, on every rank. Collective."""
    whole = mb.gather_all(u)
    n = len(whole)
    middle = [(n - 1) // 2, n // 2]  # the two cells beside the center, or twice the one around it
    return whole[:, middle, 0].mean(axis=1), whole[middle, :, 1].mean(axis=0)


def differences(p: Parameters, u: mb.Field) -> dict[str, float]:
    """Return the largest differences from the tables, if there are any for this Reynolds number. Collective."""
    if p.reynolds not in GHIA_UX:
        return {}
    middles = (np.arange(p.cells) + 0.5) / p.cells
    along_y, along_x = center_lines(u)
    points = np.concatenate([[0.0], middles, [1.0]])
    number = int(p.reynolds)
    ux = cubic(points, np.concatenate([[0.0], along_y, [1.0]]), np.array(GHIA_Y))
    uy = cubic(points, np.concatenate([[0.0], along_x, [0.0]]), np.array(GHIA_X))
    return {
        "ghia_ux": float(np.nanmax(abs(ux - GHIA_UX[number]))),
        "ghia_uy": float(np.nanmax(abs(uy - GHIA_UY[number]))),
    }


def cubic(
    points: npt.NDArray[np.float64], values: npt.NDArray[np.float64], at: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Interpolate with the cubic through the four nearest points. Local."""
    first = np.clip(np.searchsorted(points, at) - 2, 0, len(points) - 4)
    result = np.zeros(at.shape)
    for i in range(4):
        term = values[first + i].copy()
        for j in range(4):
            if j != i:
                term *= (at - points[first + j]) / (points[first + i] - points[first + j])
        result += term
    return result


if __name__ == "__main__":
    sys.exit(run_program(__file__))
