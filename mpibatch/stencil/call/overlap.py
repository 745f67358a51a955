"""Whether inner cells are computed while messages fly: found by timing both ways in the calls that are made anyway.

Bits do not depend on it. All ranks make the same calls of a kernel on a grid, so all try the same way each time; the
times of the slowest rank decide, agreed on once. Rank 0 remembers the choice for later runs.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.stencil.choices import Topic

__all__ = ["AUTO", "Trials"]

AUTO = "auto"
CALLS = 6  # of each way, of which the first compiles and connects
CLEARLY = 0.97  # of the time of the plain way: a smaller gain may be luck


class Trials:
    """The calls of one kernel on one grid."""

    def __init__(self, comm: MPI.Intracomm, topic: Topic) -> None:
        """Begin with what is remembered. Collective."""
        self._topic = topic
        self._calls = 0
        self._best = [math.inf, math.inf]  # seconds of the plain way, and with overlap
        known = comm.bcast(topic.recall() if comm.rank == 0 else None)
        self._chosen = known if isinstance(known, bool) else None

    @contextmanager
    def turn(self, comm: MPI.Intracomm) -> Iterator[bool]:
        """Yield whether this call is to overlap. Collective: the last of the trials agrees on what is best."""
        if self._chosen is not None:
            yield self._chosen
            return
        way = self._calls % 2
        begin = time.perf_counter()
        yield bool(way)
        if self._calls > 1:
            self._best[way] = min(self._best[way], time.perf_counter() - begin)
        self._calls += 1
        if self._calls == 2 * CALLS:
            slowest = np.empty(2)
            comm.Allreduce(np.array(self._best), slowest, op=MPI.MAX)
            self._chosen = bool(slowest[1] < CLEARLY * slowest[0])
            if comm.rank == 0:
                self._topic.remember(self._chosen, {"False": float(slowest[0]), "True": float(slowest[1])})
