"""The runs of a study: what each is started with, and the making of all of them on this machine, one after another."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.processes import children
from mpibatch.base.units import bytes_text, plural
from mpibatch.io.base.names import split_path
from mpibatch.io.seal.content import content_of
from mpibatch.job.file.reader import parse_any
from mpibatch.job.file.schema import Job
from mpibatch.job.file.simulation import SimulationJob
from mpibatch.tools.planning.profile import VARIABLE as MACHINE_VARIABLE
from mpibatch.tools.scaling import folder as folders
from mpibatch.tools.scaling import growth
from mpibatch.tools.scaling import study as studies
from mpibatch.tools.scaling.local_machine import commit_here, launcher
from mpibatch.tools.scaling.records import parse_run
from mpibatch.tools.slurm import completion

if TYPE_CHECKING:
    from pathlib import Path

    from mpibatch.tools.scaling.study import Study

__all__ = [
    "RunOptions", "check_job", "job_of", "plain_job", "prepare_inputs", "run_all", "run_arguments", "scratch_of",
    "settings_of", "sources_of", "words_of",
]  # fmt: skip

TIMED_OUT = 124  # as of timeout(1)
MOST_LINES = 12  # of a log, told of a run that failed
WARM_UP = 0  # its number among the repeats

_log = logging.getLogger(__name__)
Tell = Callable[[str], None]


@dataclass(frozen=True)
class RunOptions:
    """How runs are made: seconds that one may take, and whether what they write is kept."""

    timeout: float = 3600.0
    keep_outputs: bool = False


@dataclass(frozen=True)
class _RunEnd:
    """How one run ended; `failure` is empty if it ended well."""

    code: int
    seconds: float
    failure: str
    record: dict[str, Any]


# ---- What a run is started with --------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _parsed(text: str, source: str, settings: tuple[str, ...]) -> Job | SimulationJob:
    return parse_any(text, source, settings)


def job_of(study: Study) -> Job | SimulationJob:
    """Return the job of a study, as its file and settings have it. Local."""
    return _parsed(study.job, study.source, study.settings)


def sources_of(job: Job | SimulationJob) -> dict[str, str]:
    """Return prints of the files that decide what the job's runs do, as a study keeps them. Local."""
    if isinstance(job, Job):
        fingerprints = {"input": studies.print_of(split_path(job.input.path, job.input.dataset)[0])}
    else:
        fingerprints = {"program": studies.print_of(job.program.name) if job.program.name.endswith(".py") else ""}
    return {name: fingerprint for name, fingerprint in fingerprints.items() if fingerprint}


def settings_of(study: Study, ranks: int, threads: int) -> list[str]:
    """Return the settings of a point's runs, which write into the folder `scratch_of` alone. Local."""
    job, scratch = job_of(study), scratch_of(study.path, ranks, threads)
    given = [setting for setting in study.settings if not _is_dropped(setting, study.mode)]
    if study.mode == "weak":
        given += growth.settings(job, ranks, study.path / folders.INPUTS)
    given.append(f"output.path={_quoted(scratch / 'out.h5')}")
    if isinstance(job, SimulationJob) and job.diagnostics is not None:
        given.append(f"diagnostics.path={_quoted(scratch / 'diagnostics.csv')}")
    return given


def run_arguments(study: Study, ranks: int, threads: int) -> list[str]:
    """Return what follows ``mpibatch run`` for a point of the study. Local."""
    given = settings_of(study, ranks, threads)
    return [str(study.path / folders.JOB), *(word for setting in given for word in ("--set", setting))]


def scratch_of(path: Path, ranks: int, threads: int) -> Path:
    """Return the folder of what the runs of a point write, in the study at `path`; it must be made. Local."""
    return folders.point_folder(path, ranks, threads) / "scratch"


def check_job(job: Job | SimulationJob, mode: str, counts: Sequence[int]) -> None:
    """Raise UsageError if the job cannot run on all of these ranks, as far as its file tells. Local."""
    if mode == "weak":
        growth.check(job)
    blocks = job.grid.get("sizes") or job.grid.get("weights") or ()
    topology = job.grid.get("topology") or [len(along) if along else None for along in blocks]
    known = 1
    for parts in topology:
        known *= parts or 1
    is_fixed = bool(topology) and all(topology)
    wrong = [str(ranks) for ranks in counts if ranks % known or (is_fixed and ranks != known)]
    if wrong:
        shown = " × ".join(str(parts or "?") for parts in topology)
        raise UsageError(
            f"a study cannot run on {', '.join(wrong)} ranks: [grid] fixes a process grid of {shown}; leave it "
            "out, or put 0 where it may vary: --set grid.topology=[0,0]"
        )


