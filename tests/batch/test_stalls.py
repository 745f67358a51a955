"""Over a network on which a fetch waits for its owner: the owner's thread answers while it computes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

Launch = Callable[..., subprocess.CompletedProcess[str]]

PROGRAM = """
import time
from mpibatch.mpi import MPI, private
from mpibatch.mpi.counter import Counter

comm, longest, mine = private(), 0.0, []
with Counter(comm, 24) as counter:
    while True:
        began = time.perf_counter()
        number = counter.take()
        longest = max(longest, time.perf_counter() - began)
        if number < 0:
            break
        mine.append(number)
        if comm.rank == 0:
            time.sleep(0.5)  # outside of MPI
numbers = sorted(comm.allreduce(mine))
others = comm.gather(0.0 if comm.rank == 0 else longest)
if comm.rank == 0:
    is_mpich = "MPICH" in MPI.Get_library_version()
    print(is_mpich, counter.stalls, numbers == list(range(24)), max(others) < 0.4, others)
"""


def test_ranks_do_not_wait_for_one_that_computes(launch: Launch) -> None:
    # MPICH then treats ranks of one host as if they had no memory in common.
    done = launch(3, "-c", PROGRAM, env={**os.environ, "MPIR_CVAR_NOLOCAL": "1"})
    is_mpich, stalls, *rest = done.stdout.split(maxsplit=4)
    assert rest[:2] == ["True", "True"], done.stdout + done.stderr
    assert stalls == is_mpich, "the trap is there, or this MPI knows no such setting"
