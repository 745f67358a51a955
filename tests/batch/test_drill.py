"""The kill drill of batches, in short: a rank, all ranks and the launcher, once each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "drill_batch.py"


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