def plain_job(text: str, source: str, mode: str) -> str:
    """Return a job's text without what has no place in a study: checkpoints and, in a weak one, the end in time. Local.

    The time of a checkpoint depends on the time that passed; and cells that could not keep their size would have to
    make more steps. Other lines stay as they are.
    """
    document = tomllib.loads(text)
    kept = text
    if "checkpoint" in document:
        kept = _without(kept, "checkpoint")
    simulation = document.get("simulation")
    if mode == "weak" and isinstance(simulation, dict) and "until" in simulation:
        kept = _without(kept, "simulation", "until")
        simulation.pop("until")
    document.pop("checkpoint", None)
    if tomllib.loads(kept) != document:
        parts = "the section [checkpoint]" + (" or `until` in [simulation]" if mode == "weak" else "")
        raise UsageError(f"{source}: {parts} cannot be taken out for the study; write it on lines of its own")
    return kept


def _without(text: str, section: str, key: str = "") -> str:
    """The text without a section, or without one key of it on a line of its own."""
    kept, current_section = [], ""
    for line in text.splitlines():
        if header := re.match(r"\s*\[+\s*([^\[\]]+?)\s*\]", line):
            current_section = header[1]
        drop = current_section == section and (not key or re.match(rf"\s*{key}\s*=", line))
        if not drop:
            kept.append(line)
    return "\n".join([*kept, ""])


def _is_dropped(setting: str, mode: str) -> bool:
    key = setting.partition("=")[0].strip()
    return key.startswith("checkpoint.") or (mode == "weak" and key == "simulation.until")


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


# ---- The runs --------------------------------------------------------------------------------------------------------


def prepare_inputs(study: Study, counts: Sequence[int], tell: Tell = lambda line: None) -> None:
    """Make the inputs that runs of a weak study need and that are not there. Local. RunError: no room for them."""
    if study.mode != "weak":
        return
    job, inputs = job_of(study), study.path / folders.INPUTS
    for ranks in counts:
        path = growth.prepare(job, ranks, inputs)
        if path is not None:
            tell(f"the input for {ranks} ranks is {path} ({bytes_text(path.stat().st_size)})")


def run_all(
    study: Study, todo: Sequence[tuple[int, int, int]], options: RunOptions, tell: Tell = lambda line: None
) -> int:
    """Make these runs (ranks, threads, repeat), one after another; return how many points were given up. Local.

    Each point is run once before, unrecorded: what compiles, compiles then. A point whose run fails is given up, and
    the others go on.
    """
    command, commit = launcher(), commit_here()
    points = list(dict.fromkeys((ranks, threads) for ranks, threads, _ in todo))
    prepare_inputs(study, list(dict.fromkeys(ranks for ranks, _ in points)), tell)
    lost: set[tuple[int, int]] = set()
    seconds: dict[tuple[int, int], float] = {}
    queue = [*((*point, WARM_UP) for point in points), *todo]
    with children.note_signals() as noted:  # SIGTERM and SIGHUP end the study as ^C does
        for number, (ranks, threads, repeat) in enumerate(queue, 1):
            point = (ranks, threads)
            if point in lost:
                continue
            made = _run(study, command, (ranks, threads, repeat), options, noted)
            seconds[point] = made.seconds
            _keep(study, (ranks, threads, repeat), made, commit)
            label = f"run {repeat}" if repeat != WARM_UP else "warm-up"
            line = f"[{number:>{len(str(len(queue)))}}/{len(queue)}] {words_of(*point)}, {label}:"
            if made.failure:
                lost.add(point)
                tell(f"{line} failed: {made.failure.splitlines()[0]}; the others go on")
            else:
                tell(f"{line} {_seconds_of(made)}")
            if number == len(points) and set(points) > lost:
                left = sum(seconds[r, t] for r, t, _ in todo if (r, t) not in lost)
                tell(f"about {left:.0f} s to come" if left < 100 else f"about {left / 60:.0f} minutes to come")
    return len(lost)


