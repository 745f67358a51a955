"""What the launcher says of this process, before MPI starts: its rank, and how many there are."""

from __future__ import annotations

import os
import time

__all__ = ["launched", "let_first_speak"]

# What launchers tell a process about itself before MPI starts: MPICH and its kin, PMIx, Open MPI, Slurm's srun.
# Slurm's come last: a batch script has them too (as task 0), and passes them on to any other launcher's ranks.
_RANKS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)


HEARD = 5.0  # seconds


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


def let_first_speak() -> None:
    """Before an end with an error, MPI not begun: wait until the first rank has said why. Local.

    Ranks cannot agree yet, so that each fails by itself and rank 0 alone speaks; and under srun the first that ends
    badly ends the others. (A batch script, and what another launcher starts from there, has task number 0.)
    """
    if _is_number("SLURM_PROCID") and int(os.environ["SLURM_PROCID"]) > 0:
        time.sleep(HEARD)


def _is_number(name: str) -> bool:
    return os.environ.get(name, "").isdecimal()
