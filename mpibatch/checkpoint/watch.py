"""What all ranks must agree on between two steps: whether a signal came to one of them, and whether time is up.

Long steps end with an all-reduce. Where steps are shorter, it is begun after one and completed after the next, so that
nobody waits for it, and of very short ones only every so many take part: rank 0 proposes that in the same message.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SignalWatch", "WatchResult"]

# Seconds between two agreements, where steps are shorter: an agreement costs some microseconds on every rank.
INTERVAL = 0.01
MOST_STEPS = 200
# Seconds; where steps are longer, one that is made in vain costs more than waiting for the others.
LONG = 0.1

# Of requests that could not be completed, since some rank had failed: MPI may still write to their memory.
_abandoned: list[object] = []


@dataclass(frozen=True)
class WatchResult:
    """What was agreed: the signal that asks for the end (0: none), and whether a checkpoint is due by the clock."""

    signal: int = 0
    is_time: bool = False


NOTHING = WatchResult()


class SignalWatch:
    """Asks all ranks the same two questions again and again; see `ask`."""

    def __init__(self, comm: MPI.Intracomm, signaled: Callable[[], int], seconds: float | None) -> None:
        self._comm, self._signaled, self._seconds = comm, signaled, seconds
        self._mine, self._all = np.zeros(3, "i8"), np.zeros(3, "i8")
        self._request: MPI.Request | None = None
        self._left, self._stride = 1, 0
        self._asked = self.since = time.monotonic()

    def ask(self) -> WatchResult:
        """Return what is agreed by now. Collective. What a rank knows arrives at once, or within `INTERVAL`."""
        if self._comm.size == 1:
            return WatchResult(self._signaled(), self._is_time())
        verdict = NOTHING
        if self._request is not None:
            verdict = self._complete(self._request)
        self._left -= 1
        if self._left > 0:
            return verdict
        self._mine[:] = self._signaled(), 0, 0
        if self._comm.rank == 0:
            self._mine[1:] = self._is_time(), self._next_stride()
        self._request = self._comm.Iallreduce(self._mine, self._all, op=MPI.MAX)
        return self._complete(self._request) if self._stride == 0 else verdict

    def _complete(self, request: MPI.Request) -> WatchResult:
        request.Wait()
        self._request = None
        number, is_time, self._stride = map(int, self._all)
        self._left = max(1, self._stride)
        return WatchResult(number, bool(is_time))

    def restart(self) -> None:
        """Begin to count the time to the next checkpoint anew. Local."""
        self.since = time.monotonic()

    def close(self) -> None:
        """Complete what is under way. Collective."""
        if self._request is not None:
            self._request.Wait()
            self._request = None

    def give_up(self, patience: float) -> bool:
        """Whether what is under way is completed within some seconds; if not, it is left so. Local.

        Ranks that left by errors may have asked more or less often than others, which then never answer.
        """
        if self._request is None:
            return True
        until = time.monotonic() + patience
        while not (is_complete := self._request.Test()) and time.monotonic() < until:
            time.sleep(0.001)
        if not is_complete:
            _abandoned.append((self._request, self._mine, self._all))
        self._request = None
        return bool(is_complete)

    def _is_time(self) -> bool:
        return self._seconds is not None and time.monotonic() - self.since >= self._seconds

    def _next_stride(self) -> int:
        now = time.monotonic()
        each, self._asked = (now - self._asked) / max(1, self._stride), now
        return 0 if each >= LONG else max(1, min(MOST_STEPS, int(INTERVAL / max(each, 1e-9))))
