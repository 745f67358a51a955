"""Engines: how an exchange is cut into stages, one after the other. All are held to one contract suite.

- ``plan``: a single stage, one message per neighbor, corners included. The general way.
- ``axis``: axis after axis (corners travel along), so that nobody talks to the ranks across edges and corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mpibatch.domain import Decomposition
from mpibatch.halo.node_memory import node_memory
from mpibatch.halo.plan import Halo, phase
from mpibatch.halo.shared_stages import SharedStage
from mpibatch.halo.stages import Bound, Memory, Stage, bind
from mpibatch.mpi import MPI

__all__ = ["ENGINES"]

Engine = Callable[[MPI.Intracomm, Decomposition, Halo, Sequence[Memory], Any], list[Stage]]


def at_once(
    comm: MPI.Intracomm, decomposition: Decomposition, halo: Halo, memories: Sequence[Memory], cval: Any
) -> list[Stage]:
    """Return the only stage of the engine "plan". Collective at the first call for a communicator, then local."""
    return [_stage(comm, bind(phase(decomposition, comm.rank, halo), memories), cval)]


def by_axis(
    comm: MPI.Intracomm, decomposition: Decomposition, halo: Halo, memories: Sequence[Memory], cval: Any
) -> list[Stage]:
    """Return a stage for each axis along which there is a halo. Collective at the first call, then local."""
    wide = [axis for axis, widths in enumerate(halo.widths) if any(widths)]
    if not halo.corners or len(wide) < 2:
        # Without corners no axis waits for another; all faces go at once.
        return at_once(comm, decomposition, halo, memories, cval)
    phases = (phase(decomposition, comm.rank, halo, (axis,)) for axis in wide)
    return [_stage(comm, bind(moves, memories), cval) for moves in phases]


ENGINES: dict[str, Engine] = {"plan": at_once, "axis": by_axis}


def _stage(comm: MPI.Intracomm, bound: Bound, cval: Any) -> Stage:
    node = node_memory(comm)
    return Stage(comm, bound, cval) if node is None else SharedStage(comm, bound, cval, node)
