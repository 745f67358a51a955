"""What a supervisor and its ranks both know: the limit, the signal for stacks, the exit code, the messages."""

from __future__ import annotations

import os
import signal

__all__ = ["ASK", "DEFAULT", "END", "HUNG", "LONGER", "SETTING", "seconds_of_setting"]

SETTING = "MPIBATCH_SUPERVISE"
DEFAULT = 1800.0  # seconds without progress anywhere on a node
LONGER = 4  # times the limit while a rank compiles, or is in files; and where all wait for other nodes
HUNG = 70  # exit code of a job that a supervisor has ended
# Not SIGUSR1, which asks for a checkpoint, nor SIGUSR2, which ends MPICH's mpiexec. The first real-time signals are the
# C library's own.
ASK = signal.SIGRTMIN + 11
END = b"e"  # from a supervisor to a rank: end the job


def seconds_of_setting() -> float:
    """Return the seconds of `MPIBATCH_SUPERVISE`, 0 for none; the default for what is no number. Local."""
    try:
        seconds = float(os.environ.get(SETTING, "") or DEFAULT)
    except ValueError:
        return DEFAULT
    return seconds if 0 <= seconds < float("inf") else 0.0
