"""The direct driver: rank 0 lays out the file with serial HDF5, then all ranks write the values by MPI-IO.

It needs no HDF5 built with MPI. Values reach the file by collective writes of the whole communicator, a round at a
time; after every round the ranks agree on whether it succeeded, so that a disk that is full for one of them ends the
writing for all.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpibatch.domain import Box
from mpibatch.errors import MpibatchError, RunError
from mpibatch.field import Field
from mpibatch.io.layout import Dataset, create
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.transfers import pieces

__all__ = ["HINTS", "ROUND_BYTES", "write"]

# Written by one rank in one collective call: many MPI stacks fail above 2^31 elements.
ROUND_BYTES = 1 << 30
# Ranks of a node that collect what lies scattered in the file and write it in large pieces. ROMIO's default, one,
# spends its time copying: 4 were 1.4 times as fast on 2 cores. MPI libraries ignore hints that they do not know.
HINTS = {"cb_config_list": "*:4"}


def write(
    comm: MPI.Intracomm, path: str, datasets: Sequence[Dataset], fields: Sequence[Field], attrs: Mapping[str, Any]
) -> None:
    """Write a new file. Collective. `path` is seen by all ranks; on RunError it is left in an undefined state."""
    offsets: list[int] | None = None
    size = 0
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            offsets = create(path, datasets, attrs)
            _reserve(path)
            size = Path(path).stat().st_size
    offsets, size = comm.bcast((offsets, size), root=0)
    assert offsets is not None
    with agreed(comm, f"writing {path}"):
        _check_shared(path, size)
    with _opened(comm, path) as file:
        for field, offset in zip(fields, offsets, strict=True):
            _write_field(comm, file, path, field, offset)
        with _agreed_io(comm, path):
            file.Sync()


def _write_field(comm: MPI.Intracomm, file: MPI.File, path: str, field: Field, offset: int) -> None:
    """Write the owned cells to their places in the dataset that begins at byte `offset` of the file."""
    bytes_of_cell = field.dtype.itemsize * math.prod(field.components)
    if bytes_of_cell == 0:
        return
    cell = MPI.BYTE.Create_contiguous(bytes_of_cell).Commit()
    start, place = _place(field.box, field.grid.shape, cell)
    parts = list(pieces(field.box.shape, bytes_of_cell, ROUND_BYTES)) if field.box.size else []
    rounds = comm.allreduce(len(parts), op=MPI.MAX)
    done = 0
    try:
        with _agreed_io(comm, path):
            file.Set_view(offset + start * bytes_of_cell, cell, place, info=MPI.INFO_NULL)
        for number in range(rounds):
            with _agreed_io(comm, path):
                # A rank that has nothing left takes part with nothing: the call is collective.
                done += _write_part(file, done, field, parts[number] if number < len(parts) else None, cell)
    finally:
        if place is not cell:
            place.Free()
        cell.Free()


def _write_part(file: MPI.File, done: int, field: Field, cut: tuple[slice, ...] | None, cell: MPI.Datatype) -> int:
    """Write the cells ``owned[cut]``, which come after `done` others, and return their number."""
    if cut is None:
        file.Write_at_all(done, [None, 0, cell])
        return 0
    view = field.owned[cut]
    cells: int = math.prod(c.stop - c.start for c in cut)
    if view.flags.c_contiguous:
        file.Write_at_all(done, [view, cells, cell])
        return cells
    # MPI gathers owned cells from between the halo's: a copy of the block would double the memory.
    grid_axes = len(cut)
    starts = [low + c.start for (low, _), c in zip(field.halo, cut, strict=True)]
    among = cell.Create_subarray(field.padded.shape[:grid_axes], view.shape[:grid_axes], starts).Commit()
    try:
        file.Write_at_all(done, [field.padded, 1, among])
    finally:
        among.Free()
    return cells


def _place(box: Box, shape: tuple[int, ...], cell: MPI.Datatype) -> tuple[int, MPI.Datatype]:
    """Return (first cell, type) with which the cells of `box` are found in a global array of `shape`.

    Whole rows are contiguous there: for a slab the type is the cell itself, which MPI writes fastest. Axis 0 goes
    into the first cell rather than into the type, which keeps the type's extent small.
    """
    row = math.prod(shape[1:])
    if not box.size:
        return 0, cell
    if box.shape[1:] == shape[1:]:
        return box.start[0] * row, cell
    inside = (box.shape[0], *shape[1:])
    return box.start[0] * row, cell.Create_subarray(inside, box.shape, (0, *box.start[1:])).Commit()


@contextmanager
def _opened(comm: MPI.Intracomm, path: str) -> Iterator[MPI.File]:
    info = MPI.Info.Create()
    for name, value in HINTS.items():
        info.Set(name, value)
    try:
        with _agreed_io(comm, path):
            file = MPI.File.Open(comm, path, MPI.MODE_RDWR, info)
    finally:
        info.Free()
    try:
        yield file
    except MpibatchError:
        # Agreed on by all ranks, so all are here. After any other exception closing, being collective, would hang.
        file.Close()
        raise
    with _agreed_io(comm, path):
        file.Close()


@contextmanager
def _agreed_io(comm: MPI.Intracomm, path: str) -> Iterator[None]:
    """Agree on the success of collective file operations. Collective.

    Unlike other work under `agreed` they communicate; but they return on all ranks, with an error on some.
    """
    with agreed(comm, f"writing {path}"):
        try:
            yield
        except MPI.Exception as error:
            # The last line is the cause, after the names of MPI's functions.
            reason = error.Get_error_string().strip().splitlines()[-1].split(": ", 1)[-1]
            free = shutil.disk_usage(Path(path).parent).free
            raise RunError(
                f"{path} could not be written: {reason}; its file system has {free} bytes free: check limits, "
                "free some space, or write elsewhere"
            ) from error


def _check_shared(path: str, size: int) -> None:
    """Tell a folder that ranks on other nodes do not share from all other reasons why opening may fail."""
    try:
        with open(path, "rb+") as file:  # opening, unlike asking, makes NFS look at the server
            seen = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        seen = -1
    if seen != size:
        what = "is not there" if seen < 0 else f"has {seen} bytes"
        raise RunError(
            f"{path} was made by rank 0 with {size} bytes, but on {MPI.Get_processor_name()} it {what}; write to a "
            "folder that all nodes share"
        )


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
    shortage = RunError(
        f"{path} needs {size} bytes, but its file system has only {free} free; free some space, or write elsewhere"
    )
    if size > free + Path(path).stat().st_blocks * 512:
        raise shortage
    # Not os.posix_fallocate: where the file system cannot reserve, the C library writes into every block instead.
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if fallocate is None:
        return
    with open(path, "rb+") as file:
        result = fallocate(file.fileno(), 0, ctypes.c_int64(0), ctypes.c_int64(size))
    number = ctypes.get_errno()
    if result and number in (errno.ENOSPC, errno.EDQUOT):
        raise shortage
    if result and number == errno.EFBIG:
        raise OSError(number, os.strerror(number), path)
