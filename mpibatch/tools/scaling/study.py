"""A scaling study is a folder: what was asked, and the completion record of each run.

::

    STUDY/study.json                       what was asked, of which job, on which machine
    STUDY/job.toml                         the job as it is run
    STUDY/machine.json                     the machine's profile, if there was one
    STUDY/inputs/                          the inputs of a weak study, grown
    STUDY/points/r00002-t1/run-03.json     the third run on 2 ranks of 1 thread; run-03.log is what it said

A point (ranks, threads) is finished when `repeat` records of it have code 0. Records of other versions may lack
anything: what is absent, or cannot be, reads as empty or zero.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.json_files import write_json
from mpibatch.job.file.caps import json_value

__all__ = [
    "INPUTS", "JOB", "MACHINE", "MODES", "SCHEMA", "Failure", "Point", "Run", "Study", "create", "differences",
    "extended", "fingerprint_of", "holds_study", "keep", "load", "log_path", "missing", "order", "parse_run",
    "point_folder", "print_of", "record_path",
]  # fmt: skip

SCHEMA = 1
MODES = ("strong", "weak")
FILE, JOB, MACHINE, POINTS, INPUTS = "study.json", "job.toml", "machine.json", "points", "inputs"

SMALL = 64 << 20  # bytes of a file that is read to be known again
MOST = 1_000_000  # ranks, threads and repeats that can be meant
LARGEST = 2.0**63

_POINT = re.compile(r"r(\d{1,9})-t(\d{1,9})")
_RECORD = re.compile(r"run-(\d{1,9})\.json")


@dataclass(frozen=True)
class Run:
    """One run: its completion record, parsed. `raw` is the whole record."""

    ranks: int
    threads: int
    repeat: int
    code: int = 0
    kind: str = ""
    cells: int = 0
    steps: int = 0
    shape: tuple[int, ...] = ()
    topology: tuple[int, ...] = ()
    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    compile_seconds: float = 0.0
    laps: Mapping[str, float] = field(default_factory=dict)
    traffic: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    kernels: tuple[Mapping[str, Any], ...] = ()
    memory: Mapping[str, float] = field(default_factory=dict)
    hosts: Mapping[str, int] = field(default_factory=dict)
    binding: Mapping[str, Any] = field(default_factory=dict)
    mpi: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    predicted: Mapping[str, Any] | None = None
    launch_seconds: float = 0.0  # from the launcher's start to its end: what a user waits
    date: str = ""
    digest: str = ""
    failure: str = ""  # of a run that failed: why, and its last lines
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def total(self) -> float:
        """Seconds of the slowest rank, without the start of Python and MPI; those of the launcher if not told."""
        return float(self.seconds.get("total", {}).get("slowest", 0.0)) or self.launch_seconds


@dataclass(frozen=True)
class Failure:
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
    failures: tuple[Failure, ...] = ()
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
            Failure(run.ranks, run.threads, run.repeat, run.failure or f"exit code {run.code}")
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


def parse_run(raw: Mapping[str, Any], ranks: int = 0, threads: int = 1, repeat: int = 0) -> Run:
    """Return a completion record, parsed; ranks, threads and repeat are for one that does not tell them. Local."""
    account, point = _table(raw, "run"), _table(raw, "point")
    return Run(
        ranks=_whole(point.get("ranks")) or _whole(account.get("ranks")) or ranks or _whole(raw.get("ranks")),
        threads=_whole(point.get("threads")) or threads or _whole(account.get("threads")) or 1,
        repeat=_whole(point.get("repeat")) or repeat,
        code=raw["code"] if type(raw.get("code")) is int else 1,
        kind=_text(account, "kind"),
        cells=_whole(account.get("cells")),
        steps=_whole(account.get("steps")),
        shape=_wholes(account.get("shape")),
        topology=_wholes(account.get("topology")),
        seconds=_tables(account, "seconds"),
        compile_seconds=_number(account.get("compile_seconds")),
        laps=_numbers(_table(account, "laps")),
        traffic=_tables(account, "traffic"),
        kernels=tuple(_facts(kernel) for kernel in _list(account.get("kernels")) if isinstance(kernel, dict)),
        memory=_numbers(_table(account, "memory")),
        hosts=_numbers(_table(account, "hosts")),
        binding=_facts(_table(account, "binding")),
        mpi=_text(account, "mpi"),
        versions={name: value for name, value in _table(account, "versions").items() if isinstance(value, str)},
        predicted=_facts(_table(account, "predicted")) or None,
        launch_seconds=_number(point.get("launch_seconds")),
        date=_text(account, "date") or _text(point, "date"),
        digest=_text(raw, "digest"),
        failure=_text(raw, "failure"),
        raw=raw,
    )


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
    """What was asked. Raises KeyError, TypeError or ValueError for what cannot be meant."""
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
        versions=_table(document, "versions"),
        machine=_table(document, "machine"),
        sources=_table(document, "sources"),
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


def _table(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _tables(raw: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    return {name: _numbers(value) for name, value in _table(raw, key).items() if isinstance(value, dict)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return value if isinstance(value, str) else ""


def _is_number(value: Any) -> bool:
    """Whether it can be a time, a size or a count: a record may hold anything, NaN too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LARGEST


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else 0.0


def _whole(value: Any) -> int:
    return int(value) if _is_number(value) else 0


def _wholes(value: Any) -> tuple[int, ...]:
    numbers = _list(value)
    return tuple(map(int, numbers)) if all(map(_is_number, numbers)) else ()


def _numbers(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if _is_number(value)}


def _facts(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if isinstance(value, str | bool) or _is_number(value)}


def _listed(settings: Sequence[str]) -> str:
    return " ".join(settings) or "none"


def _where(profile: str | None) -> str:
    return "by mpiexec here" if profile is None else f"on Slurm with the profile {profile!r}"
