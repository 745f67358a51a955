"""Errors that a user may meet; the command line turns each into one message and an exit code.

Every message has three parts: what was asked, what was found, what to do.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MpibatchError", "RunError", "Stopped", "UsageError", "errno_of", "nearest", "reason_of"]


class MpibatchError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns.

    Every message has three parts: what was asked, what was found, what to do. Whatever can fail on one rank alone is
    agreed on, so that all ranks raise the same error.

    Attributes
    ----------
    exit_code : int
        What the command line returns: 1, and 2 of `UsageError`.
    is_vague : bool
        Where ranks fail for different reasons, such an error is told only if there is no other.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> try:
    ...     mb.Grid((0, 4))
    ... except mb.MpibatchError as error:
    ...     print(type(error).__name__, error.exit_code)
    UsageError 2
    """

    exit_code = 1
    is_vague = False


class UsageError(MpibatchError, ValueError):
    """What was asked is not valid: a wrong parameter, name, shape or job file. Exit code 2.

    It is a ValueError, too.

    Attributes
    ----------
    exit_code : int
        2.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> try:
    ...     mb.Grid((0, 4))
    ... except mb.UsageError as error:
    ...     print(error)
    a grid of shape (0, 4) is not valid; give at least one axis and >= 1 cell on each
    """

    exit_code = 2


class RunError(MpibatchError, RuntimeError):
    """What was asked is clear, but could not be done: a missing or broken file, a full disk. Exit code 1.

    It is a RuntimeError, too.

    Attributes
    ----------
    exit_code : int
        1.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> try:
    ...     mb.load("nowhere/volume.h5")
    ... except mb.RunError as error:
    ...     print(error.exit_code)
    1
    """

    exit_code = 1


class Stopped(SystemExit):
    """A run was asked to stop, and has left a checkpoint: exit code 75 (EX_TEMPFAIL), "try again later".

    A SystemExit: the program ends quietly with that code on all ranks, unless somebody catches it on purpose.

    Attributes
    ----------
    exit_code : int
        75.

    Notes
    -----
    Local. `mpibatch.Checkpoints.save` raises it, on all ranks; a batch script may take the code as "start me again".

    Examples
    --------
    >>> import mpibatch as mb
    >>> try:
    ...     raise mb.Stopped
    ... except SystemExit as stopped:
    ...     print(stopped.code)
    75
    """

    exit_code = 75

    def __init__(self) -> None:
        super().__init__(self.exit_code)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or the list of known names. Local."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}"


def errno_of(error: BaseException) -> int | None:
    """Return the system's number of what failed, also where only HDF5's text has it, or None. Local."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    number = re.search(r"errno = (\d+)", str(error))
    return int(number[1]) if number else None


def reason_of(error: BaseException) -> str:
    """Return in words why the system refused, and what to do: two of a message's three parts. Local."""
    number = errno_of(error)
    reason = str(error) if number is None else os.strerror(number)
    return f"{reason}; {_REMEDIES.get(number, 'check the path, its permissions and its disk')}"


_REMEDIES: dict[int | None, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space, or use another folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "ask for permission, or use another folder"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG), "check the path"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files (ulimit -n)"),
    errno.EIO: "the disk or the network failed: try again, and have it looked after if it stays so",
    errno.ESTALE: "the network's file system has lost the file: start again",
}
