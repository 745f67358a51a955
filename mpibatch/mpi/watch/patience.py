"""See from beside the main threads that no rank goes on, and end the job, saying where each one is.

A collective that one rank alone calls makes all wait for ever, and none of them can know. So a thread of each rank
looks, about once a second, whether the main thread has run any Python since, and if not, whether it waits in MPI for
others. A rank that has waited for some seconds tells rank 0, again and again while it waits; one that has come to its
end does so, too. Once *every* rank waits, or has left, and at least one waits, nobody will ever bring what they wait
for. After a patience (`MPIBATCH_PATIENCE` seconds, default 300, 0: for ever; five seconds if a rank has left) rank 0
ends the job. A rank that computes, compiles, sleeps or reads is none that waits, however long it takes.

Ranks tell by synchronous messages on a communicator of this module's own: one at a time each, so that rank 0 may be
busy for hours without a queue. Where MPI does not allow calls from two threads nothing is watched.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import threading
import time
from array import array
from collections import defaultdict
from dataclasses import dataclass

from mpi4py import MPI

from mpibatch.base.units import ranks_text
from mpibatch.mpi.abort import end_all
from mpibatch.mpi.watch.places import place, waits_for_others

__all__ = ["PatienceWatch", "patience_of_setting"]

SETTING = "MPIBATCH_PATIENCE"
DEFAULT = 300.0  # seconds
# Seconds without a sign of life before a rank says that it waits; and before the job ends if a rank has left.
FIRST = 5.0
TICK = 1.0
TAG = 7
BYTES = 4096  # of a report, at most


def patience_of_setting() -> float:
    """Return the seconds of `MPIBATCH_PATIENCE`; infinite for 0, the default for what is no number. Local."""
    try:
        seconds = float(os.environ.get(SETTING, "") or DEFAULT)
    except ValueError:
        return DEFAULT
    return seconds if seconds > 0 else math.inf


@dataclass(frozen=True)
class RankReport:
    """What one rank says of itself."""

    place: str
    seconds: float  # that it has waited
    has_left: bool = False


class _Pulse:
    """Whether the main thread has run Python since it was last asked to show it."""

    def __init__(self) -> None:
        self._beats, self._asked, self._since = 0, -1, time.monotonic()
        # Runs in the main thread, between two of its instructions; never while it is inside a call of a library.
        self._call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self._beat)
        self._add = ctypes.pythonapi.Py_AddPendingCall

    def _beat(self, _: object) -> int:
        self._beats += 1
        return 0

    def silent(self) -> float:
        """Return for how many seconds the main thread has run no Python. Local."""
        if self._beats != self._asked:
            self._asked, self._since = self._beats, time.monotonic()
            self._add(self._call, None)
        return time.monotonic() - self._since


class PatienceWatch:
    """Watches over all ranks of the world. Making one is collective over it; `leave` ends it."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self.comm = comm
        self._patience = patience_of_setting()
        self._first = min(FIRST, self._patience)
        self._tick = min(TICK, self._first / 4)
        self._pending: MPI.Request | None = None
        self._has_left = False
        self._heard: dict[
            int, tuple[float, float, RankReport]
        ] = {}  # on rank 0: the last times, and what was heard last
        self._stop = threading.Event()
        self._pulse = _Pulse()
        self._thread: threading.Thread | None = None
        if MPI.Query_thread() == MPI.THREAD_MULTIPLE and self._patience < math.inf:
            self._thread = threading.Thread(target=self._run, name="mpibatch watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._tick):
            silent = self._pulse.silent()
            if silent < self._first or not waits_for_others():
                continue
            with contextlib.suppress(MPI.Exception):
                self._tell(RankReport(place(), silent))

    def _tell(self, report: RankReport) -> None:
        """Let rank 0 know; on it, hear the others, and end the job if all wait. Local."""
        if self.comm.rank:
            is_new = not report.has_left or not self._has_left
            if is_new and (self._pending is None or self._pending.Test()):
                self._has_left = report.has_left
                message = json.dumps([report.place[-BYTES // 8 :], report.seconds, report.has_left]).encode()
                self._pending = self.comm.Issend([message, MPI.BYTE], 0, TAG)
            return
        now = time.monotonic()
        if not (0 in self._heard and self._heard[0][2].has_left):  # when it has left is kept
            self._heard[0] = now, now, report  # not sent, so never late
        self._hear()
        if (reason := self._verdict()) is not None:
            self._end(reason)

    def _hear(self) -> None:
        status, buffer = MPI.Status(), bytearray(BYTES)
        while self.comm.Iprobe(MPI.ANY_SOURCE, TAG, status):
            self.comm.Recv([buffer, MPI.BYTE], status.source, TAG, status)
            words = json.loads(bytes(buffer[: status.Get_count(MPI.BYTE)]))
            before = self._heard.get(status.source, (-math.inf, -math.inf))[1]
            self._heard[status.source] = before, time.monotonic(), RankReport(*words)

    def _verdict(self) -> str | None:
        """Return why the job cannot go on, if every rank has lately said that it waits, or has left. Local."""
        # What is heard first may have been under way for long. The next is sent only after that.
        most, now = max(3 * self._tick, 1.0), time.monotonic()
        fresh = [r for past, at, r in self._heard.values() if r.has_left or (at - past < most and now - at < most)]
        waiting = [report.seconds for report in fresh if not report.has_left]
        if len(fresh) < self.comm.size or not waiting:
            return None
        if len(waiting) < len(fresh):
            # A rank may have waited for long, rightly, and be slow to see that it need not any more.
            since = now - max(at for _, at, report in self._heard.values() if report.has_left)
            is_due = min(since, *waiting) >= self._first
            return "some ranks have left, and the others wait for them" if is_due else None
        if min(waiting) < self._patience:
            return None
        return f"every rank has waited for others for {self._patience:g} s ({SETTING})"

    def _end(self, reason: str) -> None:
        groups: dict[str, list[int]] = defaultdict(list)
        for rank, (_, _, report) in sorted(self._heard.items()):
            groups[report.place].append(rank)
        lines = [f"mpibatch: {reason}; aborting all {self.comm.size} ranks. Where they are, the fewest first:"]
        for where, ranks in sorted(groups.items(), key=lambda item: len(item[1])):
            lines.append(f"  {ranks_text(ranks)}: {where}")
        lines.append(
            "All ranks must make the same calls in the same order: look for a call under a condition that only some "
            "ranks meet, and for a loop that some leave earlier"
        )
        end_all("\n".join(lines) + "\n", 1)

    def leave(self, code: int, patience: float, *, speaks: bool = False) -> int | None:
        """Wait until all ranks have come to leave; None if they have not within `patience` seconds. Collective.

        Returns the lowest rank that `speaks`, the number of ranks if none does. While it waits, this rank takes part
        in the watch as one that has left.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        report = RankReport(f"at the end of its program (exit code {code})", 0.0, has_left=True)
        comm, until, pause = self.comm, time.monotonic() + patience, 0.0
        mine, lowest = array("i", [comm.rank if speaks else comm.size]), array("i", [0])
        come = comm.Iallreduce([mine, MPI.INT], [lowest, MPI.INT], op=MPI.MIN)
        while not come.Test():
            if time.monotonic() > until:
                return None
            # A failure waits for its own patience only, and is its own reason.
            self._hear() if comm.rank == 0 and code else self._tell(report)
            time.sleep(pause)
            pause = min(pause + 1e-4, 1e-2)
        # Nothing that was told may be under way when MPI ends.
        while self._pending is not None and not self._pending.Test():
            time.sleep(1e-4)
        heard = comm.Ibarrier()
        while not heard.Test():
            if comm.rank == 0:
                self._hear()
            time.sleep(1e-4)
        return lowest[0]
