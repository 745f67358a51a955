"""The ranks' side of `mpibatch.supervisor`: one of each node starts it, all of the node connect to it."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpi4py import MPI

from mpibatch.base.errors import UsageError
from mpibatch.base.progress import heartbeat
from mpibatch.mpi.abort import end_all
from mpibatch.mpi.agreement import agreed
from mpibatch.mpi.comm import private
from mpibatch.supervisor.settings import ASK, END, HUNG, SETTING, seconds_of_setting

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Supervision", "supervise"]

_log = logging.getLogger(__name__)
_RECORD = "MPIBATCH_RECORD"  # the file of a run's completion record; the page is written beside it
SOCKET = "socket"
LONGEST = 60  # characters of the folder for temporary files
_stack = -1  # the file in memory, of this process, that faulthandler writes to


@dataclass(frozen=True)
class _Started:
    """A supervisor's process, and the folder in which it listens."""

    process: subprocess.Popen[bytes]
    folder: str


class Supervision:
    """What `supervise` returns: until it is closed, a process of each node looks whether its ranks go on.

    Parameters
    ----------
    connection : socket.socket, optional
        To the supervisor of this node. Default: none; nothing is supervised.
    started : process and folder, optional
        The supervisor, on the rank that has started it. Default: none.

    Notes
    -----
    Local. Only `supervise` makes one. It is a context manager, too. It also ends with the program.

    Examples
    --------
    >>> import mpibatch as mb
    >>> with mb.supervise(seconds=600) as supervision:
    ...     supervision.beat()
    """

    def __init__(self, connection: socket.socket | None = None, started: _Started | None = None) -> None:
        self._connection, self._started = connection, started
        if connection is not None or started is not None:
            threading.Thread(target=self._listen, name="mpibatch supervision", daemon=True).start()

    def beat(self) -> None:
        """Note that this rank makes progress, which mpibatch does not see in a long loop of other work.

        Notes
        -----
        Local; it costs a tenth of a microsecond. Every call of mpibatch beats by itself.

        Examples
        --------
        >>> import mpibatch as mb
        >>> with mb.supervise(seconds=600) as supervision:
        ...     for _ in range(3):
        ...         supervision.beat()
        """
        heartbeat.beat()

    def close(self) -> None:
        """End the supervision of this rank.

        Notes
        -----
        Local. The supervisor ends with that of the last rank of its node.

        Examples
        --------
        >>> import mpibatch as mb
        >>> supervision = mb.supervise(seconds=600)
        >>> supervision.close()
        """
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Supervision:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _listen(self) -> None:
        """Wait for the supervisor's word, or for its end."""
        if self._connection is not None:
            with suppress(OSError), self._connection:
                if self._connection.recv(1) == END:
                    end_all("", HUNG)
        if self._started is not None:
            self._started.process.wait()
            shutil.rmtree(self._started.folder, ignore_errors=True)  # were it to end before it could


