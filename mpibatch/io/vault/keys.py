"""Key files: who may open a vault, and by which keys this process opens those of others.

A key is read from a file that nobody else may read, from an open descriptor (``fd:3``), or from the folder of
credentials that the system gives to a service; never from an argument or a variable, which others can see.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.trust.guards import check_guarded
from mpibatch.io.base.names import PathLike, user_path
from mpibatch.io.vault.age import Identity, Recipient

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

__all__ = [
    "VARIABLE",
    "check_source",
    "default_source",
    "identities_of",
    "read_guarded",
    "read_key",
    "read_private",
    "recipients_of",
    "write_private",
]

# Names a key file; the folder of credentials is systemd's.
VARIABLE, CREDENTIALS, CREDENTIAL = "MPIBATCH_IDENTITY", "CREDENTIALS_DIRECTORY", "mpibatch.identity"
MOST_BYTES = 1 << 20
OTHERS = stat.S_IRWXG | stat.S_IRWXO
KEY = "AGE-SECRET-KEY-"  # how one begins


def recipients_of(source: PathLike) -> tuple[Recipient, ...]:
    """Return the recipients that a file lists, one ``age1...`` a line. Local. RunError or UsageError."""
    path = user_path(os.fspath(source))
    try:
        text = read_guarded(path, "the file of recipients", "others could name who reads what is encrypted")
    except OSError as error:
        raise RunError(
            f"cannot read the recipients in {path!r}: {reason_of(error)}; make the file: one age1... a line"
        ) from error
    recipients = _lines(path, text, Recipient.parsed, "a recipient (age1...)")
    if not recipients:
        raise UsageError(f"{path!r} names no recipient, so nobody could read what is encrypted; add one: age1...")
    return tuple(dict.fromkeys(recipients))


def identities_of(source: PathLike) -> tuple[Identity, ...]:
    """Return the keys in a file, or at a descriptor (``fd:3``). Local. RunError or UsageError, never with a key."""
    name, text = read_key(source)
    identities = _lines(name, text, Identity.parsed, "a key (AGE-SECRET-KEY-1...)")
    if not identities:
        raise UsageError(f"{name!r} holds no key; make one: mpibatch key new FILE")
    return tuple(identities)


def read_key(source: PathLike) -> tuple[str, bytes]:
    """Return what a key file, or a descriptor (``fd:3``), is called in messages, and its text. Local. As above."""
    name = os.fspath(source)
    check_source(name)
    if name.startswith("fd:"):
        return f"descriptor {name[3:]}", _read_descriptor(name[3:])
    return user_path(name), read_private(user_path(name))


def check_source(name: str) -> None:
    """Refuse a key where the name of its file belongs: arguments and variables can be seen. Local. UsageError."""
    if name.strip().upper().startswith(KEY):
        raise UsageError(
            "a key was given where the name of its file belongs, and others may have seen it: make a new one (mpibatch "
            "key new FILE), and give FILE"
        )


def default_source() -> str | None:
    """Return the key file that the environment names, None if there is none. Local."""
    if name := os.environ.get(VARIABLE):
        return name
    folder = os.environ.get(CREDENTIALS)
    there = folder and Path(folder, CREDENTIAL)
    return str(there) if there and there.exists() else None


def write_private(target: PathLike, text: str) -> None:
    """Write a new key file that nobody else may read. Local. RunError, also if there is one."""
    path = user_path(os.fspath(target))
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)
        with open(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
    except FileExistsError:
        raise RunError(f"{path!r} exists; give another name: what a lost key encrypted is lost, too") from None
    except OSError as error:
        raise RunError(f"cannot write the key file {path!r}: {reason_of(error)}") from error


def read_guarded(path: str, noun: str, danger: str) -> bytes:
    """Return the bytes of a file that nobody else may write, or of a terminal. Local. OSError or UsageError."""
    with open(path, "rb") as file:
        if not stat.S_ISCHR(os.fstat(file.fileno()).st_mode):
            check_guarded(Path(path), noun, danger, file.fileno())
        return file.read(MOST_BYTES)


def read_private(path: str) -> bytes:
    """Return the bytes of a file that nobody else may read. Local. RunError or UsageError."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"the key file {path!r} is not a regular file; give one, or fd:N")
            if status.st_mode & OTHERS and not _is_credential(path, status):
                raise UsageError(
                    f"others may read or write the key file {path!r} (mode {stat.S_IMODE(status.st_mode):04o}); "
                    f"chmod 600 {path}, and make a new key if others have read it"
                )
            if status.st_uid not in (os.geteuid(), 0):
                raise UsageError(f"the key file {path!r} belongs to another user; copy it: install -m 600")
            return file.read(MOST_BYTES)
    except OSError as error:
        raise RunError(f"cannot read the key file {path!r}: {reason_of(error)}; check its name") from error


def _is_credential(path: str, status: os.stat_result) -> bool:
    """Whether the system gave a file to this service, which has it by an access list: that looks like its group's."""
    folder = os.environ.get(CREDENTIALS)
    is_theirs = bool(folder) and Path(path).parent == Path(str(folder)) and status.st_uid == 0
    return is_theirs and not status.st_mode & OTHERS & ~stat.S_IRGRP


def _read_descriptor(number: str) -> bytes:
    if not number.isdecimal():
        raise UsageError(f"'fd:{number}' names no descriptor; give fd: and its number, as in fd:3")
    try:
        with open(int(number), "rb", closefd=False) as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & OTHERS:
                raise UsageError(
                    f"others may read or write the key file at descriptor {number} (mode {stat.S_IMODE(mode):04o}); "
                    "chmod 600 it, and make a new key if others have read it"
                )
            return file.read(MOST_BYTES)
    except (OSError, OverflowError) as error:
        raise RunError(
            f"cannot read a key from descriptor {number}: {error}; is it open, and readable once?"
        ) from error


def _lines(name: str, text: bytes, parse: Callable[[str], T], kind: str) -> list[T]:
    """What the lines of a file say; errors name the line's number, and never the line."""
    parsed = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.decode("ascii", "replace").strip()
        if not words or words.startswith("#"):
            continue
        try:
            parsed.append(parse(words))
        except ValueError as error:
            raise UsageError(f"line {number} of {name!r} is not {kind}: {error}; correct or remove it") from None
    return parsed
