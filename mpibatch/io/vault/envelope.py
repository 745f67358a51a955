"""A vault as bytes: a header that recipients open, the encrypted image of an HDF5 file, and an index of its blocks.

The header takes 64 KiB: two equal copies, so that one is whole while the other is replaced (`rewrite`). Each is 16
bytes of magic, the SHA-256 of the rest, the length of what follows as 8 bytes (little endian), an age file that holds
the secret of this vault for its recipients, and zeros.

The image follows: byte n of the HDF5 file is encrypted at byte 65536 + n. Behind it lie a public text (what everybody
may know, perhaps nothing), the encrypted index, and a locator of 72 bytes. The index tells what blocks the image
consists of, without a gap, and has the tags of their segments: whoever changes, cuts, moves or exchanges anything needs
the secret. The public text is bound to the index.

A series that several runs have written, each of which went on with what the one before had left, is encrypted by a
secret of each run: values may differ from those that a killed run wrote to the same place. The secrets of the earlier
ones are in the index.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.files import read_at, write_at
from mpibatch.io.vault.age import wrap
from mpibatch.io.vault.cipher import RUN_BITS, SECRET_BYTES, SEGMENT, TAG, Cipher, Forged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.io.vault.age import Recipient

__all__ = [
    "COPY", "HEADER", "MAGIC", "Index", "Torn", "Wrapped", "is_vault", "new_header", "pack", "public_text",
    "read_header", "read_index", "rewrite", "wrapped_in",
]  # fmt: skip

MAGIC, END = b"mpibatch vault\r\n", b"mpibatch index\r\n"
HEADER, COPIES = 64 << 10, 2
COPY = HEADER // COPIES
_HEAD = struct.Struct("<16s32sQ")
_LOCATOR = struct.Struct("<16sQQQ12s20s")
MOST_BYTES = 1 << 30


class Torn(ValueError):
    """A vault is damaged; the text says where."""


@dataclass(frozen=True)
class Wrapped:
    """The secret of a vault as it lies in the header: an age file, and whether both copies are whole and equal."""

    data: bytes
    is_whole: bool

    @property
    def key(self) -> bytes:
        """What tells it from those of other vaults. Local."""
        return hashlib.sha256(self.data).digest()


@dataclass(frozen=True)
class Index:
    """What an image of `size` bytes consists of.

    Attributes
    ----------
    about : what each dataset is, by number; 0 stands for all that is no value.
    blocks : a row for each: first byte in the image, bytes, dataset, number within the dataset. In order, without gaps.
    tags : those of all segments of all blocks, one after the other.
    earlier : the secrets of the runs before the one that completed the file. A block's number, above `RUN_BITS`, tells
        which has encrypted it; what is no value is always the last run's.
    """

    size: int
    about: tuple[str, ...]
    blocks: npt.NDArray[np.int64]
    tags: bytes
    earlier: tuple[bytes, ...] = ()


def is_vault(head: bytes) -> bool:
    """Whether a file that begins so is a vault. Local."""
    return head.startswith(MAGIC)


def new_header(secret: bytes, recipients: Sequence[Recipient]) -> bytes:
    """Return the header of a vault. Local. UsageError if there are too many recipients."""
    wrapped = wrap(secret, recipients)
    if _HEAD.size + len(wrapped) > COPY:
        raise UsageError(f"{len(recipients)} recipients are too many for one file; give at most some 200")
    rest = (len(wrapped).to_bytes(8, "little") + wrapped).ljust(COPY - _HEAD.size + 8, b"\0")
    return (MAGIC + hashlib.sha256(rest).digest() + rest) * COPIES


def read_header(handle: int) -> Wrapped:
    """Return what is in a vault's header. Local. Raises Torn."""
    whole = read_at(handle, HEADER, 0)
    copies = [whole[low : low + COPY] for low in range(0, HEADER, COPY)]
    good = [copy for copy in copies if _is_whole(copy)]
    if not good:
        raise Torn("its header, bytes 0-65535, is damaged")
    return Wrapped(wrapped_in(good[0]), len(good) == COPIES and copies[0] == copies[1])


def wrapped_in(header: bytes) -> bytes:
    """Return the age file in a header. Local."""
    _, _, length = _HEAD.unpack_from(header)
    return header[_HEAD.size : _HEAD.size + length]


def _is_whole(copy: bytes) -> bool:
    if len(copy) < COPY:
        return False
    magic, sha256, length = _HEAD.unpack_from(copy)
    rest = copy[_HEAD.size - 8 :]
    return bool(magic == MAGIC and hashlib.sha256(rest).digest() == sha256 and length <= COPY - _HEAD.size)


