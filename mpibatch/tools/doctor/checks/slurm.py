"""Slurm's settings that matter: in an allocation those of the job, outside it whether jobs can be submitted."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from mpibatch.base.units import bytes_text, plural
from mpibatch.tools.doctor.checks.launchers import family_of
from mpibatch.tools.doctor.checks.machine import MEBI
from mpibatch.tools.doctor.finding import Finding, fine, one_line, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_slurm", "threads_of"]

CHECK = "Slurm"
LEAST_MEMORY = 512 * MEBI  # of a rank: Python with its libraries takes 150 to 250


def threads_of(environment: Mapping[str, str]) -> int:
    """Return how many threads a rank is told to start. Local. mpibatch itself starts one unless told."""
    numbers = [environment.get(name, "").split(",")[0] for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")]
    return max([1, *(int(number) for number in numbers if number.isdecimal())])


def check_slurm(environment: Mapping[str, str], world: int, library: str) -> list[Finding]:
    """Look at Slurm's settings; `world` is the number of ranks that MPI sees, 0 if unknown. Local."""
    if "SLURM_JOB_ID" in environment:
        return _inside(environment, world)
    if shutil.which("sbatch") is None:
        return [skipped(CHECK, "no sbatch on $PATH, and not in a job")]
    return _outside(library)


def _inside(environment: Mapping[str, str], world: int) -> list[Finding]:
    number = environment.get
    job = f"job {number('SLURM_JOB_ID')}"
    tasks = number("SLURM_STEP_NUM_TASKS") or number("SLURM_NTASKS") or ""
    findings = []
    # Under srun that is the launcher's matter; and what mpiexec starts by srun has Slurm's numbers of its own helpers.
    if world > 1 and "SLURM_STEP_NUM_TASKS" not in environment and tasks.isdecimal() and int(tasks) != world:
        message = f"{job} has {tasks} tasks (SLURM_NTASKS), but {world} ranks were started"
        findings.append(warning(CHECK, message, f"mpiexec -n $SLURM_NTASKS …, or sbatch --ntasks={world}"))
    findings += _threads(environment, job)
    findings += _memory(environment, job)
    if number("SLURM_CPU_BIND", "").split(",")[-1] == "none" and tasks.isdecimal() and int(tasks) > 1:
        message = f"{job}: ranks are not bound to cores (SLURM_CPU_BIND=none), and may be moved away from their memory"
        findings.append(warning(CHECK, message, "srun --cpu-bind=cores …"))
    nodes = number("SLURM_NNODES") or number("SLURM_JOB_NUM_NODES") or "?"
    where = f"{plural(int(nodes), 'node') if nodes.isdecimal() else '? nodes'} ({number('SLURM_JOB_NODELIST', '?')})"
    return findings or [fine(CHECK, f"{job}: {tasks or '?'} tasks on {where}")]


def _threads(environment: Mapping[str, str], job: str) -> list[Finding]:
    cores = environment.get("SLURM_CPUS_PER_TASK", "")
    threads = threads_of(environment)
    if cores.isdecimal() and threads != int(cores):
        if threads > int(cores):
            message = f"{job}: {threads} threads for each rank, but {cores} cores (SLURM_CPUS_PER_TASK)"
            return [warning(CHECK, message, f"export OMP_NUM_THREADS={cores} NUMBA_NUM_THREADS={cores}")]
        message = f"{job}: {cores} cores for each rank (SLURM_CPUS_PER_TASK), but {threads} thread{'s' * (threads > 1)}"
        advice = f"export OMP_NUM_THREADS={cores} NUMBA_NUM_THREADS={cores}, or take more ranks and --cpus-per-task=1"
        return [warning(CHECK, message, advice)]
    in_batch = "SLURM_STEP_NUM_TASKS" not in environment
    if in_batch and cores.isdecimal() and int(cores) > 1 and environment.get("SRUN_CPUS_PER_TASK") != cores:
        message = f"{job}: from Slurm 22.05 on srun does not take over --cpus-per-task={cores} of sbatch"
        return [warning(CHECK, message, "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK")]
    if not cores and threads > 1:
        message = f"{job}: {threads} threads for each rank, but one core (no --cpus-per-task)"
        return [warning(CHECK, message, f"sbatch and srun --cpus-per-task={threads}, or export OMP_NUM_THREADS=1")]
    return []


def _memory(environment: Mapping[str, str], job: str) -> list[Finding]:
    """Slurm tells memory in MiB."""
    per_core, per_node = environment.get("SLURM_MEM_PER_CPU", ""), environment.get("SLURM_MEM_PER_NODE", "")
    cores = environment.get("SLURM_CPUS_PER_TASK", "")
    tasks_per_node = environment.get("SLURM_NTASKS_PER_NODE", "")
    if per_core.isdecimal():
        each = int(per_core) * MEBI * (int(cores) if cores.isdecimal() else 1)
        option = "--mem-per-cpu"
    elif per_node.isdecimal() and int(per_node) and tasks_per_node.isdecimal():
        each, option = int(per_node) * MEBI // max(int(tasks_per_node), 1), "--mem"
    else:
        return []
    if each >= LEAST_MEMORY:
        return []
    memory = bytes_text(each)
    message = f"{job}: {memory} of memory for each rank ({option}); Python and its libraries take 150 to 250 MiB of it"
    return [warning(CHECK, message, f"give sbatch more {option}, or 0 for all of a node's")]


def _outside(library: str) -> list[Finding]:
    try:
        done = subprocess.run(
            ["srun", "--mpi=list"], capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as failure:
        return [warning(CHECK, f"srun --mpi=list did not answer ({failure})", "sinfo")]
    text = done.stdout + done.stderr
    if done.returncode:
        reason = one_line(text.strip().split("\n")[-1], 160)
        return [skipped(CHECK, f"installed, but no cluster is known here: {reason}", "export SLURM_CONF=…")]
    kinds = sorted({*re.findall(r"\b(pmi2|pmix\w*|cray_shasta)\b", text)})
    family = family_of(library)[0]
    plugin = "pmix" if family == "openmpi" else "pmi2"
    if family and not any(kind.startswith(plugin) for kind in kinds):
        message = f"srun speaks {', '.join(kinds) or 'no language of MPI'}, but not {plugin}, as the loaded MPI needs"
        return [
            warning(CHECK, message, 'start ranks with mpiexec in the batch script: launcher = "mpiexec" in the profile')
        ]
    example = f": srun --mpi={plugin}" if family else ""
    return [fine(CHECK, f"jobs can be submitted{example}; in a job: srun -n 4 mpibatch doctor")]
