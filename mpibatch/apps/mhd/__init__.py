"""Gas with a magnetic field: ideal magnetohydrodynamics in 1 to 3 dimensions, whose field stays free of divergence.

Equations: ∂ρ/∂t + ∇·m = 0,  ∂m/∂t + ∇·(m v − B B) + ∇(p + B²/2) = 0,  ∂e/∂t + ∇·((e + p + B²/2) v − (v·B) B) = 0,
∂B/∂t = −∇×E with the electric field E = −v×B, and ∇·B = 0, with density ρ, momentum m = ρ v, and energy e = p / (γ − 1)
+ (ρ v² + B²)/2 per volume. Units are any that fit together; B has those of √pressure, as Gauss's over √(4π). Axes are
(z, y, x); vectors have all three components, and along an axis of one cell nothing changes.

Scheme: finite volumes with constrained transport (C. R. Evans and J. F. Hawley 1988, doi:10.1086/166684): each
component of B is on the lower faces across its axis, that of E on the edges along it, all else in the middle of cells.
Primitive values (ρ, v, p, B) get slopes by van Leer's limiter (1979, doi:10.1016/0021-9991(79)90145-1), HLLD gives the
fluxes through faces (T. Miyoshi and K. Kusano 2005, doi:10.1016/j.jcp.2005.02.017), and Heun's method the steps, of
second order. On an edge, E is the mean of what its four faces have, each carried on by the change in the cell upwind
(T. A. Gardiner and J. M. Stone 2005, doi:10.1016/j.jcp.2004.11.016; in space 2008, doi:10.1016/j.jcp.2007.12.017). What
an edge adds to one face it takes from another: ∇·B stays at rounding, as the diagnostics show. Mass, momentum and
energy are kept to rounding, and the diagnostics hold their exact sums.

Steps: dt Σₐ (|vₐ| + cₐ)/hₐ = `courant` in the cell where that is most, with c the speed of fast waves. Nothing lifts a
pressure that falls below 0, as it may in shocks of low p / B²: such a run ends with a message.

Walls: periodic, or open to what goes out: beyond them all is as in the last cell. Of its upper face there the field is
not stored; it is what makes the cell free of divergence.

Problems: "tube", test 2a of D. Ryu and T. W. Jones 1995, doi:10.1086/175437, along x; "alfven", a wave of circular
polarization, an exact solution (G. Tóth 2000, doi:10.1006/jcph.2000.6519); "orszag-tang", vortices that steepen to
shocks (S. A. Orszag and C.-M. Tang 1979, doi:10.1017/S002211207900210X); "blast", in a strong field (Gardiner and
Stone 2005). Of a `start`, and in the output, components of B are those on lower faces.

In dependency order: ``parameters``, ``riemann``, ``kernels``, ``beginnings``, ``flows`` (the step), ``rows``.
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
