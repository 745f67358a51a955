"""The folder of a scaling study: what was asked, and the completion record of each run.

::

    STUDY/study.json                       what was asked, of which job, on which machine
    STUDY/job.toml                         the job as it is run
    STUDY/machine.json                     the machine's profile, if there was one
    STUDY/inputs/                          the inputs of a weak study, grown
    STUDY/points/r00002-t1/run-03.json     the third run on 2 ranks of 1 thread; run-03.log is what it said
"""

from __future__ import annotations

import dataclasses
import json
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.files import LOCK, hold, release
from mpibatch.base.json_files import write_json
from mpibatch.job.document.caps import json_value
from mpibatch.tools.scaling.records import Run, parse_run, table_of
from mpibatch.tools.scaling.study import MODES, FailedRun, Point, Study, fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "FILE",
    "INPUTS",
    "JOB",
    "MACHINE",
    "create",
    "extended",
    "holds_study",
    "keep",
    "load",
    "locked",
    "log_path",
    "point_folder",
    "record_path",
]

SCHEMA = 1
FILE, JOB, MACHINE, POINTS, INPUTS = "study.json", "job.toml", "machine.json", "points", "inputs"
MOST = 1_000_000  # ranks, threads and repeats that can be meant
_POINT = re.compile(r"r(\d{1,9})-t(\d{1,9})")
_RECORD = re.compile(r"run-(\d{1,9})\.json")


def load(path: str | Path) -> Study:
    """Return the study in a folder. Local. Raises UsageError if there is none, or one of another schema."""
    folder = Path(path)
    try:
        document = json_value((folder / FILE).read_text(encoding="utf-8"), str(folder / FILE))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} is no study: there is no {FILE} in it; make one with: mpibatch scale JOB.toml --folder {folder}"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{folder / FILE} is not text; remove the folder, or name another") from None
    except UsageError as error:
        raise UsageError(f"{error}; remove the folder, or name another") from None
    except OSError as error:
        raise RunError(f"the study {folder} cannot be read: {reason_of(error)}") from None
    document = document if isinstance(document, dict) else {}
    if document.get("schema") != SCHEMA:
        raise UsageError(
            f"{folder} holds a study of schema {document.get('schema')!r}, this mpibatch knows {SCHEMA}; "
            "use the version that made it, or another folder"
        )
    try:
        study = _parse(folder, document)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{folder / FILE} is damaged ({error!r}); remove the folder, or name another") from None
    runs = list(_runs(folder))
    good = [run for run in runs if run.code == 0]
    keys = sorted({(run.ranks, run.threads) for run in good})
    return dataclasses.replace(
        study,
        points=tuple(Point(r, t, tuple(run for run in good if (run.ranks, run.threads) == (r, t))) for r, t in keys),
        failures=tuple(
            FailedRun(run.ranks, run.threads, run.repeat, run.failure or f"exit code {run.code}")
            for run in runs
            if run.code != 0
        ),
        profile_of_machine=_json(folder / MACHINE),
    )