def words_of(ranks: int, threads: int) -> str:
    """Return a point in words. Local."""
    return f"{plural(ranks, 'rank')} × {plural(threads, 'thread')}"


def _seconds_of(made: _RunEnd) -> str:
    own = parse_run(made.record).seconds.get("total", {}).get("slowest")
    return f"{made.seconds:.2f} s" if own is None else f"{own:.2f} s ({made.seconds:.2f} s with its start)"


def _run(
    study: Study, command: Sequence[str], key: tuple[int, int, int], options: RunOptions, noted: Sequence[int]
) -> _RunEnd:
    """Make one run; leave its log, and nothing else unless outputs are kept. KeyboardInterrupt at a signal."""
    ranks, threads, repeat = key
    scratch, log = scratch_of(study.path, ranks, threads), folders.log_path(study.path, *key)
    shutil.rmtree(scratch, ignore_errors=True)  # of a study that was cut off
    scratch.mkdir(parents=True)
    record = scratch / "record.json"
    words = [*command, "-n", str(ranks), sys.executable, "-m", "mpibatch", "run", *run_arguments(study, *key[:2])]
    thread_limits = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    environment = {**os.environ, **thread_limits, completion.VARIABLE: str(record), "MPIBATCH_EXPECT_RANKS": str(ranks)}
    if (study.path / folders.MACHINE).is_file():
        environment[MACHINE_VARIABLE] = str(study.path / folders.MACHINE)
    try:
        code, seconds = _launch(words, environment, log, options.timeout, noted)
        outcome = completion.read(record) or {}
        failure = _failure(code, outcome, ranks, options.timeout, log)
        output = scratch / "out.h5"
        if not failure:
            if not outcome.get("digest"):
                outcome["digest"] = content_of(str(output)) or ""
            if options.keep_outputs and repeat != WARM_UP:
                output.replace(log.with_suffix(".h5"))
        return _RunEnd(code or int(outcome.get("code", 1)), seconds, failure, outcome)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _launch(
    words: Sequence[str], environment: dict[str, str], log: Path, limit: float, noted: Sequence[int]
) -> tuple[int, float]:
    """Start the launcher and wait; return its exit code and seconds."""
    begin = time.perf_counter()
    with log.open("wb") as out:
        code = children.run(words, environment, out, limit, noted)
    return TIMED_OUT if code is None else code, time.perf_counter() - begin


def _failure(code: int, record: dict[str, Any], ranks: int, limit: float, log: Path) -> str:
    """Why a run counts for nothing, with its last lines; "" if it ended well."""
    if code == TIMED_OUT and not record:
        why = f"it took longer than the time limit of {limit:g} s"
    elif code < 0:
        why = f"the launcher was ended by {signal.Signals(-code).name}"
    elif code:
        why = f"exit code {code}"
    elif not record:
        why = "it left no completion record, though its exit code was 0"
    elif record["code"]:
        why = f"its completion record tells exit code {record['code']}"
    elif record.get("ranks") != ranks:
        why = f"it ran on {record.get('ranks')} ranks instead of {ranks}"
    else:
        return ""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][-MOST_LINES:]
    # The line that a reader wants first is the error's, which is not always the last.
    headline = next((line for line in reversed(lines) if "error:" in line), lines[-1] if lines else "")
    return "\n".join([f"{why}: {headline}" if headline else why, *lines])


def _keep(study: Study, key: tuple[int, int, int], made: _RunEnd, commit: str) -> None:
    """Put the record of a run into the study; a warm-up leaves one only if it failed."""
    ranks, threads, repeat = key
    path = folders.record_path(study.path, *key)
    if repeat == WARM_UP and not made.failure:
        path.unlink(missing_ok=True)
        return
    record = {**made.record, "code": made.code or 1, "failure": made.failure} if made.failure else made.record
    cores = int(study.machine.get("cores") or 0)
    words = ["-n", str(ranks), "mpibatch", "run", *run_arguments(study, ranks, threads)]
    try:
        folders.keep(
            record, study.path, ranks=ranks, threads=threads, repeat=repeat, launch_seconds=made.seconds,
            command=[*launcher(), *words], oversubscribed=0 < cores < ranks * threads, commit=commit,
        )  # fmt: skip
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror}; make room, and start the study again") from None
