"""Stages whose messages to ranks of the same node may go through memory that both see (`node_memory`).

The sender chooses, each time, and needs nobody's consent: what arrives in the place of a message is either the message
or a note of where it lies, which is shorter. So ranks may have planned their stages at different times, and where a
neighbor has not read the last faces yet, nobody waits for it outside of MPI: the next one is a message. Which way is
the faster one is found by timing the first exchanges, both ways in turn.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import RunError
from mpibatch.base.log import logger
from mpibatch.base.tally import sent
from mpibatch.base.timing import turn
from mpibatch.halo.face_copies import copier
from mpibatch.halo.node_memory import LINE, NodeMemory, Slot
from mpibatch.halo.stages import TAG, Bound, Message, Stage, cut_into
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SharedStage"]

Array = npt.NDArray[Any]

LEAST = 1024  # bytes of a message below which MPI takes no longer than for a note
NOTE = 16  # bytes: where, and the number of the face
WARM, TIMED = 3, 12  # exchanges each way; those that warm up also touch memory for the first time
MOST_PLACES = 8  # of which the copies out of a neighbor's memory are kept: two of a neighbor's stage

_log = logger("halo")


class _Shown:
    """A message of this rank that its neighbor may take from shared memory: two slots in turn, and a note."""

    def __init__(self, comm: MPI.Intracomm, message: Message, slots: tuple[Slot, Slot]) -> None:
        self.message, self.slots = message, slots
        parts = [cut_into(slot.cells, message.contents) for slot in slots]
        self._jobs = [copier(list(zip(to, message.views, strict=True))) for to in parts]
        self._note = np.zeros(2, np.int64)
        self._turn = 0
        self.request = comm.Send_init([self._note, NOTE, MPI.BYTE], message.rank, TAG)

    def is_free(self) -> bool:
        """Whether the neighbor has read what is in the next slot. Local."""
        return self.slots[self._turn ^ 1].is_read()

    def pack(self) -> None:
        """Put the cells into the next slot, which is free, and note which. Local."""
        self._turn ^= 1
        slot = self.slots[self._turn]
        self._jobs[self._turn]()
        slot.number += 1
        self._note[:] = slot.start, slot.number


class _Seen:
    """A message to this rank that may lie in its neighbor's memory."""

    def __init__(self, message: Message, part: Array) -> None:
        self.message, self._part = message, part
        # Where the first bytes of it arrive.
        self._first = [array.reshape(-1).view(np.uint8)[:NOTE] for array in message.parts or message.views]
        self._unpack = copier(list(zip(message.views, message.parts, strict=True))) if message.parts else None
        self._jobs: dict[int, Callable[[], None]] = {}

    def is_copied(self, nbytes: int) -> bool:
        """Whether what came, of so many bytes, is not where it belongs. Local."""
        return nbytes == NOTE or self._unpack is not None

    def take(self, nbytes: int, node: NodeMemory) -> None:
        """Copy what came, or what it tells of, to where it belongs. Local."""
        if nbytes != NOTE:
            if self._unpack is not None:
                self._unpack()
            return
        start, number = np.concatenate(self._first)[:NOTE].view(np.int64).tolist()
        job = self._jobs.get(start)
        if job is None:
            if len(self._jobs) == MOST_PLACES:
                self._jobs.pop(next(iter(self._jobs)))
            cells = self._part[start + LINE : start + LINE + self.message.nbytes]
            job = self._jobs[start] = copier(
                list(zip(self.message.views, cut_into(cells, self.message.contents), strict=True))
            )
        node.fence()
        job()
        node.fence()
        self._part[start : start + 8].view(np.int64)[0] = number


