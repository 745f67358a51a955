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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from mpibatch.domain import Box
from mpibatch.errors import MpibatchError, RunError
from mpibatch.field import Field
from mpibatch.io.layout import Dataset, create
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.transfers import pieces

__all__ = ["HINTS", "ROUND_BYTES", "make", "opened", "write", "write_field"]

T = TypeVar("T")

# Written by one rank in one collective call: many MPI stacks fail above 2^31 elements.
ROUND_BYTES = 1 << 30
# Ranks of a node that collect what lies scattered in the file and write it in large pieces. ROMIO's default, one,
# spends its time copying: 4 were 1.4 times as fast on 2 cores. MPI libraries ignore hints that they do not know.
HINTS = {"cb_config_list": "*:4"}


def write(
    comm: MPI.Intracomm, path: str, datasets: Sequence[Dataset], fields: Sequence[Field], attrs: Mapping[str, Any]
) -> None:
    """Write a new file. Collective. `path` is seen by all ranks; on RunError it is left in an undefined state."""
    offsets = make(comm, path, lambda: create(path, datasets, attrs))
    with opened(comm, path) as file:
        for field, offset in zip(fields, offsets, strict=True):
            write_field(comm, file, path, field, offset)


def make(comm: MPI.Intracomm, path: str, layout: Callable[[], T]) -> T:
    """Let rank 0 lay a file out, and return what `layout` returned there on all ranks. Collective.

    The file's bytes are set aside, and every rank has seen the file when this returns.
    """
    made: T | None = None
    size = 0
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            made = layout()
            _reserve(path)
            size = Path(path).stat().st_size
    made, size = comm.bcast((made, size), root=0)
    with agreed(comm, f"writing {path}"):
        _check_shared(path, size)
    return cast(T, made)


def write_field(
    comm: MPI.Intracomm, file: MPI.File, path: str, field: Field, offset: int, region: Box | None = None
) -> None:
    """Write the owned cells of a `region` (default: all cells) to an array of them at byte `offset`. Collective."""
    bytes_of_cell = field.dtype.itemsize * math.prod(field.components)
    if bytes_of_cell == 0:
        return
    whole = Box((0,) * field.grid.ndim, field.grid.shape) if region is None else region
    part = field.box.intersect(whole)
    cell = MPI.BYTE.Create_contiguous(bytes_of_cell).Commit()
    start, place = _place(part, whole, cell)
    first = tuple(low - mine for low, mine in zip(part.start, field.box.start, strict=True))
    parts = list(pieces(part.shape, bytes_of_cell, ROUND_BYTES)) if part.size else []
    rounds = comm.allreduce(len(parts), op=MPI.MAX)
    done = 0
    try:
        with _agreed_io(comm, path):
            file.Set_view(offset + start * bytes_of_cell, cell, place, info=MPI.INFO_NULL)
        for number in range(rounds):
            with _agreed_io(comm, path):
                # A rank that has nothing left takes part with nothing: the call is collective.
                cut = _shifted(parts[number], first) if number < len(parts) else None
                done += _write_part(file, done, field, cut, cell)
    finally:
        if place is not cell:
            place.Free()
        cell.Free()


def _shifted(cut: tuple[slice, ...], by: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(c.start + low, c.stop + low) for c, low in zip(cut, by, strict=True))


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


def _place(box: Box, whole: Box, cell: MPI.Datatype) -> tuple[int, MPI.Datatype]:
    """Return (first cell, type) with which the cells of `box` are found in an array of those of `whole`.

    Whole rows are contiguous there: for a slab the type is the cell itself, which MPI writes fastest. Axis 0 goes
    into the first cell rather than into the type, which keeps the type's extent small.
    """
    row = math.prod(whole.shape[1:])
    if not box.size:
        return 0, cell
    start = tuple(low - zero for low, zero in zip(box.start, whole.start, strict=True))
    if box.shape[1:] == whole.shape[1:]:
        return start[0] * row, cell
    inside = (box.shape[0], *whole.shape[1:])
    return start[0] * row, cell.Create_subarray(inside, box.shape, (0, *start[1:])).Commit()


@contextmanager
def opened(comm: MPI.Intracomm, path: str) -> Iterator[MPI.File]:
    """Open a file that `make` has made; at the end of the block what was written is on disk. Collective."""
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
        with _agreed_io(comm, path):
            file.Sync()
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
