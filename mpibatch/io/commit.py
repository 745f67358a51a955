"""A file gets its name when it is complete: written as ``NAME.part`` beside it, flushed, renamed.

A leftover of a killed run has the same temporary name, and the next run replaces it. Two runs that write to one name at
once would meet there: the second takes the name over, and the first notices before it renames.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpibatch.errors import RunError
from mpibatch.mpi import MPI, agreed

__all__ = ["PART", "committed"]

PART = ".part"


@contextmanager
def committed(comm: MPI.Intracomm, path: str, overwrite: bool = True) -> Iterator[str]:
    """Yield the temporary name, under which an empty file lies; rename it at the end of the block. Collective.

    If the block raises, the temporary file is removed, and what was there under `path` stays. The block must raise
    on all ranks or on none.
    """
    target, handle = "", -1
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            target = os.path.realpath(path)
            handle = _begin(target, overwrite)
    target = comm.bcast(target, root=0)
    part = target + PART
    try:
        yield part
        with agreed(comm, f"writing {path}"):
            if comm.rank == 0:
                _commit(target, handle, overwrite)
    except BaseException:
        if comm.rank == 0 and _is_ours(part, handle):
            Path(part).unlink()
        raise
    finally:
        if comm.rank == 0:
            os.close(handle)


def _begin(target: str, overwrite: bool) -> int:
    """Make the empty temporary file and return its descriptor, by which it is known later."""
    folder = Path(target).parent
    if not folder.is_dir():
        raise RunError(f"{target} was to be written, but there is no folder {folder}; make it, or write elsewhere")
    if Path(target).exists() and not stat.S_ISREG(Path(target).stat().st_mode):
        raise RunError(f"{target} was to be written, but it is no regular file; give another name")
    _check_free(target, overwrite)
    try:
        # Anew, never through what lies there: that might be another's, or a link to something valuable.
        Path(target + PART).unlink(missing_ok=True)
        return os.open(target + PART, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise RunError(
            f"{target} was to be written, but {folder} does not allow it ({error.strerror}); write elsewhere"
        ) from error


def _check_free(target: str, overwrite: bool) -> None:
    if not overwrite and Path(target).exists():
        raise RunError(
            f"{target} was to be written with overwrite=False, but it exists; remove it, or give another name"
        )


def _commit(target: str, handle: int, overwrite: bool) -> None:
    _check_free(target, overwrite)
    os.fsync(handle)
    if not _is_ours(target + PART, handle):
        raise RunError(
            f"{target} was written, but another run took {target + PART} over; let one run at a time write there"
        )
    Path(target + PART).replace(target)
    # The new name itself is safe only when the folder is.
    folder = os.open(Path(target).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_ours(part: str, handle: int) -> bool:
    try:
        return os.path.samestat(Path(part).stat(follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False
