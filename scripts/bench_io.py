#!/usr/bin/env python3
"""Time writing and reading one array in one file: `mpiexec -n 2 python scripts/bench_io.py [--folder FOLDER]`.

1 GiB of f8 (--quick: 128 MiB), contiguous, cut into uneven pieces along both axes. One JSON object a line. Every
sample writes a new file, and ends when its bytes are on disk, as ours are: in a folder in memory (/dev/shm) that costs
nothing, and what is measured is software. `ratio` is the median of pairs, each peer in turn with ours. Peers:

- raw: the same bytes at the same places by MPI-IO as most would write it (subarray view, Write_at_all), no HDF5;
- raw_hints: the same with the hints that we give;
- h5py_mpio: parallel HDF5 by hand (`create_dataset`, `with dset.collective`), where h5py has MPI;
- gather: everything to rank 0, which writes and reads with serial h5py.

Then 128 MiB (--quick: 32 MiB) of f4, a smooth field with noise, in chunks, plain and packed with gzip. Peers:

- serial: h5py on rank 0, which has the whole array, with the same chunks and filters; the other ranks sleep;
- h5py_mpio: parallel HDF5 by hand.

Ours writes digests of all values besides: `digests` is what these take, and is part of the time.

Then what keeps watch over a run, with `GB_per_second` where there are bytes:

- digests of the values of a field, of several dtypes; peer copy: a copy of the same bytes in memory;
- `verify` of the contiguous file; peer read: the reading of as many bytes by each rank;
- a loop of steps of half a millisecond, on whose ends ranks wait for one another, that asks after each whether a signal
  came or a checkpoint is due; peer without: the same loop without asking.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mpi4py
import numpy as np

import mpibatch as mb
from mpibatch.io.chunks.grid import usual_chunks
from mpibatch.io.seal.digests import of_field
from mpibatch.io.write import drivers
from mpibatch.io.write.layout import Dataset
from mpibatch.io.write.storage.hints import hints, info
from mpibatch.mpi import MPI

COMM = MPI.COMM_WORLD
Case = Callable[[], object]


def uneven(length: int, parts: int) -> list[int]:
    """Return `parts` different lengths that add up to `length`."""
    cuts = [length * (2 * p + p * p) // (2 * parts + parts * parts) for p in range(parts + 1)]
    return [b - a for a, b in itertools.pairwise(cuts)]


def seconds(calls: dict[str, Case], samples: int, before: Case) -> dict[str, list[float]]:
    """Return `samples` timings per call, the calls taken in turn so that drift hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(samples + 1):
        for name, call in calls.items():
            before()
            COMM.Barrier()
            begin = time.perf_counter()
            call()
            mine = time.perf_counter() - begin
            slowest = COMM.allreduce(mine, op=MPI.MAX)
            if number:  # the first of each pays for pages and connections
                times[name].append(slowest)
    return times


def raw(path: Path, u: Any, is_writing: bool, wanted: dict[str, str]) -> Case:
    """Return the plain MPI-IO of a field's values."""
    values = np.ascontiguousarray(u.owned)

    def run() -> None:
        if COMM.rank == 0 and is_writing:
            with path.open("wb") as new:
                new.truncate(int(np.prod(u.shape)) * u.dtype.itemsize)
        COMM.Barrier()
        kind = MPI.DOUBLE.Create_subarray(u.shape, values.shape, u.box.start).Commit()
        with info(wanted) as given:
            file = MPI.File.Open(COMM, str(path), MPI.MODE_RDWR if is_writing else MPI.MODE_RDONLY, given)
        file.Set_view(0, MPI.DOUBLE, kind)
        if is_writing:
            file.Write_at_all(0, [values, values.size, MPI.DOUBLE])
            file.Sync()
        else:
            file.Read_at_all(0, [np.empty_like(values), values.size, MPI.DOUBLE])
        file.Close()
        kind.Free()

    return run


def by_hand(path: Path, u: Any, is_writing: bool, **chunking: Any) -> Case:
    """Return parallel HDF5 as its manual shows it."""
    values = np.ascontiguousarray(u.owned)

    def run() -> None:
        with h5py.File(path, "w" if is_writing else "r", driver="mpio", comm=COMM) as file:
            target = file.create_dataset("u", u.shape, u.dtype, **chunking) if is_writing else file["u"]
            with target.collective:
                if is_writing:
                    target[u.box.slices()] = values
                else:
                    target[u.box.slices()]
            if is_writing:
                file.flush()

    return run


