"""Files of the program age, version 1, that hold a few bytes for owners of X25519 keys.

Written from the specification at age-encryption.org/v1. A random file key is wrapped for each recipient in a stanza of
the header; of it follow the header's code and the key of the payload. What is written here ``age -d -i KEYFILE`` opens.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mpibatch.io.vault import bech32
from mpibatch.io.vault.cipher import Forged, agreement, chacha, derived, public_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Identity", "Recipient", "new_identity", "unwrap", "wrap"]

VERSION = b"age-encryption.org/v1"
LABEL = b"age-encryption.org/v1/X25519"
RECIPIENT, IDENTITY = "age", "age-secret-key-"  # prefixes
KEY_BYTES, FILE_KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 16, 16, 16
COLUMNS = 64  # of a stanza's body
ONCE = bytes(12)  # the nonce of a key that is used once
LAST = bytes(11) + b"\x01"  # that of the first piece of a payload if it is the last one
MOST_STANZAS = 1000


@dataclass(frozen=True)
class Recipient:
    """Whoever may open a file, by the public half of a key."""

    public: bytes

    @classmethod
    def parsed(cls, text: str) -> Recipient:
        """Return the recipient that ``age1...`` names. Local. Raises ValueError."""
        return cls(_data(text, RECIPIENT))

    def __str__(self) -> str:
        return bech32.encode(RECIPIENT, self.public)


@dataclass(frozen=True)
class Identity:
    """A key. It does not print."""

    private: bytes = field(repr=False)

    @classmethod
    def parsed(cls, text: str) -> Identity:
        """Return the identity of a line ``AGE-SECRET-KEY-1...``. Local. Raises ValueError, without the line."""
        return cls(_data(text, IDENTITY))

    @property
    def text(self) -> str:
        """The line for a key file. Local."""
        return bech32.encode(IDENTITY, self.private).upper()

    @property
    def recipient(self) -> Recipient:
        """Its public half. Local."""
        return Recipient(public_of(self.private))


def new_identity() -> Identity:
    """Return a new key. Local."""
    return Identity(os.urandom(KEY_BYTES))


def wrap(content: bytes, recipients: Sequence[Recipient]) -> bytes:
    """Return an age file of at most 64 KiB for some recipients. Local."""
    file_key = os.urandom(FILE_KEY_BYTES)
    lines = [VERSION]
    for recipient in recipients:
        once = os.urandom(KEY_BYTES)
        share = public_of(once)
        key = derived(agreement(once, recipient.public), LABEL, share + recipient.public)
        lines += [b"-> X25519 " + _encoded(share), *_wrapped(_encoded(chacha(key).encrypt(ONCE, file_key, None)))]
    head = b"\n".join([*lines, b"---"])
    nonce = os.urandom(NONCE_BYTES)
    payload = chacha(derived(file_key, b"payload", nonce)).encrypt(LAST, content, None)
    return head + b" " + _encoded(_code(file_key, head)) + b"\n" + nonce + payload


def unwrap(data: bytes, identities: Sequence[Identity]) -> bytes | None:
    """Return the content of an age file; None if it is for none of these. Local. Raises ValueError if it is damaged."""
    stanzas, head, code, payload = _parsed(data)
    file_key = next((key for s in stanzas for i in identities if (key := _opened(s, i)) is not None), None)
    if file_key is None:
        return None
    if not hmac.compare_digest(code, _code(file_key, head)):
        raise ValueError("the code of its header is wrong")
    nonce, rest = payload[:NONCE_BYTES], payload[NONCE_BYTES:]
    try:
        return chacha(derived(file_key, b"payload", nonce)).decrypt(LAST, rest, None)
    except Forged:
        raise ValueError("its payload is damaged") from None


class _Stanza(NamedTuple):
    words: list[bytes]
    body: bytes


def _opened(stanza: _Stanza, identity: Identity) -> bytes | None:
    """The file key, if this identity has it."""
    if stanza.words[:1] != [b"X25519"]:
        return None  # for keys of other kinds
    share = _decoded(stanza.words[1]) if len(stanza.words) == 2 else b""
    if len(share) != KEY_BYTES or len(stanza.body) != FILE_KEY_BYTES + TAG_BYTES:
        raise ValueError("a stanza of its header is malformed")
    key = derived(agreement(identity.private, share), LABEL, share + identity.recipient.public)
    try:
        return chacha(key).decrypt(ONCE, stanza.body, None)
    except Forged:
        return None


def _parsed(data: bytes) -> tuple[list[_Stanza], bytes, bytes, bytes]:
    """Stanzas, the header up to its code, the code, and the payload."""
    line, rest = _line(data)
    if line != VERSION:
        raise ValueError("it does not begin as a file of age, version 1")
    stanzas: list[_Stanza] = []
    while True:
        line, rest = _line(rest)
        if line.startswith(b"--- "):
            head = data[: len(data) - len(rest) - len(line) + 2]
            return stanzas, head, _decoded(line[4:]), rest
        if not line.startswith(b"-> ") or len(stanzas) == MOST_STANZAS:
            raise ValueError("its header is malformed")
        body, words = b"", line[3:].split(b" ")
        while True:
            line, rest = _line(rest)
            body += line
            if len(line) < COLUMNS:
                break
        stanzas.append(_Stanza(words, _decoded(body)))


def _line(data: bytes) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\n")
    if not end:
        raise ValueError("its header has no end")
    return line, rest


def _code(file_key: bytes, head: bytes) -> bytes:
    return hmac.digest(derived(file_key, b"header", b""), head, "sha256")


def _encoded(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("its header is not in base64") from None
    if _encoded(data) != text:  # several texts for the same bytes
        raise ValueError("its header is not in plain base64")
    return data


def _wrapped(text: bytes) -> list[bytes]:
    """The lines of a body; the last one is a short one, perhaps empty."""
    return [text[low : low + COLUMNS] for low in range(0, len(text) + 1, COLUMNS)]


def _data(text: str, prefix: str) -> bytes:
    given, data = bech32.decode(text)
    if given != prefix or len(data) != KEY_BYTES:
        raise ValueError("it is a key of another kind")
    return data