def create(
    path: str | Path,
    *,
    name: str,
    mode: str,
    job: str,
    source: str,
    settings: Sequence[str] = (),
    counts: Sequence[int],
    threads: Sequence[int] = (1,),
    repeat: int = 5,
    profile: str | None = None,
    commit: str = "",
    versions: Mapping[str, str] | None = None,
    machine: Mapping[str, Any] | None = None,
    sources: Mapping[str, str] | None = None,
    run_as: str | None = None,
    profile_of_machine: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Study:
    """Make a study's folder, without runs, and return it. Local. Raises UsageError where it cannot be made.

    `run_as` is the job's text as it is run, if it is not `job`; with `dry_run` no folder is made.
    """
    folder = Path(path)
    if (folder / FILE).exists():
        raise UsageError(f"{folder} holds a study already; name another folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty, and holds no study; name another folder")
    study = Study(
        path=folder,
        name=name,
        mode=mode,
        source=source,
        job=job,
        settings=tuple(settings),
        fingerprint=fingerprint_of(job, settings, mode),
        counts=tuple(counts),
        threads=tuple(threads),
        repeat=repeat,
        profile=profile,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        versions=dict(versions or {}),
        machine=dict(machine or {}),
        sources=dict(sources or {}),
        profile_of_machine=profile_of_machine,
    )
    if dry_run:
        return study
    try:
        (folder / POINTS).mkdir(parents=True, exist_ok=True)
        (folder / JOB).write_text(job if run_as is None else run_as, encoding="utf-8")
        if profile_of_machine is not None:
            write_json(folder / MACHINE, profile_of_machine)
        _write(study)
    except OSError as error:
        raise UsageError(
            f"the study's folder {folder} cannot be written: {error.strerror}; name another with --folder"
        ) from None
    return study


def extended(
    study: Study,
    counts: Sequence[int],
    threads: Sequence[int],
    repeat: int,
    profile_of_machine: Mapping[str, Any] | None = None,
    *,
    dry_run: bool = False,
) -> Study:
    """Return the study with these counts, threads and repeats, too, and with this profile of the machine. Local.

    Its folder remembers them, unless it is a `dry_run`.
    """
    more = dataclasses.replace(
        study,
        counts=tuple(sorted({*study.counts, *counts})),
        threads=tuple(sorted({*study.threads, *threads})),
        repeat=max(study.repeat, repeat),
        profile_of_machine=study.profile_of_machine if profile_of_machine is None else profile_of_machine,
    )
    if more != study and not dry_run:
        try:
            if more.profile_of_machine != study.profile_of_machine:
                write_json(study.path / MACHINE, more.profile_of_machine or {})
            _write(more)
        except OSError as error:
            raise UsageError(
                f"the study {study.path} cannot be written: {error.strerror}; make room or allow it, then give the "
                "same command again"
            ) from None
    return more


def point_folder(path: Path, ranks: int, threads: int) -> Path:
    """Return the folder of a point in the study at `path`. Local."""
    return path / POINTS / f"r{ranks:05d}-t{threads}"


def record_path(path: Path, ranks: int, threads: int, repeat: int) -> Path:
    """Return the file of a run's record in the study at `path`. Local."""
    return point_folder(path, ranks, threads) / f"run-{repeat:02d}.json"


def log_path(path: Path, ranks: int, threads: int, repeat: int) -> Path:
    """Return the file of what a run said, in the study at `path`. Local."""
    return record_path(path, ranks, threads, repeat).with_suffix(".log")


def holds_study(path: Path) -> bool:
    """Return whether a folder holds a study, whatever its state. Local."""
    return (path / FILE).is_file()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep others out of a study: two at a time would write each other's runs, and measure one another. Local."""
    handle = hold(path / LOCK)
    if handle < 0:
        raise UsageError(f"another mpibatch scale is making runs in {path}; wait for it, or name another --folder")
    try:
        yield
    finally:
        release(path / LOCK, handle)


def keep(
    record: Mapping[str, Any],
    path: Path,
    *,
    ranks: int,
    threads: int,
    repeat: int,
    launch_seconds: float,
    command: Sequence[str] = (),
    **more: Any,
) -> None:
    """Put a run's completion record into the study at `path`, with what is known from outside the run. Local."""
    point = {
        "ranks": ranks,
        "threads": threads,
        "repeat": repeat,
        "launch_seconds": round(launch_seconds, 6),
        "command": list(command),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
    write_json(record_path(path, ranks, threads, repeat), {**record, "point": point})


def _runs(folder: Path) -> Iterator[Run]:
    """All records in a study's folder; one that cannot be read counts as not there."""
    for path in sorted(folder.glob(f"{POINTS}/*/run-*.json")):
        point, number = _POINT.fullmatch(path.parent.name), _RECORD.fullmatch(path.name)
        raw = _json(path) if point and number else None
        if point is None or number is None or raw is None:
            continue
        run = parse_run(raw, int(point[1]), int(point[2]), int(number[1]))
        if run.ranks:
            yield run


def _parse(folder: Path, document: Mapping[str, Any]) -> Study:
    """What was asked. Raises KeyError, TypeError or ValueError for what is not valid."""
    counts, threads, repeat = document["counts"], document["threads"], document["repeat"]
    for number in (*counts, *threads, repeat):
        if type(number) is not int or not 1 <= number <= MOST:
            raise ValueError(f"{number!r} of ranks, threads or repeats")
    if not counts or not threads or document["mode"] not in MODES:
        raise ValueError(f"mode {document['mode']!r}, {len(counts)} counts of ranks, {len(threads)} of threads")
    return Study(
        path=folder,
        name=str(document["name"]),
        mode=str(document["mode"]),
        source=str(document["source"]),
        job=str(document["job"]),
        settings=tuple(map(str, document["settings"])),
        fingerprint=str(document["fingerprint"]),
        counts=tuple(counts),
        threads=tuple(threads),
        repeat=repeat,
        profile=None if document.get("profile") is None else str(document["profile"]),
        created=str(document.get("created", "")),
        commit=str(document.get("commit", "")),
        versions=table_of(document, "versions"),
        machine=table_of(document, "machine"),
        sources=table_of(document, "sources"),
    )


def _write(study: Study) -> None:
    document = {
        "schema": SCHEMA,
        "name": study.name,
        "mode": study.mode,
        "job": study.job,
        "source": study.source,
        "settings": list(study.settings),
        "fingerprint": study.fingerprint,
        "counts": list(study.counts),
        "threads": list(study.threads),
        "repeat": study.repeat,
        "profile": study.profile,
        "created": study.created,
        "commit": study.commit,
        "versions": dict(study.versions),
        "machine": dict(study.machine),
        "sources": dict(study.sources),
    }
    write_json(study.path / FILE, document)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
