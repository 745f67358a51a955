"""End the whole job when one rank fails in a way that nobody handles."""

from __future__ import annotations

import atexit
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Any, NoReturn

from mpi4py import MPI

__all__ = ["install_hooks"]

GRACE = 0.5  # seconds
# Ranks that fail together leave within milliseconds of each other, unless the machine is overloaded.
PATIENCE = 5.0  # seconds

_installed = False
_exit_code = 0


def _abort(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, code: int) -> bool:
    """End all ranks, unless this is the only one."""
    if MPI.Is_finalized() or MPI.COMM_WORLD.size == 1:
        return False
    rank = MPI.COMM_WORLD.rank
    lines = traceback.format_exception(kind, error, trace)
    # One write, so that the launcher does not interleave it with another rank's.
    sys.stderr.write(f"rank {rank}: uncaught exception, aborting all {MPI.COMM_WORLD.size} ranks\n{''.join(lines)}")
    sys.stderr.flush()
    sys.stdout.flush()
    # Launchers drop what they have not passed on by the time they learn of the abort.
    time.sleep(GRACE)
    # May return before the launcher has ended this process.
    MPI.COMM_WORLD.Abort(code)
    return True


class _Leaving(SystemExit):
    """What sys.exit raises; it tells whether somebody caught it, or the interpreter is about to end."""

    def __del__(self) -> None:
        global _exit_code
        # Whoever catches it is still running when it goes; after the last frame only the interpreter drops it.
        if sys._getframe().f_back is None:
            _exit_code = self.code if isinstance(self.code, int) else int(self.code is not None)


def install_hooks() -> None:
    """Abort the world on an uncaught exception in any thread, and on a lone ``sys.exit(1)``. Local, idempotent."""
    global _installed
    if _installed:
        return
    _installed = True
    previous, previous_thread = sys.excepthook, threading.excepthook

    def in_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not _abort(kind, error, trace, 130 if issubclass(kind, KeyboardInterrupt) else 1):
            previous(kind, error, trace)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if not _abort(args.exc_type, args.exc_value, args.exc_traceback, 1):
            previous_thread(args)

    def leave(status: Any = None, /) -> NoReturn:
        raise _Leaving(status)

    sys.excepthook = in_main
    # SystemExit never reaches the hook for exceptions.
    sys.exit = leave
    atexit.register(_farewell)
    threading.excepthook = in_thread


def _farewell() -> None:
    """If this rank exits with a failure, and not all others do, end them: they would wait for it for ever."""
    world = MPI.COMM_WORLD
    if not _exit_code or MPI.Is_finalized() or world.size == 1:
        return
    others = world.Ibarrier()
    until = time.monotonic() + PATIENCE
    while not others.Test():
        if time.monotonic() > until:
            sys.stderr.write(f"rank {world.rank}: left with exit code {_exit_code}, aborting all {world.size} ranks\n")
            sys.stderr.flush()
            time.sleep(GRACE)
            world.Abort(_exit_code)
        time.sleep(0.001)
