"""What the journal of an encrypted batch hides: results, and why items failed, sealed before they leave their rank.

Every run has a secret of its own, which its file ``000001.run`` holds for the recipients, as an age file. Each rank of
a run has a key of its own that follows from it, and counts what it seals: so no nonce stands for two texts. Whoever
only appends needs no key; whoever reads what earlier runs have noted does.

Which items began, ended and failed can be seen, when, and how long results are.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, reason_of
from mpibatch.base.trust import grants
from mpibatch.io.vault.age import wrap
from mpibatch.io.vault.cipher import SECRET_BYTES, Forged, derived, gcm, require
from mpibatch.io.vault.envelope import Wrapped
from mpibatch.io.vault.keyring import remember_wrapped, secret_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mpibatch.batch.records import Record
    from mpibatch.io.vault.age import Recipient

__all__ = ["NoteCipher", "Secret", "new_secret", "opened_records", "secret_in"]

Secret = bytes  # of a run

COUNT_BYTES = 8  # before what is sealed: the number that makes its nonce
PURPOSE = b"mpibatch batch 1 notes"


class NoteCipher:
    """Seals what a rank of a run notes, and opens it again."""

    def __init__(self, secret: Secret, place: int) -> None:
        self._cipher = gcm(derived(secret, PURPOSE, place.to_bytes(8, "big")))
        self._count = 0

    def seal(self, kind: int, item: int, text: bytes) -> bytes:
        """Return a text that only opens as one of this kind and item. Local: one thread's."""
        count = self._count.to_bytes(COUNT_BYTES, "big")
        self._count += 1
        return count + self._cipher.encrypt(_nonce(count), text, _about(kind, item))

    def open(self, kind: int, item: int, sealed: bytes) -> bytes:
        """Return what was sealed. Local. Raises Forged."""
        count, rest = sealed[:COUNT_BYTES], sealed[COUNT_BYTES:]
        if len(count) < COUNT_BYTES:
            raise Forged
        return self._cipher.decrypt(_nonce(count), rest, _about(kind, item))


def opened_records(records: Iterable[Record], cipher: NoteCipher, kinds: Sequence[int]) -> Iterator[Record]:
    """Yield records, those of some kinds opened. Local. One that does not open is passed over, as a torn one."""
    for record in records:
        if record.kind not in kinds or not record.data:
            yield record
            continue
        try:
            yield record._replace(data=cipher.open(record.kind, record.item, record.data))
        except Forged:
            continue


def new_secret(file: Path, recipients: Sequence[Recipient]) -> Secret:
    """Return a secret, which the file of a run, empty so far, then holds for recipients. Local. RunError."""
    require()
    secret = os.urandom(SECRET_BYTES)
    text = wrap(secret, recipients)
    try:
        with file.open("r+b") as target:
            grants.apply(target.fileno())  # who goes on with the journal reads it
            target.write(text)
            target.flush()
            os.fsync(target.fileno())  # before what it opens
    except OSError as error:
        raise RunError(f"cannot write the journal {file.parent}: {reason_of(error)}") from error
    remember_wrapped(text, secret)
    return secret


def secret_in(file: Path) -> Secret:
    """Return the secret that the file of a run holds. Local. RunError if it is damaged; UsageError without its key."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {file}: {reason_of(error)}") from error
    return secret_of(str(file), Wrapped(text, is_whole=True))


def _nonce(count: bytes) -> bytes:
    return bytes(12 - COUNT_BYTES) + count


def _about(kind: int, item: int) -> bytes:
    return kind.to_bytes(1, "big") + item.to_bytes(8, "big")
