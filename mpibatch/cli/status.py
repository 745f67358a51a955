"""``mpibatch status``: what became of what was submitted from this folder."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.tools.slurm.commands import Queued
    from mpibatch.tools.slurm.submissions import Submission

__all__ = ["add", "execute"]

DESCRIPTION = """\
Show the jobs that were submitted from this folder: their state in Slurm, and their own records. A job is
done when its run has left a completion record; that Slurm calls it COMPLETED is no proof.
"""

COLUMNS = ("job", "name", "state", "elapsed", "attempts", "result")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "status",
        parents=[shared],
        help="show the jobs submitted from this folder",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("jobs", metavar="JOBID", nargs="*", help="the jobs to show (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each job")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    import json

    from mpibatch.base.processes.launch import launched
    from mpibatch.tools.slurm import commands, submissions

    if launched()[0] != 0:
        return 0
    chosen = submissions.select(args.jobs)
    if not chosen:
        print("nothing was submitted from this folder")
        return 0
    known = commands.queue()
    rows = [row for submission in chosen for row in _rows(submission, known)]
    if args.json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return 0
    heads = {key: key for key in COLUMNS}
    wide = {key: max(len(str(row[key])) for row in (heads, *rows)) for key in COLUMNS}
    for row in [heads, *rows]:
        print("  ".join(f"{row[key]!s:<{wide[key]}}" for key in COLUMNS).rstrip())
    return 0


def _rows(submission: Submission, known: Mapping[str, Queued]) -> list[dict[str, Any]]:
    from mpibatch.tools.slurm import submissions

    if submission.kind != "array":
        return [_row(submission, "", known.get(submissions.latest(submission)))]
    # Tasks that wait together are one line of squeue, such as 12_[3-7].
    waiting = next((job for n, job in known.items() if n.startswith(f"{submission.number}_[")), None)
    tasks = [str(task) for task in range(submission.tasks)]
    return [_row(submission, task, known.get(f"{submission.number}_{task}", waiting)) for task in tasks]


def _row(submission: Submission, task: str, queued: Queued | None) -> dict[str, Any]:
    from mpibatch.tools.slurm import submissions
    from mpibatch.tools.slurm.attempts import read_attempts

    attempts = sum(line.get("event") == "begin" for line in read_attempts(submissions.state_of(submission, task)))
    record = submissions.outcome(submission, task)
    state = queued.state if queued else "forgotten"  # Slurm keeps ended jobs for minutes only
    return {
        "job": f"{submission.number}_{task}" if task else submissions.latest(submission),
        "name": submission.name,
        "state": state,
        "elapsed": queued.elapsed if queued else "",
        "attempts": attempts,
        "result": _result(submission, record, queued),
        "log": str(submissions.log_of(submission, task)),
    }


def _result(submission: Submission, record: Mapping[str, Any] | None, queued: Queued | None) -> str:
    if record is not None and record["code"] == 0:
        if submission.kind == "scaling":
            return f"done: {submission.folder}"
        return f"done: {record['output']}" if "output" in record else "done"
    if queued is not None and queued.state in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED"):
        return queued.reason.strip("()") if queued.state == "PENDING" else ""
    if record is not None:
        return f"not done: exit code {record['code']}"
    return "not done: it left no completion record"
