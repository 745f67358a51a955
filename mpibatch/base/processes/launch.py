"""How this process begins and ends: its rank, as launchers tell it before MPI starts; when garbage is looked for."""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["collect_as_usual", "launched", "let_first_speak", "seldom_collected", "started_world"]

# What launchers tell a process about itself before MPI starts: MPICH and its kin, PMIx, Open MPI, Slurm's srun.
# Slurm's come last: a batch script has them too (as task 0), and passes them on to any other launcher's ranks.
_RANKS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)


HEARD = 5.0  # seconds
SELDOM = 20_000  # objects more than before, at which Python looks for garbage; its own number is 700
_usual: tuple[int, int, int] | None = None  # when it looks for garbage otherwise, while `seldom_collected`
_is_ours = True  # whether all that runs in this process is mpibatch's own


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


def started_world() -> Any:
    """Return MPI's world while MPI is up in this process, else None: whoever asks must not start it. Local."""
    module = sys.modules.get("mpi4py.MPI")
    return module.COMM_WORLD if module is not None and module.Is_initialized() and not module.Is_finalized() else None


def let_first_speak() -> None:
    """Before an end with an error, MPI not begun: wait until the first rank has said why. Local.

    Ranks cannot agree yet, so that each fails by itself and rank 0 alone speaks; and under srun the first that ends
    badly ends the others. (A batch script, and what another launcher starts from there, has task number 0.)
    """
    if _is_number("SLURM_PROCID") and int(os.environ["SLURM_PROCID"]) > 0:
        time.sleep(HEARD)


def _is_number(name: str) -> bool:
    return os.environ.get(name, "").isdecimal()


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """For a command that is all of its process: look for garbage in cycles seldom, and not when Python ends. Local.

    What a command loads stays, and its memory is given back without that, which took a good part of a short command's
    time (scripts/bench_start.py).
    """
    global _usual
    before, _usual = _usual, gc.get_threshold()
    if _is_ours and 0 < _usual[0] < SELDOM:  # 0: never
        gc.set_threshold(SELDOM, *_usual[1:])
    _freeze_at_exit()
    try:
        yield
    finally:
        gc.set_threshold(*_usual)
        _usual = before


def collect_as_usual() -> None:
    """Undo that, as a user's code is loaded: its cycles may hold arrays, and have work to do at their end. Local."""
    global _is_ours
    _is_ours = False
    if _usual is not None:
        gc.set_threshold(*_usual)


@functools.cache
def _freeze_at_exit() -> None:
    atexit.register(lambda: gc.freeze() if _is_ours else None)
