"""Many ranks in one process, one running at a time: for what only thousands of ranks would show.

A rank is a thread that runs the package's own code until it waits for a message that has not been sent; then the next
one goes on. Messages and bytes are counted by rank and round, where a round ends with a reduction over all. Only what
label and its routes ask of a communicator is here. Whoever waits for what never comes is told so, and so is whoever
waits while one rank goes on without an end.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.domain import Box, Decomposition
from mpibatch.measure._components.components import BlockComponents, numbered
from mpibatch.measure._engine.places import wide
from mpibatch.measure._engine.structure import backward, mask_of
from mpibatch.mpi import routes, transfers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STACK_BYTES = 1 << 19
PATIENCE = 300.0  # seconds that a rank may take until it waits for a message: loops are compiled in there
Key = tuple[int, int, int]  # from, to, tag


@dataclass
class Count:
    """What a rank has sent in a round."""

    messages: int = 0
    bytes: int = 0


class ModeledRanks:
    """Runs a program on `size` ranks of this process; each may take `patience` seconds until it waits."""

    def __init__(self, size: int, patience: float = PATIENCE) -> None:
        self.size, self._patience = size, patience
        self._turns_taken = 0
        self.counts: list[dict[int, Count]] = [defaultdict(Count) for _ in range(size)]  # by rank and round
        self._messages: dict[Key, deque[bytes]] = defaultdict(deque)
        self._waiting: dict[Key, int] = {}
        self._turns = [threading.Lock() for _ in range(size)]
        self._ready: deque[int] = deque(range(size))
        self._running = size
        self._sum: list[int] = []
        self._total = 0
        self._at_sum: list[int] = []
        self._failure: BaseException | None = None
        self._end = threading.Event()

    def run(self, program: Callable[[ModeledComm], Any]) -> list[Any]:
        """Return what the program returns on each rank."""
        results: list[Any] = [None] * self.size

        def rank_runs(rank: int) -> None:
            self._turns[rank].acquire()
            try:
                if self._failure is None:
                    results[rank] = program(ModeledComm(self, rank))
            except BaseException as error:  # to whoever asked for the run
                self._failure = self._failure or error
            self._running -= 1
            self._next()

        for turn in self._turns:
            turn.acquire()
        before = threading.stack_size(STACK_BYTES)
        threads = [threading.Thread(target=rank_runs, args=(rank,), daemon=True) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        threading.stack_size(before)
        with _modeled_requests():
            self._next()
            self._wait()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return results

    def _wait(self) -> None:
        """Return at the end of all ranks; RuntimeError where one takes too long, which goes on to the process's end."""
        before = -1
        while not self._end.wait(self._patience):
            if before == self._turns_taken:
                raise RuntimeError(f"a rank has run for {self._patience} s, and waits for no message")
            before = self._turns_taken

    def _next(self) -> None:
        """Let another rank go on: one that can, or after a failure each that waits, to its end."""
        self._turns_taken += 1
        if not self._running:
            self._end.set()
        elif self._ready:
            self._turns[self._ready.popleft()].release()
        else:
            first = list(self._waiting)[:5]
            self._failure = self._failure or RuntimeError(f"all ranks wait, the first for {first} (from, to, tag)")
            self._ready.extend({*self._waiting.values(), *self._at_sum})
            self._waiting.clear()
            self._at_sum = []
            self._next()

    def _rest(self, rank: int) -> None:
        self._next()
        self._turns[rank].acquire()
        if self._failure is not None:
            raise RuntimeError("another rank failed")

    def send(self, key: Key, message: bytes, turn: int) -> None:
        """Put a message where the other rank looks for it."""
        count = self.counts[key[0]][turn]
        count.messages += 1
        count.bytes += len(message)
        self._messages[key].append(message)
        waits = self._waiting.pop(key, None)
        if waits is not None:
            self._ready.append(waits)

    def receive(self, key: Key) -> bytes:
        """Return the next message, when it has come."""
        assert key[0] != key[1], f"rank {key[0]} writes to itself"
        if not self._messages[key]:
            self._waiting[key] = key[1]
            self._rest(key[1])
        queue = self._messages[key]
        message = queue.popleft()
        if not queue:
            del self._messages[key]
        return message

    def total(self, rank: int, value: int) -> int:
        """Return the sum over all ranks."""
        self._sum.append(value)
        if len(self._sum) == self.size:
            self._total, self._sum = sum(self._sum), []
            self._ready.extend(self._at_sum)
            self._at_sum = []
        else:
            self._at_sum.append(rank)
            self._rest(rank)
        return self._total

    def rounds(self) -> list[tuple[int, int]]:
        """Return for each round the most messages, and the most bytes, that any rank has sent."""
        turns = range(1 + max(turn for count in self.counts for turn in count))
        every = [[count.get(turn, Count()) for count in self.counts] for turn in turns]
        return [(max(c.messages for c in turn), max(c.bytes for c in turn)) for turn in every]