def supervise(seconds: float | None = None, *, end: bool = True) -> Supervision:
    """End the job, saying which rank hangs and where, when no rank of a node makes progress for a while.

    One process beside the ranks of each node looks at their heartbeats: every call of mpibatch, and every phase in it,
    counts as progress. When none goes on it asks the ranks for their stacks, and writes a page to standard error: the
    ranks by where they are, first those that keep the others waiting, with source lines, and what to look at. So also
    a rank is named that leaves out a call, computes without end, or is stopped. Then the job ends with exit code 70.

    Parameters
    ----------
    seconds : float, optional
        Without progress, 0: do not supervise. Four times as long while a rank compiles, or reads or writes files.
        Default: ``MPIBATCH_SUPERVISE``, else 1800.
    end : bool, default True
        Whether the job is then ended; else it goes on after the page, which is written once until there is progress.

    Returns
    -------
    Supervision
        With ``beat()``, for long work that is not mpibatch's, and ``close()``; or use it in a ``with`` statement.

    Raises
    ------
    UsageError
        If `seconds` is no number, 0 or more.

    Notes
    -----
    Collective over all ranks. Cost: a process of some 15 MB on each node that wakes once a second, and three stores of
    numbers for each phase. On one rank nothing is started: nobody waits for it. ``mpibatch run`` and
    ``mpibatch batch`` do this by themselves. A rank for which `map_items` has no item left counts as waiting, however
    long the others' items take. If ``MPIBATCH_RECORD`` names a file, the page is also written beside it, as
    ``hang-NODE-RANK.txt``, with the number of the node's first rank, and tells of all nodes. It takes the signal
    SIGRTMIN+11.

    Examples
    --------
    >>> import mpibatch as mb
    >>> with mb.supervise(seconds=600):
    ...     total = mb.sum(mb.Grid(8).full(1.0))
    >>> total
    8.0
    """
    world = private()
    with agreed(world, "supervise"):
        limit = seconds_of_setting() if seconds is None else seconds
        if not isinstance(limit, int | float) or not 0 <= limit < float("inf"):
            raise UsageError(
                f"supervise(seconds={seconds!r}) is no time; give seconds, 0 for no supervision ({SETTING})"
            )
    # Launchers may keep the variable from other ranks.
    limit, end, job = world.bcast((limit, end, f"{socket.gethostname()} {os.getpid()} {time.time_ns()}"), root=0)
    if not limit or world.size == 1:
        return Supervision()
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    # Where one of a node's ranks has no place for its heartbeat, none is supervised.
    have_pulses = node.allreduce(heartbeat.descriptor() >= 0, op=MPI.LAND)
    started = None
    if node.rank == 0 and have_pulses:
        try:
            started = _start(node.size, world.size, float(limit), job, ends=end)
        except OSError as error:
            _log.warning("the ranks on %s are not supervised: %s", socket.gethostname(), error)
    elif node.rank == 0:
        _log.warning(
            "the ranks on %s are not supervised: one has no memory to share for its heartbeat", socket.gethostname()
        )
    folder = node.bcast(started.folder if started else "", root=0)
    node.Free()
    connection = None
    if folder:
        try:
            connection = _connected(folder, world.rank)
        except OSError as error:
            _log.warning("rank %d is not supervised: %s", world.rank, error)
    return Supervision(connection, started)


def _start(ranks: int, world: int, seconds: float, job: str, *, ends: bool) -> _Started:
    """Start the supervisor of this node."""
    record = os.environ.get(_RECORD)
    task = {
        "ranks": ranks, "world": world, "seconds": seconds, "ends": ends,
        "node": socket.gethostname(), "first": MPI.COMM_WORLD.rank, "job": job,
        "folder": str(Path(record).resolve().parent) if record else "",
    }  # fmt: skip
    base = tempfile.gettempdir()
    # The name of a socket has 107 bytes at most.
    folder = tempfile.mkdtemp(prefix="mpibatch-supervisor-", dir=base if len(base) < LONGEST else "/tmp")
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{folder}/{SOCKET}")
            listening.listen(ranks)
            # Of what this process has open it gets no more than it needs: the launcher's connection is the rank's own.
            process = subprocess.Popen(
                [sys.executable, "-S", "-P", "-m", "mpibatch.supervisor", json.dumps(task), str(listening.fileno())],
                pass_fds=(listening.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            )  # fmt: skip
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return _Started(process, folder)


def _connected(folder: str, rank: int) -> socket.socket:
    """Hand the supervisor this rank's heartbeat, and the file of its stack."""
    global _stack
    if _stack < 0:
        _stack = os.memfd_create("mpibatch stack")
        # What is in force again once the interpreter ends, while MPI may still wait; by default it would kill.
        with suppress(ValueError):  # not in the main thread
            signal.signal(ASK, signal.SIG_IGN)
        faulthandler.register(ASK, file=_stack, all_threads=True, chain=False)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"{folder}/{SOCKET}")
        hello = json.dumps([rank, threading.main_thread().ident]).encode()
        socket.send_fds(connection, [hello], [heartbeat.descriptor(), _stack])
    except OSError:
        connection.close()
        raise
    return connection
