"""A program of which one rank leaves in a given way while the others wait: see test_failure.py."""

import asyncio
import os
import sys
import threading
from sys import exit as early_exit

import mpibatch as mb
from mpibatch.mpi import MPI, failure

comm = MPI.COMM_WORLD
way = sys.argv[1]


async def _leave_in_a_task() -> None:
    await asyncio.sleep(0)
    raise SystemExit(3)


def _caught_and_raised() -> None:
    try:
        sys.exit(3)
    except SystemExit:
        raise


def _through_finally() -> None:
    try:
        raise SystemExit(3)
    finally:
        sys.stdout.flush()


def _beside_a_thread() -> None:
    threading.Thread(target=comm.recv, kwargs={"source": comm.rank, "tag": 3}).start()
    sys.exit(3)


def _after_a_child() -> None:
    child = os.fork()
    if child == 0:
        sys.exit(4)  # of this process alone
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    sys.exit(3)


def _raise(error: BaseException) -> None:
    raise error


WAYS = {
    "raise": lambda: _raise(SystemExit(3)),
    "sys.exit": lambda: sys.exit(3),
    "built-in": lambda: exit(3),
    "quit": lambda: quit(3),
    "imported-before": lambda: early_exit(3),
    "asyncio": lambda: asyncio.run(_leave_in_a_task()),
    "raised-again": _caught_and_raised,
    "finally": _through_finally,
    "words": lambda: sys.exit("no such thing"),
    "thread": _beside_a_thread,
    "child": _after_a_child,
    "os._exit": lambda: os._exit(3),
    "exit-0": lambda: sys.exit(0),
    "exit-none": lambda: _raise(SystemExit()),
    "end": lambda: None,
    "uncaught": lambda: _raise(KeyError("only here")),
    "agreed": lambda: _raise(mb.RunError("only here")),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "finalize": MPI.Finalize,
}

if __name__ == "__main__":
    failure.PATIENCE = 0.5
    field = mb.Grid((12, 12)).full(1.0)
    # A kind of its own: it waits in MPI itself.
    wait = comm.Barrier if way == "end" else lambda: mb.max(field)
    if comm.rank == 1:
        WAYS[way]()
    else:
        wait()
