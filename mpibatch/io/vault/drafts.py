"""Vaults that are being written, as rank 0 has them: what is no value stays in its memory until all is encrypted.

HDF5's own bytes change until the file is closed for good, and a nonce may be used once. So they are kept here, and
encrypted at the end; only what the ranks have encrypted reaches the disk before.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.files import write_at
from mpibatch.io.vault.envelope import HEADER, Index, pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpibatch.io.vault.cipher import Cipher

__all__ = ["VaultDraft"]

PAGE = 4096
# Encrypted at once, of what lies between values.
PIECE = 8 << 20

Block = tuple[int, int, int, int]  # first byte in the image, bytes, dataset, number


class VaultDraft:
    """The image of a vault under way; see `mpibatch.io.base.images.drafts`."""

    def __init__(self, path: str, header: bytes) -> None:
        self.size = 0
        self._pages: dict[int, bytearray] = {}
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        write_at(self._handle, header, 0)

    def read(self, nbytes: int, at: int) -> bytes:
        """Return bytes, fewer only at the end; zeros where values lie. Local."""
        stop = max(at, min(at + nbytes, self.size))
        parts = []
        while at < stop:
            page, low = divmod(at, PAGE)
            high = min(PAGE, low + stop - at)
            parts.append(bytes(self._pages[page][low:high]) if page in self._pages else bytes(high - low))
            at += high - low
        return b"".join(parts)

    def write(self, data: Any, at: int) -> None:
        """Keep bytes. Local."""
        view = memoryview(data).cast("B")
        self.size = max(self.size, at + len(view))
        while view:
            page, low = divmod(at, PAGE)
            part = view[: PAGE - low]
            self._pages.setdefault(page, bytearray(PAGE))[low : low + len(part)] = part
            view, at = view[len(part) :], at + len(part)

    def truncate(self, size: int) -> None:
        """Set the number of bytes. Local. Raises OSError."""
        for page in [page for page in self._pages if page * PAGE >= size]:
            del self._pages[page]
        if size < self.size and (last := self._pages.get(size // PAGE)) is not None:
            last[size % PAGE :] = bytes(PAGE - size % PAGE)
        self.size = size
        os.ftruncate(self._handle, HEADER + size)

    def finish(
        self,
        cipher: Cipher,
        blocks: Sequence[tuple[Block, bytes]],
        about: Sequence[str],
        public: bytes,
        earlier: Sequence[bytes] = (),
    ) -> None:
        """Encrypt what is no value, and write the index. Local. Raises OSError.

        `blocks` are those of values, each with its tags; `about` tells of the datasets, the first of which is what is
        kept here. `earlier`: the secrets of runs before this one, some of whose blocks are among these.
        """
        complete = sorted([*blocks, *self._kept_blocks(cipher, [block for block, _ in blocks], about[0])])
        table = np.array([block for block, _ in complete], np.int64).reshape(-1, 4)
        index = Index(self.size, tuple(about), table, b"".join(tags for _, tags in complete), tuple(earlier))
        write_at(self._handle, pack(index, public, cipher), HEADER + self.size)
        os.fsync(self._handle)

    def close(self) -> None:
        """Let go of the file. Local. Raises OSError."""
        self._pages.clear()
        os.close(self._handle)

    def _kept_blocks(self, cipher: Cipher, taken: Sequence[Block], about: str) -> Iterator[tuple[Block, bytes]]:
        for number, (low, high) in enumerate(_gaps(taken, self.size)):
            sealed, tags = cipher.seal(self.read(high - low, low), 0, number, about.encode())
            write_at(self._handle, sealed.data, HEADER + low)
            yield (low, high - low, 0, number), tags


def _gaps(blocks: Sequence[Block], size: int) -> Iterator[tuple[int, int]]:
    """What no block covers, in pieces."""
    low = 0
    for start, nbytes, *_ in [*sorted(blocks), (size, 0)]:
        yield from ((at, min(at + PIECE, start)) for at in range(low, start, PIECE))
        low = start + nbytes
