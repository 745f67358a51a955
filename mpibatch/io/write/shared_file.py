"""The direct driver: rank 0 lays out the file with serial HDF5, then all ranks write the values by MPI-IO.

It needs no HDF5 built with MPI. Values reach the file by collective writes of the whole communicator, a round at a
time; after every round the ranks agree on whether it succeeded, so that a disk that is full for one of them ends the
writing for all. Where the MPI library does not tell of collective writes that failed, each rank writes by itself and
counts the bytes.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import shutil
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from mpibatch.base.errors import RunError
from mpibatch.io.base.block import Block, whole_box
from mpibatch.io.base.room import ROOM, failure, room_for, shortage
from mpibatch.io.base.room import check_limit as _check_limit
from mpibatch.io.base.room import check_room as _check_room
from mpibatch.io.seal.digests import extents_of_field
from mpibatch.io.write.chunks import write_packed, write_plain
from mpibatch.io.write.layout import Dataset, create
from mpibatch.io.write.storage.hints import hints, info, node_hints
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.failure import AGREED, Leaving
from mpibatch.mpi.files import tells_failures
from mpibatch.mpi.transfers import pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mpibatch.domain import Box
    from mpibatch.fields.field import Field
    from mpibatch.io.seal.extent import Extent
    from mpibatch.io.vault.vault import Vault

__all__ = ["ROUND_BYTES", "agreed_io", "fill", "flush", "make", "opened", "plain_bytes", "put", "write", "write_field"]

T = TypeVar("T")

# Written by one rank in one collective call: many MPI stacks fail above 2^31 elements.
ROUND_BYTES = 1 << 30


def write(
    comm: MPI.Intracomm,
    path: str,
    datasets: Sequence[Dataset],
    fields: Sequence[Any],
    attrs: Mapping[str, Any],
    vault: Vault | None = None,
) -> list[Extent]:
    """Write a new file, and return on rank 0 where the values lie, with their digests. Collective.

    `path` is seen by all ranks; on RunError it is left in an undefined state. In the place of the field of a dataset in
    chunks there may be what shares them out (`mpibatch.io.write.chunks.ChunkShares`). With a `vault`, all that has
    values must be in chunks, which are encrypted before they leave their rank.
    """
    extents = []
    offsets = make(comm, path, lambda: create(path, datasets, attrs), plain_bytes(datasets))
    with opened(comm, path) as file:
        for dataset, field, offset in zip(datasets, fields, offsets, strict=True):
            if dataset.chunks is not None:
                extents += _writer(dataset)(comm, path, dataset, field, partial(put, comm, file, path), vault)
            elif not dataset.is_elsewhere:
                assert vault is None or not math.prod(dataset.shape), f"{dataset.name} would be plain"
                extents += extents_of_field(comm, dataset.name, field, offset)
                write_field(comm, file, path, field, offset)
    return extents


def fill(comm: MPI.Intracomm, path: str, dataset: Dataset, field: Field, offset: int) -> list[Extent]:
    """Write the values of one dataset of a file that `make` has made, as `write` does. Collective."""
    with opened(comm, path) as file:
        if dataset.chunks is not None:
            return _writer(dataset)(comm, path, dataset, field, partial(put, comm, file, path), None)
        extents = extents_of_field(comm, dataset.name, field, offset)
        write_field(comm, file, path, field, offset)
        return extents


def _writer(dataset: Dataset) -> Callable[..., list[Extent]]:
    """Return what writes a dataset in chunks. Local."""
    return write_plain if dataset.compression is None else write_packed


def put(comm: MPI.Intracomm, file: MPI.File, path: str, parts: list[tuple[int, Any]]) -> None:
    """Write this rank's arrays at bytes of the file. Collective."""
    with agreed_io(comm, path):
        file.Set_view(0, MPI.BYTE, MPI.BYTE, info=MPI.INFO_NULL)
    with agreed_io(comm, path):
        for offset, array in parts:
            flat = array.reshape(-1).view("u1")
            for (cut,) in pieces(flat.shape, 1, ROUND_BYTES):
                status = MPI.Status()
                file.Write_at(offset + cut.start, [flat[cut], MPI.BYTE], status)
                _check_written(status, cut.stop - cut.start)


def plain_bytes(datasets: Sequence[Dataset]) -> int:
    """Return the bytes of those datasets that are stored as they are. Local."""
    plain = (d for d in datasets if d.compression is None and not d.is_elsewhere)
    return sum(math.prod(d.shape) * np.dtype(d.dtype).itemsize for d in plain)


