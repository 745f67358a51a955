"""Running a job from the command line: progress, and the tables at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch import timing
from mpibatch.compiled import compile_seconds
from mpibatch.errors import RunError
from mpibatch.job.schema import Job
from mpibatch.job.simulation import SimulationJob
from mpibatch.job.words import bytes_text, shape_text
from mpibatch.log import launched
from mpibatch.slurm import completion

if TYPE_CHECKING:
    from mpibatch.job.resuming import Start

__all__ = ["run_and_report"]

COMPILING_WORTH_TELLING = 0.1  # seconds


def run_and_report(job: Job | SimulationJob, comm: Any, quiet: bool = False, start: Start = "new") -> int:
    """Run `job` on `comm` with progress on standard error and a summary on standard output; return 0. Collective."""
    from mpibatch.job.pipeline import Summary, run
    from mpibatch.job.progress import reporter
    from mpibatch.job.simulating import simulate

    _check_world(comm)
    timing.reset()
    with reporter(comm.rank, quiet) as report:
        summary: Summary
        if isinstance(job, SimulationJob):
            summary = simulate(job, comm, report, start)
        else:
            summary = run(job, comm, report, start)
    completion.note(output=summary.path)
    if summary.was_complete:
        if comm.rank == 0 and not quiet:
            print(f"{summary.path} is complete and whole already: nothing to do")
        return 0
    stats = timing.summary(comm)
    if comm.rank != 0 or quiet:
        return 0
    print(f"{shape_text(summary.shape)} cells on {shape_text(summary.topology)} ranks")
    for note in summary.notes:
        print(note)
    print(_laps(summary.seconds))
    print(timing.table(stats, comm.size))
    if compile_seconds() > COMPILING_WORTH_TELLING:
        print(f"compiling or loading compiled code took {compile_seconds():.1f} s of it (less from now on)")
    print(f"wrote {summary.path}:")
    for saved in summary.saved:
        notes = ", ".join(f"{key} {value:.6g}" for key, value in saved.measured.items())
        line = f"  {saved.dataset:<20} {shape_text(saved.shape):>18} {saved.dtype:<8} {bytes_text(saved.bytes):>10}"
        print(f"{line}  {notes}".rstrip())
    return 0


def _check_world(comm: Any) -> None:
    """Refuse to start when every process thinks it is alone: all would write the same file."""
    _, size = launched()
    if size > comm.size == 1:
        raise RunError(
            f"{size} processes were started, but MPI sees one: the launcher belongs to another MPI than mpi4py uses; "
            "start with the mpiexec beside this Python, or with srun --mpi=pmi2 or pmix, as your MPI needs"
        )


def _laps(seconds: tuple[tuple[str, float], ...]) -> str:
    return "rank 0: " + ", ".join(f"{name} {time:.2f} s" for name, time in seconds)
