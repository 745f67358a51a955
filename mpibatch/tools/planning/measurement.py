"""The numbers of this machine: memory bandwidth, messages, files, and what a rank takes before it has any data."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import shutil
import socket
import statistics
import tempfile
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from mpibatch import io
from mpibatch.base.errors import RunError
from mpibatch.base.host import cpu_model, usable_memory
from mpibatch.base.trust import privacy
from mpibatch.fields.grid import Grid
from mpibatch.io.write.provenance import versions
from mpibatch.job.execution.account import peak_memory
from mpibatch.mpi import MPI, agreed, private
from mpibatch.mpi.failure import Leaving
from mpibatch.tools.planning.machine import Links, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "alone", "cores", "machine_of", "node_of", "restart_peak", "scratch", "sleepy",
]  # fmt: skip

T = TypeVar("T")

TRIAD_BYTES = 64 << 20  # of one array, or twice the last level cache if that is more
TRIAD_SECONDS = 0.3
TOUCHED_BYTES, PAGE = 192 << 20, 4096
CACHES_WORTH = 2
FIRST_FILE, LARGE_FILE = 16 << 20, 128 << 20  # bytes on each rank
FILE_SECONDS = 0.7
PING, LARGE_MESSAGE = 400, 2 << 20


def machine_of(comm: MPI.Intracomm, folder: str, name: str | None) -> Machine:
    """Return this machine's numbers, the same on all ranks. Collective. Takes a few seconds."""
    node = node_of(comm)
    try:
        library = comm.allreduce(peak_memory(), op=MPI.MAX)
        first_of = comm.allgather(node.bcast(comm.rank, root=0))
        leaders = sorted(set(first_of))
        most = comm.allreduce(node.size, op=MPI.MAX)
        touch = _touches(comm, node, most)
        triad = _triads(comm, node, most)
        neighbors = next(((first, rank) for rank, first in enumerate(first_of) if first != rank), None)
        near = _links(comm, *neighbors) if neighbors else None
        far = _links(comm, 0, leaders[1]) if len(leaders) > 1 else None
        write, read = _files(comm, folder)
        machine = None
        if comm.rank == 0:
            host = privacy.host(socket.gethostname())
            machine = Machine(
                name=name or host,
                cores_per_node=cores(),
                triad=triad,
                memory_per_node=usable_memory(),
                latency=near.latency if near else None,
                bandwidth=near.bandwidth if near else None,
                allreduce=near.allreduce if near else None,
                internode=far,
                write=write,
                read=read,
                library_memory=library,
                touch=touch,
                host=host,
                cpu=cpu_model(),
                folder=str(Path(folder).resolve()),
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                nodes=len(leaders),
                versions=json.loads(versions()),
            )
        shared: Machine = comm.bcast(machine, root=0)
        return shared
    finally:
        node.Free()


def node_of(comm: MPI.Intracomm) -> MPI.Intracomm:
    """Return the ranks of this node, in their order; to be freed. Collective."""
    return cast("MPI.Intracomm", comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank))


def _counts(most: int) -> list[int]:
    """1, the powers of two below, and all."""
    return sorted({*(1 << power for power in range(most.bit_length()) if 1 << power <= most), most})


def _touches(comm: MPI.Intracomm, node: MPI.Intracomm, most: int) -> dict[int, float]:
    """Return seconds per byte of the first use of memory, by ranks on a node that do it at once: one, and `most`.

    Nodes may have unequal ranks: those with fewer wait.
    """
    rates: dict[int, float] = {}
    for count in sorted({1, most}):
        seconds = 0.0
        sleepy(comm)
        if node.rank < count <= node.size:
            begin = time.perf_counter()
            np.empty(TOUCHED_BYTES, "u1")[::PAGE] = 1
            seconds = time.perf_counter() - begin
        rates[count] = max(float(comm.allreduce(seconds, op=MPI.MAX)) / TOUCHED_BYTES, *rates.values(), 1e-15)
    return rates


