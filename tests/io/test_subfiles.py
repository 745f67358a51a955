"""Subfiles on one rank: a run that is killed at any moment leaves the file that was there, and the next tidies up."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

import mpibatch as mb
from mpibatch.cli import main
from mpibatch.domain import Box
from mpibatch.io.base.subfiles import is_subfile
from mpibatch.io.write.subfiles.bands import Bands, Turn

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WRITER = """
import os, signal, sys
import mpibatch as mb
real, left = os.fsync, int(sys.argv[2])
def fsync(handle):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
u = mb.Grid((40, 30)).full(2.0)
os.fsync = fsync
mb.save(sys.argv[1], u=u, subfiles=2)
"""


def test_a_killed_run_leaves_what_was_there(tmp_path: Path) -> None:
    path, folder = tmp_path / "out.h5", tmp_path / "out.h5.subfiles"
    mb.save(path, u=mb.Grid((40, 30)).full(1.0), subfiles=2)
    before = {file.name for file in folder.iterdir()}
    # In the first subfile, in the second one, and when only the front has to get its name.
    for number in (1, 4, 7):
        done = subprocess.run([sys.executable, "-c", WRITER, str(path), str(number)], check=False, env={**os.environ})
        assert done.returncode == -signal.SIGKILL
        assert mb.io.verify(path).is_whole
        assert mb.io.read_slice(path, "u", (5, 6)) == 1.0
        assert {file.name for file in folder.iterdir()} > before
        assert (tmp_path / "out.h5.part").exists()
    mb.save(path, u=mb.Grid((40, 30)).full(1.0), subfiles=2)
    assert {file.name for file in folder.iterdir()} == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.h5", "out.h5.subfiles"]


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, whole = str(tmp_path / "out.h5"), str(tmp_path / "whole.h5")
    mb.save(path, u=mb.Grid((40, 30)).from_function(lambda y, x: y + x), subfiles=3)
    assert main(["info", path, "--digest"]) == 0
    told = capsys.readouterr().out
    assert main(["verify", path]) == 0
    assert main(["merge", path, whole]) == 0
    assert main(["verify", whole]) == 0
    assert main(["info", whole, "--digest"]) == 0
    assert capsys.readouterr().out.partition("\n  sealed")[2].partition("\n")[0] in told
    assert main(["view", path, str(tmp_path / "out.png")]) == 0
    next((tmp_path / "out.h5.subfiles").iterdir()).unlink()
    assert main(["verify", path]) == 1
    assert main(["view", path, str(tmp_path / "out.png")]) == 1
    assert main(["merge", path, whole]) == 1
    assert "missing" in capsys.readouterr().err


def test_every_row_is_written_once() -> None:
    for rows, step, count, ranks in itertools.product((1, 5, 12), (1, 3, 20), (1, 2, 5, 9), (1, 2, 3, 7)):
        bands = Bands((rows, 4), step, count, ranks)
        written = np.zeros(rows, int)
        for number in range(bands.turns):
            turn = Turn(bands, number)
            for rank in range(ranks):
                box = turn.box(rank)
                written[box.start[0] : box.stop[0]] += 1
                for other in (Box((0, 0), (rows, 4)), Box((rows // 2, 1), (rows // 2 + 1, 3))):
                    assert (rank in turn.overlapping(other)) == bool(box.intersect(other).size)
        assert (written == 1).all()
        ends = [bands.rows(number) for number in range(count)]
        assert all(low % step == 0 or low == rows for low, _ in ends)


def test_names() -> None:
    name = f"000003-{'0a' * 16}.h5"
    assert is_subfile(f"out.h5.subfiles/{name}")
    for strange in (name, f"../out.h5.subfiles/{name}", f"/out.h5.subfiles/{name}", f"a/out.h5.subfiles/{name}",
                    f"out.h5/{name}", "out.h5.subfiles/../u.h5", f".subfiles/{name}"):  # fmt: skip
        assert not is_subfile(strange)
