"""Running a job from the command line: progress, and the tables at the end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mpibatch.base import tally, timing
from mpibatch.base.errors import RunError
from mpibatch.base.processes.launch import launched
from mpibatch.base.units import bytes_text, plural, shape_text
from mpibatch.io.base.names import split_path
from mpibatch.job.file.simulation import SimulationJob
from mpibatch.tools.history import entry
from mpibatch.tools.slurm import completion

if TYPE_CHECKING:
    from mpibatch.job.execution.pipeline import Summary
    from mpibatch.job.execution.resumption import Start
    from mpibatch.job.file.schema import Job
    from mpibatch.mpi import Hosts

__all__ = ["run_and_report"]

COMPILING_WORTH_TELLING = 0.1  # seconds


def run_and_report(
    job: Job | SimulationJob, comm: Any, quiet: bool = False, start: Start = "new", *, command: str = "run"
) -> int:
    """Run `job` on `comm` with progress on standard error and a summary on standard output; return 0. Collective."""
    from mpibatch.job.execution.account import Begin, account, peak_memory
    from mpibatch.job.execution.progress import reporter
    from mpibatch.mpi import hosts_of
    from mpibatch.tools.planning.run_prediction import compared, predicted

    _check_world(comm)
    _begin(job, command)
    timing.reset()
    tally.reset()
    began = Begin()
    with reporter(comm.rank, quiet) as report:
        summary: Summary
        if isinstance(job, SimulationJob):
            from mpibatch.job.execution.simulation import simulate

            summary = simulate(job, comm, report, start)
        else:
            from mpibatch.job.runner import run

            summary = run(job, comm, report, start)
    completion.note(output=summary.path)
    if summary.was_complete:
        if comm.rank == 0 and not quiet:
            print(f"{summary.path} is complete and whole already: nothing to do")
        return 0
    stats = timing.summary(comm)
    hosts = hosts_of(comm)
    prediction = predicted(job, comm.size, max(hosts.ranks.values())) if hosts is not None else None
    figures = None
    # Launchers may keep the variable from other ranks.
    if comm.bcast(completion.is_wanted(), root=0):
        figures = account(comm, summary, stats, hosts, began)
        completion.note(run=figures if figures is None or prediction is None else {**figures, "predicted": prediction})
    if hosts is None or quiet:
        return 0
    print(f"{shape_text(summary.shape)} cells on {shape_text(summary.topology)} ranks")
    print(_chosen(comm.size, hosts))
    for note in summary.notes:
        print(note)
    print(_laps(summary.seconds))
    if prediction is not None:
        memory = figures["memory"]["most"] if figures else peak_memory()
        print(compared(prediction, _step_seconds(summary), memory))
    print(timing.table(stats, comm.size))
    if any(stat.name == "compile" and stat.slowest > COMPILING_WORTH_TELLING for stat in stats):
        print("compile: loops are compiled once and kept, later runs only load them")
    print(f"wrote {summary.path}:")
    for saved in summary.saved:
        notes = ", ".join(f"{key} {value:.6g}" for key, value in saved.measured.items())
        line = f"  {saved.dataset:<20} {shape_text(saved.shape):>18} {saved.dtype:<8} {bytes_text(saved.bytes):>10}"
        print(f"{line}  {notes}".rstrip())
    return 0


def _begin(job: Job | SimulationJob, command: str) -> None:
    """Tell the history what is run."""
    inputs: tuple[str, ...] = ()
    if isinstance(job, SimulationJob):
        outputs = tuple(filter(None, (job.output, job.diagnostics)))
    else:
        inputs, outputs = (split_path(job.input.path)[0],), (job.output.path,)
    ranks = completion.ranks_of_first()
    entry.begin(ranks, command=command, job=job.source, text=job.text, inputs=inputs, outputs=outputs)


def _step_seconds(summary: Summary) -> float:
    """This rank's seconds of a step: a mean one of a simulation, all filters of a pipeline."""
    laps = dict(summary.seconds)
    if summary.kind == "simulation":
        return laps["steps"] / max(1, summary.steps)
    return sum(seconds for name, seconds in laps.items() if name not in ("reading", "writing"))


def _check_world(comm: Any) -> None:
    """Refuse to start when every process thinks it is alone: all would write the same file."""
    _, size = launched()
    if size > comm.size == 1:
        raise RunError(
            f"{size} processes were started, but MPI sees one: the launcher belongs to another MPI than mpi4py uses; "
            "start with the mpiexec beside this Python, or with srun --mpi=pmi2 or pmix, as your MPI needs"
        )


def _chosen(ranks: int, hosts: Hosts) -> str:
    """What the user decides on, and perhaps decided otherwise than was meant: ranks, threads, cores, memory."""
    from mpibatch.base.host import LIMIT_VARIABLE

    cores, limit = plural(hosts.cores, "core"), os.environ.get(LIMIT_VARIABLE, "").strip()
    if ranks > 1:
        cores = f"each on {cores}, " + ("not its own" if hosts.shared else "its own")
    line = (
        f"{plural(ranks, 'rank')} × {plural(tally.threads(), 'thread')} on {plural(len(hosts.ranks), 'host')}, {cores}"
    )
    return line + (f"; {LIMIT_VARIABLE} = {limit}" if limit else "")


def _laps(seconds: tuple[tuple[str, float], ...]) -> str:
    return "rank 0: " + ", ".join(f"{name} {time:.2f} s" for name, time in seconds)
