"""Standard output and error that are closed, full, or pipes that nobody reads: real processes, real files."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpibatch.cli._streams import PIPE_ENDED, streams

JOB = """\
[input]
path = "in.npy"
[[step]]
filter = "binarize"
threshold = 3
[output]
path = "out.h5"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "in.npy", np.arange(120, dtype="f4").reshape(12, 10))
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path


def shell(folder: Path, command: str) -> tuple[int, str]:
    """Return the status and all output of a command in bash, where `mpibatch` is this one."""
    root = str(Path(__file__).resolve().parents[2])
    defined = f'mpibatch() {{ "{sys.executable}" -m mpibatch "$@"; }}; set -o pipefail; {command}'
    done = subprocess.run(
        ["bash", "-c", defined], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("{ sleep 1; mpibatch info in.npy; } | true", PIPE_ENDED, ""),
        ("mpibatch info in.npy >&-", 1, "cannot write to standard output: Bad file descriptor"),
        ("mpibatch info in.npy >/dev/full", 1, "cannot write to standard output: No space left on device"),
        ("mpibatch info absent.npy 2>&-", 1, ""),
        ("{ sleep 1; mpibatch --help; } | true", PIPE_ENDED, ""),
    ],
)
def test_what_only_prints_ends_with_its_reader(command, status, words, folder):
    code, text = shell(folder, command)
    assert code == status, text
    assert words in text
    assert "Traceback" not in text
    assert len(text.splitlines()) == (1 if words else 0), text


@pytest.mark.parametrize("to", ["2>&1 | true", ">/dev/full 2>&1", ">&- 2>&- <&-"])
def test_a_run_does_its_work_unheard(to, folder):
    assert shell(folder, f"mpibatch run job.toml {to}") == (0, "")
    assert (folder / "out.h5").exists()
    assert shell(folder, "mpibatch verify --quiet out.h5") == (0, "")


def test_streams_of_others_stay_theirs(monkeypatch):
    theirs = io.StringIO()
    monkeypatch.setattr(sys, "stdout", theirs)
    with streams() as shown:
        shown.be_strict()
        print("heard")
        assert shown.status(7) == 7
    assert theirs.getvalue() == "heard\n"
    assert sys.stdout is theirs


def test_any_text_can_be_written(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as theirs:
        monkeypatch.setattr(sys, "stdout", theirs)
        with streams():
            print("2 × 3 of odd\udcffname")
    assert (tmp_path / "out").read_bytes() == b"2 ? 3 of odd\\udcffname\n"
