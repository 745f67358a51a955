"""Gravity of particles on a mesh: how structure grows in an expanding universe, or in a box at rest; a sphere of stars.

Equations, in comoving coordinates x and with a the scale factor: dx/dt = u / a², du/dt = −∇φ, ∇²φ = (3/2) Ωₘ δ / a,
with δ the contrast in density, time in units of the Hubble time 1/H₀, and da/dt = a √(Ωₘ/a³ + 1 − Ωₘ): a flat
universe of matter and a cosmological constant; Ωₘ = 1 is that of Einstein and de Sitter. Lengths are in Mpc/h,
velocities, a dx/dt, in km/s. The time of the program is what a has grown since `begin`: ``until = 0.98`` from ``begin =
0.02`` ends at a = 1. With ``expansion = false`` a = 1, ∇²φ = δ, and the unit of time is 1/√(4πGρ) of the mean density.

Scheme: particle-mesh (R. W. Hockney and J. W. Eastwood 1988, doi:10.1201/9780367806934). Each particle's mass goes to
the cells around it as a cloud (cic or tsc), in whole numbers, so that the density does not depend on an order.
Poisson's equation is solved by Fourier transforms, with −k² or the symbol of the 7-point stencil. Accelerations are
differences of fourth order, taken to particles by the same cloud, so that a particle does not pull itself, and momentum
is kept to the rounding of the transforms. Steps are leapfrog's, kick, drift, kick, with the integrals ∫dt/a and ∫dt/a²
(T. Quinn et al. 1997, doi:10.48550/arXiv.astro-ph/9710043): of second order. A step is the share `courant` of the
shortest of 1/√(4πGρ) in the densest cell, the time in which the fastest particle crosses a cell, and the Hubble time.
A `dt` of yours, in units of a, ends the run where leapfrog would not be stable.

Problems: "random", displacements of a lattice (Y. B. Zel'dovich 1970, A&A 5, 84) by Gaussian waves with a power
spectrum: of Eisenstein and Hu 1998 without oscillations (doi:10.1086/305424), of Bardeen et al. 1986
(doi:10.1086/164143, with the shape of N. Sugiyama 1995, doi:10.1086/192220), or a power law. Every wave is a function
of `random` and of its three wave numbers alone: the same on any ranks, and for any number of particles. "wave", a plane
wave, of which x(q, t) = q − D(t) k sin(k·q) / (k² D(crossing)) is the exact solution until its sheets cross. "plummer",
with ``expansion = false``: a sphere of density ∝ (r² + radius²)^(−5/2) in equilibrium (H. C. Plummer 1911,
doi:10.1093/mnras/71.5.460), out to six tenths of the room in the box, of pairs of particles opposite one another. It is
in empty space: Poisson's equation is solved on twice as many cells along each axis, half of them empty, so that nothing
outside of the box pulls, and φ = −GM / √(r² + radius²), where GM of all particles is the volume of the box / 4π. What
the mesh adds to φ is, to fourth order, ∇²φ h²/12 (cic) or ∇²φ h²/8 (tsc), with cells of side h. Near the edge particles
are slower than in equilibrium, lest they pass it: of all kinetic energy 11 % is missing with the edge at 3 radii, 3 %
at 5. The run ends if a particle comes within three cells of a face.

Rows have the scale factor, the mean velocity (momentum per particle), kinetic and potential energy per mass, the
largest density, of a wave the largest distance from the exact solution; and the power of the first `shells`, in
(Mpc/h)³: shell n is around k = 2π n / length, of the longest side, in h/Mpc. It is that of the mesh: neither is the
window of the cloud divided out, nor the shot noise, volume / particles, taken off (Y. P. Jing 2005,
doi:10.1086/427087).

Not in it: forces below the size of a cell (no tree, no refinement), gas, neutrinos, haloes.

In dependency order: ``_loops`` (compiled), ``backgrounds``, ``spheres``, ``parameters``, ``spectra``, ``beginnings``,
``empty_space`` (its potential), ``gravity`` (the step), ``rows``.
"""

from __future__ import annotations

from collections.abc import Mapping

import mpibatch as mb
from mpibatch.apps.nbody.beginnings import beginning
from mpibatch.apps.nbody.gravity import Gravity
from mpibatch.apps.nbody.parameters import Parameters
from mpibatch.apps.nbody.rows import row

__all__ = ["Parameters", "run"]


def run(p: Parameters, simulation: mb.Simulation) -> mb.particles.Particles:
    """Solve it, and return the particles. Collective."""
    h = p.spacing
    grid = simulation.grid(p.shape, spacing=h, origin=h / 2, periodic=True, units=p.units("Mpc/h").get("units", ""))
    state: dict[str, mb.Field] = {}
    gravity = Gravity(p, beginning(p, grid, simulation.grid(p.lattice)), state)

    def restored(fields: Mapping[str, mb.Field]) -> None:
        gravity.set(mb.particles.Particles(grid, fields["position"], fields["velocity"]))

    for now in simulation.steps(
        state,
        dt=lambda state: gravity.longest(simulation.time),
        output=lambda state: gravity.output(simulation.time),
        diagnostics=lambda state: row(p, gravity, simulation.time),
        attrs=gravity.attributes(),
        pack=lambda state: dict(gravity.particles.to_fields()),
        unpack=restored,
    ):
        gravity.step(now)
    return gravity.particles
