"""A scaling study: the job that was to be run, on how many ranks and threads and how often, and the runs so far.

A point (ranks, threads) is finished when `repeat` records of it have code 0.
"""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.tools.scaling.records import Run

__all__ = ["MODES", "FailedRun", "Point", "Study", "differences", "fingerprint_of", "missing", "order", "print_of"]

MODES = ("strong", "weak")

SMALL = 64 << 20  # bytes of a file that is read to be known again


@dataclass(frozen=True)
class FailedRun:
    """A run that ended badly, and has not been made since."""

    ranks: int
    threads: int
    repeat: int
    reason: str


@dataclass(frozen=True)
class Point:
    """The good runs on one number of ranks and threads, in the order of their repeats."""

    ranks: int
    threads: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Study:
    """A study: what was asked, and what is there. `points` are those with a good run, by ranks, then threads.

    `sources` are prints (see `print_of`) of the "program" and the "input" that the job names, as far as they are known.
    """

    path: Path
    name: str
    mode: str
    source: str
    job: str
    settings: tuple[str, ...]
    fingerprint: str
    counts: tuple[int, ...]
    threads: tuple[int, ...]
    repeat: int
    profile: str | None
    created: str
    commit: str
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    sources: Mapping[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    failures: tuple[FailedRun, ...] = ()
    profile_of_machine: Mapping[str, Any] | None = None


def fingerprint_of(text: str, settings: Sequence[str], mode: str) -> str:
    """Return what two studies of the same thing have in common. Local."""
    return hashlib.sha256(json.dumps([text, list(settings), mode]).encode()).hexdigest()


def print_of(path: str | Path) -> str:
    """Return what tells that a file was changed: a digest, of a large one its size and date; "" if unknown. Local."""
    try:
        status = Path(path).stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= SMALL:
            return f"sha256 {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
    except OSError:
        return ""
    return f"{status.st_size} bytes of {datetime.fromtimestamp(status.st_mtime, UTC).isoformat()}"


def differences(
    study: Study,
    job: str,
    settings: Sequence[str],
    mode: str,
    profile: str | None = None,
    sources: Mapping[str, str] | None = None,
) -> list[str]:
    """Return what is different in the study from what is asked, in words; nothing if it is the same. Local.

    What is known only now, or was known only then, of the `sources` is not compared.
    """
    changes = []
    if study.mode != mode:
        changes.append(f"its mode is {study.mode}, asked for is {mode}")
    if study.job != job:
        changes.append(f"its job ({study.source}) has another text")
    if list(study.settings) != list(settings):
        changes.append(f"its settings are {_listed(study.settings)}, asked for are {_listed(settings)}")
    if study.profile != profile:
        changes.append(f"it was made {_where(study.profile)}, asked for is {_where(profile)}")
    for name, now in (sources or {}).items():
        if study.sources.get(name, now) != now:
            changes.append(f"its {name} is not the file that it was")
    return changes


def missing(study: Study) -> list[tuple[int, int, int]]:
    """Return (ranks, threads, repeat) of the runs that are not there, in the order to make them. Local.

    Repeats go round over all counts, every second time backwards: a machine that becomes slower is so to all.
    """
    records = {(p.ranks, p.threads, run.repeat) for p in study.points for run in p.runs}
    return [key for key in order(study) if key not in records]


def order(study: Study) -> list[tuple[int, int, int]]:
    """Return (ranks, threads, repeat) of all runs that were asked for, in the order to make them. Local."""
    points = [(ranks, threads) for ranks in study.counts for threads in study.threads]
    return [
        (ranks, threads, repeat)
        for repeat in range(1, study.repeat + 1)
        for ranks, threads in (points if repeat % 2 else reversed(points))
    ]


def _listed(settings: Sequence[str]) -> str:
    return " ".join(settings) or "none"


def _where(profile: str | None) -> str:
    return "by mpiexec here" if profile is None else f"on Slurm with the profile {profile!r}"