def _triads(comm: MPI.Intracomm, node: MPI.Intracomm, most: int) -> dict[int, float]:
    """Return GB/s of all ranks together by ranks on a node: every node that has so many works, the slowest counts.

    24 bytes a number, as STREAM counts: 32 move, since a store first brings the line that it writes to.
    """
    from mpibatch.tools.planning._loops.triad import triad

    preferred = max(TRIAD_BYTES, CACHES_WORTH * _cache_bytes())
    least = usable_memory() // (8 * most)
    size = comm.allreduce(max(1 << 16, min(preferred, least) // 8), op=MPI.MIN)
    a, b, c = (np.full(size, number) for number in (0.0, 1.0, 2.0))
    triad(a[:8], b[:8], c[:8], 3.0)
    speeds = {}
    for count in _counts(most):
        group = node.Split(0 if node.rank < count <= node.size else MPI.UNDEFINED, node.rank)
        seconds = math.inf
        if group != MPI.COMM_NULL:
            best: list[float] = []
            end = time.perf_counter() + TRIAD_SECONDS
            while not best or group.bcast(time.perf_counter() < end, root=0):
                group.Barrier()
                begin = time.perf_counter()
                triad(a, b, c, 3.0)
                best.append(group.allreduce(time.perf_counter() - begin, op=MPI.MAX))
            seconds = min(best)
            group.Free()
        sleepy(comm)
        slowest = comm.allreduce(seconds if seconds < math.inf else 0.0, op=MPI.MAX)
        speeds[count] = round(24 * size * count / slowest / 1e9, 3)
    return speeds


def _cache_bytes() -> int:
    """The last level cache that one core sees; 0 if that is not told."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with suppress(OSError, ValueError):
            text = path.read_text().strip()
            sizes.append(int(text.rstrip("KMG")) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1], 1))
    return max(sizes)


def _links(comm: MPI.Intracomm, first: int, second: int) -> Links:
    """Return what messages between two ranks cost, as halos are: both send at once, and copy before and after."""
    costs: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pair = comm.Split(0 if comm.rank in (first, second) else MPI.UNDEFINED, 0 if comm.rank == first else 1)
    if pair != MPI.COMM_NULL:
        small, large = np.zeros((2, 8), "u1"), np.zeros((4, LARGE_MESSAGE), "u1")
        partner = 1 - pair.rank

        def swap(leaving: Any, arriving: Any) -> None:
            pair.Sendrecv([leaving, MPI.BYTE], partner, 1, [arriving, MPI.BYTE], partner, 1)

        def heavy() -> None:
            large[1][...] = large[0]
            swap(large[1], large[2])
            large[3][...] = large[2]

        number = np.zeros(2)
        latency = _median(pair, lambda: swap(small[0], small[1]), PING)
        seconds = _median(pair, heavy, 40)
        reduce = _median(pair, lambda: pair.Allreduce(number[:1], number[1:]), PING)
        costs = latency, LARGE_MESSAGE / max(seconds - latency, 1e-9), reduce
        pair.Free()
    sleepy(comm)
    return Links(*comm.bcast(costs, root=first))


def _median(comm: MPI.Comm, call: Callable[[], object], times: int) -> float:
    """Return the median seconds of a call, on the slowest rank. Collective."""
    taken = []
    comm.Barrier()
    for _ in range(times):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return float(comm.allreduce(statistics.median(taken[times // 10 :]), op=MPI.MAX))


def _files(comm: MPI.Intracomm, folder: str) -> tuple[dict[int, float], dict[int, float]]:
    """Return bytes per second of writing and of reading, by ranks: one, and all."""
    with scratch(comm, folder) as where:
        first = alone(comm, f"probing {folder}", lambda: _one_file(private(MPI.COMM_SELF), where))
        write, read = {1: first[0]}, {1: first[1]}
        if comm.size > 1:
            write[comm.size], read[comm.size] = _one_file(comm, where)
    return write, read


@contextmanager
def scratch(comm: MPI.Intracomm, folder: str) -> Iterator[Path]:
    """Have a folder of our own, the same on all ranks, for a while. Collective. RunError if that is not possible."""
    made = None
    with agreed(comm, f"probing {folder}"):
        if comm.rank == 0:
            made = tempfile.mkdtemp(prefix="mpibatch-probe-", dir=folder)
    where = Path(comm.bcast(made, root=0))
    try:
        with Leaving(comm):
            yield where
            comm.Barrier()
    finally:
        # All ranks are here, or one has failed by itself, and nobody can be waited for.
        if comm.rank == 0:
            shutil.rmtree(where, ignore_errors=True)


def _one_file(comm: MPI.Intracomm, where: Path) -> tuple[float, float]:
    written = read = 0.0
    for nbytes in (FIRST_FILE, FIRST_FILE, LARGE_FILE):
        u = Grid((comm.size * nbytes // 8,), comm=comm).zeros("f8")
        size, path = u.shape[0] * 8, str(where / f"probe-{comm.size}.h5")
        begin = _now(comm)
        io.save(path, u=u, driver="direct")
        middle = _now(comm)
        io.load(path, "u", comm=comm)
        end = _now(comm)
        written, read = size / (middle - begin), size / (end - middle)
        if (end - begin) * LARGE_FILE / nbytes > FILE_SECONDS:
            break  # a slow disk: this one tells enough
    return written, read


def _now(comm: MPI.Intracomm) -> float:
    comm.Barrier()
    return float(comm.bcast(time.perf_counter(), root=0))


def alone(comm: MPI.Intracomm, doing: str, call: Callable[[], T]) -> T:
    """Return on all ranks what a call returns on rank 0, while the others sleep. Collective.

    Whatever it raises, a user's program included, all ranks raise as `agreed` has it.
    """
    result = None
    with agreed(comm, doing):
        try:
            result = call() if comm.rank == 0 else None
        except SystemExit as leaving:
            raise RunError(f"{doing}: the program left with {leaving.code!r}") from leaving
        finally:
            sleepy(comm)
    return cast("T", comm.bcast(result, root=0))


def sleepy(comm: MPI.Intracomm) -> None:
    """Wait for all ranks without taking the core from one that works. Collective."""
    waiting = comm.Ibarrier()
    while not waiting.Test():
        time.sleep(1e-3)


def restart_peak() -> None:
    """Give back what is free, and count the most memory from now on, where the system allows it. Local."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def cores() -> int:
    """Return the cores of this host. Local."""
    return os.cpu_count() or 1