class SharedStage(Stage):
    """A stage of which some neighbors are on the same node.

    Parameters
    ----------
    node : what the ranks of this node show to one another.
    """

    def __init__(self, comm: MPI.Intracomm, bound: Bound, cval: Any, node: NodeMemory) -> None:
        super().__init__(comm, bound, cval)
        self._node = node
        self._shown: list[_Shown] = []
        self._requests_shown: list[MPI.Prequest] = []
        self._seen: dict[int, _Seen] = {}
        place = 0
        others: list[tuple[Array, Array]] = []
        for message in self.incoming:
            part = node.part(message.rank) if _may_be_shared(message) else None
            if part is None:
                others += zip(message.views, message.parts, strict=False)
            else:
                self._seen[place] = _Seen(message, part)
            place += len(message.requests)
        self._unpack, self._unpacks = copier(others), bool(others)
        self._statuses = [MPI.Status() for _ in self.requests]
        near = [m for m in self.outgoing if _may_be_shared(m) and node.part(m.rank) is not None]
        self._key = repr([(m.nbytes, [v.strides for v in m.views]) for m in self.incoming + near])
        self._way = node.way or node.faster.get(self._key)
        if near and self._way != "messages":
            self._show(near)
        self._seconds: dict[str, list[float]] = {"shared": [], "messages": []}
        self._begun, self._taken = self.requests, 0.0

    def _show(self, near: list[Message]) -> None:
        """Prepare to show these messages, if there is room for all of them."""
        slots: list[Slot] = []
        for message in (m for m in near for _ in range(2)):
            slot = self._node.slot(message.nbytes)
            if slot is None:
                for other in slots:
                    self._node.give_back(other)
                return
            slots.append(slot)
        self._shown = [
            _Shown(self._comm, message, (first, second))
            for message, first, second in zip(near, slots[::2], slots[1::2], strict=True)
        ]
        shown = {id(message) for message in near}
        far = [message for message in self.outgoing if id(message) not in shown]
        self._pack_far = copier([pair for m in far for pair in zip(m.parts, m.views, strict=False)])
        self._requests_shown = [
            *(request for message in self.incoming + far for request in message.requests),
            *(shown.request for shown in self._shown),
        ]

    def start(self) -> None:
        """Begin. Collective over neighbors; does not wait for them."""
        if not self._node.is_open:
            raise RunError("a halo cannot be exchanged any more: the communicator of its grid has been freed")
        begin = time.perf_counter()
        shows = bool(self._shown) and (self._way or self._trial()) == "shared"
        shows = shows and all(shown.is_free() for shown in self._shown)
        self._begun = self._requests_shown if shows else self.requests
        if shows or self._packs:
            turn("pack")
            if shows:
                self._pack_shown()
            else:
                self._pack()
            turn("halo")
        if self._begun:
            sent(self.messages, self.nbytes)
            MPI.Prequest.Startall(self._begun)
        self._copy_within()
        self._taken = time.perf_counter() - begin

    def _pack_shown(self) -> None:
        self._pack_far()
        for shown in self._shown:
            shown.pack()
        self._node.fence()

    def finish(self) -> None:
        """Complete what `start` began. Collective over neighbors."""
        begin = time.perf_counter()
        if self._begun:
            MPI.Request.Waitall(self._begun, self._statuses)
        arrived = [(seen, self._statuses[place].Get_count(MPI.BYTE)) for place, seen in self._seen.items()]
        if self._unpacks or any(seen.is_copied(nbytes) for seen, nbytes in arrived):
            turn("pack")
            for seen, nbytes in arrived:
                seen.take(nbytes, self._node)
            self._unpack()
            turn("halo")
        if self._shown and self._way is None:
            self._note(self._taken + time.perf_counter() - begin)

    def _trial(self) -> str:
        """The way of the next exchange while none is chosen: in turn."""
        counts = {way: len(seconds) for way, seconds in self._seconds.items()}
        return min(counts, key=lambda way: counts[way])

    def _note(self, seconds: float) -> None:
        """Note what an exchange took, and choose once enough is known."""
        self._seconds["messages" if self._begun is self.requests else "shared"].append(seconds)
        if all(len(taken) == WARM + TIMED for taken in self._seconds.values()):
            fastest = {way: min(taken[WARM:]) for way, taken in self._seconds.items()}
            self._way = min(fastest, key=lambda way: fastest[way])
            self._node.remember(self._key, self._way)
            if self._way == "messages":
                self._hide()
            _log.info("faces of %d bytes within a node: %s, %s", self.nbytes, self._way, fastest)

    def free(self) -> None:
        """Release requests, datatypes and slots. Local."""
        super().free()
        self._hide()
        self._seen = {}

    def _hide(self) -> None:
        """Show nothing any more. Local."""
        for shown in self._shown:
            if not MPI.Is_finalized():
                shown.request.Free()
            for slot in shown.slots:
                self._node.give_back(slot)
        self._shown, self._requests_shown = [], []


def _may_be_shared(message: Message) -> bool:
    """Whether a note can take a message's place: known to both ends alike, but for where the note would lie."""
    return message.nbytes >= LEAST and len(message.requests) == 1
