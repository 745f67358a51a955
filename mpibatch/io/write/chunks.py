"""Datasets in chunks: each rank takes its share of the chunks, packs them, and writes them where they belong.

Chunks without compression lie where rank 0 was told when the file was laid out. Packed ones have no place before the
sizes of all that come before them are known: round by round, rank 0 learns the sizes, enters the chunks into HDF5's
index in C order, so that the file does not depend on ranks, and tells their places. Values never pass through it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from mpibatch.fields.field import Field
from mpibatch.io.base.room import room_for
from mpibatch.io.chunks.codec import Packer
from mpibatch.io.chunks.compression import filters_of
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.chunks.shares import Round, Sharing
from mpibatch.io.seal.digests import granule, of_array
from mpibatch.io.seal.extent import Digests, Extent
from mpibatch.io.write.layout import ChunkIndex, Dataset, chunk_places
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from mpibatch.io.vault.vault import Vault

__all__ = ["ChunkShares", "Put", "write_packed", "write_plain"]

# Of a rank's plain chunks in one round: they are copied, summed and written, and should stay in a cache meanwhile.
CACHED_BYTES = 4 << 20

Array = npt.NDArray[Any]
# Writes arrays at bytes of the file; collective, with as many arrays on each rank as it has.
Put = Callable[[list[tuple[int, Array]]], None]


class ChunkShares(Protocol):
    """What gives each rank its chunks of a dataset, in rounds, as `mpibatch.io.chunks.shares.Sharing` does."""

    @property
    def chunks(self) -> ChunkGrid:
        """All chunks. Local."""

    def rounds(self) -> Iterator[Round]:
        """Yield consecutive chunks, the same on all ranks. Perhaps collective."""

    def collect(self, turn: Round, *, spare: list[Array] | None = None) -> dict[int, Array]:
        """Return this rank's chunks of a round, by number, perhaps in the memory of `spare` ones. Collective."""


class _Part(NamedTuple):
    """What rank 0 learns of a stored chunk."""

    number: int
    mask: int
    nbytes: int
    digests: Digests
    tags: bytes  # if it was encrypted


def write_packed(
    comm: MPI.Intracomm, path: str, dataset: Dataset, field: Any, put: Put, vault: Vault | None = None
) -> list[Extent]:
    """Write a field, or `ChunkShares`, into a compressed dataset of a file, by `put`. Collective.

    Returns the extents of the chunks on rank 0, [] elsewhere.
    """
    sharing = _sharing(comm, dataset, field)
    packer: Packer | None = None
    index: ChunkIndex | None = None
    speeds = [1.0] * comm.size
    start = 0 if vault is None else vault.base
    extents: list[Extent] = []
    spare: list[Array] = []
    try:
        with agreed(comm, f"writing {path}"):
            filters = filters_of(dataset.compression, np.dtype(dataset.dtype).itemsize)
            packer = Packer(dataset.dtype, sharing.chunks.size, filters)
            if comm.rank == 0:
                index = ChunkIndex(path, dataset.name)
        for equal in sharing.rounds():
            turn = equal.weighed(speeds)
            blocks = sharing.collect(turn, spare=spare)
            begin = time.perf_counter()
            parts, stored, seconds = [], [], 0.0
            with agreed(comm, f"packing {dataset.name}"):
                assert packer is not None
                for number in sorted(blocks):
                    mask, data = packer.pack(blocks[number])
                    part, packed = _part(dataset, vault, number, np.frombuffer(data, np.uint8), mask)
                    parts.append(part)
                    stored.append(packed)
                seconds = time.perf_counter() - begin  # behind this, all wait for the slowest
            spare = [*blocks.values()]
            speeds = _speeds(comm, speeds, len(parts), seconds)
            known = _gathered(comm, parts)  # in order, as shares are
            places: list[int] = []
            with agreed(comm, f"writing {path}"), room_for(path):
                if index is not None:
                    places = [index.place(sharing.chunks.start(p.number), p.mask, p.nbytes) for p in known]
                    extents += _extents(dataset, sharing.chunks, known, places)
            everywhere = comm.bcast(np.array(places, np.int64))
            own, base = turn.part(comm.rank), turn.numbers.start
            put([(start + int(everywhere[number - base]), data) for number, data in zip(own, stored, strict=True)])
        with agreed(comm, f"writing {path}"), room_for(path):
            if index is not None:
                index.finish()
        return extents
    finally:
        if packer is not None:
            packer.close()
        if index is not None:
            index.close()


