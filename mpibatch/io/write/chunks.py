"""Datasets in chunks: each rank takes its share of the chunks, packs them, and they reach the file in their order.

Chunks without compression lie where rank 0 was told when the file was laid out, and every rank writes its own. Packed
ones have no place before all that come before them are known: rank 0 receives them and gives them to HDF5, one after
the other in C order, so that the file does not depend on ranks. The others pack the next round meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from mpibatch.fields.field import Field
from mpibatch.io.base.room import room_for
from mpibatch.io.chunks.codec import Packer
from mpibatch.io.chunks.compression import filters_of
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.chunks.shares import Round, Sharing
from mpibatch.io.seal.digests import granule, of_array, of_bytes
from mpibatch.io.seal.extent import Digests, Extent
from mpibatch.io.write.layout import Dataset, Filler, chunk_places
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.transfers import MESSAGE_BYTES

if TYPE_CHECKING:
    from mpibatch.io.vault.vault import Vault

__all__ = ["ChunkShares", "Put", "write_packed", "write_plain"]

# Writes arrays at bytes of the file; collective, with as many arrays on each rank as it has.
Put = Callable[[list[tuple[int, npt.NDArray[Any]]]], None]

TAG = 2


class ChunkShares(Protocol):
    """What gives each rank its chunks of a dataset, in rounds, as `mpibatch.io.chunks.shares.Sharing` does."""

    @property
    def chunks(self) -> ChunkGrid:
        """All chunks. Local."""

    def rounds(self) -> Iterator[Round]:
        """Yield consecutive chunks, the same on all ranks. Perhaps collective."""

    def collect(self, turn: Round) -> dict[int, npt.NDArray[Any]]:
        """Return this rank's chunks of a round, by number. Collective."""


class _Head(NamedTuple):
    """What rank 0 learns of a stored chunk before its bytes."""

    number: int
    mask: int
    nbytes: int
    digests: Digests
    tags: bytes  # if it was encrypted


def write_packed(
    comm: MPI.Intracomm, path: str, dataset: Dataset, field: Any, vault: Vault | None = None
) -> list[Extent]:
    """Write a field, or `ChunkShares`, into a compressed dataset of a file that nobody has open. Collective.

    Returns the extents of the chunks on rank 0, [] elsewhere.
    """
    sharing = _sharing(comm, dataset, field)
    packer: Packer | None = None
    post = _Post(comm, sharing.chunks)
    speeds = [1.0] * comm.size
    try:
        with agreed(comm, f"writing {path}"):
            packer = Packer(
                dataset.dtype, sharing.chunks.size, filters_of(dataset.compression, np.dtype(dataset.dtype).itemsize)
            )
            post.open(path, dataset.name)
        for equal in sharing.rounds():
            turn = equal.weighed(speeds)
            blocks = sharing.collect(turn)
            begin = time.perf_counter()
            with agreed(comm, f"writing {path}"), room_for(path):
                assert packer is not None
                packed = [_packed(packer, dataset, vault, number, block) for number, block in blocks.items()]
                # Those of the round before. The other ranks are still packing.
                post.write()
                seconds = time.perf_counter() - begin
            heads = [head for head, _ in packed]
            blocks.clear()
            speeds = _speeds(comm, speeds, len(heads), seconds)
            post.start(heads, [data for _, data in packed])
        with agreed(comm, f"writing {path}"), room_for(path):
            post.write()
            extents = [_extent(dataset, sharing.chunks, *placed) for placed in post.finish()]
            post.close()
        return extents
    finally:
        if packer is not None:
            packer.close()
        # After a failure HDF5 fails again at closing; the first error is the one to be told, and all ranks have it.
        with contextlib.suppress(OSError, RuntimeError):
            post.close()


def _packed(
    packer: Packer, dataset: Dataset, vault: Vault | None, number: int, block: npt.NDArray[Any]
) -> tuple[_Head, Any]:
    """What rank 0 learns of a chunk, and its bytes; digests are those before encryption."""
    mask, data = packer.pack(block)
    digests = of_bytes(data)
    sealed, tags = (data, b"") if vault is None else vault.seal(dataset.name, number, data)
    return _Head(number, mask, len(data), digests, tags), sealed


def _speeds(comm: MPI.Intracomm, before: list[float], chunks: int, seconds: float) -> list[float]:
    """Return the chunks per second of every rank, on all ranks. Collective.

    Rank 0 writes for all, and so is slower at packing; others have slow cores. A rank that had nothing to do is
    counted with half a chunk, or it would never get one again.
    """
    now = comm.allgather(max(chunks, 0.5) / max(seconds, 1e-6))
    # Chunks differ in how long they take: half of what was known before stays.
    return [math.sqrt(old * new) if old != 1.0 else new for old, new in zip(before, now, strict=True)]


