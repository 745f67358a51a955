"""``mpibatch cancel``: end jobs that were submitted from this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from mpibatch.tools.slurm.submissions import Submission

__all__ = ["add", "execute"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "cancel",
        parents=[shared],
        help="cancel jobs submitted from this folder",
        description="Cancel jobs that were submitted from this folder; a chain does not continue after it.",
    )
    parser.add_argument("jobs", metavar="JOBID", nargs="*", help="the jobs, or tasks of an array as JOBID_TASK")
    parser.add_argument("--all", action="store_true", help="all jobs that have not ended")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    from mpibatch.base.errors import UsageError
    from mpibatch.base.processes.launch import launched
    from mpibatch.tools.slurm import commands, submissions
    from mpibatch.tools.slurm.attempts import CANCELLED

    if launched()[0] != 0:
        return 0
    if bool(args.jobs) == args.all:
        raise UsageError("name the jobs to cancel, or give --all")
    chosen = _going_on() if args.all else submissions.select(args.jobs)
    if not chosen:
        if not args.quiet:
            print("nothing to cancel: no job that was submitted from this folder waits or runs")
        return 0
    names = args.jobs or [submission.number for submission in chosen]
    numbers = []
    for submission, name in zip(chosen, names, strict=True):
        # Before Slurm's signal: a script that is about to requeue itself must see it.
        state = submissions.state_of(submission)
        if submission.kind == "chain":
            state.mkdir(parents=True, exist_ok=True)
            (state / CANCELLED).touch()
        numbers.append(name if submission.kind == "array" else submissions.latest(submission))
    commands.cancel(numbers)
    if not args.quiet:
        print(f"cancelled {', '.join(numbers)}")
    return 0


def _going_on() -> list[Submission]:
    """What was submitted from this folder, and waits or runs."""
    from mpibatch.tools.slurm import commands, submissions

    jobs = submissions.entries()
    before = {job.number: submissions.latest(job) for job in jobs}
    queued = commands.queue() if jobs else {}
    # A chain may have gone on as its successor just before Slurm was asked, or just after.
    return [
        job
        for job in jobs
        if any(commands.goes_on(n, queued, job.kind == "chain") for n in (before[job.number], submissions.latest(job)))
    ]
