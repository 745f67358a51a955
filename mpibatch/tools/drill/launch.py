"""The words that start ranks, and the end of ranks that do not end."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["end_late", "own_launcher", "processes_of", "ranks_of"]

PATIENCE = 5.0  # seconds for processes that are killed to be gone


def own_launcher(ranks: int) -> list[str]:
    """Return the words that start so many ranks: ``$MPIBATCH_MPIEXEC``, or the mpiexec beside this Python. Local."""
    own = str(Path(sys.executable).parent / "mpiexec")
    return [*shlex.split(os.environ.get("MPIBATCH_MPIEXEC", own)), "-n", str(ranks)]


def ranks_of(start: Sequence[str], seconds: float) -> int:
    """Return how many ranks these words start. Local. RunError if none meet, UsageError without such a launcher."""
    program = "from mpibatch.mpi import world; w = world(); w.rank or print(f'ranks={w.size}', flush=True)"
    try:
        done = subprocess.run(
            [*start, sys.executable, "-c", program],
            capture_output=True, text=True, errors="replace", timeout=seconds, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        raise UsageError(
            f"there is no {start[0]} on the PATH; give the words that start ranks here: --launcher"
        ) from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{shlex.join(start)} started no ranks within {seconds:g} s; try it by hand") from None
    sizes = [line.removeprefix("ranks=") for line in done.stdout.splitlines() if line.startswith("ranks=")]
    if done.returncode or len(sizes) != 1:
        worlds = f"{len(sizes)} worlds that do not know one another" if len(sizes) > 1 else "no ranks"
        raise RunError(
            f"{shlex.join(start)} starts {worlds} (exit code {done.returncode}): {done.stderr.strip()[-300:]}; "
            "mpibatch doctor --launcher tells why"
        )
    return int(sizes[0])


def processes_of(place: Path) -> list[int]:
    """Return the processes of this host that have a folder among their words: those of a run in it. Local."""
    pids = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another's
            if os.fsencode(place) in (path / "cmdline").read_bytes().split(b"\0"):
                pids.append(int(path.name))
    return [pid for pid in pids if pid != os.getpid()]


def end_late(running: subprocess.Popen[Any], place: Path) -> None:
    """End a launcher that has not ended in time, and its ranks on this host, which may outlive it. Local."""
    if running.poll() is not None:
        return
    running.kill()
    until = time.monotonic() + PATIENCE
    while (left := processes_of(place)) and time.monotonic() < until:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.poll()
        time.sleep(0.02)
