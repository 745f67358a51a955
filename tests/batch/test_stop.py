"""A signal asks a batch to stop: it leaves after the items under way, with exit code 75, and goes on later."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import os, sys, time
import mpibatch as mb

def work(item):
    with open("ran", "a") as file:
        file.write(f"{item}\\n")
    time.sleep(0.02)
    return item

batch = mb.map_items(work, list(range(100)), journal="journal", output="all.csv")
if mb.mpi.world().rank == 0:
    print(batch)
"""


def start() -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).parent / "mpiexec"), "-n", "2", sys.executable, "program.py"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_signal_ends_a_run_between_items(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text(PROGRAM)
    with start() as process:
        until = time.monotonic() + 30
        while not Path("ran").exists() and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 75, err
    assert "items left; the same command goes on" in err
    assert 0 < len(Path("ran").read_text().split()) < 100
    with start() as process:
        out, err = process.communicate(timeout=60)
    assert out == "Batch(100 done, 0 failed, 0 left)\n", err
    assert sorted(map(int, Path("ran").read_text().split())) == list(range(100)), "each was run once"
    assert Path("all.csv").read_text().count("\n") == 101
