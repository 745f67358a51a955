"""What all ranks do together in a folder: see one another's files, write one file through MPI-IO, lock it.

Nothing but MPI and Python is needed here: values are arrays of the standard library. A failure on one rank becomes
text that all ranks exchange, so that none waits for another.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import time
from array import array
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.tools.doctor.finding import Finding, error, fine, one_line, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "check_messages",
    "check_mpi_io",
    "check_parallel_hdf5",
    "check_shared",
    "check_shared_locks",
    "counts",
    "pattern",
]

SLOW = 1.0
WORD = 8
ROWS, COLUMNS = 37, 1009  # odd, and no multiple of anything


def pattern(start: int, stop: int, stride: int = 1) -> array[int]:
    """Return the values that belong to places `start` to `stop` of a file: no two alike. Local."""
    return array("q", (place * 0x9E3779B97F4A7C15 % (1 << 63) for place in range(start, stop, stride)))


def counts(total: int, ranks: int) -> list[int]:
    """Cut `total` things unevenly: of several ranks the second one gets none. Local."""
    weights = [0 if rank == 1 else rank + 2 for rank in range(ranks)]
    given = [total * weight // sum(weights) for weight in weights]
    given[0] += total - sum(given)
    return given


def _tried(comm: Any, work: Callable[[], None]) -> str:
    """Do work on each rank; return, on all, the first failure of any, "" if there is none."""
    message = ""
    try:
        work()
    except Exception as failure:
        message = f"{one_line(str(failure), 160) or type(failure).__name__} (rank {comm.rank})"
    return next((text for text in comm.allgather(message) if text), "")


def check_shared(comm: Any, folder: Path, token: str, patience: float) -> list[Finding]:
    """Let rank 0 write a file, and all others look for it for `patience` seconds. Collective."""
    check = "shared folder"
    path = folder / f".mpibatch-doctor-{token}-seen"

    def write() -> None:
        if comm.rank == 0:
            path.write_text(token)

    try:
        if failure := _tried(comm, write):
            return [skipped(check, f"nothing could be written in {folder}: {failure}")]
        waited = _wait_for(path, token, patience)
        seen = comm.gather((waited, os.uname().nodename))
    finally:
        if comm.rank == 0:
            with suppress(OSError):
                path.unlink()
    if comm.rank:
        return []
    blind = [f"{rank} ({host})" for rank, (seconds, host) in enumerate(seen) if seconds is None]
    if blind:
        message = f"what rank 0 writes in {folder} is not seen by rank{'s' * (len(blind) > 1)} {', '.join(blind[:4])}"
        more = f" and {len(blind) - 4} more" if len(blind) > 4 else ""
        advice = "give a --folder, and output path, on a file system that all nodes mount: home, project or scratch"
        return [error(check, message + more, advice)]
    slowest = max(seconds for seconds, _ in seen)
    if slowest > SLOW:
        message = f"a new file in {folder} was seen by all ranks only after {slowest:.1f} s"
        return [warning(check, message, "mount with actimeo=1 or noac (NFS), or give another --folder")]
    return [fine(check, f"all {comm.size} ranks see {folder}")]


def _wait_for(path: Path, token: str, patience: float) -> float | None:
    """The seconds until a file with the token is there, None if it does not come."""
    begin = time.monotonic()
    while True:
        with suppress(OSError):
            if path.read_text() == token:
                return time.monotonic() - begin
        if time.monotonic() - begin > patience:
            return None
        with suppress(OSError):
            _ = [*path.parent.iterdir()]  # lets an NFS client look anew
        time.sleep(0.02)


def check_shared_locks(comm: Any, folder: Path, token: str) -> list[Finding]:
    """Let rank 0 lock a file, and the others find it locked. Collective."""
    check = "locks between ranks"
    path = folder / f".mpibatch-doctor-{token}-lock"
    held: list[Any] = []

    def lock() -> None:
        if comm.rank == 0:
            held.append(path.open("w"))
            fcntl.lockf(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)

    try:
        if failure := _tried(comm, lock):
            return [skipped(check, f"no lock to try: {failure}")] if comm.rank == 0 else []
        got = comm.gather((os.uname().nodename, comm.rank > 0 and _can_lock(path)))
    finally:
        for file in held:
            file.close()
        if comm.rank == 0:
            with suppress(OSError):
                path.unlink()
    if comm.rank:
        return []
    if hosts := sorted({host for host, locked in got if locked}):
        message = f"a lock that rank 0 holds in {folder} is not seen on {', '.join(hosts[:4])}"
        return [
            warning(
                check, message, "mount -o flock, not localflock (Lustre); local_lock=none (NFS); or another --folder"
            )
        ]
    return [fine(check, f"a lock in {folder} holds for all ranks")]


def _can_lock(path: Path) -> bool:
    try:
        with open(path, "r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def check_messages(comm: Any) -> list[Finding]:
    """Send around a ring what takes each way of sending: a word, and 1 MiB. Collective."""
    check = "messages"
    if comm.size == 1:
        return [skipped(check, "one rank alone sends none; try under mpiexec -n 2")]
    after, before = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size

    def ring() -> None:
        # Small messages are sent at once; large ones are fetched from the sender's memory, or in pieces.
        for words in (1, 1 << 17):
            got = array("q", bytes(WORD * words))
            comm.Sendrecv(pattern(comm.rank, comm.rank + words), after, 7, got, before, 7)
            if got != pattern(before, before + words):
                raise OSError(f"{WORD * words} bytes from rank {before} came wrong")

    failure = _tried(comm, ring)
    if comm.rank:
        return []
    if failure:
        # Open MPI in a container that forbids process_vm_readv: open-mpi/ompi issue 4948.
        advice = (
            "in a container: export OMPI_MCA_btl_vader_single_copy_mechanism=none, or docker run --cap-add=SYS_PTRACE"
        )
        return [error(check, f"messages between ranks fail: {failure}", advice)]
    return [fine(check, f"8 B and 1 MiB went around {comm.size} ranks")]


def check_mpi_io(mpi: Any, comm: Any, folder: Path, token: str) -> list[Finding]:
    """Write a file through MPI-IO in two ways, on all ranks and on one, and read it back without MPI. Collective."""
    check = "MPI-IO"
    path = str(folder / f".mpibatch-doctor-{token}-data")
    begin = time.perf_counter()
    teams = [(comm, f"{comm.size} ranks")] + ([(mpi.COMM_SELF, "1 rank")] if comm.size > 1 else [])
    failure = ""
    for team, who in teams:
        for way, write in (("rows", _write_rows), ("columns", _write_columns)):
            if team is comm or comm.rank == 0:
                failure = _write_and_read(mpi, team, path, write)
            failure = comm.bcast(failure)
            if failure:
                return [_failed(check, f"{who} writing {way} to {folder}: {failure}")] if comm.rank == 0 else []
    seconds = time.perf_counter() - begin
    if comm.rank:
        return []
    ranks = "1 rank" if comm.size == 1 else f"{comm.size} ranks, and 1"
    return [fine(check, f"{ranks}: what was written in uneven parts came back right ({seconds:.2f} s)")]


def check_parallel_hdf5(comm: Any, folder: Path, token: str) -> list[Finding]:
    """Write a dataset through an h5py that has MPI, all ranks together, and read it back on one. Collective."""
    check = "parallel HDF5"
    h5py: Any = importlib.import_module("h5py")
    path = str(folder / f".mpibatch-doctor-{token}-hdf5")

    def write() -> None:
        with h5py.File(path, "w", driver="mpio", comm=comm) as file:
            values = file.create_dataset("values", (comm.size, COLUMNS), dtype="i8")
            with values.collective:
                values[comm.rank] = pattern(comm.rank * COLUMNS, (comm.rank + 1) * COLUMNS)

    def compare() -> None:
        if comm.rank == 0:
            with h5py.File(path, "r") as file:
                data = file["values"][()].tobytes()
            if data != pattern(0, comm.size * COLUMNS).tobytes():
                raise OSError("what was read is not what was written")

    try:
        failure = _tried(comm, write) or _tried(comm, compare)
    finally:
        if comm.rank == 0:
            with suppress(OSError):
                Path(path).unlink()
    if comm.rank:
        return []
    if failure:
        return [error(check, f"h5py on {comm.size} ranks: {failure}", "export MPIBATCH_DRIVER=direct")]
    return [fine(check, "a dataset written by all ranks came back right")]


def _failed(check: str, message: str) -> Finding:
    if any(word in message.lower() for word in ("no space", "quota", os.strerror(errno.ENOSPC).lower())):
        return error(check, message, "make room, or give another --folder")
    if "lock" in message.lower():
        return error(check, message, "MPI-IO needs locks here: mount with flock, or give another --folder")
    return error(check, message, "give another --folder; for Open MPI: export OMPI_MCA_io=^ompio")


def _write_and_read(mpi: Any, comm: Any, path: str, write: Callable[[Any, Any, Any], None]) -> str:
    """Write, read back, remove; return what went wrong, the same text on all ranks of `comm`."""
    files: list[Any] = []

    def begin() -> None:
        files.append(mpi.File.Open(comm, path, mpi.MODE_CREATE | mpi.MODE_WRONLY))

    try:
        failure = opening = _tried(comm, begin)
        if not failure:
            failure = _tried(comm, lambda: write(mpi, comm, files[0]))
        # Closing is collective: not where one rank alone has not opened it.
        if not opening:
            failure = _tried(comm, files[0].Close) or failure
        if not failure:
            failure = _tried(comm, lambda: _compare(path) if comm.rank == 0 else None)
        return failure
    finally:
        comm.Barrier()
        if comm.rank == 0:
            with suppress(OSError):
                Path(path).unlink()
        comm.Barrier()


def _write_rows(mpi: Any, comm: Any, file: Any) -> None:
    """Each rank a stretch of the file; one rank none."""
    given = counts(ROWS * COLUMNS, comm.size)
    start = sum(given[: comm.rank])
    values = pattern(start, start + given[comm.rank])
    file.Write_at_all(WORD * start, [values, mpi.INT64_T])


def _write_columns(mpi: Any, comm: Any, file: Any) -> None:
    """Each rank some columns, through a view with gaps, as fields are written; one rank none."""
    given = counts(COLUMNS, comm.size)
    width, start = given[comm.rank], sum(given[: comm.rank])
    values = array("q")
    if width:
        kind = mpi.INT64_T.Create_subarray([ROWS, COLUMNS], [ROWS, width], [0, start])
        for row in range(ROWS):
            values += pattern(row * COLUMNS + start, row * COLUMNS + start + width)
    else:
        kind = mpi.INT64_T.Create_contiguous(1)
    kind.Commit()
    try:
        file.Set_view(0, mpi.INT64_T, kind)
        file.Write_all([values, mpi.INT64_T])
    finally:
        kind.Free()


def _compare(path: str) -> None:
    """Read a file as any other program would."""
    with open(path, "rb") as file:
        data = file.read()
    expected: Sequence[int] = pattern(0, ROWS * COLUMNS)
    if len(data) != WORD * len(expected):
        raise OSError(f"the file has {len(data)} bytes instead of {WORD * len(expected)}")
    values = array("q", data)
    wrong = [place for place, (a, b) in enumerate(zip(values, expected, strict=True)) if a != b]
    if wrong:
        raise OSError(f"{len(wrong)} of {len(values)} values are wrong, the first at byte {WORD * wrong[0]}")
