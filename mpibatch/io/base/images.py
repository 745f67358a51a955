"""The bytes of an HDF5 file, as those see them who read and write it, wherever they lie.

Most are those of a plain file. A file that is to be encrypted has a draft while it is written: what HDF5 writes stays
in memory until it is complete.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

from mpibatch.base.files import read_at, write_at

__all__ = ["FileImage", "PlainImage", "drafts"]


class FileImage(Protocol):
    """Bytes of an HDF5 file that can be read, and written to where that makes sense."""

    @property
    def size(self) -> int:
        """How many there are. Local."""

    def read(self, nbytes: int, at: int) -> bytes:
        """Return bytes, fewer only at the end. Local. Raises OSError."""

    def write(self, data: Any, at: int) -> None:
        """Write all bytes. Local. Raises OSError."""

    def truncate(self, size: int) -> None:
        """Set the number of bytes. Local. Raises OSError."""

    def close(self) -> None:
        """Let go of the file. Local. Raises OSError."""


class PlainImage:
    """A plain file."""

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self._handle = os.open(path, flags | os.O_CLOEXEC, 0o666)

    @property
    def size(self) -> int:
        """How many bytes there are. Local."""
        return os.fstat(self._handle).st_size

    def read(self, nbytes: int, at: int) -> bytes:
        """Return bytes, fewer only at the end. Local. Raises OSError."""
        return read_at(self._handle, nbytes, at)

    def write(self, data: Any, at: int) -> None:
        """Write all bytes. Local. Raises OSError."""
        write_at(self._handle, data, at)

    def truncate(self, size: int) -> None:
        """Set the number of bytes. Local. Raises OSError."""
        os.ftruncate(self._handle, size)

    def close(self) -> None:
        """Let go of the file. Local. Raises OSError."""
        os.close(self._handle)


drafts: dict[str, FileImage] = {}  # by their temporary names