def make(comm: MPI.Intracomm, path: str, layout: Callable[[], T], least: int = 0) -> T:
    """Let rank 0 lay a file out, and return what `layout` returned there on all ranks. Collective.

    The file's bytes are set aside, and every rank has seen the file when this returns. If it is known that there will
    be at least so many more, room for them is checked before HDF5 begins: when a file cannot be written, HDF5 1.10 may
    not close it either, and then crashes at the next one.
    """
    made: T | None = None
    size = 0
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            _check_room(path, least + ROOM)
            _check_limit(path, least)
            with room_for(path, least):
                made = layout()
            _reserve(path)
            size = Path(path).stat().st_size
    made, size = comm.bcast((made, size), root=0)
    with agreed(comm, f"writing {path}"):
        _check_shared(path, size)
        _check_limit(path, size)
    return cast("T", made)


def write_field(
    comm: MPI.Intracomm, file: MPI.File, path: str, field: Block, offset: int, region: Box | None = None
) -> None:
    """Write the owned cells of a `region` (default: all cells) to an array of them at byte `offset`. Collective."""
    bytes_of_cell = field.dtype.itemsize * math.prod(field.components)
    if bytes_of_cell == 0:
        return
    whole = whole_box(field) if region is None else region
    part = field.box.intersect(whole)
    cell_type = MPI.BYTE.Create_contiguous(bytes_of_cell).Commit()
    start, place = _place(part, whole, cell_type)
    first = tuple(low - mine for low, mine in zip(part.start, field.box.start, strict=True))
    parts = list(pieces(part.shape, bytes_of_cell, ROUND_BYTES)) if part.size else []
    most = np.empty(2, "i8")
    comm.Allreduce(np.array([len(parts), not tells_failures()], "i8"), most, op=MPI.MAX)
    # Rank by rank if a single one could not be told of a full disk: the two ways do not meet.
    rounds, write_at = int(most[0]), MPI.File.Write_at if most[1] else MPI.File.Write_at_all
    done = 0
    try:
        with agreed_io(comm, path):
            file.Set_view(offset + start * bytes_of_cell, cell_type, place, info=MPI.INFO_NULL)
        for number in range(rounds):
            with agreed_io(comm, path):
                # A rank that has nothing left takes part with nothing: the call is collective.
                cut = _shifted(parts[number], first) if number < len(parts) else None
                done += _write_part(partial(write_at, file), done, field, cut, cell_type)
    finally:
        if place is not cell_type:
            place.Free()
        cell_type.Free()


def _shifted(cut: tuple[slice, ...], by: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(c.start + low, c.stop + low) for c, low in zip(cut, by, strict=True))


def _write_part(
    write_at: Callable[..., None], done: int, field: Block, cut: tuple[slice, ...] | None, cell_type: MPI.Datatype
) -> int:
    """Write the cells ``owned[cut]``, which come after `done` others, and return their number."""
    buffer: list[Any] = [None, 0, cell_type]
    among: MPI.Datatype | None = None
    cells = nbytes = 0
    if cut is not None:
        view = field.owned[cut]
        cells, nbytes = math.prod(c.stop - c.start for c in cut), view.nbytes
        if view.flags.c_contiguous:
            buffer = [view, cells, cell_type]
        else:
            # MPI gathers owned cells from between the halo's: a copy of the block would double the memory.
            starts = [low + c.start for (low, _), c in zip(field.halo, cut, strict=True)]
            among = cell_type.Create_subarray(field.padded.shape[: len(cut)], view.shape[: len(cut)], starts).Commit()
            buffer = [field.padded, 1, among]
    status = MPI.Status()
    try:
        write_at(done, buffer, status)
    finally:
        if among is not None:
            among.Free()
    _check_written(status, nbytes)
    return cells


def _check_written(status: MPI.Status, nbytes: int) -> None:
    if (written := status.Get_elements(MPI.BYTE)) != nbytes:
        raise OSError(errno.EIO, f"{written} of {nbytes} bytes were written")


