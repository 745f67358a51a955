"""Whether a file finds room, and how to say that it did not: with what it needs, and what there is."""

from __future__ import annotations

import os
import resource
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import MpibatchError, RunError, errno_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ROOM", "check_limit", "check_room", "failure", "room_for", "shortage"]

# What HDF5's own bytes take at most, in all but unusual files.
ROOM = 64 << 10


def check_room(path: str, size: int) -> None:
    """Raise RunError if so many bytes more do not fit there. Local."""
    free = shutil.disk_usage(Path(path).parent).free
    if size > free:
        raise shortage(path, size, free)


def check_limit(path: str, size: int) -> None:
    """Raise RunError if this process may not write files of this size. Local."""
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most not in (resource.RLIM_INFINITY, -1) and size > most:
        raise RunError(f"{path} needs {size} bytes, but this process may write at most {most} to a file; see ulimit -f")


def shortage(path: str, size: int, free: int) -> RunError:
    """Return the error that tells of too little room. Local."""
    return RunError(
        f"{path} needs {size} bytes, but its file system has only {free} free; free some space, or write elsewhere"
    )


def failure(path: str, reason: str, least: int = 0, could_not_be: str = "written") -> RunError:
    """Return the error that tells of a write that failed, though there seemed to be room. Local.

    How much is needed is told by the file, whose length is set before it is filled, or by `least`.
    """
    free = size = there = 0
    with suppress(OSError):
        free = shutil.disk_usage(Path(path).parent).free
    with suppress(OSError):
        status = Path(path).stat()
        size, there = status.st_size, status.st_blocks * 512
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = "" if most in (resource.RLIM_INFINITY, -1) else f", and files may have {most} (ulimit -f)"
    return RunError(
        f"{path} could not be {could_not_be}: {reason}; it needs at least {max(size, least)} bytes, of which {there} "
        f"are there, its file system has {free} bytes free{limit}: check limits, free some space, or write elsewhere"
    )


@contextmanager
def room_for(path: str, least: int = 0, more: int = 0) -> Iterator[None]:
    """Tell of a write that fails in the words of `failure`, and not in those of HDF5. Local.

    If `more` bytes do not fit there, nothing is written: when HDF5 fails, it may fail again wherever it closes.
    """
    check_room(path, more)
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        if isinstance(error, MpibatchError):
            raise
        number = errno_of(error)
        raise failure(path, str(error) if number is None else os.strerror(number), least) from error
