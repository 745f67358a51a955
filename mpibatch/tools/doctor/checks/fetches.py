"""Whether a number can be fetched from a rank that computes: batches hand out their items so."""

from __future__ import annotations

from array import array
from typing import Any

from mpibatch.tools.doctor.finding import Finding, fine, skipped, warning

__all__ = ["check_fetches"]


def check_fetches(mpi: Any, comm: Any, host: str) -> list[Finding]:
    """Fetch from rank 0 while it stays out of MPI for 50 ms, from another host if there is one. Collective."""
    from mpibatch.mpi.counter import PROBE, TRIES, waits_for_owner

    check = "fetches"
    if comm.size == 1:
        return [skipped(check, "one rank alone fetches from none; try under mpiexec -n 2")]
    hosts = comm.allgather(host)
    asker = next((rank for rank, other in enumerate(hosts) if other != hosts[0]), comm.size - 1)
    window = mpi.Win.Allocate(8 if comm.rank == 0 else 0, 8, comm=comm)
    try:
        window.Lock_all()
        zero, old = array("q", [0]), array("q", [0])
        if comm.rank == 0:
            window.Fetch_and_op(zero, old, 0, 0, mpi.REPLACE)
            window.Flush(0)
        # On a busy machine one of them may be late for another reason.
        is_slow = waits_for_owner(comm, window, 0, asker) == TRIES
        window.Unlock_all()
    finally:
        window.Free()
    if comm.rank:
        return []
    way = "a rank of another host" if hosts[asker] != hosts[0] else "a rank of this host"
    if is_slow:
        return [
            warning(
                check,
                f"{way} that fetches a number waits while its owner computes ({PROBE * 1e3:.0f} ms)",
                "batches help themselves by a thread of the owner; with MPICH export MPIR_CVAR_ASYNC_PROGRESS=1 is "
                "quicker",
            )
        ]
    return [fine(check, f"{way} fetches a number while its owner computes")]
