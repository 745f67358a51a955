"""Files that are complete, or as they were: locks that die with their process, and new contents by renaming.

Of two processes that write one file at once the later one is refused where it can be locked (`lock`), and wins as a
whole where a file is small and written in one go (`replacing`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.trust import grants

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DRAFT", "LOCK", "flush_folder", "hold", "keep_permissions", "lock", "read_at", "release", "replacing", "unlock",
    "write_at",
]  # fmt: skip

PATIENCE, POLL = 10.0, 0.05  # seconds
TRIES = 100  # to lock a file that others remove when they are done
_STARTED, _GRACE = time.monotonic(), 60.0
DRAFT = re.compile(r"(.+)\.~\w{8}\.part", re.DOTALL)  # the name of a file that is to take another's place
LOCK = ".lock"  # in a folder that is held
# What a file system says that has no locks.
_LISTS = ("system.posix_acl_access", "system.posix_acl_default")  # the latter of folders alone
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


def lock(handle: int, *, wait: bool = False, shared: bool = False, patience: float | None = None) -> bool:
    """Take the lock of an open file; False if another process holds it. Local.

    Several may hold it `shared` at once.
    It is given up when the descriptor is closed, or the process ends. On a file system without locks this says True.
    With `wait`, processes that hold it are given `patience` (default: `PATIENCE`) seconds to end: of a job whose
    launcher was killed, say.
    """
    end = time.monotonic() + wait * (PATIENCE if patience is None else patience)
    while True:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(POLL)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            return True
        else:
            return True


def hold(path: Path, *, wait: bool = False, shared: bool = False) -> int:
    """Make a file, take its lock as `lock` does, and return its handle; -1 if another process holds it. Local. OSError.

    It stands for a folder: file systems of several nodes (NFS, Lustre) keep others out of files that are open for
    writing, and of nothing else. (A file that another user has left may only be read; on one node that does.)
    """
    for _ in range(TRIES):
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except PermissionError:
            if not os.path.lexists(path):
                raise
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not lock(handle, wait=wait, shared=shared):
                os.close(handle)
                return -1
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(path.lstat(), os.fstat(handle)):
                    if os.fstat(handle).st_uid == os.getuid():
                        grants.apply(handle)
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # who held it has removed it meanwhile
    raise OSError(errno.ESTALE, "it is another file each time that it is opened", str(path))


def release(path: Path, handle: int) -> None:
    """Remove a file that `hold` returned the handle of, not shared, and give up its lock. Local."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.lstat(), os.fstat(handle)):
            path.unlink()
    with contextlib.suppress(OSError):
        os.close(handle)


def unlock(handle: int) -> None:
    """Give up the lock of an open file. Local."""
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)


def read_at(handle: int, nbytes: int, offset: int) -> bytes:
    """Return the bytes at a place of an open file, fewer only where it ends. Local. Raises OSError.

    A single call may bring fewer at any time: over a network, after a signal, and above 2 GiB.
    """
    pieces = []
    while nbytes > 0 and (piece := os.pread(handle, nbytes, offset)):
        pieces.append(piece)
        nbytes, offset = nbytes - len(piece), offset + len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def write_at(handle: int, data: bytes | memoryview, offset: int) -> None:
    """Write all bytes at a place of an open file. Local. Raises OSError."""
    todo = memoryview(data)
    while todo:
        written = os.pwrite(handle, todo, offset)
        if not written:  # for ever
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        todo, offset = todo[written:], offset + written


def keep_permissions(handle: int, target: Path, mask: int = 0) -> None:
    """Give an open file the permissions of the one that it will replace, and `mask`. Local. RunError.

    Its access list, owner and group, too, as far as this process is allowed to; where a grant holds, what that says. An
    open folder, of parts of a file, can be searched by whom that file can be read.
    """
    given = grants.current()
    with contextlib.suppress(OSError):
        old, new = target.stat(), os.fstat(handle)
        group = old.st_gid if given.group is None else new.st_gid
        if (new.st_uid, new.st_gid) != (old.st_uid, group):
            with contextlib.suppress(OSError):  # another's file: its group may be ours all the same
                os.fchown(handle, -1 if new.st_uid == old.st_uid else old.st_uid, group)
        mode = stat.S_IMODE(old.st_mode)
        if stat.S_ISDIR(new.st_mode) and not stat.S_ISDIR(old.st_mode):
            mode = grants.with_search(mode) | new.st_mode & stat.S_ISGID
        if given.mode is None:
            if not _copy_lists(handle, target):
                mode &= ~stat.S_IRWXG  # where there is a list, what this says is not the group's
            os.fchmod(handle, mode | mask)
    if given != grants.Grant():
        grants.apply(handle, mask)


def _copy_lists(handle: int, target: Path) -> bool:
    """Give an open file, or folder, the access lists of another, or none; False if that cannot be."""
    if not hasattr(os, "getxattr"):
        return True
    for name in _LISTS:
        try:
            entries = os.getxattr(target, name)
        except OSError:  # it has none, or the file system has none; what a folder hands down goes
            with contextlib.suppress(OSError):
                os.removexattr(handle, name)
            continue
        try:
            os.setxattr(handle, name, entries)
        except OSError:
            return False
    return True


def flush_folder(handle: int) -> None:
    """Bring the names in an open folder to the disk, where the file system knows of such a thing. Local. OSError."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the name of an empty file, which takes the place of `path` after the block. Local. Raises OSError.

    The name is of this process alone. If the block raises, `path` stays as it was. What killed runs left of earlier
    ones is removed.
    """
    target = Path(os.path.realpath(path))
    left = _leftovers(target.parent).pop(target.name, [])
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.~", suffix=".part")
    try:
        with contextlib.suppress(OSError):
            lock(handle)
        for other in left:
            _remove_dead(target.parent / other, os.fstat(handle))
        if not target.exists():
            umask = os.umask(0)
            os.umask(umask)
            os.fchmod(handle, 0o666 & ~umask)
        keep_permissions(handle, target, mask=0o600)
        yield Path(name)
        keep_permissions(handle, target)
        os.fsync(handle)
        unlock(handle)  # of the new file anybody may have the lock
        folder = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            Path(name).replace(target)
            flush_folder(folder)
        finally:
            os.close(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    finally:
        os.close(handle)


@lru_cache
def _leftovers(folder: Path) -> dict[str, list[str]]:
    """The files in a folder that replace others, or would have, by the names of these. A process looks once."""
    names: dict[str, list[str]] = {}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if match := DRAFT.fullmatch(path.name):
                names.setdefault(match[1], []).append(path.name)
    return names


def _remove_dead(path: Path, new: os.stat_result) -> None:
    """Remove what a run left that was killed while it replaced a file. `new`: a file of now, by the server's clock.

    It is this user's, no process holds its lock, and it was last written before this run began: a file system may have
    no locks, and a program that writes it may have made it anew.
    """
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            old = os.fstat(handle)
            is_ours = stat.S_ISREG(old.st_mode) and old.st_uid == new.st_uid
            is_old = new.st_mtime - old.st_mtime > time.monotonic() - _STARTED + _GRACE
            if is_ours and is_old and lock(handle):
                path.unlink()
        finally:
            os.close(handle)
