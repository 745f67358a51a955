"""Stacks of files, each rank its own planes: looked into by a process of its own, and seen to stay as they are."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError
from mpibatch.io.formats.pieces.stack import files_of
from mpibatch.io.read.inspector import inspect_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.io.formats import Source

__all__ = ["check_complete", "state_of", "watched"]


def state_of(file: str) -> tuple[int, ...] | None:
    """Return what tells one file from another of the same name; None where this rank sees none. Local.

    Not compared between ranks: nodes may have copies of their own.
    """
    try:
        # Opening, unlike asking, makes NFS look at the server; and it must not wait for the writer of a pipe.
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(handle)
    finally:
        os.close(handle)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def check_complete(source: Source) -> None:
    """Raise RunError if a stack has lost or got files since it was looked into. Local."""
    if source.format == "stack" and sorted(files_of(source.path)) != sorted(source.attrs["files"]):
        raise RunError(f"{source.path!r} lost or got files while it was read; read it again")


@contextmanager
def watched(source: Source, planes: slice) -> Iterator[Source]:
    """Yield a source of which these planes are read in the block. Local. RunError.

    Of a stack a process of its own has looked into the files of the planes; if one of them has changed when the block
    ends, what was read is of two files.
    """
    if source.format != "stack":
        yield source
        return
    files = source.attrs["files"]
    mine = {number: files[number] for number in range(*planes.indices(source.shape[0]))}
    seen = {number: state_of(file) for number, file in mine.items()}
    parts = inspect_all([*mine.values()], source.dataset or None, source.allow)
    yield replace(source, attrs={**source.attrs, "parts": dict(zip(mine, parts, strict=True))})
    for number, file in mine.items():
        if state_of(file) != seen[number]:
            raise RunError(f"{file} was replaced, or written to, while it was read; read {source.path!r} again")
