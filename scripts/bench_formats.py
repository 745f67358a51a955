#!/usr/bin/env python3
"""Time formats of others: `mpiexec -n 2 python scripts/bench_formats.py [--quick] [--only CASE]`.

One JSON object a line, as the other benchmarks print. `ratio` is the median of pairs, the peer's time over ours.

- flat: 512 MiB (--quick: 128 MiB) of f4 in a file of plain bytes, read by `mpibatch.io.formats.read` into each rank's
  slab; peer raw: the same bytes at the same places by MPI-IO (subarray view, Read_at_all) into memory of its own. Both
  fill memory that was used before: what is measured is reading, not the kernel's giving out of pages. Then the same in
  pencils, and big-endian, which the peer does not turn.
- zarr: 1 GiB (--quick: 128 MiB) of f4 written as a store of shards, plain and by zstd, with digests and seal, and
  flushed to disk; peer zarr-python: the same chunks, shards and codec from one process (rank 0; the others sleep), in
  as many threads as it likes, and not flushed. Best in memory (``--folder /dev/shm``): a disk is the same for both.
- tiles: an OME-TIFF of 64 planes of 1024 x 1024 u2 (--quick: 16), zlib, tiles of 256; peer tifffile: `imread` of the
  whole file in one thread of one process (rank 0; the others sleep).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

import mpibatch as mb
from mpibatch.io.formats import inspect, read
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable

COMM = MPI.COMM_WORLD
SAMPLES = 7


def timed(
    calls: dict[str, Callable[[], object]], samples: int = SAMPLES
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the slowest rank's seconds of each call, and all ranks' of processors, taken in turn: drift hits all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(samples + 1):
        for name, call in calls.items():
            COMM.Barrier()
            begin, used = time.perf_counter(), time.process_time()
            call()
            used = time.process_time() - used
            slowest = COMM.allreduce(time.perf_counter() - begin, op=MPI.MAX)
            total = COMM.allreduce(used, op=MPI.SUM)
            if number:  # the first of each pays for pages
                times[name].append(slowest)
                cpu[name].append(total)
    return times, cpu


def report(case: str, measured: tuple[dict[str, list[float]], dict[str, list[float]]]) -> None:
    """Print one line on rank 0."""
    times, cpu = measured
    ours = times.pop("ours")
    ratio = {name: statistics.median(a / b for a, b in zip(t, ours, strict=True)) for name, t in times.items()}
    line = {
        "case": case,
        "cpu_seconds": {name: statistics.median(values) for name, values in cpu.items()},
        "ranks": COMM.size,
        "threads": 1,
        "seconds": statistics.median(ours),
        "spread": [min(ours), max(ours)],
        "against": {name: statistics.median(t) for name, t in times.items()},
        "ratio": ratio,
        "versions": {"numpy": np.__version__, "tifffile": tifffile.__version__},
    }
    if COMM.rank == 0:
        print(json.dumps(line), flush=True)


def raw(path: Path, shape: tuple[int, ...], box: Any, target: np.ndarray) -> Callable[[], object]:
    """Return the plain MPI-IO of a box."""

    def run() -> None:
        kind = MPI.FLOAT.Create_subarray(shape, box.shape, box.start).Commit()
        file = MPI.File.Open(COMM, str(path), MPI.MODE_RDONLY)
        file.Set_view(0, MPI.FLOAT, kind)
        file.Read_at_all(0, [target, target.size, MPI.FLOAT])
        file.Close()
        kind.Free()

    return run


def flat(folder: Path, planes: int, only: str) -> None:
    """Run the cases of plain bytes."""
    shape = (planes, 1024, 1024)
    path = folder / "a.raw"
    if COMM.rank == 0:
        with path.open("wb") as file:
            for plane in range(planes):
                file.write(np.full(shape[1:], plane, "f4").tobytes())
    COMM.Barrier()
    for kind, topology, order in (
        ("slabs", (None, 1, 1), "little"),
        ("pencils", (1, None, 1), "little"),
        ("slabs-swapped", (None, 1, 1), "big"),
    ):
        case = f"formats-flat-{kind}-{planes * 4}MiB"
        if only not in case:
            continue
        box = mb.Grid(shape, topology=topology).box
        source = inspect(f"{path}::dtype=f4,shape={'x'.join(map(str, shape))},byteorder={order}")
        mine, theirs = np.empty(box.shape, "f4"), np.empty(box.shape, "f4")
        everything = tuple(slice(0, n) for n in box.shape)

        def ours(source: Any = source, box: Any = box, mine: np.ndarray = mine, at: Any = everything) -> None:
            read(source, box.slices(), mine, at)

        report(case, timed({"ours": ours, "raw": raw(path, shape, box, theirs)}))


def tiles(folder: Path, planes: int, only: str) -> None:
    """Run the case of an OME-TIFF."""
    case = f"formats-ome-tiff-tiles-{planes * 2}MiB"
    if only not in case:
        return
    path = folder / "a.ome.tif"
    if COMM.rank == 0:
        ramp = np.arange(1024, dtype="u2")
        noise = np.random.default_rng(1).integers(0, 64, (planes, 1024, 1024), "u2")
        options: dict[str, Any] = {"tile": (256, 256), "compression": "zlib", "metadata": {"axes": "ZYX"}}
        tifffile.imwrite(path, noise + ramp + ramp[:, None], photometric="minisblack", maxworkers=1, **options)
    COMM.Barrier()
    mb.load(path)  # a process of its own looks into a file once

    def theirs() -> None:
        if COMM.rank == 0:
            tifffile.imread(path, maxworkers=1)
        sleep_together()

    report(case, timed({"ours": lambda: mb.load(path, topology=(None, 1, 1)), "tifffile": theirs}))


def stores(folder: Path, mebibytes: int, only: str) -> None:
    """Run the cases of writing Zarr."""
    cases = {f"formats-zarr-{how or 'plain'}-{mebibytes}MiB": how for how in (None, "zstd")}
    cases = {case: how for case, how in cases.items() if only in case}
    if not cases:
        return
    try:
        import zarr
        from zarr.codecs import ZstdCodec
    except ImportError:
        if COMM.rank == 0:
            print(json.dumps({"cases": [*cases], "missing": ["zarr"]}), flush=True)
        return

    shape, path, other = (mebibytes, 512, 512), folder / "ours.zarr", folder / "theirs.zarr"
    grid = mb.Grid(shape, topology=(None, 1, 1))
    u = grid.empty("f4")
    u.owned[...] = np.random.default_rng(COMM.rank).integers(0, 4096, u.owned.shape) / 16  # 12 bits, as a detector's
    whole = mb.gather(u)
    for case, compression in cases.items():

        def ours(compression: str | None = compression) -> None:
            mb.save(path, u=u, compression=compression)

        ours()
        cut = json.loads((path / "u" / "zarr.json").read_text())
        shard = cut["chunk_grid"]["configuration"]["chunk_shape"]
        chunk = cut["codecs"][0]["configuration"]["chunk_shape"]
        packing = ZstdCodec(level=3) if compression else None

        def theirs(shard: Any = shard, chunk: Any = chunk, packing: Any = packing) -> None:
            if COMM.rank == 0:
                assert whole is not None
                options = {"shards": tuple(shard), "chunks": tuple(chunk), "compressors": packing, "overwrite": True}
                zarr.create_array(other, shape=shape, dtype="f4", **options)[...] = whole
            sleep_together()

        report(case, timed({"ours": ours, "zarr-python": theirs}, SAMPLES - 2))


def sleep_together() -> None:
    """Wait for all ranks: one that waits in MPI would take a core from the one that works."""
    waiting = COMM.Ibarrier()
    while not waiting.Test():
        time.sleep(1e-3)


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the bytes")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    parser.add_argument("--folder", type=Path, help="where to write (default: the folder for temporary files)")
    options = parser.parse_args()
    share = 4 if options.quick else 1
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(COMM.bcast(made))
        flat(folder, 128 // share, options.only)
        tiles(folder, 64 // share, options.only)
        stores(folder, 128 if options.quick else 1024, options.only)
        COMM.Barrier()


if __name__ == "__main__":
    main()
