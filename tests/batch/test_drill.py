"""The kill drill of batches, in short: a rank, all ranks and the launcher, once each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import drill_batch

SCRIPT = Path(drill_batch.__file__)


def test_nothing_is_lost_or_done_again_in_three_kills(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "3", "--seed", "4", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["wrong"] == []
    assert outcome["done again"] == 0
    # A moment may lie behind the end; most must not.
    assert outcome["killed"] >= 2
    assert outcome["kept"] > 0
    assert not list(tmp_path.iterdir())


def test_a_drill_whose_kills_all_came_too_late_shows_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "0", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, json.loads(done.stdout)["killed"]) == (1, 0), done.stderr


def test_a_run_that_does_not_end_is_killed_and_no_process_that_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "1.pid").write_text("")  # its number is not written yet
    with pytest.raises(subprocess.TimeoutExpired), drill_batch.started(tmp_path, 1) as process:
        process.communicate(timeout=0.01)
    assert process.returncode == -signal.SIGKILL
    (tmp_path / "0.pid").write_text("12")
    assert drill_batch.pids(tmp_path) == {0: 12}
