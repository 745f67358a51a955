"""What a row of the diagnostics says of a magnetized gas."""

from __future__ import annotations

import mpibatch as mb
from mpibatch.apps.mhd.beginnings import FIELD, alfven
from mpibatch.apps.mhd.flows import Flow, State
from mpibatch.apps.mhd.parameters import Parameters

__all__ = ["row"]


def row(p: Parameters, flow: Flow, state: State, time: float) -> dict[str, float]:
    """Return the numbers of a row. Collective."""
    values = {name: float(mb.sum(field)) * p.volume for name, field in state.items()}
    written = flow.output(state)
    values["magnetic_energy"] = 0.5 * p.volume * sum(float(mb.dot(state[name], state[name])) for name in FIELD)
    values["divergence"] = flow.divergence(state)
    values |= {f"least_{name}": float(mb.min(written[name])) for name in ("density", "pressure")}
    if p.problem == "alfven" and p.start is None:
        exact = alfven(p, flow.grid, time)
        values["error"] = sum(float(mb.mean(abs(state[name] - exact[name]))) for name in FIELD)
    return values
