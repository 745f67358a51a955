"""What a row of the diagnostics says of a flow."""

from __future__ import annotations

import math

import numpy as np

import mpibatch as mb
from mpibatch.apps.dns.beginnings import vortices
from mpibatch.apps.dns.flows import Flow, State
from mpibatch.apps.dns.parameters import Parameters

__all__ = ["row"]


def row(p: Parameters, flow: Flow, state: State, time: float) -> dict[str, float]:
    """Return the numbers of a row. Collective."""
    q = tuple(state.values())
    *each, lost = (float(mb.mean(part)) for part in flow.energies(q))
    values = {"energy": math.fsum(each)}
    values |= {f"energy_{axis}": part for axis, part in zip(flow.grid.axes, each, strict=True)}
    values |= {"dissipation": p.viscosity * lost, "divergence": float(mb.max(abs(flow.divergence(q))))}
    if p.is_walled:
        values |= channel(p, flow, q)
    if p.problem == "taylor-green" and len(p.shape) == 2 and p.start is None:
        exact = vortices(p, flow, time)
        values["error"] = max(float(mb.max(abs(state[name] - exact[name]))) for name in state)
    if p.shells:
        values |= spectrum(p, q)
    return values


def channel(p: Parameters, flow: Flow, q: tuple[mb.Field, ...]) -> dict[str, float]:
    """Return the mean velocity, and the friction velocity of both walls. Collective."""
    profile, widths = mb.gather_all(mb.mean(q[-1], axis=flow.planes)), np.diff(flow.faces)
    stress = p.viscosity * (profile[0] / widths[0] + profile[-1] / widths[-1])
    return {"bulk_velocity": flow.bulk(q), "friction_velocity": math.copysign(math.sqrt(abs(stress)), stress)}


def spectrum(p: Parameters, q: tuple[mb.Field, ...]) -> dict[str, float]:
    """Return the energy in the first shells of wave numbers, as many as there are. Collective."""
    spectra = [mb.power_spectrum(part).power for part in q]
    count = min(p.shells, len(spectra[0]))
    return {f"energy_{n}": 0.5 * math.fsum(float(power[n]) for power in spectra) for n in range(count)}
