"""``mpibatch logs``: what a job has written so far, and what it goes on to write."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from mpibatch.tools.slurm.submissions import Submission

__all__ = ["add", "execute"]

EVERY = 0.5  # seconds between looks at the file
ASK_EVERY = 5.0  # seconds between questions to Slurm's controller
SILENT = "the job may go on; follow it later by the same command"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "logs",
        parents=[shared],
        help="show the log of a job submitted from this folder",
        description="Print the log of a job that was submitted from this folder; with -f until it has ended.",
    )
    parser.add_argument("job", metavar="JOBID", nargs="?", help="the job, or JOBID_TASK (default: the newest job)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    from mpibatch.base.errors import RunError, UsageError
    from mpibatch.base.processes.launch import launched
    from mpibatch.tools.slurm import submissions

    if launched()[0] != 0:
        return 0
    chosen = submissions.select([args.job] if args.job else [])
    if not chosen:
        raise UsageError("nothing was submitted from this folder; go to the folder of the job")
    submission, task = chosen[-1], (args.job or "").partition("_")[2]
    if args.follow:
        return _follow(submission, task)
    path = submissions.log_of(submission, task)
    if not path.exists():
        raise RunError(f"{path} is not there yet; the job may still wait (mpibatch status), or give -f to wait, too")
    print(path.read_text(errors="replace"), end="")
    return 0


def _follow(submission: Submission, task: str) -> int:
    """Print the log, and that of its successors, as it grows."""
    from mpibatch.tools.slurm import commands, submissions

    # A chain that was preempted or lost a node may look ended until Slurm requeues it, or until its successor is noted.
    sure = 2 if submission.kind == "chain" else 1
    answers = commands.answers(SILENT)
    path, shown, question_time, ended = Path(), 0, 0.0, 0
    while True:
        newest = submissions.log_of(submission, task)
        if newest != path:
            shown = _print_from(path, shown)  # what the last one wrote at its end
            path, shown = newest, 0
        shown = _print_from(path, shown)
        if ended == sure:
            return 0
        if time.monotonic() - question_time > ASK_EVERY or not question_time:
            is_array = submission.kind == "array"
            number = f"{submission.number}_{task or '0'}" if is_array else submissions.latest(submission)
            if (queued := next(answers)) is not None:
                ended = 0 if commands.goes_on(number, queued) else ended + 1
            question_time = time.monotonic()
        if ended < sure:  # else what it wrote before is printed once more round
            time.sleep(EVERY)


def _print_from(path: Path, at: int) -> int:
    if not path.is_file():
        return at
    with path.open("rb") as file:
        file.seek(at)
        text = file.read()
    if text:
        print(text.decode(errors="replace"), end="", flush=True)
    return at + len(text)
