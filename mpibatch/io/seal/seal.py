"""The seal of a file: its manifest and a locator, behind the last byte that belongs to HDF5.

The locator, the last 64 bytes, says where the manifest begins, how long it is, and its SHA-256. HDF5 ignores what lies
there, and cuts it off when anybody changes the file through it: a changed file has no seal. Parallel HDF5 leaves no
mark on a file that was not completed; the absence of a seal is that mark.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, reason_of
from mpibatch.io.base.room import room_for
from mpibatch.io.base.subfiles import LOCATOR, MAGIC
from mpibatch.io.seal.extent import Digests, Extent
from mpibatch.io.seal.manifest import Manifest, VersionError, build, pack, parse, pieces_outside
from mpibatch.io.vault.images import image_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.io.base.images import FileImage

__all__ = [
    "LOCATOR", "MAGIC", "PIECE_BYTES", "OtherVersion", "Read", "Unsealed", "append", "hash_of", "hash_of_file", "read",
    "subfiles_of", "unpack",
]  # fmt: skip

# Gives so many bytes from a place on, fewer where the file ends.
Read = Callable[[int, int], bytes]

# Read at once, by every rank.
PIECE_BYTES = 8 << 20
# A manifest that is longer was not written by us, but may come from anybody.
MOST_BYTES = 1 << 30


class Unsealed(Exception):
    """A file has no seal, or a broken one; the text says which."""


class OtherVersion(Unsealed):
    """A file has the seal of another version of mpibatch, and may be sound."""


@dataclass(frozen=True)
class _ManifestPlace:
    """Where a manifest lies, and the SHA-256 of its bytes."""

    begin: int
    length: int
    sha256: bytes


def append(
    path: str,
    extents: Sequence[Extent] = (),
    values: Mapping[str, Digests] | None = None,
    subfiles: Sequence[str] = (),
) -> None:
    """Seal an HDF5 file that is closed for good. Local.

    Parameters
    ----------
    extents : with digests, of the datasets that lie in chunks. Of others the place is asked of HDF5.
    values : the digests of all values, by dataset, as they were before they went into the file, or into its subfiles.
        Where there are none, as for small tables, they are taken from what is in the file.
    subfiles : the names of subfiles, relative to the folder of the file.
    """
    given = dict(values or {})
    about, contiguous = _datasets(path, {extent.dataset for extent in extents}, given)
    if lost := ({extent.dataset for extent in extents} | set(given)) - set(about):
        # HDF5 passes over what it cannot read just now.
        raise OSError(errno.EIO, f"{', '.join(sorted(lost))} could not be read back", path)
    with image_of(path, os.O_RDWR) as image:
        size = image.size
        in_one_piece = {extent.dataset for extent in (*extents, *contiguous) if not extent.cells}
        elsewhere = {name: digests for name, digests in given.items() if name not in in_one_piece}
        draft = build(size, about, [*extents, *contiguous], elsewhere)
        hashes = tuple(hash_of(image.read, start, stop) for start, stop in pieces_outside(draft))
        data = pack(replace(draft, hashes=hashes, subfiles=tuple(sorted(subfiles))))
        if len(data) > MOST_BYTES:
            raise ValueError(f"the manifest of {path} takes {len(data)} bytes, more than is read again")
        data += LOCATOR.pack(MAGIC, size, len(data), hashlib.sha256(data).digest())
        with room_for(path, size + len(data)):
            image.write(data, size)


def _datasets(
    path: str, known: set[str], values: Mapping[str, Digests]
) -> tuple[dict[str, tuple[str, tuple[int, ...]]], list[Extent]]:
    """Return (dtype, shape) of all datasets of numbers, and the extents of those that are not known."""
    import numpy as np

    from mpibatch.io.formats import hdf5
    from mpibatch.io.formats.source import numeric
    from mpibatch.io.seal.digests import granule, of_array

    about, extents = {}, []
    with hdf5.opened(path) as file:
        for name, dataset in hdf5.datasets(file).items():
            dtype = np.dtype(dataset.dtype)
            is_view = dataset.is_virtual and name not in values
            if numeric(dtype.str) is None or dataset.shape is None or is_view:
                continue  # their bytes, too, are hashed
            about[name] = (dtype.str, tuple(map(int, dataset.shape)))
            if name in known or not dataset.size or dataset.is_virtual:
                continue
            offset = dataset.id.get_offset()
            if offset is None:
                raise ValueError(f"no digests were given for {name!r}, whose values lie in chunks")
            digests = values[name] if name in values else of_array(dataset[...])
            nbytes = dataset.size * dtype.itemsize
            extents.append(Extent(name, int(offset), nbytes, 0, granule(nbytes), digests))
    return about, extents


def hash_of(read: Read, start: int, stop: int) -> bytes:
    """Return the SHA-256 of a range of bytes; what `read` does not give of them is left out. Local."""
    total = hashlib.sha256()
    for low in range(start, stop, PIECE_BYTES):
        total.update(read(min(PIECE_BYTES, stop - low), low))
    return total.digest()


def hash_of_file(path: str, name: str) -> bytes:
    """Return the hash of all bytes of a file, as hashlib calls it. Local. RunError if it cannot be read."""
    total = hashlib.new(name)
    try:
        with open(path, "rb") as file:
            while piece := file.read(PIECE_BYTES):
                total.update(piece)
    except OSError as error:
        raise RunError(f"cannot read {path!r}: {reason_of(error)}") from error
    return total.digest()


def subfiles_of(path: str) -> tuple[str, ...]:
    """Return the names of a front's subfiles, () of a file without any. Local. RunError if it cannot be read."""
    try:
        return tuple(unpack(*read(path)).subfiles)
    except Unsealed:  # of another program
        return ()
    except OSError as error:
        raise RunError(f"cannot read {path!r}: {reason_of(error)}") from error


def _find(image: FileImage) -> _ManifestPlace:
    size = image.size
    tail = image.read(LOCATOR.size, max(0, size - LOCATOR.size))
    if len(tail) < LOCATOR.size or not tail.startswith(MAGIC):
        raise Unsealed(
            "no seal: the file was not written by mpibatch, is unfinished, or was changed or cut off afterwards"
        )
    _, begin, length, sha256 = LOCATOR.unpack(tail)
    if begin + length + LOCATOR.size != size or length > MOST_BYTES:
        raise Unsealed(f"the seal's locator, bytes {size - LOCATOR.size}-{size - 1}, is damaged, or bytes are missing")
    return _ManifestPlace(begin, length, sha256)


def read(path: str) -> tuple[bytes, int]:
    """Return a file's packed manifest and the number of bytes before it. Local. Raises Unsealed."""
    with image_of(path) as image:
        place = _find(image)
        data = image.read(place.length, place.begin)
    if hashlib.sha256(data).digest() != place.sha256:
        raise Unsealed(f"the manifest, bytes {place.begin}-{place.begin + place.length - 1}, or its hash is damaged")
    return data, place.begin


def unpack(data: bytes, size: int) -> Manifest:
    """Return the manifest that `read` returned, as a value. Local. Raises Unsealed if it cannot be ours."""
    try:
        return parse(data, size)
    except VersionError as error:
        raise OtherVersion(str(error)) from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise Unsealed(f"not a seal that this version of mpibatch has set: {error}") from error
