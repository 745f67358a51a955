"""``mpibatch logs``: what a job has written so far, and what it goes on to write."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpibatch.slurm.ledger import Submission

__all__ = ["add", "execute"]

EVERY = 0.5  # seconds between looks at the file
ASK_EVERY = 5.0  # seconds between questions to Slurm's controller


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
    from mpibatch.errors import RunError, UsageError
    from mpibatch.log import launched
    from mpibatch.slurm import ledger

    if launched()[0] != 0:
        return 0
    chosen = ledger.select([args.job] if args.job else [])
    if not chosen:
        raise UsageError("nothing was submitted from this folder; go to the folder of the job")
    submission, task = chosen[-1], (args.job or "").partition("_")[2]
    if args.follow:
        return _follow(submission, task)
    path = ledger.log_of(submission, task)
    if not path.exists():
        raise RunError(f"{path} is not there yet; the job may still wait (mpibatch status), or give -f to wait, too")
    print(path.read_text(errors="replace"), end="")
    return 0


def _follow(submission: Submission, task: str) -> int:
    """Print the log, and that of its successors, as it grows."""
    from mpibatch.slurm import ledger

    path, shown, asked, over = Path(), 0, 0.0, False
    while True:
        newest = ledger.log_of(submission, task)
        if newest != path:
            shown = _print_from(path, shown)  # what the last one wrote at its end
            path, shown = newest, 0
        shown = _print_from(path, shown)
        if over:
            return 0
        if time.monotonic() - asked > ASK_EVERY or not asked:
            over = _ended(submission, task)  # what it wrote before is printed once more round
            asked = time.monotonic()
        if not over:
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


def _ended(submission: Submission, task: str) -> bool:
    from mpibatch.slurm import commands, ledger

    number = f"{submission.number}_{task or '0'}" if submission.kind == "array" else ledger.latest(submission)
    queued = commands.queue()
    if submission.kind == "array" and any(name.startswith(f"{submission.number}_[") for name in queued):
        return False
    return number not in queued or queued[number].state in commands.ENDED
