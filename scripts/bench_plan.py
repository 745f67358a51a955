#!/usr/bin/env python3
"""Hold predictions against runs: `python scripts/bench_plan.py [--only CASE] [--ranks 1,2] [--repeat 3]`.

Each case is probed on as many ranks as the most asked for, and then run on each number of ranks, on a grid or an input
that the probe did not have: the heat program on 256 × 240 × 224 cells, f8 (110 MB a field), 400 steps; Gray–Scott on
3000², 300 steps; a gaussian and sobel pipeline on 6000 × 4000 cells, f4 (96 MB). One JSON object a line: `seconds` is
what a step was measured to take (median), `predicted` what was said before, `ratio` the latter over the former (more
than 1: said to be slower), and likewise `memory`.
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
CASES = {"heat": HEAT, "grayscott": GRAYSCOTT, "gaussian-sobel": FILTERS}
INPUT = (6000, 4000)


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


def measured(record: dict[str, Any]) -> float:
    """Return the seconds of a step: of a pipeline, of all its filters. Local."""
    run = record["run"]
    if run["kind"] == "simulation":
        return float(run["laps"]["steps"]) / int(run["steps"])
    return sum(float(taken) for name, taken in run["laps"].items() if name not in ("reading", "writing"))


def report(case: str, ranks: int, records: list[dict[str, Any]]) -> None:
    """Print one line. Local."""
    seconds = [measured(record) for record in records]
    said = records[-1]["run"]["predicted"]
    memory = statistics.median(record["run"]["memory"]["most"] for record in records)
    whole = statistics.median(record["run"]["seconds"]["total"]["slowest"] for record in records)
    middle = statistics.median(seconds)
    line = {
        "case": case,
        "ranks": ranks,
        "threads": 1,
        "seconds": middle,
        "spread": [min(seconds), max(seconds)],
        "predicted": said["seconds_per_step"],
        "ratio": said["seconds_per_step"] / middle,
        "within_25_percent": 0.8 <= said["seconds_per_step"] / middle <= 1.25,
        "whole": {"measured": whole, "predicted": said.get("seconds")},
        "memory": {"measured": memory, "predicted": said["memory"], "ratio": said["memory"] / memory},
        "load": os.getloadavg()[0],
        "versions": {name: importlib.metadata.version(name) for name in ("numba", "numpy", "mpi4py")},
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    """Probe and run all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--ranks", default="1,2", help="default: %(default)s")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each (default: %(default)s)")
    options = parser.parse_args()
    counts = [int(word) for word in options.ranks.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.save(folder / "input.npy", np.random.default_rng(1).random(INPUT, dtype="f4"))
        for name, text in CASES.items():
            if options.only not in name:
                continue
            (folder / f"{name}.toml").write_text(text)
            start(folder, max(counts), "probe", f"{name}.toml")
            for ranks in counts:
                records = []
                for number in range(options.repeat):
                    record = folder / f"{name}-{ranks}-{number}.json"
                    start(folder, ranks, "run", f"{name}.toml", "--quiet", MPIBATCH_RECORD=str(record))
                    records.append(json.loads(record.read_text()))
                report(name, ranks, records)


if __name__ == "__main__":
    main()