class Request:
    """A message that has been sent, or one to wait for."""

    def __init__(self, wait: Callable[[], None] | None = None) -> None:
        self._wait = wait

    def Wait(self) -> None:
        if self._wait is not None:
            self._wait()

    @staticmethod
    def Waitall(requests: Sequence[Request]) -> None:
        for request in requests:
            request.Wait()


class Status:
    """How large the message is that was looked for."""

    bytes = 0

    def Get_count(self, datatype: int) -> int:
        return self.bytes // datatype


@dataclass
class Message:
    """One that was looked for, and is to be received."""

    content: bytes

    def Recv(self, buffer: Any) -> None:
        array = buffer[0]
        array.reshape(-1)[:] = np.frombuffer(self.content, array.dtype)


class ModeledMPI:
    """What `mpibatch.mpi` asks of mpi4py's MPI where it moves rows; datatypes are their sizes."""

    BYTE = 1
    INT64_T = 8
    Request = Request
    Status = Status


@contextmanager
def _modeled_requests() -> Iterator[None]:
    before = routes.MPI
    routes.MPI = transfers.MPI = ModeledMPI  # type: ignore[assignment]
    try:
        yield
    finally:
        routes.MPI = transfers.MPI = before


class ModeledComm:
    """One rank's communicator."""

    def __init__(self, ranks: ModeledRanks, rank: int) -> None:
        self._ranks, self.rank, self.size = ranks, rank, ranks.size
        self.turn = 0

    def Isend(self, buffer: Any, to: int, tag: int) -> Request:
        array = buffer[0] if isinstance(buffer, list) else buffer
        self._ranks.send((self.rank, to, tag), np.ascontiguousarray(array).tobytes(), self.turn)
        return Request()

    def Irecv(self, buffer: Any, giver: int, tag: int) -> Request:
        return Request(lambda: self.Recv(buffer[0] if isinstance(buffer, list) else buffer, giver, tag))

    def Send(self, array: Any, to: int, tag: int) -> None:
        self.Isend(array, to, tag)

    def Recv(self, array: Any, giver: int, tag: int) -> None:
        message = np.frombuffer(self._ranks.receive((giver, self.rank, tag)), array.dtype)
        assert message.size <= array.size, f"a message of {message.size} numbers for {array.size}"
        array.reshape(-1)[: message.size] = message

    def Mprobe(self, giver: int, tag: int, status: Status) -> Message:
        content = self._ranks.receive((giver, self.rank, tag))
        status.bytes = len(content)
        return Message(content)

    def allreduce(self, value: int, op: object) -> int:
        del op  # sums only
        total = self._ranks.total(self.rank, value)
        self.turn += 1
        return total


@dataclass(frozen=True)
class ModeledGrid:
    """What label asks of a grid."""

    comm: ModeledComm
    decomposition: Decomposition
    periodic: tuple[bool, ...]

    @property
    def rank(self) -> int:
        return self.comm.rank

    @property
    def size(self) -> int:
        return self.comm.size

    @property
    def shape(self) -> tuple[int, ...]:
        return self.decomposition.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def topology(self) -> tuple[int, ...]:
        return self.decomposition.topology

    @cached_property
    def coords(self) -> tuple[int, ...]:
        return self.decomposition.coords(self.rank)

    @cached_property
    def box(self) -> Box:
        return self.decomposition.box(self.rank)


@dataclass(frozen=True)
class LabeledBlock:
    """What label returns on a rank."""

    box: Box
    labels: npt.NDArray[Any]
    n: int


def label_blocks(
    topology: Sequence[int],
    shape: Sequence[int],
    cells_of: Callable[[Box], npt.NDArray[Any]],
    periodic: bool = False,
    structure: object = None,
) -> tuple[ModeledRanks, list[LabeledBlock]]:
    """Label the cells that each box has, on as many ranks as there are blocks; return the ranks, which have counted."""
    decomposition = Decomposition.over(shape, math.prod(topology), topology)
    offsets = backward(mask_of("label", structure, len(shape)))
    ranks = ModeledRanks(decomposition.size)

    def program(comm: ModeledComm) -> LabeledBlock:
        grid = ModeledGrid(comm, decomposition, (periodic,) * len(shape))
        cells = np.ascontiguousarray(cells_of(grid.box))
        labels = np.empty(cells.shape, np.int64 if wide(grid.shape) else np.int32)
        block = BlockComponents(grid.shape, grid.box, cells, labels, offsets=offsets, by_value=False)
        table, n = numbered(grid, block, offsets)
        block.number(table)
        return LabeledBlock(grid.box, labels, n)

    return ranks, ranks.run(program)
