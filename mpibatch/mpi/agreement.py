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
    """Return a number, the same on all ranks, that stands for these words: at least 0, below 2**40. Local."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=MARK_BYTES).digest(), "big")


def is_checking() -> bool:
    """Return whether calls are compared that need a message of their own for it (``MPIBATCH_CHECK=1``). Local."""
    return os.environ.get(SETTING, "") not in ("", "0")


def same(comm: MPI.Intracomm, text: str) -> None:
    """Raise UsageError on all ranks unless all give the same words for what they do. Collective: 16 bytes."""
    if comm.size == 1:
        return
    heartbeat.beat()
    mine = np.array([mark(text), ~mark(text)], np.int64)
    least = np.empty_like(mine)
    comm.Allreduce(mine, least, op=MPI.MIN)
    if least[0] != ~least[1]:
        differ(comm, text)


def differ(comm: MPI.Intracomm, text: str) -> NoReturn:
    """Raise UsageError on all ranks, which names two that differ and what each does. Collective."""
    first = comm.bcast(text, root=0)
    other = comm.allreduce(comm.size if text == first else comm.rank, op=MPI.MIN)
    second = comm.bcast(text, root=other) if other < comm.size else first
    raise UsageError(
        f"ranks differ: rank 0 asks for {first}, rank {other} for {second}; make the same call with the same arguments "
        "on all ranks (what one rank knows alone: mpibatch.sum, max, min, or comm.bcast)"
    )


@contextmanager
def agreed(comm: MPI.Intracomm, doing: str) -> Iterator[None]:
    """Run local work that may fail on some ranks only; all ranks then raise the same error. Collective.

    The work must not communicate. Afterwards one all-reduce of three integers finds the lowest rank that failed and can
    say why; its message is broadcast, and every rank raises it: UsageError if it was one, else RunError. On the rank
    that failed the original exception is the cause. `doing` is the same on all ranks, or that is the error.
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
