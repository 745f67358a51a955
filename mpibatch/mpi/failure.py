"""When ranks part: one rank that fails, or leaves, ends the whole job instead of letting the others wait for ever.

Three kinds. An exception that nobody catches ends the job at once. A block (`Leaving`) that an error leaves on all
ranks together is left once all have come, or the job ends. And whatever way the interpreter ends, the ranks meet
once more before MPI does (`_farewell`): by then every way out has come to the same place.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import math
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from mpi4py import MPI

from mpibatch.base.errors import MpibatchError, Stopped
from mpibatch.base.processes.launch import started_world
from mpibatch.mpi import comm as comms
from mpibatch.mpi.abort import all_come, end_all

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["AGREED", "LONG_PATIENCE", "PATIENCE", "Leaving", "end", "install_hooks"]

# What all ranks are expected to leave by together; anything else is one rank's own failure.
AGREED = (MpibatchError, SystemExit)
# Seconds; ranks that fail together arrive within milliseconds, unless the machine is overloaded. Ranks that leave by
# `sys.exit(0)` have not failed, and may have had something else to do first.
PATIENCE, LONG_PATIENCE = 5.0, 60.0

_process = 0  # whose hooks these are: a child that was forked has no part in MPI
_exit_code = 0  # that the interpreter is about to end with
_have_met = False


def end(error: BaseException) -> NoReturn:
    """End the job, and say why: other ranks have not come to where this error has brought this one. Local."""
    world = MPI.COMM_WORLD
    text = "".join(traceback.format_exception(error))
    code = error.exit_code if isinstance(error, MpibatchError) else getattr(error, "code", None)
    number = code if isinstance(code, int) else 1
    end_all(f"rank {world.rank}: raised this error alone, aborting all {world.size} ranks\n{text}", number)


class Leaving:
    """A block that all ranks leave by such an error (`AGREED`), or the job ends. Making one is collective.

    After it whoever handles the error may communicate: all ranks have come.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        # Its own: other ranks may still send messages, or begin barriers, of another meaning.
        self._comm = comms.spare(comm)

    def __enter__(self) -> Leaving:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # `Stopped` comes from the library alone, on all ranks: whatever the user does before leaving, all will come.
        if not isinstance(error, AGREED) or isinstance(error, Stopped) or self._comm.size == 1:
            return
        is_failure = not isinstance(error, SystemExit) or error.code not in (0, None)
        if not all_come(self._comm, PATIENCE if is_failure else LONG_PATIENCE):
            end(error)


def install_hooks() -> None:
    """See every way out of this process, from now on. Local, idempotent."""
    global _process
    if _process:
        return
    _process = os.getpid()
    previous, previous_thread = sys.excepthook, threading.excepthook

    def in_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _exit_code
        if isinstance(error, MpibatchError) and _is_mine() and comms.watch() is not None:
            # All ranks have it, or the job ends: one traceback is enough.
            _exit_code = 1
            if (speaker := _meet(speaks=True)) is None:
                end(error)
            if speaker == MPI.COMM_WORLD.rank:
                previous(kind, error, trace)
        else:
            _abort(kind, error, trace, 130 if issubclass(kind, KeyboardInterrupt) else 1)
            previous(kind, error, trace)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        _abort(args.exc_type, args.exc_value, args.exc_traceback, 1)
        previous_thread(args)

    sys.excepthook, threading.excepthook = in_main, in_thread
    _note_exit_codes()
    atexit.register(_farewell)
    # Before the interpreter waits for threads, which may wait in MPI. Not public; without it they are waited for.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(_before_threads)
    if MPI.Is_initialized():
        # A call of MPI.Finalize comes by here, too: it first deletes what hangs on this communicator.
        key = MPI.Comm.Create_keyval(delete_fn=lambda comm, key, value: _farewell())
        MPI.COMM_SELF.Set_attr(key, True)


def _is_mine() -> bool:
    return os.getpid() == _process and started_world() is not None and MPI.COMM_WORLD.size > 1


def _abort(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, code: int) -> None:
    """End all ranks; return if this is the only one, or none of them."""
    if not _is_mine():
        return
    rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    text = "".join(traceback.format_exception(kind, error, trace))
    end_all(f"rank {rank}: uncaught exception, aborting all {size} ranks\n{text}", code)


def _note_exit_codes() -> None:
    """Note what the interpreter ends with: it reads `SystemExit.code` when nobody has caught it, and nobody else then.

    Whoever raises it (`sys.exit` under any name, `exit`, ``raise SystemExit``, C), it comes by here. Were Python's
    class to refuse the change, a lone exit would be one with code 0.
    """
    members = gc.get_referents(SystemExit.__dict__)[0]
    member = members["code"]

    class Code:
        """The attribute as it was; it notes who reads it."""

        def __get__(self, leaving: SystemExit | None, kind: Any = None) -> Any:
            global _exit_code
            if leaving is None:
                return self
            code = member.__get__(leaving, kind)
            # No Python calls this: it is the interpreter, after the last frame.
            if sys._getframe().f_back is None and threading.current_thread() is threading.main_thread():
                _exit_code = code if isinstance(code, int) else int(code is not None)
            return code

        def __set__(self, leaving: SystemExit, code: Any) -> None:
            member.__set__(leaving, code)

        def __delete__(self, leaving: SystemExit) -> None:
            member.__delete__(leaving)

    if sys.version_info < (3, 12):
        _raise_whole()
    try:
        members["code"] = Code()
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(SystemExit))
    except Exception:
        members["code"] = member


def _raise_whole() -> None:
    """Let `sys.exit` raise an exception: before Python 3.12 it raises only what one could be made of. Local."""
    original = sys.exit

    def leave(status: Any = None, /) -> NoReturn:
        raise SystemExit(status)

    # A module that has imported the name before has it as a global of its own.
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        for name in [name for name, value in list(names.items()) if value is original]:
            names[name] = leave


def _before_threads() -> None:
    """Leave with a failure at once, whatever threads are still at work: they may wait for a rank that will not come."""
    is_alone = all(t.daemon or t is threading.main_thread() for t in threading.enumerate())
    if _exit_code and not is_alone:
        _farewell()


def _farewell() -> None:
    """Meet all ranks before MPI ends, and free what is ours; if others do not come, end the job."""
    if os.getpid() != _process:
        # MPI's own end would take part in the parent's place.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_code & 0xFF)
    if started_world() is None:
        return
    if _meet() is None:
        rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
        end_all(f"rank {rank}: left with exit code {_exit_code}, aborting all {size} ranks\n", _exit_code)
    comms.release_all()


def _meet(speaks: bool = False) -> int | None:
    """Wait once for all ranks to leave; None if they do not come to one that failed, else the first that speaks."""
    global _have_met
    world, watch = MPI.COMM_WORLD, comms.watch()
    is_due, _have_met = not _have_met and world.size > 1, True
    patience = PATIENCE if _exit_code else math.inf
    if is_due and watch is not None:
        return watch.leave(_exit_code, patience, speaks=speaks)
    if is_due and _exit_code and not all_come(world, patience):
        return None
    return world.size
