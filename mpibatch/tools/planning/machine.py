"""A machine in numbers, and what jobs cost on it: ``.mpibatch/machine.json``, by `mpibatch probe` or by hand.

By hand a few lines will do; all that is missing is not told by plans::

    {"schema": 1, "name": "cluster X", "cores_per_node": 128, "memory_per_node": 256e9,
     "triad": {"1": 20, "128": 350}, "latency": 5e-7, "bandwidth": 1e10,
     "internode": {"latency": 1.5e-6, "bandwidth": 2.4e10}}

`triad` is in GB/s, by ranks of a node at once; latencies are in seconds, bandwidths in bytes per second between two
ranks that send to each other; `write` and `read` in bytes per second, by ranks; `touch` is what the first use of
memory costs each rank, in seconds per byte. What a job costs (`work`) can only be measured.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mpibatch.base.errors import RunError, UsageError, nearest, reason_of
from mpibatch.base.json_files import write_json
from mpibatch.job.file.caps import json_value

__all__ = [
    "FILE", "SCHEMA", "VARIABLE", "Exchange", "Links", "Machine", "StepLength", "StepWork", "Work", "by_ranks",
    "default_path", "load", "parse", "save",
]  # fmt: skip

WARMUP_STEPS = 160  # as many as `mpibatch.iterate` takes to find out how it is fastest
SCHEMA = 1
FILE = Path(".mpibatch") / "machine.json"
VARIABLE = "MPIBATCH_MACHINE"

_MEND = "correct it, or measure anew: mpibatch probe --anew --output FILE"

Rates = Mapping[int, float]


@dataclass(frozen=True)
class Links:
    """Messages: seconds until a small one is there, bytes per second of large ones, seconds of an all-reduce of two."""

    latency: float
    bandwidth: float
    allreduce: float = 0.0  # 0: two latencies

    def reduce_seconds(self) -> float:
        """The seconds of an all-reduce of two ranks. Local."""
        return self.allreduce or 2 * self.latency


@dataclass(frozen=True)
class Exchange:
    """Halos that a step brings. `steps`: for how many steps one is enough; `times`: how many in a step."""

    widths: tuple[tuple[int, int], ...]
    corners: bool
    wraps: tuple[bool, ...]
    bytes_per_cell: int
    times: float
    steps: int = 1


@dataclass(frozen=True)
class StepWork:
    """What one step of a job costs a rank: by ranks on its node per cell, and whatever the number of cells."""

    name: str
    seconds_per_cell: Rates
    seconds_per_call: float = 0.0
    exchanges: tuple[Exchange, ...] = ()
    reductions: float = 0.0


@dataclass(frozen=True)
class StepLength:
    """The time step of a simulation on a grid of so many cells along an axis; it goes with their `power`."""

    time: float
    side: float
    power: float

    def at(self, side: float) -> float:
        """The time step on another grid. Local."""
        return float(self.time * (side / self.side) ** self.power)


@dataclass(frozen=True)
class Work:
    """What a job costs, whatever its size.

    Attributes
    ----------
    key : of the job without its size; see `mpibatch.tools.planning.work`.
    shape, ranks : of the grid that was measured, and the most ranks.
    memory_per_cell, memory_fixed : bytes of a rank.
    memory_alone : the same of one rank alone, which has less around its cells; None: not known.
    fixed_seconds : of a run, once.
    output_per_cell : bytes of an output (a pipeline has one).
    reading, writing : seconds per byte of the whole, by ranks; none for simulations.
    step_length : of simulations.
    warmup : by ranks, seconds that the first WARMUP_STEPS steps of a simulation take beyond later ones, whatever the
        cells: `iterate` finds out how it is fastest.
    first_use : seconds per cell of a simulation's first pass beyond later ones: memory is used for the first time.
    """

    key: str
    job: str
    kind: str
    shape: tuple[int, ...]
    ranks: int
    steps: tuple[StepWork, ...]
    memory_per_cell: float
    memory_fixed: float
    fixed_seconds: float = 0.0
    output_per_cell: float = 0.0
    reading: Rates = field(default_factory=dict)
    writing: Rates = field(default_factory=dict)
    step_length: StepLength | None = None
    memory_alone: tuple[float, float] | None = None
    warmup: Rates = field(default_factory=dict)
    first_use: float = 0.0
    date: str = ""


@dataclass(frozen=True)
class Machine:
    """A machine's numbers; None or empty: not known. See the module's text for units."""

    name: str
    cores_per_node: int
    triad: Rates
    memory_per_node: int | None = None
    latency: float | None = None
    bandwidth: float | None = None
    allreduce: float | None = None
    internode: Links | None = None
    write: Rates = field(default_factory=dict)
    read: Rates = field(default_factory=dict)
    library_memory: int | None = None
    touch: Rates = field(default_factory=dict)
    host: str = ""
    cpu: str = ""
    folder: str = ""
    date: str = ""
    nodes: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)
    work: tuple[Work, ...] = ()

    @property
    def links(self) -> Links | None:
        """Messages within a node; None if they were not measured. Local."""
        if self.latency is None or self.bandwidth is None:
            return None
        return Links(self.latency, self.bandwidth, self.allreduce or 0.0)

    def work_of(self, key: str) -> Work | None:
        """What the job of this key costs, if that was measured. Local."""
        return next((work for work in self.work if work.key == key), None)

    def with_work(self, new: Sequence[Work]) -> Machine:
        """Return this with what jobs cost, in place of what was known of the same jobs. Local."""
        keys = {work.key for work in new}
        return replace(self, work=(*(work for work in self.work if work.key not in keys), *new))


def by_ranks(rates: Rates, ranks: int) -> float:
    """Return the rate of this number of ranks, else that of the nearest lower one, else of the lowest. Local."""
    lower = [count for count in rates if count <= ranks]
    return rates[max(lower)] if lower else rates[min(rates)]


def default_path() -> Path:
    """Return the profile that commands read if none is named: ``$MPIBATCH_MACHINE``, or that of the folder. Local."""
    return Path(os.environ.get(VARIABLE) or FILE)


def load(path: Path) -> Machine:
    """Return the profile in a file. Local.

    Raises RunError if it cannot be read, UsageError with all that is wrong in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(
            f"the machine profile {str(path)!r} does not exist; correct the name, or make one: mpibatch probe"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"the machine profile {str(path)!r} is not text; give a JSON file") from None
    except OSError as error:
        raise RunError(f"the machine profile {str(path)!r} cannot be read: {reason_of(error)}") from None
    try:
        profile = json_value(text, f"the machine profile {str(path)!r}")
    except UsageError as error:
        raise UsageError(f"{error}; {_MEND}") from None
    return parse(profile, str(path))


