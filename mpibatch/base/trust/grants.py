"""Who else may read and write the files that this process makes.

While a grant holds, it is this process's umask: whatever makes a file, HDF5 and MPI included, makes it with the mode
that was asked for, and no file is readable by others for a moment. Group and access list are set where a file gets its
name.
"""

from __future__ import annotations

import grp
import os
import re
import shutil
import stat
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Grant", "apply", "checked", "current", "grant", "granted", "make_folder", "mode_of", "with_search"]

OWNER = stat.S_IRUSR | stat.S_IWUSR
_MODE = re.compile(r"0?[0-7]{3}")
_ACL = re.compile(r"[A-Za-z0-9_.@:,+-]+")


@dataclass(frozen=True)
class Grant:
    """The permissions of new files: mode and group as numbers, None: as the umask says, and this process's."""

    mode: int | None = None
    group: int | None = None
    acl: str | None = None


_current = Grant()


def mode_of(value: object) -> int:
    """Return the mode that a text such as "0640", or a number, stands for. Local. UsageError."""
    is_text = isinstance(value, str) and _MODE.fullmatch(value)
    mode = value if isinstance(value, int) else int(str(value), 8) if is_text else -1
    if mode & ~0o666 or mode & OWNER != OWNER:
        raise UsageError(
            f"mode = {oct(value) if isinstance(value, int) else repr(value)} is not a file's; give four octal digits, "
            'such as "0640": 6 for the owner, then 0, 4 or 6 for the group and for others'
        )
    return mode


def checked(mode: str | int | None = None, group: str | int | None = None, acl: str | None = None) -> Grant:
    """Return what the words of a user stand for on this host. Local. UsageError."""
    number = None
    if group is not None:
        try:
            number = int(group) if isinstance(group, int) or group.isdecimal() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise UsageError(f"group = {group!r}: this host knows no such group; `id -Gn` prints yours") from None
        if os.geteuid() and number not in {os.getegid(), *os.getgroups()}:
            raise UsageError(f"group = {group!r}: this user is not in it; `id -Gn` prints yours")
    if acl is not None:
        if not _ACL.fullmatch(acl):
            raise UsageError(f'acl = {acl!r} is no access list; give one as setfacl -m takes it: "u:anna:r,g:lab:rw"')
        if shutil.which("setfacl") is None:
            raise UsageError(f"acl = {acl!r} needs setfacl, which is not on the PATH; install acl, or give a group")
    return Grant(None if mode is None else mode_of(mode), number, acl)


def current() -> Grant:
    """Return the grant that holds now. Local."""
    return _current


@contextmanager
def granted(given: Grant) -> Iterator[None]:
    """Let a grant hold within the block; what it leaves open is as before. Local."""
    global _current
    before, umask = _current, None
    parts = {key: value for key, value in vars(given).items() if value is not None}
    _current = Grant(**{**vars(before), **parts})
    if given.mode is not None:
        umask = os.umask(0o777 & ~with_search(given.mode))
    try:
        yield
    finally:
        _current = before
        if umask is not None:
            os.umask(umask)


@contextmanager
def grant(*, mode: str | int | None = None, group: str | int | None = None, acl: str | None = None) -> Iterator[None]:
    """Give the files that are made within the block these permissions: outputs, tables, checkpoints and journals.

    Without it new files have those of the umask, and a file that replaces another has the permissions of that.

    Parameters
    ----------
    mode : str or int, optional
        Such as "0640", or ``0o640``: the owner reads and writes, the group reads. Folders can be searched by whom
        files can be read.
    group : str or int, optional
        The group's name or number. This user must be in it.
    acl : str, optional
        Further entries of the access list, as ``setfacl -m`` takes them, where there is such a program. Who may read
        files may search folders.

    Yields
    ------
    None
        The block runs with these permissions.

    Raises
    ------
    UsageError
        A mode without the owner, an unknown group or one of others, no setfacl.

    Notes
    -----
    Local: enter it on all ranks. It sets the umask of the process, of all its threads.

    Examples
    --------
    >>> import pathlib
    >>> import mpibatch as mb
    >>> u = mb.Grid(4).zeros()
    >>> with mb.grant(mode="0640"):
    ...     mb.save("shared.h5", u=u)
    >>> oct(pathlib.Path("shared.h5").stat().st_mode & 0o777)
    '0o640'
    """
    with granted(checked(mode, group, acl)):
        yield


def apply(handle: int, mask: int = 0) -> None:
    """Give an open file or folder what the grant that holds now says, and `mask`. Local. RunError."""
    given = _current
    about = os.fstat(handle)
    is_folder = stat.S_ISDIR(about.st_mode)
    if given.group is not None and about.st_gid != given.group:
        try:
            os.fchown(handle, -1, given.group)
        except OSError as error:
            words = f"a new file cannot be given to group {given.group}: {reason_of(error)}; leave out group"
            raise RunError(words) from error
    if given.mode is not None and hasattr(os, "removexattr"):
        with suppress(OSError):  # a list that the folder around it has handed down
            os.removexattr(handle, "system.posix_acl_access")
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    if given.mode is not None:
        mode = with_search(given.mode) if is_folder else given.mode
    if is_folder and given.group is not None:
        mode |= stat.S_ISGID  # what is made in it has its group
    if mode | mask != stat.S_IMODE(os.fstat(handle).st_mode):
        os.fchmod(handle, mode | mask)
    if given.acl is not None:
        _set_list(handle, given.acl, is_folder=is_folder)


def make_folder(path: Path) -> None:
    """Make a folder with what the grant that holds now says. Local. OSError, FileExistsError among them; RunError."""
    path.mkdir()
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        apply(handle)
    finally:
        os.close(handle)


def _set_list(handle: int, acl: str, *, is_folder: bool) -> None:
    if is_folder:
        acl = ",".join(map(_with_search_of, acl.split(",")))
    command = ["setfacl", "-m", acl, f"/proc/self/fd/{handle}"]
    for words in [command, ["setfacl", "-d", "-m", acl, command[-1]]] if is_folder else [command]:
        done = subprocess.run(words, pass_fds=(handle,), capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            reason = done.stderr.strip().rpartition(": ")[2] or f"exit code {done.returncode}"
            raise RunError(f"setfacl -m {acl} does not work on a new file: {reason}; leave out acl, or correct it")
    if not is_folder:  # of what a folder hands down, search is not for files
        os.fchmod(handle, stat.S_IMODE(os.fstat(handle).st_mode) & ~0o111)


def with_search(mode: int) -> int:
    """Return the mode of a folder for files of a mode: who reads these may search it. Local."""
    return mode | (mode & 0o444) >> 2


def _with_search_of(entry: str) -> str:
    """The same of an entry of an access list."""
    head, _, rights = entry.rpartition(":")
    if rights in ("4", "6"):
        return f"{head}:{int(rights) + 1}"
    if "r" in rights and {*rights} <= {*"rwxX-"}:
        return f"{head}:r{'w' if 'w' in rights else '-'}x"
    return entry
