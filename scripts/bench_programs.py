#!/usr/bin/env python3
"""Time whole simulations as a user starts them: `python scripts/bench_programs.py [--ranks N] [--pictures FOLDER]`.

Each case is `mpiexec -n N mpibatch run` of the job file beside a program, with some of its values changed: start,
import, compiled kernels (from the cache, unless --cold), output and diagnostics included.

- euler-sod: Sod's shock tube on 400 cells;
- euler-shear-256: Kelvin–Helmholtz billows on 256² cells, until time 2;
- mhd-vortices-192: Orszag's and Tang's vortices in a magnetic field on 192² cells, until time 0.5;
- cavity-128: lid-driven cavity at Re = 1000 on 128² cells, until time 50;
- grayscott-512: a maze that grows out of 60 squares on 512² cells, until time 6000 (F = 0.04, k = 0.06).

One JSON object a line; `within_limit` tells whether the slowest run took less than two minutes. With --pictures the
results stay in FOLDER, with a picture of the last density of the billows and the vortices, and of the maze.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

APPS = Path(__file__).resolve().parent.parent / "mpibatch" / "apps"
LIMIT = 120.0  # seconds


@dataclass(frozen=True)
class Case:
    """A job file's program, what is changed in it, and what is shown of its result."""

    program: str
    settings: tuple[str, ...] = ()
    picture: tuple[str, str] | None = None  # dataset, name


SHEAR = ("simulation.problem=shear", "simulation.gamma=1.6667", "simulation.until=2", "output.every=0.5")
VORTICES = ("simulation.problem=orszag-tang", "simulation.until=0.5", "output.every=0.5")
MAZE = (
    "simulation.shape=[512,512]",
    "simulation.seeds=60",
    "simulation.feed=0.04",
    "simulation.kill=0.06",
    "simulation.until=6000",
)
CASES = {
    "euler-sod": Case("euler"),
    "euler-shear-256": Case("euler", (*SHEAR, "simulation.shape=[256,256]"), ("density", "kelvin_helmholtz.png")),
    "mhd-vortices-192": Case("mhd", (*VORTICES, "simulation.shape=[192,192]"), ("density", "orszag_tang.png")),
    "cavity-128": Case("cavity"),
    "grayscott-512": Case("grayscott", MAZE, ("v", "grayscott.png")),
}


def command(ranks: int, *arguments: str) -> list[str]:
    """Return a command of mpibatch under the mpiexec beside this Python. Local."""
    launcher = Path(sys.executable).parent / "mpiexec"
    start = str(launcher) if launcher.exists() else (shutil.which("mpiexec") or "mpiexec")
    return [*([start, "-n", str(ranks)] if ranks else []), sys.executable, "-m", "mpibatch", *arguments]


def run(case: Case, name: str, ranks: int, folder: Path, environment: dict[str, str]) -> tuple[float, int]:
    """Run a case once; return the seconds, and how many steps it made. Local."""
    settings = [*case.settings, f"output.path={folder / name}.h5", f"diagnostics.path={folder / name}.csv"]
    changes = [part for setting in settings for part in ("--set", setting)]
    begin = time.perf_counter()
    done = subprocess.run(
        command(ranks, "run", str(APPS / f"{case.program}.toml"), *changes),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout}{done.stderr}")
    found = re.search(r"(\d+) steps", done.stdout)
    return seconds, int(found[1]) if found else 0


def show(case: Case, name: str, folder: Path) -> None:
    """Write the picture of a result's last output. Local."""
    if case.picture is None:
        return
    dataset, picture = case.picture
    source = f"{folder / name}.h5::{dataset}"
    subprocess.run(command(0, "view", source, str(folder / picture), "--slice", "0:-1"), check=True)


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    parser.add_argument("--ranks", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each case (default: %(default)s)")
    parser.add_argument("--cold", action="store_true", help="compile all kernels anew in each run")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="keep results and pictures there")
    options = parser.parse_args()
    for name, case in CASES.items():
        if options.only not in name:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = (options.pictures or Path(scratch)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            runs = []
            for number in range(options.repeat):
                cache = {"MPIBATCH_CACHE_DIR": f"{scratch}/cache-{number}"} if options.cold else {}
                runs.append(run(case, name, options.ranks, folder, {**os.environ, **cache}))
            if options.pictures:
                show(case, name, folder)
        seconds = [taken for taken, _ in runs]
        line = {
            "case": name,
            "ranks": options.ranks,
            "threads": 1,
            "seconds": statistics.median(seconds),
            "spread": [min(seconds), max(seconds)],
            "steps": runs[-1][1],
            "is_cold": options.cold,
            "within_limit": max(seconds) < LIMIT,
            "load": os.getloadavg()[0],
            "versions": {package: importlib.metadata.version(package) for package in ("numba", "numpy", "mpi4py")},
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