def parse(profile: Any, source: str = "the machine profile") -> Machine:
    """Return the profile that a JSON object describes. Local. Raises UsageError with all that is wrong in it."""
    if not isinstance(profile, dict):
        raise UsageError(f"{source} holds no JSON object; a machine profile is {{...}}")
    if profile.get("schema") != SCHEMA:
        raise UsageError(
            f"{source} is a profile of schema {profile.get('schema')!r}, and this version reads {SCHEMA}; "
            "`mpibatch probe --anew` replaces it"
        )
    reader = _Reader(source)
    known = [attribute.name for attribute in fields(Machine)]
    for key in profile:
        if key not in (*known, "schema"):
            reader.wrong(key, f"there is no such key{nearest(key, known)}")
    given = {
        "name": reader.text(profile, "name", needed=True),
        "cores_per_node": reader.whole(profile, "cores_per_node", needed=True),
        "triad": reader.rates(profile, "triad", needed=True),
        "memory_per_node": reader.whole(profile, "memory_per_node"),
        "latency": reader.number(profile, "latency"),
        "bandwidth": reader.number(profile, "bandwidth"),
        "allreduce": reader.number(profile, "allreduce"),
        "internode": reader.links(profile, "internode"),
        "library_memory": reader.whole(profile, "library_memory"),
        "nodes": reader.whole(profile, "nodes") or 1,
        **{key: reader.rates(profile, key) for key in ("write", "read", "touch")},
        **{key: reader.text(profile, key) for key in ("host", "cpu", "folder", "date")},
        "versions": profile.get("versions") if isinstance(profile.get("versions"), dict) else {},
        "work": reader.works(profile.get("work", [])),
    }
    if ("latency" in profile) != ("bandwidth" in profile):
        reader.wrong("latency", "latency and bandwidth are given together, or neither")
    reader.check()
    return Machine(**given)


