"""Submitting a request: the script goes to sbatch, a copy of it and a line about it stay in this folder."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.tools.slurm import commands, submissions
from mpibatch.tools.slurm.submissions import Submission

if TYPE_CHECKING:
    from mpibatch.tools.slurm.profiles import Profile
    from mpibatch.tools.slurm.request import Request

__all__ = ["submit"]


def submit(script: str, request: Request, profile: Profile) -> Submission:
    """Submit `script`, which was rendered for this request and profile, from the working directory. Local."""
    commands.find("sbatch")
    submissions.prepare()
    number = commands.submit(script)
    kept = submissions.FOLDER / f"{request.file_name}-{number}.sbatch"
    submission = Submission(
        number=number,
        name=request.file_name,
        kind=request.kind,
        job=request.job,
        profile=profile.name,
        ranks=request.ranks,
        tasks=max(1, request.tasks),
        submitted=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
        script=str(kept),
        folder=request.point or ".",
    )
    submissions.add(submission)  # first: it must be known, whatever becomes of the copy
    Path(kept).write_text(script, encoding="utf-8")
    return submission
