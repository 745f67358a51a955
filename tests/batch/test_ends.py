"""Runs of a batch that end early, by a signal or with a rank that an item kills, and how the next ones go on."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

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


KILLER = """
import os, signal
import mpibatch as mb

def work(item):
    if item == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return item

batch = mb.map_items(work, list(range(20)), journal="journal", output="all.csv")
if mb.mpi.world().rank == 0:
    print(batch, [failure.item for failure in batch.failed], batch.failed[0].error)
"""


@contextlib.contextmanager
def start() -> Iterator[subprocess.Popen[str]]:
    command = [str(Path(sys.executable).parent / "mpiexec"), "-n", "2", sys.executable, "program.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # where it does not end by itself; the ranks then end with it


def test_a_signal_ends_a_run_between_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_item_that_kills_its_rank_is_left_out_in_the_third_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second it is run last and alone, so that no other item is blamed."""
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text(KILLER)
    for _ in range(2):
        with start() as process:
            process.communicate(timeout=60)
        assert process.returncode not in (0, 75)
        assert not Path("all.csv").exists()
    with start() as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith("Batch(19 done, 1 failed, 0 left) [5] the run ended while it was worked on, 2 times"), err
    assert Path("all.csv").read_text().count("\n") == 20


LONE = """
import numpy as np
import mpibatch as mb

def work(item, comm):
    if item == 1 and comm.rank == 1:
        raise ValueError("a lone rank")
    total = np.ones(1, np.int64)
    comm.Allreduce(mb.mpi.MPI.IN_PLACE, total)
    return int(total[0])

batch = mb.map_items(work, [0, 1, 2], ranks_per_item=2, journal="journal")
if mb.mpi.world().rank == 0:
    print(batch, batch.failed[0].error, "in work" in batch.failed[0].traceback)
"""


def test_a_rank_that_fails_while_its_team_waits_for_it_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The team waits for ever in what its function has in common; the next run knows why, and goes on."""
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text(LONE)
    with start():
        until = time.monotonic() + 30
        notes = Path("journal/000001-00001.journal")
        while not (notes.exists() and b"a lone rank" in notes.read_bytes()) and time.monotonic() < until:
            time.sleep(0.02)
    with start() as process:
        out, err = process.communicate(timeout=60)
    assert out == "Batch(2 done, 1 failed, 0 left) ValueError: a lone rank True\n", err
