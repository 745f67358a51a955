"""Crypt4GH, version 1: how genomics encrypts files for owners of X25519 keys. Sequences are read, and tables written.

Written from the specification of GA4GH (samtools.github.io/hts-specs/crypt4gh.pdf; doi 10.1093/bioinformatics/btab087).
A header holds the key of the data, once for each recipient; behind it lie segments of 64 KiB by ChaCha20-Poly1305. A
change within a segment is noticed; that whole segments are missing, or exchanged, is not: the format has no place for
it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
from typing import IO, TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.io.vault.cipher import Aead, Forged, agreement, chacha, public_of
from mpibatch.io.vault.keyring import shield
from mpibatch.io.vault.keys import read_guarded, read_key
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.io.base.names import PathLike
    from mpibatch.mpi import MPI

__all__ = ["KEY", "MAGIC", "SEGMENT", "SUFFIX", "Decrypted", "header", "public_keys", "seal", "use"]

MAGIC, SUFFIX = b"crypt4gh", ".c4gh"
SEGMENT = 1 << 16  # bytes of data; all but the last have as many
KEY, NONCE, TAG = 32, 12, 16
PACKET = 8 + KEY + NONCE  # bytes of one before its payload: length, method, the writer's key
DATA_KEY, EDIT_LIST = 0, 1  # kinds of packets
MOST_PACKETS, MOST_BYTES = 10_000, 1 << 20
PRIVATE, PUBLIC = "CRYPT4GH PRIVATE KEY", "CRYPT4GH PUBLIC KEY"
_KEY_MAGIC = b"c4gh-v1"

_keys: list[bytes] = []  # private ones, of this process


# ---- Keys ------------------------------------------------------------------------------------------------------------


def use(comm: MPI.Intracomm, source: PathLike) -> None:
    """Read files with the key in a file, or at ``fd:N``, from now on. Collective. RunError, UsageError.

    Rank 0 alone reads it, and tells the others; no message has it.
    """
    key = b""
    with agreed(comm, f"reading the key in {os.fspath(source)}"):
        if comm.rank == 0:
            key = _private(source)
    key = bytes(comm.bcast(key, root=0))
    shield()
    if key not in _keys:
        _keys.append(key)


def public_keys(source: PathLike) -> tuple[bytes, ...]:
    """Return the recipients' keys that a file holds, one after another. Local. RunError or UsageError."""
    path = os.fspath(source)
    try:
        text = read_guarded(path, "the file of recipients", "others could name who reads what is encrypted")
    except OSError as error:
        raise RunError(f"cannot read the public keys in {path!r}: {reason_of(error)}; check its name") from error
    keys = _between(text, PUBLIC)
    if not keys or any(len(key) != KEY for key in keys):
        raise UsageError(
            f"{path!r} holds no public key of Crypt4GH; give what crypt4gh-keygen --pk has written, several one after "
            "another"
        )
    return tuple(dict.fromkeys(keys))


def _private(source: PathLike) -> bytes:
    path, text = read_key(source)
    texts = _between(text, PRIVATE)
    if len(texts) != 1 or not texts[0].startswith(_KEY_MAGIC):
        raise UsageError(f"{path!r} holds no private key of Crypt4GH; give what crypt4gh-keygen --sk has written")
    words: list[bytes] = []
    rest = texts[0][len(_KEY_MAGIC) :]
    while len(rest) >= 2 and len(words) < 3:
        end = 2 + int.from_bytes(rest[:2], "big")
        words, rest = [*words, rest[2:end]], rest[end:]
    if words[:1] != [b"none"]:
        raise UsageError(
            f"the key in {path!r} is locked by a passphrase, for which nobody can be asked here; copy it without: "
            "crypt4gh-keygen --nocrypt, or from your key store"
        )
    if len(words) != 3 or words[1] != b"none" or len(words[2]) != KEY:
        raise UsageError(f"the key in {path!r} is damaged; copy it again")
    return words[2]


def _between(text: bytes, title: str) -> list[bytes]:
    """What lies between the lines that begin and end keys; [] if it is no such text."""
    begin, end = (f"-----{word} {title}-----".encode() for word in ("BEGIN", "END"))
    try:
        return [base64.b64decode(part.partition(end)[0], validate=False) for part in text.split(begin)[1:]]
    except binascii.Error:
        return []


