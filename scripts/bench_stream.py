#!/usr/bin/env python3
"""Measure jobs that stream: `mpiexec -n 2 python scripts/bench_stream.py`.

One JSON object a line. "larger": gaussian, threshold, label of a volume of 40 GiB (mostly holes of a sparse file) where
a rank may take 3 GiB, or of as much as the disk has room for; the peak of resident bytes is told beside what was
allowed. "fits": the same job of a volume that fits into memory, in slabs and in memory, in turn; bar: 1.3 times.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

import mpibatch as mb
from mpibatch.job import parse, run
from mpibatch.job.execution.account import peak_memory
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable

COMM = MPI.COMM_WORLD
GIB = 1 << 30
BAR = 1.3
LABELS = 12  # bytes of a cell: provisional labels of 4, and labels of 8 from 2**31 cells on
FILLED = 64  # one plane in so many has blobs, and those beside it
JOB = """
[input]
path = "{folder}/in.h5"
[[step]]
filter = "gaussian_filter"
sigma = 1
[[step]]
filter = "binarize"
threshold = 0.05
[[step]]
filter = "label"
save = "labels"
[output]
path = "{folder}/out.h5"
record = false
"""


def make(path: Path, shape: tuple[int, int, int]) -> None:
    """Write a sparse volume of blobs. On rank 0 alone."""
    rng = np.random.default_rng(1)
    blobs = (rng.random((8, *shape[1:]), "f4") > 0.999).astype("f8")
    with h5py.File(path, "w") as file:
        volume = file.create_dataset("raw", shape, "f8", chunks=(1, *shape[1:]))
        for z in range(0, shape[0] - 4, FILLED):
            volume[z : z + 4] = blobs[z % 5 : z % 5 + 4]


def cube(nbytes: int) -> tuple[int, int, int]:
    """Return the shape of a volume of f8 cells."""
    edge = round((nbytes / 8) ** (1 / 3))
    return edge, edge, edge


def larger(folder: Path, nbytes: int, memory: int) -> dict[str, Any]:
    """Stream a volume under a limit."""
    free = COMM.bcast(shutil.disk_usage(folder).free)
    most = int(0.98 * free / (LABELS + 1) * 8)
    shape = cube(min(nbytes, most))
    if COMM.rank == 0:
        make(folder / "in.h5", shape)
    COMM.Barrier()
    begin = time.perf_counter()
    limit = f'[stream]\nmemory = "{memory / GIB} GiB"\n'
    summary = run(parse(JOB.format(folder=folder) + limit))
    seconds = time.perf_counter() - begin
    peak = COMM.allreduce(peak_memory(), op=MPI.MAX)
    return {
        "case": "larger", "asked_bytes": nbytes, "bytes": 8 * shape[0] ** 3, "seconds": seconds,
        "passes": dict(summary.seconds), "objects": summary.saved[0].measured["objects"], "limit_bytes": memory,
        "peak_bytes": peak, "within": peak <= memory,
    }  # fmt: skip


def _touch(nbytes: int) -> None:
    """Use memory and free it: hosts take free memory of virtual machines back, and giving it again takes long."""
    np.ones(nbytes, "u1")
    COMM.Barrier()


def fits(folder: Path, nbytes: int, samples: int) -> dict[str, Any]:
    """Stream a volume that fits, and run it in memory."""
    if COMM.rank == 0:
        make(folder / "in.h5", cube(nbytes))
    COMM.Barrier()
    text = JOB.format(folder=folder)
    ways = {"streamed": f'{text}[stream]\nmemory = "{(384 << 20) + nbytes} B"\n', "in memory": text}
    times: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(samples + 1):
        for name, job in ways.items():
            _touch(3 * nbytes // COMM.size)
            COMM.Barrier()
            begin, used = time.perf_counter(), time.process_time()
            run(parse(job))
            used = time.process_time() - used
            if turn:
                times[name].append(COMM.allreduce(time.perf_counter() - begin, op=MPI.MAX))
                cpu[name].append(COMM.allreduce(used, op=MPI.SUM))
    pairs, of_cpu = ([a / b for a, b in zip(*kind.values(), strict=True)] for kind in (times, cpu))
    return {
        "case": "fits", "bytes": nbytes, "seconds": statistics.median(times["streamed"]),
        "spread": [min(times["streamed"]), max(times["streamed"])],
        "against": {"in memory": statistics.median(times["in memory"])}, "times_longer": statistics.median(pairs),
        "cpu_seconds": {name: statistics.median(values) for name, values in cpu.items()},
        "cpu_times": statistics.median(of_cpu), "bar": BAR, "holds": statistics.median(pairs) <= BAR,
    }  # fmt: skip


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 GiB where a rank may take 640 MiB, and 256 MiB")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    parser.add_argument("--folder", default=None, help="where files lie (default: the system's for temporary ones)")
    options = parser.parse_args()
    cases: dict[str, Callable[[Path], dict[str, Any]]] = {
        "larger": lambda folder: larger(folder, *((GIB, 640 << 20) if options.quick else (40 * GIB, 3 * GIB))),
        "fits": lambda folder: fits(folder, (256 << 20) if options.quick else GIB, 3 if options.quick else 5),
    }
    for name, case in cases.items():
        if options.only not in name:
            continue
        folder = Path(COMM.bcast(tempfile.mkdtemp(dir=options.folder) if COMM.rank == 0 else None))
        try:
            found = case(folder)
        finally:
            COMM.Barrier()
            if COMM.rank == 0:
                shutil.rmtree(folder)
        if COMM.rank == 0:
            about = {
                "ranks": COMM.size,
                "threads": 1,
                "versions": {"mpibatch": mb.__version__, "h5py": h5py.__version__},
            }
            print(json.dumps({**found, **about}), flush=True)


if __name__ == "__main__":
    main()
