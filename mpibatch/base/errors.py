"""Errors that a user may meet; the command line turns each into one message and an exit code.

Every message has three parts: what was asked, what was found, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["MpibatchError", "RunError", "Stopped", "UsageError", "nearest"]


class MpibatchError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(MpibatchError, ValueError):
    """What was asked cannot be meant: a wrong parameter, name, shape or job file. Exit code 2."""

    exit_code = 2


class RunError(MpibatchError, RuntimeError):
    """What was asked is clear, but could not be done: a missing or broken file, a full disk. Exit code 1."""

    exit_code = 1


class Stopped(SystemExit):
    """A run was asked to stop, and has left a checkpoint: exit code 75 (EX_TEMPFAIL), "try again later".

    A SystemExit: the program ends quietly with that code on all ranks, unless somebody catches it on purpose.
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
