"""The bytes of an HDF5 file, wherever they lie: in a plain file, in a vault, or in one that is being written.

`image_of` opens whichever it is; HDF5, the seal and its verification then see plain bytes at the same places.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.files import read_at
from mpibatch.io.base.images import FileImage, PlainImage, drafts
from mpibatch.io.vault import envelope
from mpibatch.io.vault.cipher import RUN_BITS, SEGMENT, TAG, Forged
from mpibatch.io.vault.keyring import Damaged, cipher_of, is_sealed, secret_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["VaultImage", "image_of", "is_image"]

# Segments kept open: HDF5 reads the same few kilobytes of its own again and again.
MOST_KEPT = 32


class VaultImage:
    """A vault, to be read. What does not open is an OSError, and kept as `error`.

    Attributes
    ----------
    public : what everybody may know, and which the index bears out.
    is_whole : whether both copies of its header are.
    """

    def __init__(self, path: str) -> None:
        self.error: OSError | None = None
        self._path, self._kept = path, OrderedDict[tuple[int, int], bytes]()
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            wrapped = envelope.read_header(self._handle)
            self._cipher = cipher_of(secret_of(path, wrapped))
            self._index, self.public = envelope.read_index(self._handle, self._cipher)
            self._ciphers = [*map(cipher_of, self._index.earlier), self._cipher]
        except envelope.Torn as trouble:
            os.close(self._handle)
            raise Damaged(f"{path!r} cannot be opened: {trouble}; restore it from a copy") from trouble
        except BaseException:
            os.close(self._handle)
            raise
        self.is_whole, self.size = wrapped.is_whole, self._index.size
        self._starts = self._index.blocks[:, 0]
        counts = -(-self._index.blocks[:, 1] // SEGMENT)
        self._tags = np.cumsum(counts) - counts

    def read(self, nbytes: int, at: int) -> bytes:
        """Return bytes, fewer only at the end. Local. Raises OSError."""
        out = bytearray(max(0, min(nbytes, self.size - at)))
        self.read_into(out, at)
        return bytes(out)

    def read_into(self, out: Any, at: int) -> None:
        """Fill memory with bytes that the image has. Local. Raises OSError."""
        todo = memoryview(out)
        while todo:
            row = int(np.searchsorted(self._starts, at, "right")) - 1
            start, size, _, _ = self._index.blocks[row].tolist()
            segment = (at - start) // SEGMENT
            low = start + segment * SEGMENT
            length = min(SEGMENT, start + size - low)
            if at == low and len(todo) >= length:
                self._open(row, segment, low, todo[:length])
                done = length
            else:
                part = self._kept_segment(row, segment, low, length)[at - low : at - low + len(todo)]
                todo[: len(part)] = part
                done = len(part)
            todo, at = todo[done:], at + done

    def write(self, data: Any, at: int) -> None:
        """Refuse to: a vault is written once. Local. Raises OSError."""
        raise OSError(f"{self._path} is encrypted, and cannot be changed")

    def truncate(self, size: int) -> None:
        """Refuse to, but for its own size. Local. Raises OSError."""
        if size != self.size:
            self.write(b"", 0)

    def close(self) -> None:
        """Let go of the file. Local. Raises OSError."""
        self._kept.clear()
        os.close(self._handle)

    def _kept_segment(self, row: int, segment: int, low: int, length: int) -> bytes:
        known = self._kept.pop((row, segment), None)
        if known is None:
            opened = bytearray(length)
            self._open(row, segment, low, memoryview(opened))
            known = bytes(opened)
        self._kept[row, segment] = known
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return known

    def _open(self, row: int, segment: int, low: int, into: memoryview) -> None:
        _, _, dataset, number = self._index.blocks[row].tolist()
        at = (int(self._tags[row]) + segment) * TAG
        tag, about = self._index.tags[at : at + TAG], self._index.about[dataset].encode()
        try:
            sealed = read_at(self._handle, len(into), envelope.HEADER + low)
            if len(sealed) != len(into):
                raise Forged
            run = number >> RUN_BITS if dataset and self._index.earlier else -1
            self._ciphers[run].open(sealed, tag, (dataset, number, segment), about, into)
        except Forged:
            first = envelope.HEADER + low
            error = OSError(f"bytes {first}-{first + len(into) - 1} are not as they were encrypted")
            self.error = self.error or error
            raise error from None

    # What HDF5 calls through h5py, with the meanings of Python's files.

    _place = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, and return it. Local."""
        self._place = offset + (self.size if whence == os.SEEK_END else 0)
        return self._place

    def tell(self) -> int:
        """Return the byte to be read next. Local."""
        return self._place

    def readinto(self, target: Any) -> int:
        """Fill memory from the image, and return how many bytes there were. Local."""
        view = memoryview(target).cast("B")
        length = max(0, min(len(view), self.size - self._place))
        try:
            self.read_into(view[:length], self._place)
        except OSError as error:
            # HDF5 forgets what it was told here; whoever opened the file looks.
            self.error = self.error or error
            raise
        self._place += length
        return length

    def flush(self) -> None:
        """Do nothing. Local."""


def is_image(path: str) -> bool:
    """Whether a file is HDF5 only after it was decrypted: a vault, or one that is being written. Local."""
    return path in drafts or is_sealed(path)


@contextmanager
def image_of(path: str, flags: int = os.O_RDONLY) -> Iterator[FileImage]:
    """Open the bytes of an HDF5 file, and close them. Local. Raises OSError, and as `unlock`."""
    image: FileImage
    if path in drafts:
        yield drafts[path]  # which is closed when it is complete
        return
    image = VaultImage(path) if is_sealed(path) else PlainImage(path, flags)
    try:
        yield image
    finally:
        image.close()
