"""What a time loop refuses: an empty state, broken numbers, and ranks that disagree on the length of a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.fields.field import check_field
from mpibatch.mpi import MPI
from mpibatch.simulate.finiteness import check_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.fields.field import Field
    from mpibatch.simulate.schedule import Clock

__all__ = ["INITIAL", "UNSTABLE", "check_state", "check_step"]

INITIAL = "repair or replace them"
UNSTABLE = "the scheme is probably unstable there: shorten the time step, or look at initial data, walls and parameters"


def check_state(state: Mapping[str, Field], when: str, advice: str) -> None:
    """Refuse what is no state, and NaN or infinity in it. Collective."""
    if not state:
        raise UsageError("steps() was given an empty state; give the fields by name: {'u': u}")
    for name, field in state.items():
        check_field(f"state[{name!r}] of a simulation", field)
    with phase("compute"):
        check_finite(state, when, advice)


def check_step(comm: MPI.Intracomm, dt: float, clock: Clock) -> None:
    """Refuse steps of no length, and ranks with different ones: they would wait for each other forever. Collective."""
    low, is_length = np.empty(3), 0 < dt < math.inf
    mine = np.array([dt, -dt, 1.0]) if is_length else np.zeros(3)
    with REDUCTION:
        comm.Allreduce(mine, low, op=MPI.MIN)
    high = -low[1]
    if not low[2]:
        which = "" if is_length else f" of {dt}"
        raise UsageError(
            f"a time step{which} was given at t = {clock.time:.6g}, step {clock.step}; give a finite "
            "number above 0, the same on all ranks"
        )
    if low[0] != high:
        raise UsageError(
            f"ranks gave time steps between {float(low[0])!r} and {float(high)!r}; compute them from mpibatch.max "
            "and its like, which are the same on all ranks"
        )
