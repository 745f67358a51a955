"""What was submitted from a folder: a line of JSON for each submission, in ``.mpibatch/jobs.jsonl``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.tools.slurm.attempts import RECORD, read_attempts
from mpibatch.tools.slurm.completion import read

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "FOLDER", "Submission", "add", "entries", "latest", "log_of", "measured_stopping", "outcome",
    "prepare", "select", "state_of",
]  # fmt: skip

FOLDER = Path(".mpibatch")
_FILE = "jobs.jsonl"


@dataclass(frozen=True)
class Submission:
    """One submission: Slurm's number for it, and what it was."""

    number: str
    name: str
    kind: str
    job: str
    profile: str
    ranks: int
    tasks: int
    submitted: str
    script: str
    folder: str = "."  # of the logs


def prepare() -> None:
    """Make the folder, which keeps itself out of version control. Local."""
    FOLDER.mkdir(exist_ok=True)
    ignore = FOLDER / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def add(submission: Submission) -> None:
    """Append a submission. Local."""
    line = json.dumps(asdict(submission), ensure_ascii=False) + "\n"
    # One write to a file opened for appending: two submissions at a time do not mix.
    handle = os.open(FOLDER / _FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def entries() -> list[Submission]:
    """Return all submissions from this folder, oldest first; of one number, the newest. Local."""
    try:
        lines = (FOLDER / _FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    submissions: dict[str, Submission] = {}
    for line in lines:
        try:
            submission = Submission(**json.loads(line))
        except (ValueError, TypeError):
            continue  # cut off by a full disk, or of another version
        submissions.pop(submission.number, None)
        submissions[submission.number] = submission
    return [*submissions.values()]


def select(numbers: list[str]) -> list[Submission]:
    """Return the submissions of these numbers, all if there are none. Local. Raises UsageError for an unknown job id.

    The number of a successor stands for the run that it goes on with.
    """
    known = {submission.number: submission for submission in entries()}
    if not numbers:
        return [*known.values()]
    for submission in [*known.values()]:
        known |= dict.fromkeys(_successors(submission), submission)
    for number in numbers:
        if number.partition("_")[0] not in known:
            listed = ", ".join(known) or "none"
            raise UsageError(
                f"job {number} was not submitted from this folder (known here: {listed}); go to its folder"
            )
    return [known[number.partition("_")[0]] for number in numbers]


def state_of(submission: Submission, task: str = "") -> Path:
    """Return the folder of a run, or of one task of an array. Local."""
    return FOLDER / f"{submission.name}-{submission.number}{f'_{task}' if task else ''}"


def latest(submission: Submission) -> str:
    """Return the number under which a run goes on now: that of its newest successor, or its own. Local."""
    return [submission.number, *_successors(submission)][-1]


def _successors(submission: Submission) -> list[str]:
    return [str(line["job"]) for line in read_attempts(state_of(submission)) if line.get("event") == "successor"]


def log_of(submission: Submission, task: str = "") -> Path:
    """Return the log of a submission's newest job, or of one task of an array. Local."""
    if submission.kind == "array":
        return Path(submission.folder, f"{submission.name}-{submission.number}_{task or '0'}.out")
    return Path(submission.folder, f"{submission.name}-{latest(submission)}.out")


def measured_stopping(name: str) -> float | None:
    """Return the longest time that runs of this name took to stop, from the signal to the end. Local."""
    runs = [submission for submission in entries() if submission.name == name]
    lines = [line for submission in runs for line in read_attempts(state_of(submission))]
    times = [float(line["stopping"]) for line in lines if line.get("stopping") is not None and line.get("code") == 75]
    return max(times, default=None)


def outcome(submission: Submission, task: str = "") -> Mapping[str, Any] | None:
    """Return the completion record of a run, or of one task of an array, if it left one. Local."""
    return read(state_of(submission, task) / RECORD)
