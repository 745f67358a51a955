#!/usr/bin/env python3
"""Time a program with a stencil to its first step, and commands to their end: `python scripts/bench_start.py`.

One rank, in fresh processes that take turns, each with a folder of compiled code that is empty ("cold") or filled by
the run before ("warm"). Cases, of which each makes one step on 64 cells along every axis:

- start-star8-cold, start-star8-warm: the acoustic wave in three dimensions, 8th order, f4;
- start-heat-cold, start-heat-warm: the 7-point heat step, f8;
- start-limited-cold, start-limited-warm: limited slopes along each axis, f8, with 12 choices.

`seconds` is from the end of all imports that the program names to the end of its first step, and holds numba's import,
which the first step needs; the parts, by their medians: `imports` (mpibatch with MPI and NumPy, grid, fields; before
`seconds` begins), `parse` (the stencil's text), `numba` (its import), `compile` (compiling, or loading what was
compiled, and that import), and `second`, the step after. One JSON object a line.

Whole commands, from their start to their end: command-help, command-doctor, command-doctor-4 (on 4 ranks),
command-plan (of a heat job on 1 to 65,536 ranks), and command-filter (a gaussian of 40^3 cells, its loops compiled
before). For those of another version: PYTHONPATH=its/checkout.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PROGRAM = """
import json, sys, time
begin = time.perf_counter()
import numpy as np
import mpibatch as mb
from mpibatch.base import compiled
grid = mb.Grid((64, 64, 64))
kind = "f4" if CASE == "star8" else "f8"
halo = 4 if CASE == "star8" else 1
u = grid.from_function(lambda z, y, x: np.sin(z) + y * x, kind, halo=halo)
v, m = u.like(), grid.full(1.0, kind)
v.owned[...] = 0
imported = time.perf_counter()
SECOND = (-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560)
if CASE == "star8":
    @mb.stencil
    def step(u, before, m, dt):
        second = 3 * SECOND[0] * u[0, 0, 0]
        for r in range(1, 5):
            around = u[-r, 0, 0] + u[r, 0, 0] + u[0, -r, 0] + u[0, r, 0] + u[0, 0, -r] + u[0, 0, r]
            second += SECOND[r] * around
        return 2.0 * u[0, 0, 0] - before[0, 0, 0] + dt**2 * second * m[0, 0, 0]
    call = lambda: step(u, v, m, 1e-2, out=v)
elif CASE == "limited":
    def slope(a, b):
        mean = 0.5 * (a + b)
        least = min(2.0 * min(abs(a), abs(b)), abs(mean))
        return (least if mean > 0.0 else -least) if a * b > 0.0 else 0.0
    @mb.stencil
    def step(u, k):
        c = u[0, 0, 0]
        along = slope(c - u[0, 0, -1], u[0, 0, 1] - c)
        across = slope(c - u[0, -1, 0], u[0, 1, 0] - c)
        deep = slope(c - u[-1, 0, 0], u[1, 0, 0] - c)
        return c - k * (along + across + deep)
    call = lambda: step(u, 0.1, out=v)
else:
    @mb.stencil
    def step(u, k):
        around = u[-1, 0, 0] + u[1, 0, 0] + u[0, -1, 0] + u[0, 1, 0] + u[0, 0, -1] + u[0, 0, 1]
        return u[0, 0, 0] + k * (around - 6.0 * u[0, 0, 0])
    call = lambda: step(u, 0.1, out=v)
parsed = time.perf_counter()
compiled.compiled(lambda: None)
loaded = time.perf_counter()
call()
first = time.perf_counter()
call()
second = time.perf_counter()
print(json.dumps({
    "seconds": first - imported, "imports": imported - begin, "parse": parsed - imported, "numba": loaded - parsed,
    "step": first - loaded, "compile": compiled.compile_seconds(), "second": second - first,
}))
"""


MPIBATCH = [sys.executable, "-m", "mpibatch"]
JOB = '[simulation]\nprogram = "heat"\nsteps = 9\nshape = [2048, 2048, 2048]\n[output]\npath = "heat.h5"\n'
# And the ranks of each.
COMMANDS = {
    "help": ([*MPIBATCH, "--help"], 1),
    "doctor": ([*MPIBATCH, "doctor"], 1),
    "doctor-4": ([str(Path(sys.executable).with_name("mpiexec")), "-n", "4", *MPIBATCH, "doctor"], 4),
    "plan": ([*MPIBATCH, "plan", "heat.toml", "--ranks", "1..65536"], 1),
    "filter": ([*MPIBATCH, "filter", "in.npy", "out.h5::smooth", "gaussian_filter:sigma=2", "--quiet"], 1),
}


def command(case: str, folder: str) -> dict[str, float]:
    """Run a command; what the doctor finds wrong here is not asked. Local."""
    Path(folder, "heat.toml").write_text(JOB)
    np.save(Path(folder, "in.npy"), np.random.default_rng(1).random((40, 40, 40)))
    begin = time.perf_counter()
    done = subprocess.run(
        COMMANDS[case][0], cwd=folder, env={**os.environ, "MPIBATCH_CACHE_DIR": f"{folder}/cache"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode > (2 if "doctor" in case else 0) or done.returncode < 0:
        sys.exit(f"{case} ended with exit code {done.returncode}:\n{done.stdout.decode(errors='replace')}")
    return {"seconds": time.perf_counter() - begin}


def start(case: str, folder: str) -> dict[str, float]:
    """Run the program in a process of its own, with its compiled code in `folder`. Local."""
    program = Path(folder) / "program.py"  # a stencil is read from its file
    program.write_text(PROGRAM.replace("CASE", repr(case)))
    done = subprocess.run(
        [sys.executable, program],
        env={**os.environ, "MPIBATCH_CACHE_DIR": folder},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    times: dict[str, float] = json.loads(done.stdout)
    return times


def report(case: str, runs: list[dict[str, float]], ranks: int = 1) -> None:
    """Print one line. Local."""
    medians: dict[str, Any] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    seconds = [run["seconds"] for run in runs]
    line = {
        "case": case,
        "ranks": ranks,
        "threads": 1,
        "seconds": medians.pop("seconds"),
        "spread": [min(seconds), max(seconds)],
        "parts": medians,
        "load": os.getloadavg()[0],
        "versions": {name: importlib.metadata.version(name) for name in ("numba", "numpy", "mpi4py")},
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="2 cold starts and 3 warm ones of each, instead of 5 and 9"
    )
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    options = parser.parse_args()
    colds, warms = (2, 3) if options.quick else (5, 9)
    for case in ("star8", "heat", "limited"):
        if not any(options.only in f"start-{case}-{state}" for state in ("cold", "warm")):
            continue
        cold, warm = [], []
        for turn in range(colds):
            with tempfile.TemporaryDirectory() as folder:
                cold.append(start(case, folder))
                warm += [start(case, folder) for _ in range(warms * turn // colds, warms * (turn + 1) // colds)]
        report(f"start-{case}-cold", cold)
        report(f"start-{case}-warm", warm)
    for case, (_, ranks) in COMMANDS.items():
        if options.only in f"command-{case}":
            with tempfile.TemporaryDirectory() as folder:
                command(case, folder)
                report(f"command-{case}", [command(case, folder) for _ in range(warms)], ranks)


if __name__ == "__main__":
    main()