def gathered(path: Path, u: Any, is_writing: bool) -> Case:
    """Return what programs do that know no parallel files."""

    def run() -> None:
        whole = None
        if is_writing:
            whole = mb.gather(u)
            if COMM.rank == 0:
                with h5py.File(path, "w") as file:
                    file["u"] = whole
                with path.open("rb") as written:
                    os.fsync(written.fileno())
        else:
            if COMM.rank == 0:
                with h5py.File(path) as file:
                    whole = file["u"][...]
            mb.scatter(whole, u.grid)

    return run


def serial(path: Path, whole: Any, chunking: dict[str, Any]) -> Case:
    """Return the writing of the whole array, which rank 0 has, by serial h5py."""

    def run() -> None:
        if COMM.rank == 0:
            with h5py.File(path, "w") as file:
                file.create_dataset("u", data=whole, **chunking)
            with path.open("rb") as written:
                os.fsync(written.fileno())
        waiting = COMM.Ibarrier()
        while not waiting.Test():  # a rank that waits in MPI would take a core from the one that works
            time.sleep(1e-3)

    return run


def ours(path: Path, u: Any, driver: str, chunks: Any = None, compression: str | None = None) -> Case:
    """Return our driver alone: the commit protocol around it is fsync, a few system calls and a hash of metadata."""
    plan = [Dataset("u", u.shape, u.dtype.str, {}, chunks, compression)]
    choice = drivers.choose(u.grid.comm, driver)

    def run() -> None:
        if COMM.rank == 0:
            path.touch()
        choice.driver.write(u.grid.comm, str(path), plan, [u], {})

    return run


def report(case: str, times: dict[str, list[float]], more: dict[str, Any]) -> None:
    """Print one line on rank 0."""
    if COMM.rank != 0:
        return
    mine = times.pop("ours")
    print(
        json.dumps(
            {
                "case": case,
                "ranks": COMM.size,
                "threads": 1,
                "seconds": statistics.median(mine),
                "spread": [min(mine), max(mine)],
                "against": {name: statistics.median(t) for name, t in times.items()},
                "ratio": {
                    name: statistics.median(a / b for a, b in zip(t, mine, strict=True)) for name, t in times.items()
                },
                **more,
                "versions": {
                    "h5py": h5py.__version__,
                    "hdf5": h5py.version.hdf5_version,
                    "mpi4py": mpi4py.__version__,
                    "mpi": MPI.Get_library_version().split("\n")[0].strip("\0 "),
                },
            }
        ),
        flush=True,
    )