def rewrite(handle: int, header: bytes) -> None:
    """Put another header in its place, one copy after the other. Local. Raises OSError."""
    # Whenever this is broken off, one copy is whole: a broken one goes first, else that which is read last.
    whole = {low: _is_whole(read_at(handle, COPY, low)) for low in reversed(range(0, HEADER, COPY))}
    for low in sorted(whole, key=whole.__getitem__):
        write_at(handle, header[low : low + COPY], low)
        os.fsync(handle)


def pack(index: Index, public: bytes, cipher: Cipher) -> bytes:
    """Return what follows the image. Local."""
    known = {"version": 1, "size": index.size, "segment": SEGMENT, "about": index.about, "blocks": len(index.blocks)}
    if index.earlier:
        known["earlier"] = [secret.hex() for secret in index.earlier]
    head = json.dumps(known).encode()
    plain = b"".join((len(head).to_bytes(8, "little"), head, index.blocks.astype("<i8").tobytes(), index.tags))
    if len(plain) > MOST_BYTES:
        raise UsageError(f"the index of the encrypted file takes {len(plain)} bytes, too many; use larger chunks")
    nonce = os.urandom(12)
    sealed = cipher.index.encrypt(nonce, plain, public)
    locator = _LOCATOR.pack(END, HEADER + index.size, len(public), len(sealed), nonce, bytes(20))
    return b"".join((public, sealed, locator))


def public_text(handle: int) -> bytes:
    """Return what everybody may know of a vault, not proven to be so. Local. Raises Torn."""
    begin, public, _, _ = _located(handle)
    return read_at(handle, public, begin)


def read_index(handle: int, cipher: Cipher) -> tuple[Index, bytes]:
    """Return the index of a vault, and its public text. Local. Raises Torn."""
    begin, public_bytes, sealed_bytes, nonce = _located(handle)
    public = read_at(handle, public_bytes, begin)
    try:
        plain = cipher.index.decrypt(nonce, read_at(handle, sealed_bytes, begin + public_bytes), public)
    except Forged:
        raise Torn("its index is damaged, or of another file") from None
    return _parsed(plain, begin - HEADER), public


def _located(handle: int) -> tuple[int, int, int, bytes]:
    size = os.fstat(handle).st_size
    locator = read_at(handle, _LOCATOR.size, max(0, size - _LOCATOR.size))
    if len(locator) < _LOCATOR.size or not locator.startswith(END):
        raise Torn("its end is missing: it is unfinished, or was cut off or added to")
    _, begin, public, sealed, nonce, rest = _LOCATOR.unpack(locator)
    is_so = begin >= HEADER and begin + public + sealed + _LOCATOR.size == size and not any(rest)
    if not is_so or max(public, sealed) > MOST_BYTES + TAG:
        raise Torn("its end does not fit: bytes are missing, or were added")
    return begin, public, sealed, nonce


def _parsed(plain: bytes, size: int) -> Index:
    """The index in these bytes. Whoever has the public keys can make a vault: it is not taken on trust."""
    try:
        length = int.from_bytes(plain[:8], "little")
        head: dict[str, Any] = json.loads(plain[8 : 8 + length])
        count, about = head["blocks"], tuple(map(str, head["about"]))
        earlier = tuple(bytes.fromhex(secret) for secret in head.get("earlier", ()))
        if (head["version"], head["size"], head["segment"]) != (1, size, SEGMENT) or not 0 <= count < len(plain):
            raise ValueError
        begin = 8 + length
        blocks = np.frombuffer(plain[begin : begin + 32 * count], "<i8").reshape(count, 4).astype(np.int64)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Torn("its index is not one that this version of mpibatch has written") from None
    starts, sizes, datasets, numbers = blocks.T
    ends = np.concatenate([np.zeros(1, np.int64), starts + sizes])
    tags = plain[begin + 32 * count :]
    fits = bool((sizes > 0).all() and (starts == ends[:-1]).all() and ends[-1] == size)
    known = bool(((datasets >= 0) & (datasets < len(about))).all()) and all(len(s) == SECRET_BYTES for s in earlier)
    runs = numbers >> RUN_BITS
    known = known and (not earlier or bool(((datasets == 0) | (runs >= 0) & (runs <= len(earlier))).all()))
    if not fits or not known or len(tags) != TAG * int((-(-sizes // SEGMENT)).sum()):
        raise Torn("its index contradicts itself")
    return Index(size, about, blocks, tags, earlier)
