"""A folder gets its name when it is complete: written as ``NAME.part`` beside it, flushed, and put in its place.

As files are (`mpibatch.io.write.commit`): a leftover of a killed run has the same temporary name, and the next run
removes it; a run holds the lock of a file beside it, ``NAME.part.lock``. A folder that is there already and the new
one change names in one step where the file system can do so; elsewhere the old one is moved aside first, and a run
killed at that very moment leaves both, complete, under names beside it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.files import LOCK, flush_folder, hold, keep_permissions, release, unlock
from mpibatch.io.base.names import PART
from mpibatch.io.base.obstacles import check_free, check_parent, forbidden, is_written, taken_over, unshared
from mpibatch.io.base.room import check_room
from mpibatch.io.base.stores import check_replaceable
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["committed"]

OLD = ".part.old"  # behind the name of a folder that is being replaced, where two cannot change names
_CWD, _NO_REPLACE, _EXCHANGE = -100, 1, 2  # of Linux' renameat2
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def committed(comm: MPI.Intracomm, path: str, least: int, *, overwrite: bool) -> Iterator[str]:
    """Yield the temporary name of an empty folder, which gets its own after the block. Collective.

    There must be room for `least` bytes. If the block raises, the temporary folder is removed, and what was there under
    `path` stays. The block must raise on all ranks or on none, and have brought to the disk what it wrote.
    """
    target, work = "", None
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            target = os.path.realpath(path)
            work = _HeldFolder.begin(Path(target), least, overwrite=overwrite)
    target = comm.bcast(target, root=0)
    try:
        with agreed(comm, f"writing {path}"):
            if not Path(target + PART).is_dir():
                raise unshared(target + PART, MPI.Get_processor_name())
        yield target + PART
        with agreed(comm, f"writing {path}"):
            if work is not None:
                work.commit()
    except BaseException:
        if work is not None:
            work.remove()
        raise
    finally:
        if work is not None:
            work.close()


@dataclass(frozen=True)
class _HeldFolder:
    """Rank 0's hold on a folder under its temporary name, which is open, and the lock of the file beside it."""

    target: Path
    handle: int
    guard: int
    overwrite: bool

    @classmethod
    def begin(cls, target: Path, least: int, *, overwrite: bool) -> _HeldFolder:
        """Make the empty folder, in place of what a killed run left."""
        check_parent(target)
        _check_free(target, overwrite=overwrite)
        check_room(str(target), least)
        part = _part(target)
        guard = -1
        try:
            guard = hold(_guard(target), wait=os.path.lexists(part))
            if guard < 0:
                raise is_written(target)
            try:
                if part.is_dir() and not part.is_symlink():
                    shutil.rmtree(part)
                elif os.path.lexists(part):
                    part.unlink()
                part.mkdir()
                handle = os.open(part, _FLAGS | os.O_DIRECTORY)
            except BaseException:
                release(_guard(target), guard)
                raise
        except FileExistsError:  # a file system without locks
            raise is_written(target) from None
        except OSError as error:
            raise forbidden(target, error) from error
        keep_permissions(handle, target, mask=0o700)  # at once: what is made in it has its group
        return cls(target, handle, guard, overwrite)

    def commit(self) -> None:
        """Put the folder in its place, and remove what it replaces."""
        part, parent = _part(self.target), os.open(self.target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check_free(self.target, overwrite=self.overwrite)
            self._check_ours(part)
            keep_permissions(self.handle, self.target, mask=0o700)
            flush_folder(self.handle)
            old = _swap(part, self.target, overwrite=self.overwrite)
            flush_folder(parent)
            self._check_ours(self.target)
            if old is not None:
                # What cannot be removed is in nobody's way: the next run tries it again.
                shutil.rmtree(old, ignore_errors=True)
            _guard(self.target).unlink(missing_ok=True)
            unlock(self.guard)  # before the other ranks go on, who may write there at once
        except FileExistsError:
            _check_free(self.target, overwrite=self.overwrite)
            raise
        finally:
            os.close(parent)

    def remove(self) -> None:
        """Remove the temporary folder, if it is this run's."""
        part = _part(self.target)
        if self._is_ours(part):
            shutil.rmtree(part, ignore_errors=True)  # the error that all ranks have is the one to be told

    def close(self) -> None:
        """Let go of the folder and the lock."""
        release(_guard(self.target), self.guard)
        with suppress(OSError):
            os.close(self.handle)

    def _is_ours(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.lstat(), os.fstat(self.handle))
        except FileNotFoundError:
            return False

    def _check_ours(self, path: Path) -> None:
        if not self._is_ours(path):
            raise taken_over(self.target, path.name)


def _part(target: Path) -> Path:
    return target.with_name(target.name + PART)


def _guard(target: Path) -> Path:
    return target.with_name(target.name + PART + LOCK)


def _check_free(target: Path, *, overwrite: bool) -> None:
    check_replaceable(target)
    check_free(target, overwrite=overwrite)


def _swap(part: Path, target: Path, *, overwrite: bool) -> Path | None:
    """Give the new folder its name, and return where the old one is now. FileExistsError if that must stay."""
    if not target.exists():
        if not _renamed(part, target, _NO_REPLACE):
            part.rename(target)
        return None
    if not overwrite:
        raise FileExistsError(str(target))
    if _renamed(part, target, _EXCHANGE):
        return part
    old = target.with_name(target.name + OLD)
    if old.is_dir():
        shutil.rmtree(old)
    target.rename(old)
    part.rename(target)
    return old


def _renamed(first: Path, second: Path, flags: int) -> bool:
    """Rename as Linux can; False where it, or the file system, cannot. FileExistsError."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if not call(_CWD, os.fsencode(first), _CWD, os.fsencode(second), flags):
        return True
    if second.exists() and flags == _NO_REPLACE:
        raise FileExistsError(str(second))
    return False
