"""The end of a whole job by one rank of it: wait for the others a while, and abort all if they do not come."""

from __future__ import annotations

import math
import sys
import time
from typing import NoReturn

from mpi4py import MPI

__all__ = ["all_come", "end_all"]

GRACE = 0.5  # seconds; launchers drop what they have not passed on by the time they learn of an abort
LONGEST_PAUSE = 1e-3


def all_come(comm: MPI.Intracomm, patience: float = math.inf) -> bool:
    """Wait for the others of `comm`; return whether all have come within `patience` seconds. Collective."""
    request, until, pause = comm.Ibarrier(), time.monotonic() + patience, 0.0
    while not request.Test():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
        pause = min(pause + 1e-6, LONGEST_PAUSE)
    return True


def end_all(words: str, code: int) -> NoReturn:
    """End the job with this code (1 for 0), once `words` have been passed on. Local."""
    sys.stdout.flush()
    # One write, so that the launcher does not interleave it with another rank's.
    sys.stderr.write(words)
    sys.stderr.flush()
    time.sleep(GRACE)
    MPI.COMM_WORLD.Abort(code or 1)
    while True:  # until the launcher has ended this process
        time.sleep(1)
