"""The seal of a folder: the manifest of its files as if they stood one after the other in a single one.

It is a file of its own, beside the first array of the folder's, where no reader of Zarr looks for members of a group:
a magic word, the names and sizes of the files in their order, the manifest, and a SHA-256 of all that.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import itertools
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.files import read_at
from mpibatch.io.base.marks import VERSION_ATTRIBUTE
from mpibatch.io.base.stores import MARKS
from mpibatch.io.seal.seal import MOST_BYTES, Unsealed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


__all__ = ["NAME", "Files", "FolderBytes", "find", "is_ours", "is_store", "pack", "read", "unpack"]

NAME = "mpibatch.seal"
MAGIC = b"mpibatch folder\r\n\x1a\0\0\0\0\0\0"
HEAD = struct.Struct("<24sQQ")  # magic, bytes of names and sizes, bytes of the manifest
NODE = "zarr.json"
MOST_FOLDERS = 10_000

Files = list[tuple[str, int]]


def pack(files: Sequence[tuple[str, int]], manifest: bytes) -> bytes:
    """Return a seal for files of these (names, sizes), with a packed manifest of their bytes. Local."""
    names = json.dumps(files, separators=(",", ":")).encode()
    data = HEAD.pack(MAGIC, len(names), len(manifest)) + names + manifest
    return data + hashlib.sha256(data).digest()


def find(folder: str) -> str | None:
    """Return the name, within a folder, of its seal. Local.

    It lies in one of the folders that stand for groups and arrays, at the least depth that has arrays.
    """
    for place in itertools.islice(_nodes(Path(folder)), MOST_FOLDERS):
        if (place / NAME).is_file():
            return str((place / NAME).relative_to(folder))
    return None


def _nodes(root: Path) -> Iterator[Path]:
    """The folder, those in it, those in these, and so on."""
    row = [root]
    while row:
        yield from row
        row = [
            Path(entry.path)
            for place in row
            if place == root or (place / NODE).is_file()
            for entry in sorted(os.scandir(place), key=lambda e: e.name)
            if entry.is_dir(follow_symlinks=False)
        ]


def read(folder: str) -> tuple[Files, bytes]:
    """Return the files under a folder's seal, and the packed manifest. Local. Raises Unsealed."""
    name = find(folder)
    if name is None:
        raise Unsealed("no seal: the folder was not written by mpibatch, or its seal was removed")
    with open(Path(folder, name), "rb") as file:
        data = file.read(MOST_BYTES + 1)
    try:
        return unpack(data)
    except (ValueError, struct.error) as error:
        raise Unsealed(f"the seal, {name}, is damaged ({error})") from error


def is_store(path: str) -> bool:
    """Whether there is a folder of Zarr, or what is left of one of ours. Local."""
    return Path(path).is_dir() and (any(Path(path, name).is_file() for name in MARKS) or find(path) is not None)


def is_ours(folder: str) -> bool:
    """Whether a folder without a seal had one: its root tells, or what is left of it. Local."""
    with contextlib.suppress(OSError), open(Path(folder, NODE), "rb") as file:
        return VERSION_ATTRIBUTE.encode() in file.read(MOST_BYTES)
    return find(folder) is not None


def unpack(data: bytes) -> tuple[Files, bytes]:
    """Return what `pack` was given. Local. ValueError or struct.error if it is damaged."""
    magic, names, manifest = HEAD.unpack_from(data)
    if magic != MAGIC or len(data) != HEAD.size + names + manifest + 32:
        raise ValueError("of another kind, or cut off")
    if hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise ValueError("other bytes than its hash tells of")
    files = [(str(name), int(size)) for name, size in json.loads(data[HEAD.size : HEAD.size + names])]
    if any(size < 0 or name.startswith("/") or ".." in name.split("/") for name, size in files):
        raise ValueError("it names files outside")
    return files, data[HEAD.size + names : -32]


class FolderBytes:
    """The bytes of the files of a folder, as of a single file."""

    def __init__(self, folder: str, files: Sequence[tuple[str, int]]) -> None:
        self._folder, self._files = folder, files
        self._starts = [0, *itertools.accumulate(size for _, size in files)]
        self._handle, self._number = -1, -1

    @property
    def size(self) -> int:
        """Bytes of all files. Local."""
        return self._starts[-1]

    def names(self, start: int, stop: int) -> list[str]:
        """Return the names of the files that have bytes in a range. Local."""
        first, last = bisect.bisect_right(self._starts, start) - 1, bisect.bisect_left(self._starts, stop)
        return [name for name, _ in self._files[first:last]]

    def read(self, nbytes: int, offset: int) -> bytes:
        """Return a range of bytes. Local. OSError if a file of it is not there, or has not its size."""
        parts = []
        number = bisect.bisect_right(self._starts, offset) - 1
        while nbytes > 0 and number < len(self._files):
            low = offset - self._starts[number]
            length = min(nbytes, self._files[number][1] - low)
            parts.append(read_at(self._opened(number), length, low))
            nbytes, offset, number = nbytes - length, offset + length, number + 1
        return b"".join(parts)

    def _opened(self, number: int) -> int:
        """The handle of a file: most ranges are in that of the last one."""
        if number != self._number:
            self.close()
            name, size = self._files[number]
            self._handle, self._number = os.open(Path(self._folder, name), os.O_RDONLY | os.O_CLOEXEC), number
            if (there := os.fstat(self._handle).st_size) != size:
                self.close()
                raise OSError(f"{name} has {there} bytes instead of {size}")
        return self._handle

    def close(self) -> None:
        """Close what is open. Local."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._number = -1, -1

    def __enter__(self) -> FolderBytes:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
