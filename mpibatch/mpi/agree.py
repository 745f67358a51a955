"""Let all ranks learn of a failure on one of them before anybody communicates again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mpi4py import MPI

from mpibatch.errors import MpibatchError, RunError, UsageError

__all__ = ["agreed"]


@contextmanager
def agreed(comm: MPI.Intracomm, doing: str) -> Iterator[None]:
    """Run local work that may fail on some ranks only; all ranks then raise the same error. Collective.

    The work must not communicate. Afterwards one integer all-reduce finds the lowest rank that failed; its
    message is broadcast, and every rank raises it: UsageError if it was one, else RunError. On the rank that
    failed the original exception is the cause.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    failed = comm.allreduce(comm.size if error is None else comm.rank, op=MPI.MIN)
    if failed == comm.size:
        return
    told = comm.bcast(_tell(error, doing, comm) if comm.rank == failed else None, root=failed)
    is_usage, text = told
    raise (UsageError if is_usage else RunError)(text) from error


def _tell(error: Exception | None, doing: str, comm: MPI.Intracomm) -> tuple[bool, str]:
    where = f" (on rank {comm.rank} of {comm.size})" if comm.rank else ""
    if isinstance(error, MpibatchError):
        return isinstance(error, UsageError), f"{error}{where}"
    if isinstance(error, MemoryError):
        return False, f"{doing}: not enough memory: {error or 'an allocation failed'}; use more ranks, or nodes{where}"
    if isinstance(error, OSError):
        return False, f"{doing}: {error}{where}"
    return False, f"{doing}: {type(error).__name__}: {error}{where}"
