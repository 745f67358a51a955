"""Leaving a block by an error: all ranks together, or not at all.

What a block shares, such as an open file, is closed collectively. An error that all ranks have agreed on brings all of
them there; but a user may raise the same kind of error, or leave by SystemExit, on one rank alone.
"""

from __future__ import annotations

import sys
import time
import traceback
from types import TracebackType

from mpi4py import MPI

from mpibatch.errors import MpibatchError, Stopped
from mpibatch.mpi.comm import spare

__all__ = ["AGREED", "LONG_PATIENCE", "PATIENCE", "Leaving", "end"]

# What all ranks are expected to leave by together; anything else is one rank's own failure (see `abort`).
AGREED = (MpibatchError, SystemExit)
# Seconds; ranks that agreed to fail arrive within milliseconds, unless the machine is overloaded. Ranks that leave by
# `sys.exit(0)` have not failed, and may have had something else to do first.
PATIENCE, LONG_PATIENCE = 5.0, 60.0
GRACE = 0.5  # seconds; launchers drop what they have not passed on by the time they learn of an abort


class Leaving:
    """A block that all ranks leave by such an error (`AGREED`), or the job ends. Making one is collective.

    After it whoever handles the error may communicate: all ranks have come.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        # Its own: other ranks may still send messages, or begin barriers, of another meaning.
        self._comm = spare(comm)

    def __enter__(self) -> Leaving:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # `Stopped` comes from the library alone, on all ranks: whatever the user does before he leaves, all will come.
        if not isinstance(error, AGREED) or isinstance(error, Stopped) or self._comm.size == 1:
            return
        is_failure = not isinstance(error, SystemExit) or error.code not in (0, None)
        others, until = self._comm.Ibarrier(), time.monotonic() + (PATIENCE if is_failure else LONG_PATIENCE)
        while not others.Test():
            if time.monotonic() > until:
                end(error)
            time.sleep(0.001)


def end(error: BaseException) -> None:
    """End the job, and say why: other ranks have not come to where this error has brought this one. Local."""
    world = MPI.COMM_WORLD
    told = "".join(traceback.format_exception(error))
    # One write, so that the launcher does not interleave it with another rank's.
    sys.stderr.write(f"rank {world.rank}: left alone by this error, aborting all {world.size} ranks\n{told}")
    sys.stderr.flush()
    sys.stdout.flush()
    time.sleep(GRACE)
    code = error.exit_code if isinstance(error, MpibatchError) else getattr(error, "code", None)
    world.Abort(code if isinstance(code, int) and code else 1)
    while True:  # until the launcher has ended this process
        time.sleep(1)