def _shared(private: bytes, other: bytes, reader: bytes, writer: bytes) -> Aead:
    """The cipher of a packet from `writer` to `reader`."""
    return chacha(hashlib.blake2b(agreement(private, other) + reader + writer).digest()[:KEY])


# ---- Reading ---------------------------------------------------------------------------------------------------------


class Decrypted(io.RawIOBase):
    """What an encrypted file holds, from its first byte to its last. Local. RunError, UsageError: no key opens it."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__()
        self._file, self._name = file, name
        self._ciphers = [chacha(key) for key in self._data_keys()]
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Whether it can be read: yes. Local."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Put the next bytes into memory; return how many, 0 at the end. Local."""
        if not self._left:
            self._left = memoryview(self._next())
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _next(self) -> bytes:
        data = self._file.read(NONCE + SEGMENT + TAG)
        if not data:
            return b""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(data[:NONCE], data[NONCE:], None)
            except Forged:
                continue
        raise RunError(f"{self._name} is damaged or cut short: a segment of it does not open; copy it again")

    def _data_keys(self) -> list[bytes]:
        start = self._exactly(len(MAGIC) + 8)
        version, count = (int.from_bytes(start[at : at + 4], "little") for at in (8, 12))
        if start[: len(MAGIC)] != MAGIC or version != 1:
            raise RunError(f"{self._name} is not of Crypt4GH, version 1, but of version {version}; convert it")
        if count > MOST_PACKETS:
            raise RunError(f"{self._name} is damaged: its header says {count} packets; copy it again")
        contents = [content for _ in range(count) if (content := self._opened()) is not None]
        kinds = [int.from_bytes(content[:4], "little") for content in contents]
        if EDIT_LIST in kinds:
            raise UsageError(f"{self._name} has an edit list, of what is left out; decrypt it with crypt4gh first")
        keys = [content[8:] for content in contents if content[:8] == bytes(8) and len(content) == 8 + KEY]
        if not keys:
            known = f"for none of the {len(_keys)} keys given" if _keys else "and no key was given"
            raise UsageError(f"{self._name} is encrypted, {known}; give a recipient's: --identity FILE")
        return keys

    def _opened(self) -> bytes | None:
        """The content of the next packet, None if it is for others."""
        length = int.from_bytes(self._exactly(4), "little")
        if not PACKET + TAG <= length <= MOST_BYTES:
            raise RunError(f"{self._name} is damaged: its header says a packet of {length} bytes; copy it again")
        packet = self._exactly(length - 4)
        method, writer, data = packet[:4], packet[4 : 4 + KEY], packet[4 + KEY :]
        for key in _keys if method == bytes(4) else ():
            try:
                cipher = _shared(key, writer, public_of(key), writer)
                return cipher.decrypt(data[:NONCE], data[NONCE:], None)
            except ValueError:  # Forged, or a writer's key that gives nothing away
                continue
        return None

    def _exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise RunError(f"{self._name} is cut short: it ends within its header; copy it again")
        return data


# ---- Writing ---------------------------------------------------------------------------------------------------------


def header(key: bytes, recipients: Sequence[bytes]) -> bytes:
    """Return the header of a file whose data have a key. Local."""
    private = os.urandom(KEY)
    writer, content = public_of(private), bytes(8) + key
    packets = []
    for recipient in recipients:
        nonce = os.urandom(NONCE)
        sealed = _shared(private, recipient, recipient, writer).encrypt(nonce, content, None)
        length = PACKET + len(sealed)
        packets.append(length.to_bytes(4, "little") + bytes(4) + writer + nonce + sealed)
    return b"".join([MAGIC, (1).to_bytes(4, "little"), len(packets).to_bytes(4, "little"), *packets])


def seal(key: bytes, data: bytes) -> bytes:
    """Return segments of data, of which all but the last of a file have whole ones. Local."""
    cipher, pieces = chacha(key), []
    for low in range(0, len(data), SEGMENT):
        nonce = os.urandom(NONCE)
        pieces += [nonce, cipher.encrypt(nonce, data[low : low + SEGMENT], None)]
    return b"".join(pieces)
