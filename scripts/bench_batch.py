#!/usr/bin/env python3
"""Batches of many items: `python scripts/bench_batch.py [--quick] [--only CASE]`. It starts its own mpiexec.

empty: 100,000 items that do nothing, on 2 ranks, each noted in a journal, beside mpi4py.futures (a master and a worker
on the same 2 ranks; a task for each item, and one for 50 of them) and joblib (2 processes), which keep no journal.
busy: 2,000 items whose costs spread over three decades, on 4 ranks, with hints at the costs and without: the share of
the time that ranks spent within items. They sleep, so that cores do not count.

One JSON object a line; `ratio` is the peer's seconds over ours. A peer that is not installed is named as missing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EMPTY, BUSY = 100_000, 2000
DECADES, LEAST = 3, 1e-4  # seconds
PEERS = {"mpi4py.futures": "futures", "mpi4py.futures, 50 a task": "futures50", "joblib": "joblib"}


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the items, once")
    parser.add_argument("--only", metavar="CASE", choices=("empty", "busy"))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--items", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        if (figures := SIDES[options.side](options.items)) is not None:
            print(json.dumps(figures), flush=True)
        return
    samples, part = (1, 10) if options.quick else (5, 1)
    if options.only != "busy":
        print(json.dumps(empty(EMPTY // part, samples)), flush=True)
    if options.only != "empty":
        for side in ("busy", "busy, no hints"):
            print(json.dumps({"ranks": 4, "threads": 1, **run(side, BUSY // part, 4)}), flush=True)


def empty(items: int, samples: int) -> dict[str, Any]:
    """Time everybody in turn."""
    has = {name: importlib.util.find_spec(name.partition(",")[0]) is not None for name in PEERS}
    times: dict[str, list[float]] = {name: [] for name in ("ours", *PEERS) if has.get(name, True)}
    for _ in range(samples):
        for name, seconds in times.items():
            side = "empty" if name == "ours" else PEERS[name]
            # One thing at a time takes long: fewer items, and the seconds of all of them.
            some = items // 10 if side == "futures" else items
            seconds.append(run(side, some, 1 if side == "joblib" else 2)["seconds"] * items / some)
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    ours = middle.pop("ours")
    return {
        "case": "empty",
        "ranks": 2,
        "threads": 1,
        "items": items,
        "seconds": ours,
        "spread": [min(times["ours"]), max(times["ours"])],
        "items_per_second": round(items / ours),
        "against": {name: middle.get(name, "missing") for name in PEERS},
        "ratio": {name: round(seconds / ours, 2) for name, seconds in middle.items()},
    }


def run(side: str, items: int, ranks: int) -> dict[str, Any]:
    """Run one side in processes of its own, and return what it prints."""
    launcher = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, __file__, "--side", side, "--items", str(items)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def nothing(item: int) -> None:
    """Do nothing."""


def ours(items: int) -> dict[str, Any] | None:
    """Empty items with a journal. The first call of a process, with a few of them, is not counted."""
    import mpibatch as mb
    from mpibatch.mpi import world

    comm = world()
    with tempfile.TemporaryDirectory() as own:
        folder = Path(comm.bcast(own))
        mb.map_items(nothing, list(range(100)), journal=folder / "first")
        comm.Barrier()
        begin = time.perf_counter()
        batch = mb.map_items(nothing, list(range(items)), journal=folder / "journal")
        seconds = time.perf_counter() - begin
        assert batch.done == items
        comm.Barrier()
    return {"seconds": seconds} if comm.rank == 0 else None


def busy(items: int, *, has_hints: bool = True) -> dict[str, Any] | None:
    """Items of very different length."""
    import numpy as np

    import mpibatch as mb
    from mpibatch.mpi import world

    costs = LEAST * 10 ** np.random.default_rng(1).uniform(0, DECADES, items)
    batch = mb.map_items(time.sleep, costs.tolist(), costs=costs.tolist() if has_hints else None)
    case = "busy" if has_hints else "busy, no hints"
    figures = {"case": case, "items": items, "seconds": batch.seconds, "busy": round(batch.busy, 4)}
    return figures if world().rank == 0 else None


def futures(items: int, chunk: int = 1) -> dict[str, Any] | None:
    """Let mpi4py.futures work on the ranks there are: one is the master."""
    from mpi4py import MPI
    from mpi4py.futures import MPICommExecutor

    seconds = 0.0
    executor: Any
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
        if executor is not None:
            list(executor.map(nothing, range(100)))
            begin = time.perf_counter()
            list(executor.map(nothing, range(items), chunksize=chunk))
            seconds = time.perf_counter() - begin
    return {"seconds": seconds} if MPI.COMM_WORLD.rank == 0 else None


def processes(items: int) -> dict[str, Any]:
    """Let joblib work with two processes."""
    joblib = importlib.import_module("joblib")
    with joblib.Parallel(n_jobs=2) as parallel:
        parallel(joblib.delayed(nothing)(item) for item in range(100))
        begin = time.perf_counter()
        parallel(joblib.delayed(nothing)(item) for item in range(items))
        return {"seconds": time.perf_counter() - begin}


SIDES = {
    "empty": ours,
    "busy": busy,
    "busy, no hints": lambda items: busy(items, has_hints=False),
    "futures": futures,
    "futures50": lambda items: futures(items, 50),
    "joblib": processes,
}

if __name__ == "__main__":
    main()