def in_chunks(path: Path, edge: int, samples: int, only: str, forget: Case, missing: dict[str, Any]) -> None:
    """Time the writing of a volume in chunks, plain and packed."""
    grid = mb.Grid((edge // 2, edge, 2 * edge))
    noise = np.random.default_rng(grid.rank)
    u = grid.from_function(lambda z, y, x: np.sin(0.02 * z) + np.cos(0.01 * y) * np.sin(0.015 * x), dtype="f4")
    u.owned[...] += noise.normal(0, 1e-4, u.owned.shape).astype("f4")
    whole, chunks = mb.gather(u), usual_chunks(u.shape, 4)
    size = f"{u.owned.itemsize * edge**3 >> 20}MiB"
    for compression in (None, "gzip:4"):
        case = f"io-write-{'chunked' if compression is None else 'gzip4'}-direct-{size}"
        if only not in case:
            continue
        filters = {} if compression is None else {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        chunking = {"chunks": chunks, **filters}
        calls = {"ours": ours(path, u, "direct", chunks, compression), "serial": serial(path, whole, chunking)}
        if not missing:
            calls["h5py_mpio"] = by_hand(path, u, True, **chunking)
        report(case, seconds(calls, samples, forget), {"chunks": chunks, **missing})


def digesting(nbytes: int, samples: int, only: str) -> None:
    """Time the digests of values in memory."""
    for dtype in ("f8", "f4", "u2", "u1"):
        case = f"io-digest-{dtype}-{nbytes >> 20}MiB"
        if only not in case:
            continue
        u = mb.Grid((nbytes // np.dtype(dtype).itemsize,)).full(3, dtype)
        copy = np.empty_like(u.owned)
        calls: dict[str, Case] = {
            "ours": lambda u=u: of_field(COMM, u),  # type: ignore[misc]
            "copy": lambda u=u, copy=copy: np.copyto(copy, u.owned),  # type: ignore[misc]
        }
        times = seconds(calls, samples, COMM.Barrier)
        report(case, times, {"GB_per_second": nbytes / statistics.median(times["ours"]) / 1e9})


def verifying(path: Path, u: Any, samples: int, only: str) -> None:
    """Time `verify` of a saved field."""
    nbytes = int(np.prod(u.shape)) * u.dtype.itemsize
    case = f"io-verify-{nbytes >> 20}MiB"
    if only not in case:
        return
    mb.save(path, u=u)
    piece = np.empty(8 << 20, np.uint8)

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            for low in range(COMM.rank * piece.size, nbytes, COMM.size * piece.size):
                os.preadv(file.fileno(), [piece.data], low)

    times = seconds({"ours": lambda: mb.io.check(path, COMM), "read": read}, samples, COMM.Barrier)
    report(case, times, {"GB_per_second": nbytes / statistics.median(times["ours"]) / 1e9})


def asking(folder: Path, samples: int, only: str, steps: int = 400, step_seconds: float = 5e-4) -> None:
    """Time what it costs to agree on signals after every step."""
    if only not in (case := "checkpoint-due"):
        return
    checkpoints = mb.Checkpoints(folder / "none", every_minutes=60)
    number = 0

    def loop(asks: bool) -> None:
        nonlocal number
        for _ in range(steps):
            until = time.perf_counter() + step_seconds
            while time.perf_counter() < until:
                pass
            COMM.Barrier()  # as the exchange of halos would
            number += 1
            if asks:
                checkpoints.due(number)

    with checkpoints:
        times = seconds({"ours": lambda: loop(True), "without": lambda: loop(False)}, samples, COMM.Barrier)
    report(case, times, {"steps": steps})


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="128 MiB, 5 samples")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    parser.add_argument("--folder", type=Path, help="where to write (default: the folder for temporary files)")
    options = parser.parse_args()
    rows, columns = (4096, 4096) if options.quick else (16384, 8192)
    samples = 5 if options.quick else 7
    topology = [COMM.size // 2, 2] if COMM.size % 2 == 0 else [1, COMM.size]
    sizes = [uneven(n, parts) for n, parts in zip((rows, columns), topology, strict=True)]
    u = mb.Grid((rows, columns), topology=topology, sizes=sizes).from_function(lambda y, x: y * 1e-3 + x, dtype="f8")
    obstacle = drivers.obstacle()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(COMM.bcast(made))
        path = folder / "a"

        def forget() -> None:
            if COMM.rank == 0:
                path.unlink(missing_ok=True)

        size = f"{rows * columns * 8 >> 20}MiB"
        missing = {"missing": {"h5py_mpio": obstacle}} if obstacle else {}
        for driver in drivers.NAMES:
            case = f"io-write-contiguous-{driver}-{size}"
            if options.only not in case or (driver == "mpio" and obstacle):
                continue
            calls = {
                "ours": ours(path, u, driver),
                "raw": raw(path, u, True, {}),
                "raw_hints": raw(path, u, True, hints()),
                "gather": gathered(path, u, True),
            }
            if not obstacle:
                calls["h5py_mpio"] = by_hand(path, u, True)
            times = seconds(calls, samples, forget)
            digests = statistics.median(seconds({"digests": lambda: of_field(COMM, u)}, 3, forget)["digests"])
            report(case, times, {"digests": digests, **missing})
        case = f"io-read-contiguous-{size}"
        if options.only in case:
            ours(path, u, "direct")()
            flat = folder / "raw"
            raw(flat, u, True, {})()
            COMM.Barrier()
            calls = {
                "ours": lambda: mb.load(path, "u", grid=u.grid),
                "raw": raw(flat, u, False, {}),
                "raw_hints": raw(flat, u, False, hints()),
                "gather": gathered(path, u, False),
            }
            if not obstacle:
                calls["h5py_mpio"] = by_hand(path, u, False)
            report(case, seconds(calls, samples, COMM.Barrier), missing)
        in_chunks(path, 200 if options.quick else 320, 5, options.only, forget, missing)
        digesting((32 if options.quick else 256) << 20, samples, options.only)
        verifying(path, u, samples, options.only)
        asking(folder, samples, options.only)
        COMM.Barrier()


if __name__ == "__main__":
    main()
