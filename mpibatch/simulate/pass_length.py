"""How many steps a pass of the time loop makes at once."""

from __future__ import annotations

import time

from mpibatch.base.tally import REDUCTION
from mpibatch.mpi import MPI

__all__ = ["Pace"]

# A pass takes about so many seconds, so that signals and clocks are looked at now and then; but it has a few steps at
# least, or copying fields in and out of `iterate` would cost more than fusing steps gains.
PASS_SECONDS = 1.0
LEAST_PASS = 8


class Pace:
    """Chooses it by the slowest rank's time for the pass before, the same on all ranks.

    Only when things are looked at depends on it, and nothing that is computed or written.
    """

    def __init__(self, comm: MPI.Intracomm, limit: int | None) -> None:
        self._comm = comm
        self._limit = 1 << 30 if limit is None else limit
        self._began = 0.0
        self.max_steps = min(self._limit, LEAST_PASS)

    def begin(self) -> None:
        """Note that a pass begins. Local."""
        self._began = time.perf_counter()

    def end(self, count: int) -> None:
        """Note that it ended after `count` steps. Collective, if a pass may make several."""
        if self._limit > 1:
            taken = time.perf_counter() - self._began
            with REDUCTION:
                seconds = float(self._comm.allreduce(taken, op=MPI.MAX))
            self.max_steps = min(self._limit, max(LEAST_PASS, int(PASS_SECONDS * count / max(seconds, 1e-9))))
