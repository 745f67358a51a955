"""Reading ahead and writing behind, by the system: it is told what is needed next, and what may go to the disk now.

While a slab is computed, the system fetches the next one into its own memory, and brings the last one to the disk. This
takes no thread, no second buffer and no call of MPI, whatever threads MPI and HDF5 allow. It changes no value: advice
that the system does not take, or that does not fit, costs a few microseconds.
"""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.domain import Box
from mpibatch.io.chunks.grid import ChunkGrid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpibatch.io.formats import Source

__all__ = ["Places", "places_of", "write_behind"]

# Linux fetches no more at one call than what a disk takes at once.
PIECE = 128 << 10
_WRITE = 2  # of Linux' sync_file_range: begin to write what is not on its way yet


@dataclass(frozen=True)
class Places:
    """Where the values of an array lie in a file: from `offset` on, or in chunks by a table (first byte, bytes)."""

    path: str
    shape: tuple[int, ...]
    itemsize: int
    offset: int = 0
    chunks: tuple[int, ...] = ()
    table: Any = field(default=None, repr=False, compare=False)

    def read_ahead(self, planes: range, rows: tuple[int, int]) -> None:
        """Have the system fetch some rows (along axis 1) of some planes, soon to be read. Local."""
        if not planes or rows[0] >= rows[1]:
            return
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # whoever reads it is told
        try:
            for low, high in self.ranges(planes, rows):
                for at in range(low, high, PIECE):
                    os.posix_fadvise(handle, at, min(PIECE, high - at), os.POSIX_FADV_WILLNEED)
        except OSError:
            pass
        finally:
            os.close(handle)

    def ranges(self, planes: range, rows: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Yield (first, end) of the bytes that hold these, in order. Local."""
        if self.chunks:
            behind = self.shape[2:]
            box = Box((planes[0], rows[0], *(0 for _ in behind)), (planes[-1] + 1, rows[1], *behind))
            box = Box(box.start[: len(self.shape)], box.stop[: len(self.shape)])
            for number in ChunkGrid(self.shape, self.chunks).meeting(box):
                low, nbytes = map(int, self.table[number][:2])
                if low >= 0:
                    yield low, low + nbytes
            return
        plane, row = (math.prod(self.shape[axis:]) * self.itemsize for axis in (1, 2))
        if len(self.shape) == 1:
            rows, row = (0, 1), plane
        for number in planes:
            yield self.offset + number * plane + rows[0] * row, self.offset + number * plane + rows[1] * row


def places_of(source: Source) -> Places | None:
    """Return where a source lies, None if only a library knows. Local."""
    storage = source.storage
    if storage is None or storage.view is not None or source.runs or not storage.is_plain:
        return None
    itemsize = np.dtype(storage.dtype).itemsize
    table = storage.table if storage.chunks else None
    return Places(storage.path or source.path, source.shape, itemsize, storage.offset, storage.chunks, table)


def write_behind(path: str, low: int, high: int) -> None:
    """Have the system begin to bring bytes of a file to the disk, without waiting for it. Local."""
    call = _sync_file_range()
    if call is None or low >= high:
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # whoever writes to it is told
    try:
        call(handle, ctypes.c_int64(low), ctypes.c_int64(high - low), _WRITE)
    finally:
        os.close(handle)


@cache
def _sync_file_range() -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), "sync_file_range", None)
