#!/usr/bin/env python3
"""Time halo exchanges against hand-written mpi4py in the same run: `mpiexec -n 2 python scripts/bench_halo.py`.

Cubes of 66, 130 and 258 cells (halo included), f4 and f8, widths 1 and 4, cut along one axis at a time, one
face each way between neighbors. One JSON object a line. Peers, all persistent where MPI allows:

- by_messages: ours, where nothing goes by way of memory that ranks of a node share;
- bare_datatype: faces in place as committed subarray types;
- bare_packed: faces through contiguous buffers, packed and unpacked by NumPy;
- wire: the same bytes between contiguous buffers, without filling any halo (a lower bound, not a peer).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import mpi4py
import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.halo.node_memory import node_memory
from mpibatch.halo.shared_stages import TIMED, WARM
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable

Array = npt.NDArray[Any]
CHOOSING = 2 * (WARM + TIMED)  # exchanges, after which it is known which way ours go


def seconds_per_call(calls: dict[str, Callable[[], None]], samples: int, repeats: int) -> dict[str, list[float]]:
    """Return `samples` timings per call, the calls taken in turn so that drift hits them alike."""
    comm = MPI.COMM_WORLD
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(samples):
        for name, call in calls.items():
            call()  # so that each finds its own faces in the cache, not what the one before left
            comm.Barrier()
            begin = time.perf_counter()
            for _ in range(repeats):
                call()
            mine = (time.perf_counter() - begin) / repeats
            times[name].append(comm.allreduce(mine, op=MPI.MAX))
    return times


def paired(theirs: list[float], ours: list[float]) -> float:
    """Return the median of their seconds over ours, sample by sample: what slows the machine slows both."""
    return statistics.median(t / o for t, o in zip(theirs, ours, strict=True))


def settle(exchange: mb.Exchange) -> None:
    """Exchange until it is known which way is faster."""
    for _ in range(CHOOSING):
        exchange()


def by_messages(u: mb.Field, widths: list[tuple[int, int]]) -> mb.Exchange:
    """Return an exchange as ours of another such field, that sends messages alone."""
    node = node_memory(u.grid.comm)
    if node is None:
        return mb.Exchange(u.like(), widths, mode=None)
    before, node.way = node.way, "messages"
    try:
        return mb.Exchange(u.like(), widths, mode=None)
    finally:
        node.way = before


def faces(array: Array, axis: int, width: int) -> list[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """Return (neighbor, cells to send, cells to fill) of this rank, cut along `axis`."""
    comm = MPI.COMM_WORLD
    n = array.shape[axis]
    found = []
    for neighbor, send, fill in (
        (comm.rank - 1, (width, 2 * width), (0, width)),
        (comm.rank + 1, (n - 2 * width, n - width), (n - width, n)),
    ):
        if 0 <= neighbor < comm.size:
            cuts = []
            for low, high in (send, fill):
                cut = [slice(width, -width)] * array.ndim
                cut[axis] = slice(low, high)
                cuts.append(tuple(cut))
            found.append((neighbor, cuts[0], cuts[1]))
    return found


def persistent(requests: list[MPI.Prequest]) -> Callable[[], None]:
    """Return a call that starts and completes requests."""

    def run() -> None:
        MPI.Prequest.Startall(requests)
        MPI.Request.Waitall(requests)

    return run


def peers(array: Array, axis: int, width: int) -> tuple[dict[str, Callable[[], None]], list[Any]]:
    """Return the hand-written exchanges, and what to free."""
    comm, byte = MPI.COMM_WORLD, MPI.BYTE
    item = {"f4": MPI.FLOAT, "f8": MPI.DOUBLE}[array.dtype.str[1:]]
    typed, packed, wire, types = [], [], [], []
    packs: list[tuple[Array, Array]] = []
    unpacks: list[tuple[Array, Array]] = []
    for neighbor, send, fill in faces(array, axis, width):
        for cut, start in ((send, comm.Send_init), (fill, comm.Recv_init)):
            spans = [c.indices(n) for c, n in zip(cut, array.shape, strict=True)]
            sizes = [b - a for a, b, _ in spans]
            kind = item.Create_subarray(array.shape, sizes, [a for a, _, _ in spans]).Commit()
            types.append(kind)
            typed.append(start([array, 1, kind], neighbor, 3))
            buffer = np.empty(sizes, array.dtype)
            packed.append(start([buffer, byte], neighbor, 4))
            wire.append(start([np.empty(sizes, array.dtype), byte], neighbor, 5))
            (packs if start == comm.Send_init else unpacks).append((buffer, array[cut]))
    through_buffers = persistent(packed)

    def with_packing() -> None:
        for buffer, view in packs:
            buffer[...] = view
        through_buffers()
        for buffer, view in unpacks:
            view[...] = buffer

    calls = {"bare_datatype": persistent(typed), "bare_packed": with_packing, "wire": persistent(wire)}
    return calls, [*typed, *packed, *wire, *types]


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="66 and 130 cells, 5 samples")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    options = parser.parse_args()
    comm = MPI.COMM_WORLD
    if comm.size < 2:
        parser.error("no rank to exchange with: run under mpiexec -n 2")
    versions = {
        "mpi4py": mpi4py.__version__,
        "numpy": np.__version__,
        "mpi": MPI.Get_library_version().split("\n")[0].strip(),
    }
    for edge in (66, 130) if options.quick else (66, 130, 258):
        for dtype in ("f4", "f8"):
            for width in (1, 4):
                slowest: dict[int, float] = {}
                for axis in range(3):
                    case = f"halo-{edge}-{dtype}-width{width}-axis{axis}"
                    if options.only not in case:
                        continue
                    owned = [edge - 2 * width] * 3
                    owned[axis] *= comm.size
                    topology = [1, 1, 1]
                    topology[axis] = comm.size
                    u = mb.Grid(owned, topology=topology).zeros(dtype, halo=width)
                    widths = [(width, width) if a == axis else (0, 0) for a in range(3)]
                    calls, handles = peers(np.ones((edge,) * 3, dtype), axis, width)
                    with mb.Exchange(u, widths, mode=None) as ours, by_messages(u, widths) as other:
                        settle(ours)
                        calls = {"ours": ours, "by_messages": other, **calls}
                        repeats = max(3, int(2e7 / (edge * edge * width * 40)))
                        times = seconds_per_call(calls, 5 if options.quick else 21, repeats)
                    for handle in handles:
                        handle.Free()
                    median = {name: statistics.median(t) for name, t in times.items()}
                    slowest[axis] = median["ours"]
                    if comm.rank == 0:
                        against = {name: s for name, s in median.items() if name != "ours"}
                        print(
                            json.dumps(
                                {
                                    "case": case,
                                    "ranks": comm.size,
                                    "threads": 1,
                                    "seconds": median["ours"],
                                    "spread": [min(times["ours"]), max(times["ours"])],
                                    "against": against,
                                    "ratio": {name: paired(times[name], times["ours"]) for name in against},
                                    "versions": versions,
                                }
                            ),
                            flush=True,
                        )
                if comm.rank == 0 and len(slowest) == 3:
                    ratio = max(slowest.values()) / min(slowest.values())
                    print(
                        json.dumps({"case": f"halo-{edge}-{dtype}-width{width}-axes", "slowest_over_fastest": ratio}),
                        flush=True,
                    )


if __name__ == "__main__":
    main()
