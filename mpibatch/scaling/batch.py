"""A study's points as jobs of Slurm: one for each number of ranks and threads, so that 1 rank does not hold 64 nodes.

The script of a point makes its runs one after the other; a good one's record joins the study's. What is missing is
submitted once more by the same command, and `mpibatch status`, `logs` and `cancel` know the jobs.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpibatch.errors import UsageError
from mpibatch.scaling import running
from mpibatch.scaling.study import JOB, Study, point_folder
from mpibatch.scaling.study import keep as keep_record
from mpibatch.slurm import commands, durations, ledger, rendering, submission
from mpibatch.slurm.completion import read
from mpibatch.slurm.ledger import Submission
from mpibatch.slurm.lives import AGAIN
from mpibatch.slurm.profiles import Profile
from mpibatch.slurm.quoting import checked, plain_name
from mpibatch.slurm.request import Request, check, margin_for

__all__ = ["Options", "keep", "requests", "run", "wait"]

SHORTEST, LONGEST = 0.5, 10.0  # seconds between questions to Slurm's controller
LAST_LINES = 5


@dataclass(frozen=True)
class Options:
    """How the jobs are submitted. `ntasks_per_node` is the most ranks of a node (0: as the profile's cores allow)."""

    ntasks_per_node: int = 0
    time: str = ""


def requests(
    study: Study, profile: Profile, missing: Sequence[tuple[int, int, int]], options: Options
) -> list[Request]:
    """Return a request for each point of which runs (ranks, threads, repeat) are missing. Local."""
    limit = options.time or profile.time
    seconds = durations.seconds(limit) if limit else None
    found = []
    for ranks, threads in dict.fromkeys((ranks, threads) for ranks, threads, _ in missing):
        most = options.ntasks_per_node or (profile.cores_per_node // threads if profile.cores_per_node else ranks)
        nodes = -(-ranks // max(1, most))
        on_each = -(-ranks // nodes)
        folder = point_folder(study.path, ranks, threads)
        asked = Request(
            job=checked(str(study.path / JOB), "the study's folder"),
            kind="scaling",
            name=f"{plain_name(study.name)[:40]}-{folder.name}",
            nodes=nodes,
            ntasks_per_node=on_each,
            cpus_per_task=threads,
            ntasks=ranks if nodes * on_each != ranks else 0,
            time=seconds,
            margin=margin_for(seconds, None),
            settings=tuple(checked(text, "--set") for text in running.settings_of(study, ranks, threads)),
            repeat=study.repeat,
            folder=str(running.scratch_of(study.path, ranks, threads)),
            point=str(folder),
        )
        check(asked, profile)
        found.append(asked)
    return found


def run(
    study: Study, profile: Profile, missing: Sequence[tuple[int, int, int]], options: Options, dry_run: bool = False
) -> list[Submission]:
    """Submit what is missing, and return its jobs, with those that are under way already. Local.

    The inputs of a weak study must be there. With `dry_run` the scripts are printed, and nothing is submitted.
    """
    asked = requests(study, profile, missing, options)
    scripts = [rendering.render(request, profile) for request in asked]
    if dry_run:
        print("\n".join(scripts), end="")
        return []
    commands.find("sbatch")
    busy = _under_way()
    jobs = []
    for request, script in zip(asked, scripts, strict=True):
        job = busy.get(request.point)
        if job is None:
            Path(request.folder).mkdir(parents=True, exist_ok=True)  # sbatch makes no folders for logs
            job = submission.submit(script, request, profile)
        jobs.append(job)
    return jobs


def _under_way() -> dict[str, Submission]:
    """The jobs of points that wait or run, by the point's folder."""
    known = [entry for entry in ledger.entries() if entry.kind == "scaling"]
    if not known:
        return {}
    queued = commands.queue()
    alive = [e for e in known if e.number in queued and queued[e.number].state not in commands.ENDED]
    return {entry.folder: entry for entry in alive}


def wait(jobs: Sequence[Submission], quiet: bool = False) -> None:
    """Wait until all jobs have ended, and tell what becomes of them. Local."""
    states: dict[str, str] = {}
    pause = SHORTEST
    while True:
        queued = commands.queue()
        for job in jobs:
            state = queued[job.number].state if job.number in queued else "ended"
            if not quiet and states.get(job.number) != state:
                print(f"job {job.number}, {job.name}: {state.lower()}", flush=True)
                pause = SHORTEST
            states[job.number] = state
        if all(state in commands.ENDED or state == "ended" for state in states.values()):
            return
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)


def keep(target: Path, record: Path | None, *, code: int, launch_seconds: float, command: str) -> None:
    """Let a run's completion record join the study, as `target`, with what its script knows of it. Local.

    A run that was put off, as the time was up, leaves nothing: it is still to be made. So does run 00, if it is good.
    """
    point = re.fullmatch(r"r(\d+)-t(\d+)", target.parent.name)
    number = re.fullmatch(r"run-(\d+)", target.stem)
    if point is None or number is None:
        raise UsageError(
            f"--point {target}: expected the record of a study's run, such as points/r00002-t1/run-01.json"
        )
    if code == AGAIN or (code == 0 and int(number[1]) == running.WARM_UP):
        target.unlink(missing_ok=True)
        return
    told = dict((read(record) if record else None) or {"code": code})
    if code:
        told |= {"code": code, "failure": _failure(code, target.with_suffix(".log"))}
    keep_record(
        told, target.parents[2], ranks=int(point[1]), threads=int(point[2]), repeat=int(number[1]),
        launch_seconds=launch_seconds, command=[command], slurm_job=os.environ.get("SLURM_JOB_ID", ""),
        nodes=os.environ.get("SLURM_JOB_NODELIST", ""),
    )  # fmt: skip


def _failure(code: int, log: Path) -> str:
    """Why a run counts for nothing, with the last lines of what it said."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    except OSError:
        lines = []
    told = next((line for line in reversed(lines) if "error:" in line), lines[-1] if lines else "")
    return "\n".join([f"exit code {code}: {told}" if told else f"exit code {code}", *lines])