def _part(dataset: Dataset, vault: Vault | None, number: int, data: Array, mask: int = 0) -> tuple[_Part, Array]:
    """What rank 0 learns of a chunk, and its bytes as they are stored; digests are those before encryption."""
    digests = of_array(data)
    sealed, tags = (data, b"") if vault is None else vault.seal(dataset.name, number, data)
    return _Part(number, mask, data.nbytes, digests, tags), sealed


def _gathered(comm: MPI.Intracomm, parts: list[_Part]) -> list[_Part]:
    """Return all ranks' chunks, those of rank 0 first, on rank 0; [] elsewhere. Collective."""
    # As two arrays, which travel faster than many values.
    heads = np.array([part[:3] for part in parts], np.int64).reshape(-1, 3)
    digests = np.concatenate([np.empty(0, np.uint64), *(part.digests for part in parts)])
    result = []
    for theirs, sums, tags in comm.gather((heads, digests, [part.tags for part in parts if part.tags])) or ():
        low = 0
        for place, (number, mask, nbytes) in enumerate(theirs.tolist()):
            high = low - (-nbytes // granule(nbytes))
            result.append(_Part(number, mask, nbytes, sums[low:high], tags[place] if tags else b""))
            low = high
    return result


def _speeds(comm: MPI.Intracomm, before: list[float], chunks: int, seconds: float) -> list[float]:
    """Return the chunks per second of every rank, on all ranks. Collective.

    Some have slow cores. A rank that had nothing to do is counted with half a chunk, or it would never get one again.
    """
    now = comm.allgather(max(chunks, 0.5) / max(seconds, 1e-6))
    # Chunks differ in how long they take: half of what was known before stays.
    return [math.sqrt(old * new) if old != 1.0 else new for old, new in zip(before, now, strict=True)]


def write_plain(
    comm: MPI.Intracomm, path: str, dataset: Dataset, field: Any, put: Put, vault: Vault | None = None
) -> list[Extent]:
    """Write a field, or `ChunkShares`, into an uncompressed dataset in chunks, by `put`. Collective.

    Returns the extents of the chunks on rank 0, [] elsewhere.
    """
    sharing = _sharing(comm, dataset, field, CACHED_BYTES)
    places: list[int] = []
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            places = chunk_places(path, dataset.name)
    where = comm.bcast(np.array(places, np.int64))
    start = 0 if vault is None else vault.base
    parts: list[_Part] = []
    spare: list[Array] = []
    for turn in sharing.rounds():
        blocks = sharing.collect(turn, spare=spare)
        stored = []
        with agreed(comm, f"computing digests of {dataset.name}"):
            for number in sorted(blocks):
                part, data = _part(dataset, vault, number, blocks[number])
                parts.append(part)
                stored.append((start + int(where[number]), data))
        put(stored)
        spare = [*blocks.values()]
    known = _gathered(comm, parts)
    return [*_extents(dataset, sharing.chunks, known, [int(where[part.number]) for part in known])]


def _sharing(comm: MPI.Intracomm, dataset: Dataset, field: Any, round_bytes: int | None = None) -> ChunkShares:
    assert dataset.chunks is not None
    if not isinstance(field, Field):
        return cast("ChunkShares", field)
    return Sharing(comm, ChunkGrid(dataset.shape, dataset.chunks), field, round_bytes)


def _extents(dataset: Dataset, chunks: ChunkGrid, parts: list[_Part], places: list[int]) -> Iterator[Extent]:
    for part, place in zip(parts, places, strict=True):
        box = chunks.box(part.number)
        yield Extent(
            dataset=dataset.name,
            offset=place,
            nbytes=part.nbytes,
            first=0,
            per_digest=granule(part.nbytes),
            digests=part.digests,
            cells=(box.start, box.stop),
            block=part.number,
            tags=part.tags,
        )
