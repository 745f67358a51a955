"""A study's points as jobs of Slurm: one for each number of ranks and threads, so that 1 rank does not hold 64 nodes.

The script of a point makes its runs one after the other; a good one's record joins the study's. What is missing is
submitted once more by the same command, and `mpibatch status`, `logs` and `cancel` know the jobs.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.base.json_files import write_json
from mpibatch.tools.scaling import runs
from mpibatch.tools.scaling.folder import JOB, point_folder
from mpibatch.tools.scaling.folder import keep as keep_record
from mpibatch.tools.scaling.local_machine import commit_here
from mpibatch.tools.slurm import commands, durations, renderer, submission
from mpibatch.tools.slurm.attempts import AGAIN
from mpibatch.tools.slurm.completion import read
from mpibatch.tools.slurm.quotes import checked, plain_name
from mpibatch.tools.slurm.request import Request, check, margin_for
from mpibatch.tools.slurm.submissions import Submission

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mpibatch.tools.scaling.study import Study
    from mpibatch.tools.slurm.profiles import Profile

__all__ = ["BatchOptions", "keep", "requests", "run", "wait"]

SHORTEST, LONGEST = 0.5, 10.0  # seconds between questions to Slurm's controller
SILENT = (
    "the jobs go on. When they have ended, the same command without --wait shows what they found and submits what is "
    "missing, and mpibatch report tells more"
)
LAST_LINES = 5
SUBMITTED = "submitted"  # in a point's folder: its newest job, from wherever it was submitted
TOO_SHORT = (
    "the time limit is too short for the warm-up and one run (or the job was preempted or cancelled); give more --time"
)


@dataclass(frozen=True)
class BatchOptions:
    """How the jobs are submitted. `ntasks_per_node` is the most ranks of a node (0: as the profile's cores allow)."""

    ntasks_per_node: int = 0
    time: str = ""


def requests(
    study: Study, profile: Profile, missing: Sequence[tuple[int, int, int]], options: BatchOptions
) -> list[Request]:
    """Return a request for each point of which runs (ranks, threads, repeat) are missing. Local."""
    limit = options.time or profile.time
    seconds = durations.seconds(limit) if limit else None
    pending = []
    for ranks, threads in dict.fromkeys((ranks, threads) for ranks, threads, _ in missing):
        most = options.ntasks_per_node or (profile.cores_per_node // threads if profile.cores_per_node else ranks)
        nodes = -(-ranks // max(1, most))
        on_each = -(-ranks // nodes)
        folder = point_folder(study.path, ranks, threads)
        request = Request(
            job=checked(str(study.path / JOB), "the study's folder"),
            kind="scaling",
            name=f"{plain_name(study.name)[:40]}-{folder.name}",
            nodes=nodes,
            ntasks_per_node=on_each,
            cpus_per_task=threads,
            ntasks=ranks if nodes * on_each != ranks else 0,
            time=seconds,
            margin=margin_for(seconds, None),
            settings=tuple(checked(text, "--set") for text in runs.settings_of(study, ranks, threads)),
            repeat=study.repeat,
            folder=str(runs.scratch_of(study.path, ranks, threads)),
            point=str(folder),
        )
        check(request, profile)
        pending.append(request)
    return pending


def run(
    study: Study,
    profile: Profile,
    missing: Sequence[tuple[int, int, int]],
    options: BatchOptions,
    dry_run: bool = False,
) -> list[Submission]:
    """Submit what is missing, and return its jobs, with those that are under way already. Local.

    The inputs of a weak study must be there. With `dry_run` the scripts are printed, and nothing is submitted.
    """
    pending = requests(study, profile, missing, options)
    scripts = [renderer.render(request, profile) for request in pending]
    if dry_run:
        print("\n".join(scripts), end="")
        return []
    commands.find("sbatch")
    busy = _under_way(Path(request.point) for request in pending)
    jobs = []
    for request, script in zip(pending, scripts, strict=True):
        job = busy.get(Path(request.point))
        if job is None:
            Path(request.folder).mkdir(parents=True, exist_ok=True)  # sbatch makes no folders for logs
            job = submission.submit(script, request, profile)
            write_json(Path(request.point, SUBMITTED), asdict(job))
        jobs.append(job)
    return jobs


def _under_way(points: Iterable[Path]) -> dict[Path, Submission]:
    """The jobs of points that wait or run, by the point's folder."""
    known = {}
    for point in points:
        try:
            known[point] = Submission(**json.loads((point / SUBMITTED).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
    if not known:
        return {}
    queued = commands.queue()
    return {point: job for point, job in known.items() if commands.goes_on(job.number, queued)}


def wait(jobs: Sequence[Submission], quiet: bool = False) -> None:
    """Wait until all jobs have ended, and tell what becomes of them. Local. RunError: Slurm gives no answer."""
    states: dict[str, str] = {}
    pause = SHORTEST
    for queued in commands.answers(SILENT):
        if queued is None:
            time.sleep(LONGEST)
            continue
        for job in jobs:
            state = queued[job.number].state if job.number in queued else "ended"
            if not quiet and states.get(job.number) != state:
                print(f"job {job.number}, {job.name}: {state.lower()}", flush=True)
                pause = SHORTEST
            states[job.number] = state
        if not any(commands.goes_on(job.number, queued) for job in jobs):
            return
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)


def keep(target: Path, record: Path | None, *, code: int, launch_seconds: float, command: str) -> None:
    """Let a run's completion record join the study, as `target`, with what its script knows of it. Local.

    A run that was put off, as the time was up, leaves nothing: it is still to be made. But if its job made none that
    counts, the next would not fare better: that is a failure. Run 00 leaves nothing, if it is good.
    """
    point = re.fullmatch(r"r(\d+)-t(\d+)", target.parent.name)
    number = re.fullmatch(r"run-(\d+)", target.stem)
    if point is None or number is None:
        raise UsageError(
            f"--point {target}: expected the record of a study's run, such as points/r00002-t1/run-01.json"
        )
    job = os.environ.get("SLURM_JOB_ID", "")
    if (code == AGAIN and _made_one(target.parent, job)) or (code == 0 and int(number[1]) == runs.WARM_UP):
        target.unlink(missing_ok=True)
        return
    outcome = dict((read(record) if record else None) or {"code": code})
    if code:
        failure = TOO_SHORT if code == AGAIN else _failure(code, target.with_suffix(".log"))
        outcome |= {"code": code, "failure": failure}
    keep_record(
        outcome, target.parents[2], ranks=int(point[1]), threads=int(point[2]), repeat=int(number[1]),
        launch_seconds=launch_seconds, command=[command], slurm_job=job,
        nodes=os.environ.get("SLURM_JOB_NODELIST", ""), commit=commit_here(),
    )  # fmt: skip


def _made_one(point: Path, job: str) -> bool:
    """Whether a job has made a good run of this point."""
    records = (read(path) or {} for path in point.glob("run-*.json"))
    return any(
        record.get("code") == 0 and record["point"].get("slurm_job") == job for record in records if "point" in record
    )


def _failure(code: int, log: Path) -> str:
    """Why a run counts for nothing, with the last lines of what it said."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    except OSError:
        lines = []
    headline = next((line for line in reversed(lines) if "error:" in line), lines[-1] if lines else "")
    return "\n".join([f"exit code {code}: {headline}" if headline else f"exit code {code}", *lines])