def _place(box: Box, whole: Box, cell_type: MPI.Datatype) -> tuple[int, MPI.Datatype]:
    """Return (first cell, type) with which the cells of `box` are found in an array of those of `whole`.

    Whole rows are contiguous there: for a slab the type is the cell itself, which MPI writes fastest. Axis 0 goes
    into the first cell rather than into the type, which keeps the type's extent small.
    """
    row = math.prod(whole.shape[1:])
    if not box.size:
        return 0, cell_type
    start = tuple(low - zero for low, zero in zip(box.start, whole.start, strict=True))
    if box.shape[1:] == whole.shape[1:]:
        return start[0] * row, cell_type
    inside = (box.shape[0], *whole.shape[1:])
    return start[0] * row, cell_type.Create_subarray(inside, box.shape, (0, *start[1:])).Commit()


@contextmanager
def opened(comm: MPI.Intracomm, path: str) -> Iterator[MPI.File]:
    """Open a file that `make` has made; at the end of the block what was written is on disk. Collective."""
    defaults = node_hints(comm, path)
    with agreed(comm, f"writing {path}"):
        settings = hints(defaults)
        if not tells_failures():
            # ROMIO writes what lies scattered under a file lock, which a failure leaves locked for ever.
            settings |= {"romio_ds_write": "disable"}
    with agreed_io(comm, path), info(settings) as given:
        file = MPI.File.Open(comm, path, MPI.MODE_RDWR, given)
    try:
        with Leaving(comm):
            yield file
            with agreed_io(comm, path):
                file.Sync()
    except AGREED:
        # All ranks are here. After any other exception closing, being collective, would hang.
        with suppress(MPI.Exception):  # the first error is the one to be told
            file.Close()
        raise
    with agreed_io(comm, path):
        file.Close()


def flush(comm: MPI.Intracomm, file: MPI.File, path: str) -> None:
    """Bring what was written so far to disk. Collective."""
    with agreed_io(comm, path):
        file.Sync()


@contextmanager
def agreed_io(comm: MPI.Intracomm, path: str) -> Iterator[None]:
    """Agree on the success of collective file operations. Collective.

    Unlike other work under `agreed` they communicate; but they return on all ranks, with an error on some.
    """
    with agreed(comm, f"writing {path}"):
        try:
            yield
        except (MPI.Exception, OSError, RuntimeError) as error:
            # The last line is the cause, after the names of MPI's functions, or HDF5's.
            message = error.Get_error_string() if isinstance(error, MPI.Exception) else str(error)
            reason = message.strip().splitlines()[-1].split(": ", 1)[-1].strip()
            refusal = failure(path, reason)
            # In a collective call only the rank that could not write knows why.
            is_class = (
                isinstance(error, MPI.Exception) and reason == MPI.Get_error_string(error.Get_error_class()).strip()
            )
            refusal.is_vague = is_class
            raise refusal from error


def _check_shared(path: str, size: int) -> None:
    """Tell a folder that ranks on other nodes do not share from all other reasons why opening may fail."""
    try:
        with open(path, "rb+", opener=_not_a_link) as file:  # opening, unlike asking, makes NFS look at the server
            seen = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        seen = -1
    if seen != size:
        state = "is not there" if seen < 0 else f"has {seen} bytes"
        raise RunError(
            f"{path} was made by rank 0 with {size} bytes, but on {MPI.Get_processor_name()} it {state}; write to a "
            "folder that all nodes share"
        )


def _not_a_link(path: str, flags: int) -> int:
    """Open the temporary file that rank 0 has made, and nothing that somebody has put in its place since."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _in_memory(path: str) -> bool:
    device = Path(path).stat().st_dev
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    name = f" {os.major(device)}:{os.minor(device)} "
    return any(name in line and " - tmpfs " in line for line in mounts)


def _reserve(path: str) -> None:
    """Let the file system set the file's bytes aside, so that a full disk shows before the ranks write."""
    size = Path(path).stat().st_size
    free = shutil.disk_usage(Path(path).parent).free
    if size < free // 2 and _in_memory(path):
        return  # reserving would take one rank as long as writing takes all of them
    if size > free + Path(path).stat().st_blocks * 512:
        raise shortage(path, size, free)
    # Not os.posix_fallocate: where the file system cannot reserve, the C library writes into every block instead.
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if fallocate is None:
        return
    with open(path, "rb+", opener=_not_a_link) as file:
        result = fallocate(file.fileno(), 0, ctypes.c_int64(0), ctypes.c_int64(size))
    number = ctypes.get_errno()
    if result and number in (errno.ENOSPC, errno.EDQUOT):
        raise shortage(path, size, free)
    if result and number == errno.EFBIG:
        raise OSError(number, os.strerror(number), path)
