"""Let all ranks learn of a failure on one of them before anybody communicates again; and of calls that differ.

Ranks that make different calls, or the same with other arguments, may go on for long and be wrong. So what a rank does
travels as a number made of its words, in messages that are sent anyway; where none is, `same` sends one, and where one
would cost too much (`is_checking`) it is only sent if ``MPIBATCH_CHECK=1``.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from mpi4py import MPI

from mpibatch.base.errors import MpibatchError, RunError, UsageError, errno_of, reason_of
from mpibatch.base.progress import heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["agreed", "differ", "is_checking", "mark", "same"]

SETTING = "MPIBATCH_CHECK"
MARK_BYTES = 5  # so that marks of millions of ranks add up without overflow


def mark(text: str) -> int:
    """Return the number that stands for a text in messages by which ranks compare what they do.

    Parameters
    ----------
    text : str
        What a rank does, in words.

    Returns
    -------
    int
        At least 0 and below 2**40, so that the marks of millions of ranks can be summed in 64 bits.

    Notes
    -----
    Local. A digest of the text, the same on all ranks and machines. For collectives of one's own that send a message
    anyway, which then carries the mark; where there is none, see `same`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.mpi.mark("10 steps") == mb.mpi.mark("11 steps")
    False
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=MARK_BYTES).digest(), "big")


def is_checking() -> bool:
    """Return whether calls are compared even where this takes a message of its own.

    Returns
    -------
    bool
        Whether ``MPIBATCH_CHECK`` is set, to anything but 0.

    Notes
    -----
    Local. For calls that are made too often to be compared in every run.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(8).full(1.0)
    >>> if mb.mpi.is_checking():
    ...     mb.mpi.same(u.grid.comm, f"a sweep over {u.grid.shape} cells")
    """
    return os.environ.get(SETTING, "") not in ("", "0")


def same(comm: MPI.Intracomm, text: str) -> None:
    """Raise an error on all ranks unless all of them do the same.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Whose ranks are compared: a private communicator, such as a grid's.
    text : str
        What this rank does, in words that the message can quote: the call and those of its arguments that matter.

    Raises
    ------
    UsageError
        On all ranks, if two texts differ; it quotes both.

    Notes
    -----
    Collective: one all-reduce of 16 bytes, of the texts' marks; the texts themselves are sent only if these differ.

    Examples
    --------
    >>> import mpibatch as mb
    >>> steps = 10
    >>> mb.mpi.same(mb.mpi.private(), f"{steps} steps")
    """
    if comm.size == 1:
        return
    heartbeat.beat()
    mine = np.array([mark(text), ~mark(text)], np.int64)
    least = np.empty_like(mine)
    comm.Allreduce(mine, least, op=MPI.MIN)
    if least[0] != ~least[1]:
        differ(comm, text)


def differ(comm: MPI.Intracomm, text: str) -> NoReturn:
    """Raise, on all ranks, the error that names two ranks that differ and says what each does.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Whose ranks do not all do the same.
    text : str
        What this rank does, in words.

    Raises
    ------
    UsageError
        Always.

    Notes
    -----
    Collective: two broadcasts of a text and an all-reduce. All ranks call it, once they know by their marks (`mark`)
    that they differ.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> comm, text = mb.mpi.private(), "10 steps"
    >>> marks = np.array([mb.mpi.mark(text), ~mb.mpi.mark(text)])
    >>> least = np.empty_like(marks)
    >>> comm.Allreduce(marks, least, op=mb.mpi.MPI.MIN)
    >>> if least[0] != ~least[1]:  # the least mark is not the greatest
    ...     mb.mpi.differ(comm, text)
    """
    first = comm.bcast(text, root=0)
    other = comm.allreduce(comm.size if text == first else comm.rank, op=MPI.MIN)
    second = comm.bcast(text, root=other) if other < comm.size else first
    raise UsageError(
        f"ranks differ: rank 0 asks for {first}, rank {other} for {second}; make the same call with the same arguments "
        "on all ranks (what one rank knows alone: mpibatch.sum, max, min, or comm.bcast)"
    )


@contextmanager
def agreed(comm: MPI.Intracomm, doing: str) -> Iterator[None]:
    """Run a block that may fail on some ranks only; if it does, all ranks raise the same error at its end.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Whose ranks agree: a private communicator, such as a grid's.
    doing : str
        What the block does, such as "reading settings.toml"; most messages begin with it. The same on all ranks.

    Yields
    ------
    None
        The block, which must not communicate.

    Raises
    ------
    UsageError
        On all ranks, if the lowest rank that failed raised one, or if `doing` differs between ranks.
    RunError
        On all ranks, for any other exception. Where the block failed, its own exception is the cause.

    Notes
    -----
    Collective: one all-reduce of 24 bytes at the end of the block and, after a failure, a broadcast of the message.
    The block ends in the same way on all ranks, which can therefore communicate again. A rank that only knows that
    something failed elsewhere leaves the message to the one that knows why.

    Examples
    --------
    >>> import mpibatch as mb
    >>> comm = mb.mpi.private()
    >>> with mb.mpi.agreed(comm, "reading settings"):
    ...     if comm.rank == 0:
    ...         int("ten")
    Traceback (most recent call last):
        ...
    mpibatch.base.errors.RunError: reading settings: ValueError: invalid literal for int() with base 10: 'ten'
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    heartbeat.beat()
    number = mark(doing)
    order = comm.rank + comm.size * getattr(error, "is_vague", False) if error is not None else 2 * comm.size
    mine = np.array([order, number, ~number], np.int64)
    least = np.empty_like(mine)
    comm.Allreduce(mine, least, op=MPI.MIN)
    if least[1] != ~least[2]:
        differ(comm, doing)
    if least[0] == 2 * comm.size:
        return
    failed = int(least[0]) % comm.size
    report = comm.bcast(_tell(error, doing, comm) if comm.rank == failed else None, root=failed)
    is_usage, text = report
    raise (UsageError if is_usage else RunError)(text) from error


def _tell(error: Exception | None, doing: str, comm: MPI.Intracomm) -> tuple[bool, str]:
    where = f" (on rank {comm.rank} of {comm.size})" if comm.rank else ""
    if isinstance(error, MpibatchError):
        return isinstance(error, UsageError), f"{error}{where}"
    if isinstance(error, MemoryError):
        return False, f"{doing}: not enough memory: {error or 'an allocation failed'}; use more ranks, or nodes{where}"
    if error is not None and errno_of(error) is not None:
        name = str(getattr(error, "filename", None) or "")
        file = "" if not name or name in doing else f"{name}: "
        return False, f"{doing}: {file}{reason_of(error)}{where}"
    if isinstance(error, OSError):
        return False, f"{doing}: {error}{where}"
    return False, f"{doing}: {type(error).__name__}: {error}{where}"
