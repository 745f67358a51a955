"""Memory that the ranks of a node share, in which each shows faces to its neighbors there.

A message between two ranks of a node is copied into memory that both see, and out of it, by MPI, and before and after
that between faces and buffers. Here a rank packs a face into shared memory itself, and its neighbor takes it from
there: two copies in place of four, and what travels as a message is where the face lies.

Every rank has a part of one MPI window, made once for a communicator, and cuts slots out of it on its own: fields,
exchanges and their ends remain matters of each rank. A slot is a word and a face behind it. The word is the number of
the last face in it that the neighbor has read; until then nothing else is put there, whoever has the slot by then.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError, nearest
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.comm import before_release
from mpibatch.mpi.values.communicator import plain

__all__ = ["NodeMemory", "Slot", "node_memory"]

Bytes = npt.NDArray[np.uint8]

PART = 64 * 2**20  # bytes that a rank may show; pages that nothing is put into take no memory
LEAST = 2**20
SHARE = 1 / 4  # of what is left of the file system of shared memory, which all of a node's ranks get together
FOLDER = "/dev/shm"  # where MPI libraries have it; containers often allow 64 MB there
LINE = 64
MOST_KNOWN = 256
WAYS = ("messages", "shared")

_key = MPI.KEYVAL_INVALID


class Slot:
    """Room of this rank for a face, and for the word of the neighbor that reads it.

    Attributes
    ----------
    start : where its word lies in the rank's part; the face follows a line behind.
    cells : the face's bytes.
    number : of the face that was put there last.
    """

    __slots__ = ("_read", "cells", "extent", "number", "start")

    def __init__(self, part: Bytes, start: int, stop: int, nbytes: int) -> None:
        self.start, self.extent = start, (start, stop)
        self._read = part[start : start + 8].view(np.int64)
        self.cells = part[start + LINE : start + LINE + nbytes]
        self._read[0] = self.number = 0

    def is_read(self) -> bool:
        """Whether its neighbor has read what is there. Local."""
        return bool(self._read[0] == self.number)


class NodeMemory:
    """What the ranks of this node show to one another. Collective over the communicator, to be made and closed.

    Attributes
    ----------
    way : "shared" or "messages" where one of them is always to be taken; None: the faster one.
    faster : what was found so far, of messages by what they carry.
    """

    def __init__(self, comm: MPI.Intracomm, node: MPI.Intracomm, nbytes: int, way: str | None) -> None:
        self.way = way
        self.faster: dict[str, str] = {}
        self._comm, self._node = comm, node
        self._window = MPI.Win.Allocate_shared(nbytes, 1, comm=node)
        self._window.Lock_all()
        self._parts: dict[int, Bytes | None] = {}
        self._mine = self._part(node.rank)
        self._free = [(0, nbytes)]
        self._given_back: list[Slot] = []
        self.is_open = True

    def part(self, rank: int) -> Bytes | None:
        """Return what a rank of the communicator shows, None if it is of another node. Local."""
        if rank not in self._parts:
            group, near = self._comm.Get_group(), self._node.Get_group()
            (place,) = MPI.Group.Translate_ranks(group, [rank], near)
            group.Free()
            near.Free()
            self._parts[rank] = None if place == MPI.UNDEFINED else self._part(place)
        return self._parts[rank]

    def _part(self, place: int) -> Bytes:
        memory, _ = self._window.Shared_query(place)
        return np.asarray(memory, np.uint8)

    def fence(self) -> None:
        """Let nothing before it be seen after what follows. Local."""
        self._window.Sync()

    def slot(self, nbytes: int) -> Slot | None:
        """Return room for so many bytes, None if there is none left. Local."""
        length = LINE + -(-nbytes // LINE) * LINE
        for slot in [slot for slot in self._given_back if slot.is_read()]:
            self._given_back.remove(slot)
            self._free.append(slot.extent)
        self._free = _joined(self._free)
        for number, (start, stop) in enumerate(self._free):
            if stop - start >= length:
                self._free[number : number + 1] = [(start + length, stop)] if stop - start > length else []
                return Slot(self._mine, start, start + length, nbytes)
        return None

    def give_back(self, slot: Slot) -> None:
        """Let others have it, once what is there was read. Local."""
        if self.is_open:
            self._given_back.append(slot)

    def remember(self, key: str, way: str) -> None:
        """Note which way is faster. Local."""
        if len(self.faster) == MOST_KNOWN:
            self.faster.pop(next(iter(self.faster)))
        self.faster[key] = way

    def close(self) -> None:
        """Release the memory. Collective over the node."""
        self.is_open = False
        self._parts = {}
        self._mine = np.empty(0, np.uint8)
        self._window.Unlock_all()
        self._window.Free()
        self._node.Free()


def node_memory(comm: MPI.Intracomm) -> NodeMemory | None:
    """Return what ranks of this rank's node show to one another; None: nothing is shared here.

    Collective at the first call for a private communicator, which takes it along when it is freed; local afterwards.
    """
    global _key
    if comm.size == 1:
        return None
    if _key == MPI.KEYVAL_INVALID:
        _key = MPI.Comm.Create_keyval()
    known = comm.Get_attr(_key)
    if known is None:
        known = _made(comm)
        if isinstance(known, NodeMemory):
            before_release(comm, known.close)
        comm.Set_attr(_key, known)
    return known if isinstance(known, NodeMemory) else None


def _made(comm: MPI.Intracomm) -> NodeMemory | bool:
    way = os.environ.get("MPIBATCH_HALOS") or None
    with agreed(comm, "choosing how halos go"):
        if way is not None and way not in WAYS:
            raise UsageError(f"MPIBATCH_HALOS={way} is unknown{nearest(way, WAYS)}")
    node: MPI.Intracomm = plain(comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank))
    room = np.array([0 if way == "messages" else _room(node.size)], np.int64)
    node.Allreduce(MPI.IN_PLACE, room, op=MPI.MIN)
    if node.size == 1 or room[0] < LEAST:
        node.Free()
        return False
    return NodeMemory(comm, node, int(room[0]), way)


def _room(ranks: int) -> int:
    """How many bytes each of a node's ranks may show."""
    try:
        left = os.statvfs(FOLDER)
    except OSError:
        return 0
    return min(PART, int(left.f_bavail * left.f_frsize * SHARE / ranks) // LINE * LINE)


def _joined(extents: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted extents, of which those that touch are one."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(extents):
        begin = joined.pop()[0] if joined and joined[-1][1] == start else start
        joined.append((begin, stop))
    return joined
