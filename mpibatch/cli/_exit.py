"""How a command ends: one message, one exit code, on however many ranks, and never a hang.

Errors that the library raises on purpose are raised by all ranks alike, so rank 0 alone speaks and all leave with
the same code. Whether they did is not taken on trust: a rank that waits for the others alone tells its own error and
ends the job (see `mpibatch.mpi.failure`), since the others would wait for it for ever.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import MpibatchError, Stopped
from mpibatch.base.processes.launch import launched, let_first_speak, started_world

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OK", "RUN_ERROR", "USAGE_ERROR", "guarded", "on_first_rank", "printable"]

OK, RUN_ERROR, USAGE_ERROR, INTERRUPTED = 0, 1, 2, 130  # and Stopped.exit_code, 75

_INSTALL_MPI = "install one with: pip install 'mpibatch[mpich]', or load the module of your site's MPI"


def guarded(command: Callable[[], int], debug: bool = False) -> int:
    """Run a command and return its exit code; any exception becomes a message and a code. Collective."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output, such as head, has enough; do not fail again when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Stopped as stopped:
        return stopped.exit_code
    except SystemExit as leaving:  # of a user's program
        is_number = isinstance(leaving.code, int) or leaving.code is None
        code = int(leaving.code or OK) if is_number else RUN_ERROR
        return _end("" if is_number else str(leaving.code), code, debug)
    except KeyboardInterrupt:
        return _end("interrupted", INTERRUPTED, debug)
    except MpibatchError as error:
        return _end(str(error), error.exit_code, debug)
    except ModuleNotFoundError as error:
        return _end(_missing(error), RUN_ERROR, debug)
    except MemoryError as error:
        words = str(error) or "an allocation failed"
        return _end(f"not enough memory: {words}; use more ranks, or nodes", RUN_ERROR, debug)
    except OSError as error:
        return _end(str(error), RUN_ERROR, debug)
    except Exception as error:
        if "libmpi" in str(error) or "MPI library" in str(error):  # mpi4py's own words for it
            return _end(f"no MPI library was found ({' '.join(str(error).split())}); {_INSTALL_MPI}", RUN_ERROR, debug)
        words = f"unexpected {type(error).__name__}: {error}"
        return _end(words if debug else f"{words} (--debug shows where)", RUN_ERROR, debug)


def _missing(error: ModuleNotFoundError) -> str:
    """What to install for a module that is not there."""
    extra = {"mpi4py": "mpich", "PIL": "image", "tifffile": "image"}.get(str(error.name).partition(".")[0])
    requirement = f"'mpibatch[{extra}]'" if extra else error.name
    return f"{error}; install it with: pip install {requirement}"


def _end(message: str, code: int, debug: bool) -> int:
    """Say what went wrong, if all ranks have come here, and return `code`; else end the job."""
    trace = traceback.format_exc() if debug else ""
    world = started_world()
    if world is None or world.size == 1:
        if launched()[0] == 0:
            _say(message, trace)
        elif code:
            let_first_speak()
        return code
    # Late: a command that fails before MPI has begun must not begin it.
    from mpibatch.mpi import abort, failure

    if not abort.all_come(world, failure.PATIENCE if code else failure.LONG_PATIENCE):
        message = message or f"the program left with exit code {code}"
        alone = f"{message} (on rank {world.rank} of {world.size} alone: ending the others)"
        abort.end_all(_text(alone, trace), code or RUN_ERROR)
    if world.rank == 0:
        _say(message, trace)
    return code


def on_first_rank(words: str, work: Callable[[], Any]) -> Any:
    """Return what rank 0's `work` returns, None elsewhere; all fail if it does. Collective. Alone, it needs no MPI."""
    if launched()[1] == 1:
        return work()
    from mpibatch.mpi import agreed, private

    comm, result = private(), None
    with agreed(comm, words):
        if comm.rank == 0:
            result = work()
    return result


def printable(text: str) -> str:
    """Return `text` with control characters spelled out: names in a file must not steer the terminal. Local."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _say(message: str, trace: str) -> None:
    sys.stdout.flush()
    if not message:
        return
    # One write: the launcher passes on whole writes, and lines of several ranks would mix otherwise.
    sys.stderr.write(_text(message, trace))
    sys.stderr.flush()


def _text(message: str, trace: str) -> str:
    return f"{trace}mpibatch: error: {printable(message)}\n"
