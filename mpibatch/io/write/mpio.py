"""The mpio driver: all ranks write through parallel HDF5, that is, h5py built with MPI.

The file is laid out by rank 0, exactly as for the direct driver, and then opened by all. Every write is collective,
in rounds of which all ranks have the same number; a rank without cells takes part with an empty selection. This stays
below h5py's slicing, which leaves such calls out (h5py issues 412 and 965) or makes a different number of them on
different ranks (1108): either hangs.

Packed chunks are compressed by HDF5, which moves the cells of a chunk that several ranks share to one of them. A
round covers whole chunks, so that none is packed, read back and packed again.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import h5py

from mpibatch.base.files import read_at
from mpibatch.domain import Box
from mpibatch.io.base.closure import closing
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.seal.digests import extents_of_field, granule, of_bytes
from mpibatch.io.seal.extent import Extent
from mpibatch.io.write import shared_file
from mpibatch.io.write.layout import Dataset, create
from mpibatch.io.write.storage.hints import hints, info, node_hints
from mpibatch.mpi import MPI, agreed, failure
from mpibatch.mpi.abort import all_come, end_all
from mpibatch.mpi.failure import AGREED, Leaving
from mpibatch.mpi.transfers import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mpibatch.io.base.block import Block

__all__ = ["write"]


def write(
    comm: MPI.Intracomm, path: str, datasets: Sequence[Dataset], fields: Sequence[Block], attrs: Mapping[str, Any]
) -> list[Extent]:
    """Write a new file, and return on rank 0 where the values lie, with their digests. Collective.

    `path` is seen by all ranks; on RunError it is left in an undefined state.
    """
    # Serial HDF5 on one rank: what several ranks create together can fail on some of them, and would hang the rest.
    offsets = shared_file.make(comm, path, lambda: create(path, datasets, attrs), shared_file.plain_bytes(datasets))
    plan = [(d, u, offset) for d, u, offset in zip(datasets, fields, offsets, strict=True) if math.prod(u.shape)]
    with _opened(comm, path) as file:
        for dataset, field, _ in plan:
            _write_field(comm, path, file, dataset, field)
    extents = []
    for dataset, field, offset in plan:
        if dataset.chunks is None:
            extents += extents_of_field(comm, dataset.name, field, offset)
        else:
            extents += _extents_of_chunks(comm, path, dataset)
    return extents


def _write_field(comm: MPI.Intracomm, path: str, file: Any, dataset: Dataset, field: Block) -> None:
    with agreed(comm, f"writing {path}"):
        target = h5py.h5d.open(file.id, dataset.name.encode())
        # The values are already of the file's type: converting would make HDF5 write rank by rank.
        kind, place = target.get_type(), target.get_space()
        memory = h5py.h5s.create_simple(field.padded.shape)
        collective = h5py.h5p.create(h5py.h5p.DATASET_XFER)
        collective.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
    for box in _rounds(comm, dataset, field):
        with shared_file.agreed_io(comm, path), _alone_in_failure(comm, path):
            _select(memory, [a + low for a, low in zip(box.start, _to_padded(field), strict=True)], box.shape, field)
            _select(place, box.start, box.shape, field)
            target.write(memory, place, field.padded, kind, collective)


def _to_padded(field: Block) -> list[int]:
    """What to add to a global index to get that in the padded array."""
    return [low - start for (low, _), start in zip(field.halo, field.box.start, strict=True)]


def _select(space: Any, start: Sequence[int], shape: Sequence[int], field: Block) -> None:
    if math.prod(shape):
        behind = field.components
        space.select_hyperslab((*start, *(0 for _ in behind)), (*shape, *behind))
    else:
        space.select_none()


def _rounds(comm: MPI.Intracomm, dataset: Dataset, field: Block) -> Iterator[Box]:
    """Yield what this rank writes in each round, as many boxes as on all others, some of them empty. Collective."""
    own, limit = field.box, shared_file.ROUND_BYTES
    bytes_of_cell = field.dtype.itemsize * math.prod(field.components)
    if dataset.chunks is None:
        cuts = list(pieces(own.shape, bytes_of_cell, limit)) if own.size else []
        for number in range(comm.allreduce(len(cuts), op=MPI.MAX)):
            cut = cuts[number] if number < len(cuts) else (slice(0, 0),) * len(own.shape)
            starts = [low + c.start for low, c in zip(own.start, cut, strict=True)]
            yield Box(tuple(starts), tuple(a + c.stop - c.start for a, c in zip(starts, cut, strict=True)))
        return
    row = comm.allreduce(bytes_of_cell * math.prod(own.shape[1:]), op=MPI.MAX)
    rows = max(1, limit // (row * dataset.chunks[0])) * dataset.chunks[0]
    for low in range(0, field.shape[0], rows):
        yield own.intersect(Box((low, *own.start[1:]), (low + rows, *own.stop[1:])))


@contextmanager
def _alone_in_failure(comm: MPI.Intracomm, path: str) -> Iterator[None]:
    """Wait for all ranks after a collective write; if they do not come to one that failed, end the job. Collective.

    A write that fails on some ranks makes HDF5 leave its function there, before a step that the others then wait in
    for ever. Nothing can call them back.
    """
    error: Exception | None = None
    try:
        yield
    except (OSError, RuntimeError, ValueError) as caught:
        error = caught
    if not all_come(comm, math.inf if error is None else failure.PATIENCE):
        end_all(
            f"rank {comm.rank}: {path} could not be written: {error}\n"
            f"Other ranks do not return from HDF5, so that all {MPI.COMM_WORLD.size} ranks are ended; the driver "
            "direct would have raised an error\n",
            1,
        )
    if error is not None:
        raise error


@contextmanager
def _opened(comm: MPI.Intracomm, path: str) -> Iterator[Any]:
    """Open a file with parallel HDF5; at the end of the block what was written is on disk. Collective."""
    defaults = node_hints(comm, path)
    with agreed(comm, f"writing {path}"):
        settings = hints(defaults)
    with shared_file.agreed_io(comm, path), info(settings) as given:
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        # HDF5 makes a duplicate that keeps the topology. Ours has none; with a Cartesian one, some versions of Open
        # MPI write wrong values (ompi issue 12718).
        access.set_fapl_mpio(comm, given)
        access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V110)
        access.set_file_locking(False, True)
        access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
        file = h5py.File(h5py.h5f.open(path.encode(), h5py.h5f.ACC_RDWR, access))
    try:
        with Leaving(comm):
            yield file
            with shared_file.agreed_io(comm, path):
                h5py.h5f.flush(file.id)
    except AGREED:
        # All ranks are here. After any other exception closing, being collective, would hang.
        with suppress(OSError, RuntimeError, ValueError):
            file.id.close()  # see `closing`
        raise
    with shared_file.agreed_io(comm, path):
        file.id.close()


def _extents_of_chunks(comm: MPI.Intracomm, path: str, dataset: Dataset) -> list[Extent]:
    """Return on rank 0 where HDF5 has put a dataset's chunks, with the digests of what it stored. Collective."""
    assert dataset.chunks is not None
    grid = ChunkGrid(dataset.shape, dataset.chunks)
    places: list[tuple[int, int]] = []
    with agreed(comm, f"reading {path}"):
        if comm.rank == 0:
            with closing(h5py.File(path, "r", locking=False)) as file:
                chunks = map(file[dataset.name].id.get_chunk_info_by_coord, map(grid.start, range(grid.total)))
                places = [(int(chunk.byte_offset), int(chunk.size)) for chunk in chunks]
    places = comm.bcast(places)
    mine = []
    with agreed(comm, f"reading {path}"), open(path, "rb") as stored:
        for number in range(comm.rank, grid.total, comm.size):
            offset, nbytes = places[number]
            data = read_at(stored.fileno(), nbytes, offset)
            if len(data) != nbytes:
                raise OSError(f"{dataset.name}: {len(data)} of {nbytes} bytes at {offset} could be read back")
            box = grid.box(number)
            mine.append(
                Extent(
                    dataset=dataset.name,
                    offset=offset,
                    nbytes=nbytes,
                    first=0,
                    per_digest=granule(nbytes),
                    digests=of_bytes(data),
                    cells=(box.start, box.stop),
                )
            )
    by_rank = comm.gather(mine)
    return [by_rank[number % comm.size][number // comm.size] for number in range(grid.total)] if by_rank else []
