"""System calls that fail under a job: some cases of scripts/drill_faults.py, whose whole run is by hand."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "drill_faults.py"
COMPILER = shlex.split(os.environ.get("CC", "cc"))[0]


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs a C compiler ({COMPILER}), for a preloaded library")
@pytest.mark.parametrize("only", ["packed/read/EIO/4", "save/write/ENOSPC/4", ""])
def test_failing_calls_are_told_and_lose_nothing(only: str) -> None:
    command = [sys.executable, str(SCRIPT), "--sample", "6" if not only else "2", "--seed", "3", "--only", only]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    *wrong, last = map(json.loads, run.stdout.splitlines())
    assert run.returncode == 0, [(case["case"], case["problems"], case["words"]) for case in wrong]
    assert last["cases"] == last["survived"] + last["refused"] > 0
    assert last["wrong"] == 0
