"""A gas with a magnetic field: ideal magnetohydrodynamics in 1 to 3 dimensions, without magnetic charges.

Equations: ∂ρ/∂t + ∇·m = 0,  ∂m/∂t + ∇·(m v − B B + p + B²/2) = 0,  ∂E/∂t + ∇·((E + p + B²/2) v − (v·B) B) = 0,
∂B/∂t = −∇×E with the electric field E = −v×B, and ∇·B = 0; density ρ, momentum m = ρ v, energy E = p / (γ − 1) + ρ v²/2 +
B²/2 per volume. Units are any that fit together, with B over √4π of Gauss's; lengths are those of ``length``. Axes are
(z, y, x), and along an axis of one cell nothing changes.
"""

from __future__ import annotations

import mpibatch as mb
from mpibatch.apps.mhd.flows import Flow
from mpibatch.apps.mhd.parameters import Parameters
from mpibatch.apps.mhd.rows import row

__all__ = ["Parameters", "run"]


def run(p: Parameters, simulation: mb.Simulation) -> dict[str, mb.Field]:
    """Solve it, and return the last densities of mass, momentum and energy, and the field. Collective."""
    grid = simulation.grid(
        p.cells,
        spacing=p.spacing,
        origin=tuple(h / 2 for h in p.spacing),
        periodic=tuple(not is_open for is_open in p.open),
    )
    flow = Flow(p, grid)
    state = flow.begin()
    for now in simulation.steps(
        state,
        dt=flow.longest,
        output=flow.output,
        diagnostics=lambda state: row(p, flow, state, simulation.time),
    ):
        flow.step(state, now)
    return state
