"""Other recipients for a vault that is there: its header is written anew, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.files import lock
from mpibatch.io.base.names import PathLike, user_path
from mpibatch.io.vault import envelope
from mpibatch.io.vault.keyring import is_sealed, remember, unlocked
from mpibatch.io.vault.keys import recipients_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.io.vault.age import Recipient

__all__ = ["rotate", "wrapped_secret"]


def rotate(path: PathLike, recipients: PathLike, identity: PathLike | None = None) -> Sequence[Recipient]:
    """Make a vault readable for the recipients in a file, and for nobody else, by one of its keys. Local.

    Returns them. UsageError or RunError, and then nothing has changed. Who had a key before, and kept the old
    header, can still read the values: they are encrypted as before.
    """
    file = user_path(os.fspath(path))
    _check(file)
    new = recipients_of(recipients)
    known = unlocked(file, identity)
    assert known is not None
    header = envelope.new_header(known[1], new)
    try:
        with open(file, "rb+") as opened:
            if not lock(opened.fileno()):
                raise RunError(f"{file!r} is being written; wait for its end")
            envelope.rewrite(opened.fileno(), header)
    except OSError as error:
        raise RunError(f"cannot write to {file!r}: {reason_of(error)}") from error
    remember(header, known[1])
    return new


def wrapped_secret(path: PathLike) -> bytes:
    """Return the age file in a vault's header, of which ``age -d`` makes the vault's secret. Local. RunError."""
    file = user_path(os.fspath(path))
    _check(file)
    try:
        with open(file, "rb") as opened:
            return envelope.read_header(opened.fileno()).data
    except envelope.Torn as trouble:
        raise RunError(f"{file!r} cannot be opened: {trouble}; restore it from a copy") from trouble


def _check(file: str) -> None:
    if not os.path.lexists(file):
        raise RunError(f"there is no file {file!r}; check the name")
    if not is_sealed(file):
        raise UsageError(f"{file!r} is not an encrypted file of mpibatch; give one that was saved with encrypt")
