#!/usr/bin/env python3
"""Hold this checkout's speed against another one's: `python scripts/bench_against.py OTHER [--ranks 1,2] …`.

OTHER is the folder of another checkout (`git worktree add OTHER COMMIT`); both run in this Python, each in processes of
its own that take turns, so that what else the machine does hits both. Cases: start-up (`--help`, imports with a first
field), small and large filters, kernels in a call and fused, halo exchanges, reductions, saving.

One JSON object a line: `seconds` (median over all rounds of each process's median), `other` those of the other
checkout, `ratio` the median over rounds of theirs / ours: above 1 this checkout is faster. `spread` is the least and
the greatest of these ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
LEAST_SECONDS = 0.25  # of calls for a median
LIMIT = 600  # seconds for all cases of a process group
# Runs in both checkouts, so only with names that both have.
PROGRAM = """
import json, statistics, time
import numpy as np
import mpibatch as mb
from mpibatch.mpi import MPI

comm = MPI.COMM_WORLD
rng = np.random.default_rng(comm.rank)

def field(shape, dtype, halo=0):
    u = mb.Grid(shape).empty(dtype, halo)
    u.owned[...] = rng.random(u.owned.shape)
    return u

@mb.stencil
def heat(u, k):
    return u[0, 0, 0] + k * (u[-1, 0, 0] + u[1, 0, 0] + u[0, -1, 0] + u[0, 1, 0] + u[0, 0, -1] + u[0, 0, 1]
                             - 6.0 * u[0, 0, 0])

small, plane, volume = field((256, 256), "f4"), field((2048, 2048), "f4"), field((128, 128, 128), "f4")
a, b = field((48, 48, 48), "f8", 1), field((48, 48, 48), "f8", 1)
large, other = field((192, 192, 192), "f8", 1), field((192, 192, 192), "f8", 1)
cases = {
    "gaussian-small": lambda: mb.filters.gaussian_filter(small, 2.0),
    "sobel-small": lambda: mb.filters.sobel(small, 0),
    "median-small": lambda: mb.filters.median_filter(small, 3),
    "gaussian-plane": lambda: mb.filters.gaussian_filter(plane, 2.0),
    "median-plane": lambda: mb.filters.median_filter(plane, 5),
    "uniform-volume": lambda: mb.filters.uniform_filter(volume, 5),
    "gaussian-volume": lambda: mb.filters.gaussian_filter(volume, 1.0),
    "minimum-volume": lambda: mb.filters.minimum_filter(volume, 5),
    "heat-small": lambda: heat(a, 0.1, out=b),
    "heat-large": lambda: heat(large, 0.1, out=other),
    "heat-fused": lambda: mb.iterate(heat, large, steps=8, k=0.1, out=other, fuse=8),
    "exchange": lambda: mb.halo.exchange(a, mode="nearest"),
    "sum": lambda: mb.sum(large),
    "save": lambda: mb.save(f"{FOLDER}/u.h5", u=volume),
}
for name, call in cases.items():
    if ONLY and ONLY not in name:
        continue
    try:
        call(), call()
    except Exception as error:
        if comm.rank == 0:
            print(json.dumps([name, None, str(error)[:200]]), flush=True)
        continue
    times, begin, goes_on = [], time.perf_counter(), True
    while goes_on:
        comm.Barrier()
        start = time.perf_counter()
        call()
        times.append(comm.allreduce(time.perf_counter() - start, op=MPI.MAX))
        goes_on = comm.bcast(len(times) < 5 or time.perf_counter() - begin < LEAST)
    if comm.rank == 0:
        print(json.dumps([name, statistics.median(times), ""]), flush=True)
"""
START = "import mpibatch as mb; mb.Grid((8, 8)).zeros('f8', halo=1)"


def run(tree: Path, command: list[str], cache: Path) -> tuple[float, str]:
    """Return the seconds that a command takes in a checkout, and what it prints."""
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "MPIBATCH_CACHE_DIR": str(cache),
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody who has installed it compiles each time
    begin = time.perf_counter()
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)[:200]} in {tree} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds, done.stdout


def times(tree: Path, ranks: int, only: str, cache: Path) -> dict[str, float]:
    """Return the seconds of each case in one process group, and of commands."""
    program = cache.parent / "program.py"  # a stencil is read from its file
    program.write_text(f"ONLY, LEAST, FOLDER = {only!r}, {LEAST_SECONDS}, {str(cache.parent)!r}\n{PROGRAM}")
    launch = shlex.split(os.environ.get("MPIBATCH_MPIEXEC", str(Path(sys.executable).parent / "mpiexec")))
    _, text = run(tree, [*launch, "-n", str(ranks), sys.executable, str(program)], cache)
    seconds_of = {}
    for line in text.splitlines():
        name, seconds, why = json.loads(line)
        if seconds is None:
            print(json.dumps({"case": name, "tree": str(tree), "missing": why}), flush=True)
        else:
            seconds_of[name] = seconds
    if ranks == 1:
        commands: dict[str, list[str]] = {
            "start-help": ["-m", "mpibatch", "run", "--help"],
            "start-field": ["-c", START],
        }
        for name, command in commands.items():
            if only in name:
                seconds_of[name] = statistics.median(run(tree, [sys.executable, *command], cache)[0] for _ in range(3))
    return seconds_of


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("other", type=Path, metavar="OTHER", help="folder of the other checkout")
    parser.add_argument("--ranks", default="1", help="comma-separated; default: 1")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each checkout; default: 5")
    parser.add_argument("--only", default="", metavar="CASE", help="cases whose names hold this")
    options = parser.parse_args()
    trees = {"ours": HERE, "other": options.other.resolve()}
    with tempfile.TemporaryDirectory() as folder:
        for ranks in map(int, options.ranks.split(",")):
            rounds: list[dict[str, dict[str, float]]] = []
            for turn in range(options.rounds + 1):  # the first compiles
                order = list(trees) if turn % 2 else list(trees)[::-1]
                every = {who: times(trees[who], ranks, options.only, Path(folder) / who) for who in order}
                if turn:
                    rounds.append(every)
            for case in rounds[0]["ours"]:
                if all(case in both["other"] for both in rounds):
                    print(json.dumps(line_of(case, ranks, rounds)), flush=True)


def line_of(case: str, ranks: int, rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return what is printed of a case."""
    ratios = [both["other"][case] / both["ours"][case] for both in rounds]
    seconds = {who: statistics.median(both[who][case] for both in rounds) for who in ("ours", "other")}
    return {
        "case": case,
        "ranks": ranks,
        "seconds": round(seconds["ours"], 6),
        "other": round(seconds["other"], 6),
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }


if __name__ == "__main__":
    main()