def save(path: Path, machine: Machine) -> None:
    """Write a profile; it is complete, or what was there before. Local."""
    document = {
        "schema": SCHEMA,
        **{key: value for key, value in asdict(machine).items() if value not in (None, "", {})},
    }
    write_json(path, document)


class _Reader:
    """Takes values out of JSON objects, noting what is wrong with them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._problems: list[str] = []

    def wrong(self, key: str, problem: str) -> None:
        self._problems.append(f"{key}: {problem}")

    def check(self) -> None:
        if self._problems:
            more = "".join(f"\n  {line}" for line in self._problems)
            raise UsageError(f"{self._source} is no machine profile that can be used:{more}\n{_MEND}")

    def _value(self, record: Mapping[str, Any], key: str, needed: bool) -> Any:
        if key not in record and needed:
            self.wrong(key, "it is missing")
        return record.get(key)

    def text(self, record: Mapping[str, Any], key: str, needed: bool = False) -> str:
        value = self._value(record, key, needed)
        if value is not None and not isinstance(value, str):
            self.wrong(key, f"{value!r}; expected text")
            return ""
        return value or ""

    def number(self, record: Mapping[str, Any], key: str, needed: bool = False, least: float | None = None) -> Any:
        """A finite number above 0, or from `least` on."""
        value = self._value(record, key, needed)
        if value is None:
            return None
        if not _is_number(value) or (value <= 0 if least is None else value < least):
            self.wrong(key, f"{value!r}; expected a number {'above 0' if least is None else f'from {least:g} on'}")
            return None
        return float(value)

    def whole(self, record: Mapping[str, Any], key: str, needed: bool = False) -> Any:
        value = self.number(record, key, needed)
        if value is not None and not value.is_integer():
            self.wrong(key, f"{value!r}; expected a whole number")
        return None if value is None else int(value)

    def rates(self, record: Mapping[str, Any], key: str, needed: bool = False) -> dict[int, float]:
        value = self._value(record, key, needed)
        if value is None:
            return {}
        good = isinstance(value, dict) and all(
            str(ranks).isdecimal() and int(ranks) > 0 and _is_number(rate) and rate > 0 for ranks, rate in value.items()
        )
        if not good or (needed and not value):
            self.wrong(key, f'{value!r}; expected numbers above 0 by ranks, such as {{"1": 20, "2": 35}}')
            return {}
        return {int(ranks): float(rate) for ranks, rate in sorted(value.items(), key=lambda item: int(item[0]))}

    def links(self, record: Mapping[str, Any], key: str) -> Links | None:
        value = record.get(key)
        if value is None:
            return None
        if not isinstance(value, dict) or set(value) - {"latency", "bandwidth", "allreduce"}:
            self.wrong(key, f'{value!r}; expected {{"latency": ..., "bandwidth": ..., "allreduce": ...}}')
            return None
        numbers = [self.number(value, name, needed=True) for name in ("latency", "bandwidth")]
        allreduce = self.number(value, "allreduce", least=0)
        return None if None in numbers else Links(numbers[0], numbers[1], allreduce or 0.0)

    def works(self, value: Any) -> tuple[Work, ...]:
        """What jobs cost; only `mpibatch probe` writes that, so that one message for each is enough."""
        works = []
        for number, record in enumerate(value if isinstance(value, list) else [None]):
            try:
                works.append(_work(record))
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
                problem = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
                self.wrong(f"work[{number}]", f"{problem}; probe the job anew")
        return tuple(works)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _work(record: Any) -> Work:
    length, alone = record.get("step_length"), record.get("memory_alone")
    shape = tuple(_whole(n, 1) for n in record["shape"])
    if not shape or not record["steps"]:
        raise ValueError(f"shape = {record['shape']!r}, steps = {record['steps']!r}; expected at least one of each")
    if alone is not None and len(alone) != 2:
        raise ValueError(f"memory_alone = {alone!r}; expected bytes of a cell and of a rank")
    return Work(
        key=str(record["key"]),
        job=str(record["job"]),
        kind=str(record["kind"]),
        shape=shape,
        ranks=_whole(record["ranks"], 1),
        steps=tuple(_step(step, len(shape)) for step in record["steps"]),
        memory_per_cell=_positive(record["memory_per_cell"]),
        memory_fixed=_positive(record["memory_fixed"]),
        fixed_seconds=_positive(record.get("fixed_seconds", 0)),
        output_per_cell=_positive(record.get("output_per_cell", 0)),
        reading=_rates(record.get("reading", {})),
        writing=_rates(record.get("writing", {})),
        step_length=_length(length) if length is not None else None,
        memory_alone=(_positive(alone[0]), _positive(alone[1])) if alone is not None else None,
        warmup=_rates(record.get("warmup", {})),
        first_use=_positive(record.get("first_use", 0)),
        date=str(record.get("date", "")),
    )


def _length(record: Mapping[str, Any]) -> StepLength:
    time, side, power = (record[key] for key in ("time", "side", "power"))
    if not all(map(_is_number, (time, side, power))) or min(time, side) <= 0:
        raise ValueError(f"step_length = {record!r}; expected a time and a side above 0, and a power")
    return StepLength(float(time), float(side), float(power))


def _step(record: Mapping[str, Any], ndim: int) -> StepWork:
    per_cell = _rates(record["seconds_per_cell"])
    if not per_cell or min(per_cell.values()) <= 0:
        raise ValueError(f"seconds_per_cell = {record['seconds_per_cell']!r}; expected numbers above 0 by ranks")
    return StepWork(
        str(record["name"]),
        per_cell,
        _positive(record.get("seconds_per_call", 0)),
        tuple(_exchange(exchange, ndim) for exchange in record.get("exchanges", ())),
        _positive(record.get("reductions", 0)),
    )


def _exchange(record: Mapping[str, Any], ndim: int) -> Exchange:
    widths = tuple((_whole(low), _whole(high)) for low, high in record["widths"])
    wraps = tuple(map(bool, record.get("wraps", (False,) * ndim)))
    if not len(widths) == len(wraps) == ndim:
        raise ValueError(f"widths = {record['widths']!r}, wraps = {list(wraps)}; expected one for each of {ndim} axes")
    return Exchange(
        widths,
        bool(record["corners"]),
        wraps,
        _whole(record["bytes_per_cell"]),
        _positive(record["times"]),
        _whole(record.get("steps", 1), 1),
    )


def _rates(rates: Mapping[str, Any]) -> dict[int, float]:
    return {_whole(int(ranks), 1): _positive(rate) for ranks, rate in rates.items()}


def _whole(value: Any, least: int = 0) -> int:
    if not _is_number(value) or value != int(value) or value < least:
        raise ValueError(f"{value!r} is no whole number from {least} on")
    return int(value)


def _positive(value: Any) -> float:
    if not _is_number(value) or value < 0:
        raise ValueError(f"{value!r} is no number from 0 on")
    return float(value)
