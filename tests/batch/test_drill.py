"""The kill drill of batches, in short; `mpibatch drill --only kill-batch --times 20` is the whole of it."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mpibatch.tools.drill import batches
from mpibatch.tools.drill.launch import own_launcher, processes_of

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_lost_or_done_again_and_other_bytes_are_seen(tmp_path: Path) -> None:
    whole = batches.reference(tmp_path / "whole")
    with pytest.raises(AssertionError, match="not those of a whole run"):  # nor was anything done again
        batches.kill_and_resume(tmp_path, own_launcher(3), 3, whole[::-1], random.Random(4))
    *_, resumed = sorted(path for path in tmp_path.iterdir() if path.name != "whole")
    assert batches._outputs(resumed) == whole
    assert processes_of(resumed) == []


def test_a_drill_whose_kills_all_came_too_late_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PATIENCE", 0.1)
    with pytest.raises(AssertionError, match="had ended before"):
        batches.kill_and_resume(tmp_path, ["true"], 1, [], random.Random(1))


def test_a_run_that_does_not_end_is_killed_and_no_process_that_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.pid").write_text("")  # its number is not written yet
    (tmp_path / "0.pid").write_text("1")  # another's
    assert batches._pids(tmp_path) == {}
    monkeypatch.setattr(batches, "LIMIT", 0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        batches._finish(tmp_path, [sys.executable, "-c", "import time; time.sleep(60)"])
    assert processes_of(tmp_path) == []
