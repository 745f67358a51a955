"""Incompressible flow, resolved down to its smallest eddies: vortices, turbulence in a box, and channels.

Equations: ∂u/∂t + ∇·(u u) = −∇p + ν ∇²u + f,  ∇·u = 0, in 2 or 3 dimensions, with pressure per density. Axes are
(z, y, x); a box is periodic, and a channel has walls at y = −1 and 1 and flows along x. Units are any that fit
together: with speed and size 1, the Reynolds number is 1/ν.

Scheme: staggered cells (F. H. Harlow and J. E. Welch 1965, doi:10.1063/1.1761178): pressure at their middles, each
component of the velocity on the lower faces across its axis. Fluxes are of means of neighbors, weighted so that on
uneven cells, too, advection neither makes nor takes momentum and energy (R. W. C. P. Verstappen and A. E. P. Veldman
2003, doi:10.1016/S0021-9991(03)00126-8); of second order. Steps are those of Runge and Kutta, of third order (C.-W. Shu
and S. Osher 1988, doi:10.1016/0021-9991(88)90177-5), and after each stage the gradient of a pressure makes the flow
solenoidal (A. J. Chorin 1968, doi:10.1090/S0025-5718-1968-0242392-2), whose Poisson equation is solved exactly for
these differences. So ∇·u stays at round-off, as the diagnostics show.

Stability: dt (Σₐ |uₐ|/hₐ / √3 + 4 ν Σₐ 1/hₐ² / 2.51) ≤ 1, within which Runge's and Kutta's method is stable. Steps are
the share `courant` of the longest; a `dt` that is longer ends the run.

Problems: "taylor-green", u = (sin x cos y, −cos x sin y), in three axes times cos z (G. I. Taylor and A. E. Green 1937,
doi:10.1098/rspa.1937.0036): in two axes its energy falls as exp(−4 ν t). "turbulence": random eddies of rms velocity 1
in each component, of sizes about 1/`peak`; they decay, or get a constant `power` by f = A (u − mean) (T. S. Lundgren
2003; C. Rosales and C. Meneveau 2005, doi:10.1063/1.2047568). "channel": Poiseuille's flow 1 − y², with its pressure
gradient or its flow rate kept, and a disturbance: the Tollmien–Schlichting wave of one wavelength in the channel, or
noise. At ν = 1/10000 and length 2π the wave's energy grows as exp(0.00747934 t) (S. A. Orszag 1971,
doi:10.1017/S0022112071002842), at 1/7500 as exp(0.0044700 t).

Written are velocities on their faces, pressure, and Q = ∇²p / 2 (J. C. R. Hunt, A. A. Wray and P. Moin 1988): above 0
where the flow turns faster than it is sheared; of channels also means and rms values of planes along the walls, and
from the time `average_from` on those over all steps and planes, with the flux of u across y and the total stress
ν ∂u/∂y − u v on the lower faces, which is a straight line in a flow that is steady on average (J. Kim, P. Moin and R.
Moser 1987, doi:10.1017/S0022112087000892). Rows are means over the volume: the energy ½ uₐ² of each component, the
energy lost to friction, the largest |∇·u|, and for the first `shells` wave numbers the energy in each; of channels the
mean velocity and the friction velocity.

In dependency order: ``parameters``, ``kernels``, ``flows`` (the step), ``averages``, ``waves``, ``beginnings``,
``rows``.
"""

from __future__ import annotations

import mpibatch as mb
from mpibatch.apps.dns.averages import Averages
from mpibatch.apps.dns.beginnings import beginning
from mpibatch.apps.dns.flows import Flow
from mpibatch.apps.dns.parameters import Parameters
from mpibatch.apps.dns.rows import row

__all__ = ["Parameters", "run"]


def run(p: Parameters, simulation: mb.Simulation) -> dict[str, mb.Field]:
    """Solve it, and return the last velocities. Collective."""
    spacing = p.spacing
    walled = len(p.shape) - 2 if p.is_walled else None
    origin = [h / 2 for h in spacing]
    if walled is not None:
        origin[walled] -= 1.0
    grid = simulation.grid(
        p.shape, spacing=spacing, origin=tuple(origin), periodic=tuple(axis != walled for axis in range(len(spacing)))
    )
    flow = Flow(p, grid)
    state = beginning(p, flow)
    flow.keep(state)
    averages = None if p.average_from is None else Averages(flow, tuple(state.values()))

    def longest(state: dict[str, mb.Field]) -> float:
        return p.dt or p.courant * flow.longest(state)

    for now in simulation.steps(
        state,
        dt=longest,
        output=lambda state: flow.output(state) | (averages.output() if averages else {}),
        diagnostics=lambda state: row(p, flow, state, simulation.time),
        attrs=flow.attributes() | (averages.attributes() if averages else {}),
        pack=lambda state: state | (averages.sums if averages else {}),
    ):
        flow.step(state, now)
        if averages and p.average_from is not None and now.time >= p.average_from:
            averages.add(tuple(state.values()), now.dt)
    return state
