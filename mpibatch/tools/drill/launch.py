"""The words that start ranks, and programs of the drill that run on them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["own_launcher", "ranks_of"]


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
