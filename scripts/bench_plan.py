#!/usr/bin/env python3
"""Hold predictions against runs: `python scripts/bench_plan.py [--only CASE] [--ranks 1,2] [--rounds 3] …`.

Each case is probed on as many ranks as the most asked for, and then run on each number of ranks, on a grid or an input
that the probe did not have: the heat program on 256 × 240 × 224 cells, f8 (110 MB a field), 400 steps; Gray–Scott on
3000², 300 steps; a gaussian and sobel pipeline on 6000 × 4000 cells, f4 (96 MB); a gaussian and median pipeline on
400 × 300 × 280 cells, u1. All of it is done in so many rounds, since a shared machine is another one minutes later.

Virtual machines may give free memory back to their host, which takes twenty times as long to come again as memory has
to be cleared for (2 to 3 ns a byte, against 0.1, on the one where this was written), and whether a process meets it
depends on who was there a few seconds before. So before each probe and run, as much as these use is used and let go;
--as-is leaves that out.

One JSON object a line: `seconds` is what a step was measured to take (median of all rounds), `predicted` what was said
before (likewise), `ratio` the latter over the former (more than 1: said to be slower), `rounds` that of each round by
itself, and likewise `memory`. `spread` are the shortest and the longest run: no prediction can be nearer than these
are to one another.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HEAT = """
[simulation]
program = "heat"
steps = 400
shape = [256, 240, 224]
[output]
path = "heat.h5"
"""
GRAYSCOTT = """
[simulation]
program = "grayscott"
steps = 300
shape = [3000, 3000]
[output]
path = "grayscott.h5"
"""
FILTERS = """
[input]
path = "input.npy"
[[step]]
filter = "gaussian_filter"
sigma = 2
[[step]]
filter = "sobel_magnitude"
save = "edges"
[output]
path = "edges.h5"
"""
VOLUME = """
[input]
path = "volume.npy"
[[step]]
filter = "gaussian_filter"
sigma = 2
[[step]]
filter = "median_filter"
size = 5
save = "smooth"
[output]
path = "smooth.h5"
"""
SETTLED = 1 << 30  # bytes
CASES = {"heat": HEAT, "grayscott": GRAYSCOTT, "gaussian-sobel": FILTERS, "gaussian-median": VOLUME}


def start(folder: Path, ranks: int, *arguments: str, **environment: str) -> None:
    """Run a command of mpibatch under the mpiexec beside this Python. Local."""
    launcher = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(launcher) if launcher.exists() else (shutil.which("mpiexec") or "mpiexec")
    words = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpibatch", *arguments]
    home = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": home, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def settle(as_is: bool) -> None:
    """Have the host back free memory that the next process may get, unless it is to be left as it is. Local."""
    if not as_is:
        np.empty(SETTLED, "u1")[::4096] = 1


def measured(record: dict[str, Any]) -> float:
    """Return the seconds of a step: of a pipeline, of all its filters. Local."""
    run = record["run"]
    if run["kind"] == "simulation":
        return float(run["laps"]["steps"]) / int(run["steps"])
    return sum(float(taken) for name, taken in run["laps"].items() if name not in ("reading", "writing"))


def report(case: str, ranks: int, rounds: list[list[dict[str, Any]]]) -> None:
    """Print one line. Local."""
    seconds = [[measured(record) for record in records] for records in rounds]
    memory = [record["run"]["memory"]["most"] for records in rounds for record in records]
    whole = [record["run"]["seconds"]["total"]["slowest"] for records in rounds for record in records]
    said = [records[-1]["run"]["predicted"] for records in rounds]
    flat = [one for some in seconds for one in some]
    middle, foretold = statistics.median(flat), statistics.median(one["seconds_per_step"] for one in said)
    line = {
        "case": case,
        "ranks": ranks,
        "threads": 1,
        "seconds": middle,
        "spread": [min(flat), max(flat)],
        "predicted": foretold,
        "ratio": foretold / middle,
        "within_25_percent": 0.8 <= foretold / middle <= 1.25,
        "rounds": [a["seconds_per_step"] / statistics.median(b) for a, b in zip(said, seconds, strict=True)],
        "whole": {"measured": statistics.median(whole), "predicted": said[-1].get("seconds")},
        "memory": {
            "measured": statistics.median(memory),
            "predicted": statistics.median(one["memory"] for one in said),
            "ratio": statistics.median(one["memory"] for one in said) / statistics.median(memory),
            "holds": all(
                one["memory"] >= record["run"]["memory"]["most"] >= 0.7 * one["memory"]
                for one, records in zip(said, rounds, strict=True)
                for record in records
            ),
        },
        "load": os.getloadavg()[0],
        "versions": {name: importlib.metadata.version(name) for name in ("numba", "numpy", "mpi4py")},
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    """Probe and run all cases."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--ranks", default="1,2", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="of probing and running all (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each in a round (default: %(default)s)")
    parser.add_argument("--as-is", action="store_true", help="do not have free memory backed before")
    options = parser.parse_args()
    counts = [int(word) for word in options.ranks.split(",")]
    cases = {name: text for name, text in CASES.items() if options.only in name}
    found: dict[tuple[str, int], list[list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        random = np.random.default_rng(1)
        np.save(folder / "input.npy", random.random((6000, 4000), dtype="f4"))
        np.save(folder / "volume.npy", random.integers(0, 256, (400, 300, 280), dtype="u1"))
        for _ in range(options.rounds):
            for name, text in cases.items():
                (folder / f"{name}.toml").write_text(text)
                settle(options.as_is)
                start(folder, max(counts), "probe", f"{name}.toml", "--anew")
                for ranks in counts:
                    records = []
                    for _ in range(options.repeat):
                        record = folder / "record.json"
                        settle(options.as_is)
                        start(folder, ranks, "run", f"{name}.toml", "--quiet", MPIBATCH_RECORD=str(record))
                        records.append(json.loads(record.read_text()))
                    found.setdefault((name, ranks), []).append(records)
    for (name, ranks), rounds in found.items():
        report(name, ranks, rounds)


if __name__ == "__main__":
    main()
