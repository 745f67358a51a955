"""Processes that must end: those that are stuck write their stacks first."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, TextIO

from scripts._runner.setups import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

# At the limit mpiexec passes this on to the ranks, and faulthandler writes their stacks (mpibatch/testing.py).
DUMP_SIGNAL = signal.SIGUSR1
DUMP_SECONDS = 2.0
END_SECONDS = 10.0

interrupted = threading.Event()


def run(command: list[str], environment: dict[str, str], limit: float, scratch: Path, out: TextIO | None) -> str:
    """Run `command`; return what went wrong, or "". When it is stuck it must write its stacks, and is ended."""
    # A session of its own, so that whatever is left of it can be ended without touching anything else.
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | environment, stdin=subprocess.DEVNULL, start_new_session=True,
        stdout=out, stderr=out and subprocess.STDOUT,
    )  # fmt: skip
    deadline = time.monotonic() + limit
    try:
        while process.poll() is None:
            time.sleep(0.1)
            status = "a test got stuck" if (scratch / "stuck").exists() else ""
            status = f"longer than {limit:g} s" if time.monotonic() > deadline else status
            if interrupted.is_set():
                return "interrupted"
            if status:
                time.sleep(DUMP_SECONDS)
                process.send_signal(DUMP_SIGNAL)
                time.sleep(DUMP_SECONDS)
                return status
        return f"exit status {process.returncode}" if process.returncode else ""
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End `process` and what it started in its session, gently first: mpiexec passes SIGTERM on to the ranks."""
    if process.poll() is not None:
        return
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
