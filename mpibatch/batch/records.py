"""Records of a journal: what happened to an item, with a checksum each, so that a torn or changed one is passed over.

A record is a head (magic bytes, checksum, length, kind, item) and `length` bytes. The checksum covers all that follows
it, and begins with the batch's mark: a record of another batch is no record here.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from mpibatch.checkpoint.identity import MILD, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "DONE", "FAILED", "HEAD_BYTES", "IDENTITY", "INTERRUPTED", "LOST", "MAGIC", "PLACE", "RAISED", "START",
    "Record", "items_ended", "mark_of", "packed", "scan",
]  # fmt: skip

IDENTITY = "batch.json"  # in the journal's folder: which batch it is

MAGIC = b"\xf1mb\n"
START, DONE, FAILED = 1, 2, 3
INTERRUPTED = 4  # the run was asked to stop, and an item that it left unfinished is not to blame
LOST = 5  # the result is not on disk any more as it was written
RAISED = 6  # by a rank of a team, before the others know; without bytes: now they do, and the leader notes it
PLACE = struct.Struct("<QQQ")  # of a result: first byte, bytes, digest; what DONE holds

_HEAD = struct.Struct("<4sI")
_REST = struct.Struct("<IBq")  # length, kind, item
HEAD_BYTES = _HEAD.size + _REST.size


class Record(NamedTuple):
    """One record: what (`START`, `DONE`, ...), of which item, and the bytes that come with it."""

    kind: int
    item: int
    data: bytes


def packed(mark: int, kind: int, item: int, data: bytes = b"") -> bytes:
    """Return the bytes of a record. Local."""
    rest = _REST.pack(len(data), kind, item) + data
    return _HEAD.pack(MAGIC, zlib.crc32(rest, mark)) + rest


def scan(text: bytes, mark: int) -> Iterator[Record]:
    """Yield the whole records in a file's bytes, in their order. Local.

    What is none is skipped up to where the next begins.
    """
    at = 0
    while at + HEAD_BYTES <= len(text):
        magic, checksum = _HEAD.unpack_from(text, at)
        length, kind, item = _REST.unpack_from(text, at + _HEAD.size)
        end = at + HEAD_BYTES + length
        if magic == MAGIC and end <= len(text) and zlib.crc32(text[at + _HEAD.size : end], mark) == checksum:
            yield Record(kind, item, text[at + HEAD_BYTES : end])
            at = end
        else:
            following = text.find(MAGIC, at + 1)
            at = len(text) if following < 0 else following


def mark_of(identity: Mapping[str, Any]) -> int:
    """Return a number for a batch, in which all its records' checksums begin. Local."""
    own = {name: value for name, value in identity.items() if name not in MILD}
    return int(fingerprint(own)[:8], 16)


def items_ended(folder: Path) -> int | None:
    """Return how often items ended, well or not, as a journal has it; None if the folder is none. Local."""
    try:
        mark = mark_of(json.loads((folder / IDENTITY).read_text(encoding="utf-8")))
        texts = [path.read_bytes() for path in folder.glob("*.journal")]
    except (OSError, ValueError, AttributeError):
        return None
    return sum(record.kind in (DONE, FAILED) for text in texts for record in scan(text, mark))
