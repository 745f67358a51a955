"""A file of JSON lines of which each tells the SHA-256 of the one before: what was written cannot be changed unseen.

Beside it lies ``NAME.head``, with the number and the digest of the last line, so that removing lines at the end is
seen, too. Whoever can write both can forge both: to exclude that, keep elsewhere the digest that `verify` returns.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, reason_of
from mpibatch.base.files import lock, read_at
from mpibatch.base.json_files import write_json
from mpibatch.base.log import logger
from mpibatch.base.trust.guards import intruder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["BEFORE", "FIRST", "NUMBER", "ChainReport", "append", "entries", "verify"]

NUMBER, BEFORE = "number", "before"
FIRST = "0" * 64  # what the first line tells of the one before
# Seconds, of which an append needs but some thousandths: all ranks wait for the begin of a run, and its end tells all.
PATIENCE, SHORT_PATIENCE = 10.0, 1.0
_TAIL = 1 << 16


@dataclass(frozen=True)
class ChainReport:
    """What a look at a chain shows: its entries, the digest of the last, and in words what is wrong with it."""

    entries: int
    head: str
    problems: tuple[str, ...]


def append(path: Path, facts: Mapping[str, Any], *, patience: float = PATIENCE) -> int:
    """Append an entry, return its number; who do so at once do it one after the other. Local. OSError, RunError.

    Where only the head beside it cannot be written, the entry is there, and `verify` tells that the head is behind.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _held(path, patience=patience) as handle:
        last, is_whole = _last_line(handle)
        number, before = 1, FIRST
        if last:
            number, before = _number(last, path) + 1, _digest(last)
        line = json.dumps({NUMBER: number, **facts, BEFORE: before}, ensure_ascii=True).encode()
        # What a crash cut off stays, and is told by `verify`.
        data = (b"" if is_whole else b"\n") + line + b"\n"
        if os.write(handle, data) != len(data):
            raise RunError(f"the history {path} was not written as a whole; is the disk full?")
        os.fsync(handle)
        try:
            write_json(_head(path), {NUMBER: number, "digest": _digest(line)}, indent=None)
        except OSError as error:
            logger("history").warning("%s cannot be written: %s", _head(path), reason_of(error))
    return number


def entries(path: Path) -> list[dict[str, Any]]:
    """Return what can be read of the entries, the oldest first; [] if there is no history. Local. RunError."""
    known = []
    for line in _lines(path):
        with suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                known.append(entry)
    return known


def verify(path: Path, head: str = "") -> ChainReport:
    """Look for entries that were changed, removed, added or moved. Local. RunError if there is no history.

    `head`: a digest that was kept elsewhere, of an entry that must be there.
    """
    if not path.exists():
        raise RunError(f"there is no history {path}; it begins with the first run, or name another: --file FILE")
    problems, digests, before = [], [FIRST], FIRST
    with _held(path, is_read=True):  # no run appends meanwhile
        lines, kept = _lines(path), _kept_head(path)
    for place, line in enumerate(lines, 1):
        body, end, _ = line.partition(b"\n")
        try:
            entry, follows = _links(body if end else b"")
        except ValueError:
            problems.append(f"line {place} is no entry: it was changed, or a crash cut it off")
            entry, follows = place, before
        if entry != place:
            problems.append(f"line {place} has entry {entry}: entries were removed, added or moved")
        elif follows != before:
            problems.append(f"entry {entry} does not follow on the one before it: one of both was changed")
        before = _digest(body)
        digests.append(before)
    problems += _problems_of_end(path, *kept, digests)
    if head and head not in digests[1:]:
        problems.append(f"no entry has the digest {head}: what was there then is changed or gone")
    if who := intruder(path):
        problems.append(f"{path}: {who}; chmod go-w {path}")
    return ChainReport(len(lines), digests[-1], tuple(problems))


def _problems_of_end(path: Path, number: int, digest: str, digests: list[str]) -> list[str]:
    """What is wrong with the last entry, of which the head tells number and digest."""
    last = len(digests) - 1
    if last and not number:
        return [f"{_head(path)} is missing, or cannot be read: entries at the end may be gone"]
    if number and not last:
        return [f"all {number} entries are gone"]
    # A crash may leave it one entry behind.
    if not last or (last - 1 <= number <= last and digests[number] == digest):
        return []
    return [f"the last entry was number {number} ({digest[:12]}…): entries at the end are changed or gone"]


@contextmanager
def _held(path: Path, *, is_read: bool = False, patience: float = PATIENCE) -> Iterator[int]:
    """Yield the open file while no other process has it; to be read, while none writes it."""
    flags = os.O_RDONLY if is_read else os.O_RDWR | os.O_CREAT | os.O_APPEND
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if not is_read:
            raise
        raise RunError(f"the history {path} cannot be read: {reason_of(error)}") from error
    try:
        if not lock(handle, wait=True, shared=is_read, patience=patience):
            raise RunError(f"another process holds the history {path}; see who: fuser {path}")
        yield handle
    finally:
        os.close(handle)


def _last_line(handle: int) -> tuple[bytes, bool]:
    """The last line, b"" if there is none, and whether it is complete."""
    size, step = os.fstat(handle).st_size, _TAIL
    if not size:
        return b"", True
    while True:
        tail = read_at(handle, min(step, size), max(0, size - step))
        body = tail.removesuffix(b"\n")
        if b"\n" in body or step >= size:
            return body.rpartition(b"\n")[2], tail.endswith(b"\n")
        step *= 4


def _number(line: bytes, path: Path) -> int:
    with suppress(ValueError):
        return _links(line)[0]
    return len(_lines(path))  # of a line that was cut off: its place


def _links(line: bytes) -> tuple[int, str]:
    """The number of an entry, and the digest of the one before. ValueError if the line is none."""
    try:
        entry = json.loads(line)
        return int(entry[NUMBER]), str(entry[BEFORE])
    except (TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError from error


def _lines(path: Path) -> list[bytes]:
    """The lines with their ends, which are newlines alone: no other sign ends what was appended."""
    try:
        with path.open("rb") as file:
            return list(file)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"the history {path} cannot be read: {reason_of(error)}") from error


def _kept_head(path: Path) -> tuple[int, str]:
    try:
        head = json.loads(_head(path).read_text())
        return int(head[NUMBER]), str(head["digest"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0, ""


def _head(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
