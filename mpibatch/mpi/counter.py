"""Numbers that are handed out once each, to whichever rank asks next: a shared counter, without a master.

Ranks of a node take from a counter in the memory that they share, which needs nobody's help. It is refilled from a
global one in chunks that shrink as the end comes nearer (guided self-scheduling, doi:10.1109/TC.1987.5009495), so that
few messages cross the network; who takes the middle of a chunk fetches the next one. The trap of the global one: over
some networks a fetch waits until its owner is inside MPI, and the owner computes. So this is tried out at the start,
and where it is so, a thread of the owner looks into MPI now and then.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from mpibatch.mpi.values.communicator import plain

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PROBE", "TRIES", "Counter", "waits_for_owner"]

# A node's chunk is one word, so that one atomic addition takes from it: the next number, and how many are left.
BITS = 21
LEFT = 1 << (BITS - 1)  # what stands for none left: fewer than that many ranks of a node may ask in vain
TAKE = (1 << BITS) - 1  # one number further, one fewer left
MOST = LEFT - 1  # numbers of a chunk
END = 1 << 40  # as next number: there will be none
# Beside its chunk a node keeps the next one: none yet, one that a rank fetches just now, or its word.
NONE, PENDING = 0, -1
STOPPED = END + 1  # as next number of all: what nodes have taken is not handed out either
PROBE = 0.05  # seconds for which the owner stays outside of MPI, to see whether it is waited for
TRIES = 3  # the owner, or who asks it, may be late: seen once is enough
LOOK = 1e-3  # seconds between its thread's looks into MPI
ENOUGH = 1e-3  # seconds of work that a rank takes at a time, where single numbers are less
MOST_AT_ONCE = 64
AGAIN = 0.1  # seconds between looks whether another node has ended it; of many ranks more for each,
AGAIN_EACH = 1e-4  # since all look at the memory of one
PAUSE = 2e-5  # seconds between looks at a chunk that another rank refills

_TAG = 31  # of no message
_log = logging.getLogger(__name__)


class Counter:
    """The numbers from 0 to `total`, without it, for the ranks of `comm`. Making one is collective.

    Parameters
    ----------
    costs : what each number will cost, as far as is known: chunks are shares of the cost. The same on all ranks.
    node : the ranks that share memory with this one; default: asked of MPI. It is freed with the counter.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        total: int,
        costs: npt.NDArray[np.float64] | None = None,
        node: MPI.Intracomm | None = None,
    ) -> None:
        if not 0 <= total < END:
            raise ValueError(f"{total} numbers")
        self._comm, self._total = comm, total
        self._before = None if costs is None else np.concatenate([[0.0], np.cumsum(costs)])
        self._has_ended = False
        self._one, self._old = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._events, self._looked = 0, 0.0  # of a rank alone; when
        self._next, self._stop = 0, 0 if comm.size > 1 else total  # taken, and not yet handed out
        self._taken, self._at, self._left = 1, 0.0, 0  # how many at the last time, when, and of how many
        self._chunk: MPI.Win | None = None
        self._thread: threading.Thread | None = None
        self._leave = threading.Event()
        self._end, self._middle = -1, 0  # of this node's chunk
        self.ahead = 0  # chunks that this rank fetched before they were needed
        self.stalls = False
        if comm.size > 1:
            self._node = plain(comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)) if node is None else node
            self._share()

    def _share(self) -> None:
        """Make the windows. Collective."""
        comm, node = self._comm, self._node
        # The word of a node's chunk, and, of several nodes, that of the next one and the middle of the chunk. In the
        # first rank's memory the next number of all, and what is counted beside.
        self._chunk = MPI.Win.Allocate_shared(24 if node.rank == 0 else 0, 8, comm=node)
        self._chunk.Lock_all()
        smallest = np.array([node.size], np.int64)
        comm.Allreduce(MPI.IN_PLACE, smallest, op=MPI.MIN)
        self._is_one_node = bool(smallest[0] == comm.size)
        self._shared = self._chunk
        if not self._is_one_node:
            self._shared = MPI.Win.Allocate(24 if comm.rank == 0 else 0, 8, comm=comm)
            self._shared.Lock_all()
        for place in range(3):
            if comm.rank == 0:
                self._do(self._shared, place, 0, MPI.REPLACE)
            if node.rank == 0:
                self._do(self._chunk, place, 0, MPI.REPLACE)
        comm.Barrier()
        if node.rank == 0:
            self._fill()
        node.Barrier()
        if not self._is_one_node:
            self._probe()

    def take(self) -> int:
        """Return the next number, -1 if none is left. Local: no other rank has to take part."""
        if self._next == self._stop and not self._has_ended and self._chunk is not None:
            self._take_some()
        if self._next == self._stop:
            self._has_ended = True
            return -1
        self._next += 1
        return self._next - 1

    def _take_some(self) -> None:
        """Take from this node's chunk: one number, or several where they are done faster than they are taken."""
        if self._is_stopped():
            return
        now = time.perf_counter()
        many = int(ENOUGH * self._taken / max(now - self._at, 1e-9))
        want = max(1, min(many, MOST_AT_ONCE, self._left // (4 * self._node.size)))
        while True:
            word = self._do(self._chunk, 0, want * TAKE, MPI.SUM)
            start, left = word >> BITS, (word & TAKE) - LEFT
            if start >= END:
                return
            if left > 0:
                if left <= want:  # who takes the last ones refills
                    self._fill()
                elif not self._is_one_node:
                    self._look_ahead(start, want, left)
                self._taken, self._at, self._left = min(want, left), time.perf_counter(), left
                self._next, self._stop = start, start + self._taken
                return
            while not self._is_filled():
                time.sleep(PAUSE)

    def _is_stopped(self) -> bool:
        """Whether another node has ended it. Looked at now and then: it is a message across the network."""
        now = time.perf_counter()
        if (
            self._is_one_node
            or now - self._looked < max(AGAIN, AGAIN_EACH * self._comm.size)
            or (self.stalls and MPI.Query_thread() < MPI.THREAD_MULTIPLE)
        ):
            return False
        self._looked = now
        return self._do(self._shared, 1, 0, MPI.NO_OP) >= STOPPED

    def _is_filled(self) -> bool:
        word = self._do(self._chunk, 0, 0, MPI.NO_OP)
        return (word & TAKE) > LEFT or word >> BITS >= END

    def _look_ahead(self, start: int, want: int, left: int) -> None:
        """Fetch the next chunk if the middle of this one has just been taken."""
        if start + left != self._end:
            self._end, self._middle = start + left, self._do(self._chunk, 2, 0, MPI.NO_OP)
        if start <= self._middle < start + want and self._swap(self._chunk, 1, NONE, PENDING) == NONE:
            self._do(self._chunk, 1, self._fetch(), MPI.REPLACE)
            self.ahead += 1

    def _fill(self) -> None:
        """Put the next chunk in place of this node's: the one that is there, or is just fetched, else a new one."""
        if self._is_one_node:
            self._do(self._chunk, 0, self._fetch(), MPI.REPLACE)
            return
        while (word := self._swap(self._chunk, 1, NONE, PENDING)) == PENDING:
            time.sleep(PAUSE)
        if word == NONE:
            word = self._fetch()
        self._do(self._chunk, 2, (word >> BITS) + ((word & TAKE) - LEFT) // 2, MPI.REPLACE)
        # Empty before others see the chunk: nobody takes it twice.
        self._do(self._chunk, 1, NONE, MPI.REPLACE)
        self._do(self._chunk, 0, word, MPI.REPLACE)

    def _fetch(self) -> int:
        """Take the next chunk of all numbers, and return its word."""
        while True:
            begin = self._do(self._shared, 1, 0, MPI.NO_OP)
            if begin >= self._total:
                return END << BITS
            size = min(max(1, self._share_from(begin)), MOST)
            if self._swap(self._shared, 1, begin, begin + size) == begin:
                return begin << BITS | size + LEFT

    def _swap(self, window: MPI.Win | None, place: int, before: int, after: int) -> int:
        """Replace rank 0's word if it is as it was, and return what was there."""
        assert window is not None
        self._one[0] = after
        window.Compare_and_swap(self._one, np.array([before], np.int64), self._old, 0, place)
        window.Flush(0)
        return int(self._old[0])

    def _share_from(self, begin: int) -> int:
        """How many numbers are this node's next chunk, if all from `begin` on are left."""
        if self._is_one_node:
            return self._total - begin
        part = self._node.size / (2 * self._comm.size)
        if self._before is None:
            return int((self._total - begin) * part)
        most = self._before[begin] + (self._before[-1] - self._before[begin]) * part
        return int(np.searchsorted(self._before, most, side="right")) - 1 - begin

    def stop(self) -> None:
        """Hand out no more numbers. Local.

        Other nodes see it within `AGAIN` seconds (of thousands of ranks more) and an item, or, where a fetch would
        wait for the owner, when their chunks end.
        """
        self._has_ended, self._next = True, self._stop
        if self._chunk is not None:
            self._do(self._shared, 1, STOPPED, MPI.REPLACE)
            self._do(self._chunk, 0, END << BITS, MPI.REPLACE)

    def count(self) -> int:
        """Add 1 to the events that all ranks count, such as failures; return how many there are. Local."""
        self._events += 1
        return self._events if self._chunk is None else self._do(self._shared, 2, 1, MPI.SUM) + 1

    def _do(self, window: MPI.Win | None, place: int, value: int, operation: MPI.Op) -> int:
        """Carry out an atomic operation on rank 0's word, and return what was there."""
        assert window is not None
        self._one[0] = value
        window.Fetch_and_op(self._one, self._old, 0, place, operation)
        window.Flush(0)
        return int(self._old[0])

    def _probe(self) -> None:
        """Learn whether fetches wait for the owner, and help if so. Collective."""
        comm = self._comm
        away = np.array([-1 if self._node_of_owner() else comm.rank], np.int64)
        comm.Allreduce(MPI.IN_PLACE, away, op=MPI.MAX)
        self.stalls = waits_for_owner(comm, self._shared, 1, int(away[0])) > 0
        if self.stalls and comm.rank == 0:
            if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
                _log.warning(
                    "over this network a fetch waits while rank 0 computes, and this MPI has no threads: items may "
                    "wait for rank 0's; MPIR_CVAR_ASYNC_PROGRESS=1 helps where the MPI is MPICH"
                )
            else:
                self._thread = threading.Thread(target=self._serve, daemon=True, name="mpibatch counter")
                self._thread.start()

    def _node_of_owner(self) -> bool:
        first = np.array([self._comm.rank], np.int64)
        self._node.Allreduce(MPI.IN_PLACE, first, op=MPI.MIN)
        return bool(first[0] == 0)

    def _serve(self) -> None:
        while not self._leave.wait(LOOK):
            self._comm.Iprobe(MPI.ANY_SOURCE, _TAG)

    def free(self) -> None:
        """Free it. Collective."""
        if self._chunk is None:
            return
        # The owner's thread serves until nobody asks any more.
        gathering = self._comm.Ibarrier()
        while not gathering.Test():
            time.sleep(LOOK / 2)
        self._leave.set()
        if self._thread is not None:
            self._thread.join()
        windows = [self._chunk] if self._is_one_node else [self._shared, self._chunk]
        for window in windows:
            window.Unlock_all()
            window.Free()
        self._node.Free()
        self._chunk = None

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.free()


def waits_for_owner(comm: MPI.Intracomm, window: MPI.Win, place: int, asker: int) -> int:
    """Return how many of `TRIES` fetches of rank 0's word, in a locked window, waited while it computed. Collective."""
    slow, old = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for _ in range(TRIES):
        comm.Barrier()
        if comm.rank == 0:
            time.sleep(PROBE)
        elif comm.rank == asker:
            time.sleep(PROBE / 2)  # the owner may still be in the barrier
            began = time.perf_counter()
            window.Fetch_and_op(np.zeros(1, np.int64), old, 0, place, MPI.NO_OP)
            window.Flush(0)
            slow[0] += time.perf_counter() - began > PROBE / 8
    comm.Allreduce(MPI.IN_PLACE, slow, op=MPI.MAX)
    return int(slow[0])
