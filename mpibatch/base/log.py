"""Logging of one rank: every record carries the rank that wrote it.

The library only calls ``logging.getLogger("mpibatch...")``; nothing is printed until a program, or the command
line, calls `setup`. By default rank 0 speaks for all and the others report warnings only, so that a batch log
does not repeat one line per rank; ``--log-level debug`` lets every rank speak.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

__all__ = ["LEVELS", "launched", "logger", "setup"]

LEVELS = ("debug", "info", "warning", "error")

# What launchers tell a process about itself before MPI starts: MPICH and its kin, PMIx, Open MPI, Slurm's srun.
# Slurm's come last: a batch script has them too (as task 0), and passes them on to any other launcher's ranks.
_RANKS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)


def launched() -> tuple[int, int]:
    """Return (rank, ranks) as the launcher's environment tells them, (0, 1) without a launcher. Local.

    Only for what happens before MPI is imported: help, usage errors, and commands that need one process.
    """
    launches = [(int(os.environ[rank]), os.environ.get(size, "")) for rank, size in _RANKS if _is_number(rank)]
    # Slurm's PMIx tells a rank its number alone; the number of all is among Slurm's own.
    rank, count = next(
        ((rank, count) for rank, count in launches if count.isdecimal()), launches[0] if launches else (0, "")
    )
    return rank, max(int(count) if count.isdecimal() else 1, rank + 1)


def _is_number(name: str) -> bool:
    return os.environ.get(name, "").isdecimal()


def logger(name: str = "") -> logging.Logger:
    """Return the package's logger, or a named child of it. Local."""
    return logging.getLogger(f"mpibatch.{name}" if name else "mpibatch")


def setup(
    level: str = "info", *, rank: int = 0, size: int = 1, quiet: bool = False, stream: TextIO | None = None
) -> None:
    """Send this rank's records of `level` and above to `stream` (standard error). Local.

    Below `level` "debug", ranks other than 0 are heard from "warning" on. `quiet` leaves errors only.
    """
    number = int(getattr(logging, level.upper()))
    if quiet:
        number = max(number, logging.ERROR)
    elif rank != 0 and number > logging.DEBUG:
        number = max(number, logging.WARNING)
    where = f"[{rank}/{size}] " if size > 1 else ""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {where}%(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    root = logger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    root.propagate = False
