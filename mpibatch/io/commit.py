"""A file gets its name when it is complete: written as ``NAME.part`` beside it, flushed, sealed, renamed.

A leftover of a killed run has the same temporary name, and the next run replaces it, or goes on with it (`adopt`). Two
runs that write to one name at once would meet there: the second takes the name over, and the first notices before it
renames.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mpibatch.errors import RunError
from mpibatch.io.extent import Digests, Extent
from mpibatch.io.room import failure
from mpibatch.io.seal import append
from mpibatch.mpi import MPI, agreed

__all__ = ["PART", "Part", "committed"]

PART = ".part"


@dataclass
class Part:
    """A file under its temporary name `path`.

    Attributes
    ----------
    extents, values : what the seal is to know, set on rank 0 before the block ends: the places and digests of chunks,
        and the digests of the values of datasets by name, both computed before the values went to the file (those of
        chunks that parallel HDF5 wrote: from what was read back). See `mpibatch.io.seal.append`.
    """

    path: str
    extents: list[Extent] = field(default_factory=list)
    values: dict[str, Digests] = field(default_factory=dict)


@contextmanager
def committed(
    comm: MPI.Intracomm,
    path: str,
    overwrite: bool = True,
    *,
    adopt: bool = False,
    keep: Callable[[], bool] | None = None,
) -> Iterator[Part]:
    """Yield the temporary name, under which an empty file lies; seal and rename it after the block. Collective.

    If the block raises, the temporary file is removed, and what was there under `path` stays. The block must raise
    on all ranks or on none.

    Parameters
    ----------
    adopt : go on with the temporary file that is there already.
    keep : asked, if the block raises, whether the temporary file is to stay for another run to adopt.
    """
    target, handle = "", -1
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            target = os.path.realpath(path)
            handle = _begin(target, overwrite, adopt)
    target = comm.bcast(target, root=0)
    part = target + PART
    whole = Part(part)
    try:
        yield whole
        with agreed(comm, f"writing {path}"):
            if comm.rank == 0:
                _commit(target, handle, overwrite, whole)
    except BaseException:
        if comm.rank == 0 and not (keep is not None and keep()) and _is_ours(part, handle):
            # The error that all ranks have is the one to be told.
            with suppress(OSError):
                Path(part).unlink()
        raise
    finally:
        if comm.rank == 0:
            os.close(handle)


def _begin(target: str, overwrite: bool, adopt: bool) -> int:
    """Make the empty temporary file, or take the one there, and return its descriptor, by which it is known later."""
    folder = Path(target).parent
    if not folder.is_dir():
        raise RunError(f"{target} was to be written, but there is no folder {folder}; make it, or write elsewhere")
    if Path(target).exists() and not stat.S_ISREG(Path(target).stat().st_mode):
        raise RunError(f"{target} was to be written, but it is no regular file; give another name")
    _check_free(target, overwrite)
    try:
        if adopt:
            return os.open(target + PART, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
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


def _commit(target: str, handle: int, overwrite: bool, whole: Part) -> None:
    _check_free(target, overwrite)
    if not _is_ours(target + PART, handle):
        raise RunError(
            f"{target} was written, but another run took {target + PART} over; let one run at a time write there"
        )
    try:
        append(target + PART, whole.extents, whole.values)
        os.fsync(handle)
    except OSError as error:
        raise failure(target + PART, error.strerror or str(error), could_not_be="completed") from error
    folder = os.open(Path(target).parent, os.O_RDONLY)
    try:
        Path(target + PART).replace(target)
        # The new name itself is safe only when the folder is.
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems know no such thing
            raise
    finally:
        os.close(folder)


def _is_ours(part: str, handle: int) -> bool:
    try:
        return os.path.samestat(Path(part).stat(follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False
