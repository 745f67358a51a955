"""Logging of one rank: every record carries the rank that wrote it.

The library only calls ``logging.getLogger("mpibatch...")``; nothing is printed until a program, or the command
line, calls `setup`. By default rank 0 speaks for all and the others report warnings only, so that a batch log
does not repeat one line per rank; ``--log-level debug`` lets every rank speak.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

__all__ = ["LEVELS", "logger", "setup"]

LEVELS = ("debug", "info", "warning", "error")


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