class _Post:
    """Brings stored chunks to rank 0, and there into the file, in their order; a round's while the next is packed."""

    def __init__(self, comm: MPI.Intracomm, chunks: ChunkGrid) -> None:
        self._comm, self._chunks = comm, chunks
        self._file: Filler | None = None
        self._requests: list[MPI.Request] = []
        self._buffers: list[Any] = []  # each rank's chunks, one after the other
        self._heads: list[list[_Head]] = []  # of these, on rank 0
        self._done: list[_Head] = []

    def open(self, path: str, name: str) -> None:
        """Open the file on rank 0. Local."""
        if self._comm.rank == 0:
            self._file = Filler(path, name)

    def start(self, heads: list[_Head], packed: list[bytes]) -> None:
        """Send this rank's chunks of a round on their way. Collective."""
        comm = self._comm
        self._wait()
        self._buffers = [np.frombuffer(b"".join(packed), np.uint8)]
        heads_by_rank = comm.gather(heads)
        if heads_by_rank is None:
            self._requests = [comm.Isend([part, MPI.BYTE], 0, TAG) for part in _messages(self._buffers[0])]
            return
        self._heads = heads_by_rank
        for rank, theirs in enumerate(heads_by_rank[1:], 1):
            buffer = np.empty(sum(head.nbytes for head in theirs), np.uint8)
            self._buffers.append(buffer)
            self._requests += [comm.Irecv([part, MPI.BYTE], rank, TAG) for part in _messages(buffer)]

    def write(self) -> None:
        """Write the chunks under way, on rank 0. Local, but for waiting for what the others have sent already."""
        if self._file is None:
            return
        self._wait()
        for heads, buffer in zip(self._heads, self._buffers, strict=True):
            at = 0
            for head in heads:
                self._file.put(self._chunks.start(head.number), head.mask, buffer[at : at + head.nbytes])
                at += head.nbytes
            self._done += heads
        self._heads, self._buffers = [], []

    def finish(self) -> list[tuple[_Head, tuple[int, int]]]:
        """Return on rank 0 each chunk and its (first byte, bytes), in order. Local."""
        return [] if self._file is None else list(zip(self._done, self._file.finish(), strict=True))

    def close(self) -> None:
        """Close the file, also after a failure. Local."""
        self._wait()
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _wait(self) -> None:
        MPI.Request.Waitall(self._requests)
        self._requests = []


def _messages(buffer: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """The parts of a buffer that MPI sends at once."""
    return (buffer[low : low + MESSAGE_BYTES] for low in range(0, buffer.size, MESSAGE_BYTES))


def write_plain(
    comm: MPI.Intracomm, path: str, dataset: Dataset, field: Any, put: Put, vault: Vault | None = None
) -> list[Extent]:
    """Write a field, or `ChunkShares`, into an uncompressed dataset in chunks, by `put`. Collective.

    Returns the extents of the chunks on rank 0, [] elsewhere.
    """
    sharing = _sharing(comm, dataset, field)
    places: list[int] = []
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            places = chunk_places(path, dataset.name)
    places = comm.bcast(places)
    extents = []
    for turn in sharing.rounds():
        blocks = sharing.collect(turn)
        with agreed(comm, f"computing digests of {dataset.name}"):
            mine = [_plain_extent(dataset, sharing.chunks, number, places[number], blocks[number]) for number in blocks]
            if vault is not None:
                mine = [_sealed(vault, extent, blocks) for extent in mine]
        base = 0 if vault is None else vault.base
        put([(base + places[number], block) for number, block in blocks.items()])
        for extents_of_rank in comm.gather(mine) or []:
            extents += extents_of_rank
    return extents


def _sealed(vault: Vault, extent: Extent, blocks: dict[int, npt.NDArray[Any]]) -> Extent:
    """Put its ciphertext in the place of a block, and return its extent with tags."""
    blocks[extent.block], tags = vault.seal(extent.dataset, extent.block, blocks[extent.block])
    return replace(extent, tags=tags)


def _sharing(comm: MPI.Intracomm, dataset: Dataset, field: Any) -> ChunkShares:
    assert dataset.chunks is not None
    if not isinstance(field, Field):
        return cast("ChunkShares", field)
    return Sharing(comm, ChunkGrid(dataset.shape, dataset.chunks), field)


def _extent(dataset: Dataset, chunks: ChunkGrid, head: _Head, place: tuple[int, int]) -> Extent:
    offset, nbytes = place
    box = chunks.box(head.number)
    return Extent(
        dataset=dataset.name,
        offset=offset,
        nbytes=nbytes,
        first=0,
        per_digest=granule(head.nbytes),
        digests=head.digests,
        cells=(box.start, box.stop),
        block=head.number,
        tags=head.tags,
    )


def _plain_extent(dataset: Dataset, chunks: ChunkGrid, number: int, offset: int, block: npt.NDArray[Any]) -> Extent:
    box = chunks.box(number)
    return Extent(
        dataset=dataset.name,
        offset=offset,
        nbytes=block.nbytes,
        first=0,
        per_digest=granule(block.nbytes),
        digests=of_array(block),
        cells=(box.start, box.stop),
        block=number,
    )
