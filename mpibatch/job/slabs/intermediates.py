"""Where results wait between passes: in files (their values alone, in C order, written by all ranks), or in memory."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import mpibatch.io as io
from mpibatch.base.errors import RunError
from mpibatch.fields.field import Field
from mpibatch.io.write import shared_file
from mpibatch.io.write.storage.stripes import make_striped
from mpibatch.job.slabs.page_cache import Places, write_behind
from mpibatch.job.slabs.slab import Slab
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.fields.grid import Grid
    from mpibatch.mpi import MPI

__all__ = ["HeldResult", "Intermediate", "Writer", "opened", "remove"]


@dataclass(frozen=True)
class Intermediate:
    """A result between passes: where, and of what."""

    path: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def plane_bytes(self) -> int:
        """Bytes of a plane. Local."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of it all. Local."""
        return self.shape[0] * self.plane_bytes

    def read_ahead(self, low: int, high: int, rows: tuple[int, int]) -> None:
        """Have the system fetch rows of planes that are read next. Local."""
        Places(self.path, self.shape, np.dtype(self.dtype).itemsize).read_ahead(range(low, high), rows)

    def load(self, low: int, high: int, grid: Grid) -> Field:
        """Read planes onto a grid of their shape. Collective."""
        raw = {"dtype": self.dtype, "shape": self.shape}
        result: Field = io.load(self.path, raw=raw, grid=grid, region=slice(low, high))
        return result


@dataclass(frozen=True)
class Writer:
    """An open file in which values of one array begin at byte `offset`."""

    comm: MPI.Intracomm
    path: str
    file: MPI.File
    offset: int
    plane_bytes: int

    def put(self, u: Field, slab: Slab) -> None:
        """Write a slab's own planes of a field on its grid. Collective."""
        place = self.offset + slab.start * self.plane_bytes
        shared_file.write_field(self.comm, self.file, self.path, u, place, slab.inside(u.grid))
        if self.comm.rank == 0:
            write_behind(self.path, place, place + (slab.stop - slab.start) * self.plane_bytes)

    def flush(self) -> None:
        """Bring what was written to disk. Collective."""
        shared_file.flush(self.comm, self.file, self.path)


class HeldResult:
    """A result that waits in memory: of a rank its columns of all planes. On disk it is as far as a note needs it.

    Attributes
    ----------
    file : where another run finds what was noted.
    """

    def __init__(self, file: Intermediate) -> None:
        self.file = file
        self._values: npt.NDArray[Any] | None = None
        self._filled = self._stored = 0

    @property
    def path(self) -> str:
        """Of the file. Local."""
        return self.file.path

    @property
    def is_stored(self) -> bool:
        """Whether all that it holds is on disk, too. Local."""
        return self._values is None or self._stored == self._filled

    def read_ahead(self, low: int, high: int, rows: tuple[int, int]) -> None:
        """Do nothing: it is there. Local."""

    def load(self, low: int, high: int, grid: Grid) -> Field:
        """Return a copy of planes, on a grid of their shape that is cut as those of slabs are. Local."""
        assert self._values is not None
        result = Field(grid, self.file.dtype, 0, self.file.shape[grid.ndim :])
        result.owned[...] = self._values[low:high]
        return result

    def put(self, u: Field, slab: Slab) -> None:
        """Keep a slab's own planes of a field on its grid. Local."""
        if self._values is None:
            self._values = np.empty((self.file.shape[0], *u.owned.shape[1:]), self.file.dtype)
        self._values[slab.start : slab.stop] = u.owned[slab.start - slab.low : slab.stop - slab.low]
        self._filled = slab.stop

    def store(self, base: Grid) -> None:
        """Bring to disk what is not there yet; `base` as slabs are cut. Collective."""
        if self.is_stored:
            return
        with opened(base.comm, self.file, is_new=self._stored == 0) as writer:
            while self._stored < self._filled:
                slab = Slab.alone(self._stored, min(self._stored + base.shape[0], self._filled))
                writer.put(self.load(slab.start, slab.stop, slab.grid(base)), slab)
                self._stored = slab.stop
            writer.flush()

    def release(self) -> None:
        """Let go of the memory. Local."""
        self._values = None


@contextmanager
def opened(comm: MPI.Intracomm, result: Intermediate, *, is_new: bool) -> Iterator[Writer]:
    """Open the file of a result, and make it first, unless one is there to go on with. Collective."""
    if is_new:
        shared_file.make(comm, result.path, lambda: _create(result), result.nbytes)
    with shared_file.opened(comm, result.path) as file:
        yield Writer(comm, result.path, file, 0, result.plane_bytes)


def _create(result: Intermediate) -> None:
    Path(result.path).unlink(missing_ok=True)  # stripes are for new files
    make_striped(Path(result.path))
    file = os.open(result.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(file, 0o600)
        os.ftruncate(file, result.nbytes)
    finally:
        os.close(file)


def remove(comm: MPI.Intracomm, paths: list[str]) -> None:
    """Remove files that no later pass reads. Collective."""
    with agreed(comm, "removing files between passes"):
        if comm.rank == 0:
            for path in paths:
                try:
                    Path(path).unlink()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise RunError(f"cannot remove {path}: {error.strerror}") from error
