"""The kill drill, in short."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "drill_kill.py"


@pytest.mark.slow
def test_nothing_is_lost_in_ten_kills(tmp_path):
    command = [sys.executable, str(SCRIPT), "--kills", "10", "--seed", "3", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    # Some moments lie behind the end of a run that was over sooner; most must not.
    assert told["killed"] >= 7
    assert not list(tmp_path.iterdir())
