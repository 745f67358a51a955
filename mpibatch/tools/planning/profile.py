"""A machine's profile as a file: ``.mpibatch/machine.json``, by `mpibatch probe` or by hand.

By hand a few lines will do; all that is missing is not told by plans::

    {"schema": 1, "name": "cluster X", "cores_per_node": 128, "memory_per_node": 256e9,
     "triad": {"1": 20, "128": 350}, "latency": 5e-7, "bandwidth": 1e10,
     "internode": {"latency": 1.5e-6, "bandwidth": 2.4e10}}

The units are those of `mpibatch.tools.planning.machine`. What a job costs (`work`) can only be measured. All that is
wrong with a file is told at once.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.json_files import write_json
from mpibatch.job.document import checks
from mpibatch.job.document.caps import json_value
from mpibatch.job.document.problems import Problems
from mpibatch.job.document.tables import Key, keys_of
from mpibatch.tools.planning.machine import HaloTraffic, JobWork, Links, Machine, StepLength, StepWork

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.job.document.checks import Check
    from mpibatch.job.document.lines import KeyPath

__all__ = ["FILE", "SCHEMA", "VARIABLE", "default_path", "load", "parse", "save"]

SCHEMA = 1
FILE = Path(".mpibatch") / "machine.json"
VARIABLE = "MPIBATCH_MACHINE"
_MEND = "correct it, or measure anew: mpibatch probe --anew --output FILE"

_RANKS = re.compile(r"[1-9]\d{0,8}", re.ASCII)


def _by_ranks(check: Check, *, empty: bool = True) -> Check:
    """Expect numbers by ranks."""

    def check_all(value: Any) -> str | None:
        good = isinstance(value, dict) and all(
            isinstance(ranks, str) and _RANKS.fullmatch(ranks) and check(rate) is None for ranks, rate in value.items()
        )
        return (
            None if good and (value or empty) else f'numbers by ranks, such as {{"1": 20, "2": 35}}, each {check(None)}'
        )

    return check_all


def _object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "an object, {...}"


def _filled(check: Check) -> Check:
    """Expect a list of at least one item."""
    items = checks.list_of(check)
    return lambda value: items(value) if value != [] else "a list of at least one item"


def _pair_of(check: Check) -> Check:
    """Expect a list of two."""
    items = checks.list_of(check)
    return lambda value: items(value) or (None if len(value) == 2 else f"two values, each {check(None)}")


def _rates(value: Mapping[str, Any]) -> dict[int, float]:
    return {int(ranks): float(rate) for ranks, rate in sorted(value.items(), key=lambda item: int(item[0]))}


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, values))


def _wholes(values: Sequence[float]) -> tuple[int, ...]:
    return tuple(map(int, values))


def _needed(key: Key) -> Key:
    return replace(key, required=True)


_TEXT, _STRING = Key(checks.text, required=True), Key(checks.any_of(checks.text, checks.one_of("")))
_OBJECT, _OBJECTS = Key(_object), Key(checks.list_of(_object))
# JSON writes 2 for 2.0, and 256e9 for a whole number.
_COUNT, _ABOVE, _LEAST = (
    Key(checks.integer(1), made=int),
    Key(checks.real(above=0), made=float),
    Key(checks.real(least=0), made=float),
)
_SPEEDS, _SECONDS = (
    Key(_by_ranks(checks.real(above=0)), made=_rates),
    Key(_by_ranks(checks.real(least=0)), made=_rates),
)
_NEEDED_SPEEDS = Key(_by_ranks(checks.real(above=0), empty=False), required=True, made=_rates)

_PROFILE: Mapping[str, Key] = {
    "schema": Key(checks.one_of(SCHEMA)),
    "name": _TEXT,
    "cores_per_node": _needed(_COUNT),
    "triad": _NEEDED_SPEEDS,
    **dict.fromkeys(("memory_per_node", "library_memory", "nodes"), _COUNT),
    **dict.fromkeys(("latency", "bandwidth", "allreduce"), _ABOVE),
    **dict.fromkeys(("write", "read", "touch"), _SPEEDS),
    **dict.fromkeys(("host", "cpu", "folder", "date"), _STRING),
    **dict.fromkeys(("internode", "versions"), _OBJECT),
    "work": _OBJECTS,
}
_LINKS: Mapping[str, Key] = {"latency": _needed(_ABOVE), "bandwidth": _needed(_ABOVE), "allreduce": _LEAST}
_WORK: Mapping[str, Key] = {
    **dict.fromkeys(("key", "job", "kind"), _TEXT),
    "shape": Key(_filled(checks.integer(1)), required=True, made=_wholes),
    "ranks": _needed(_COUNT),
    "steps": Key(_filled(_object), required=True),
    **dict.fromkeys(("memory_per_cell", "memory_fixed"), _needed(_LEAST)),
    **dict.fromkeys(("fixed_seconds", "output_per_cell", "first_use"), _LEAST),
    **dict.fromkeys(("reading", "writing", "warmup"), _SECONDS),
    "step_length": _OBJECT,
    "memory_alone": Key(_pair_of(checks.real(least=0)), made=_floats),
    "date": _STRING,
}
_STEP_LENGTH: Mapping[str, Key] = {
    **dict.fromkeys(("time", "side"), _needed(_ABOVE)),
    "power": Key(checks.real(), required=True, made=float),
}
_STEP: Mapping[str, Key] = {
    "name": _needed(_STRING),
    "seconds_per_cell": _NEEDED_SPEEDS,
    **dict.fromkeys(("seconds_per_call", "reductions"), _LEAST),
    "exchanges": _OBJECTS,
}
_EXCHANGE: Mapping[str, Key] = {
    "widths": Key(checks.list_of(_pair_of(checks.integer(0))), required=True, made=lambda ws: tuple(map(_wholes, ws))),
    "corners": Key(checks.flag, required=True),
    "wraps": Key(checks.list_of(checks.flag), made=tuple),
    "bytes_per_cell": Key(checks.integer(0), required=True, made=int),
    "times": _needed(_LEAST),
    "steps": _COUNT,
}


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


def parse(document: Any, source: str = "the machine profile") -> Machine:
    """Return the profile that a JSON object describes. Local. Raises UsageError with all that is wrong in it."""
    if not isinstance(document, dict):
        raise UsageError(f"{source} holds no JSON object; a machine profile is {{...}}")
    if document.get("schema") != SCHEMA:
        raise UsageError(
            f"{source} is a profile of schema {document.get('schema')!r}, and this version reads {SCHEMA}; "
            "`mpibatch probe --anew` replaces it"
        )
    problems = Problems(source, remedy=_MEND)
    given = _table(document, (), "the profile", _PROFILE, problems)
    if ("latency" in given) != ("bandwidth" in given):
        problems.add(("latency",), "the profile has one alone of latency and bandwidth; give both, or neither")
    if "internode" in given:
        given["internode"] = _table(given["internode"], ("internode",), "internode", _LINKS, problems)
    works = [_work_table(record, number, problems) for number, record in enumerate(given.pop("work", []))]
    problems.check()
    del given["schema"]
    if "internode" in given:
        given["internode"] = Links(**given["internode"])
    return Machine(**given, work=tuple(map(_work, works)))


def _table(
    record: Mapping[str, Any], path: KeyPath, where: str, keys: Mapping[str, Key], problems: Problems
) -> dict[str, Any]:
    """The accepted values of a table, as a Machine holds them; null stands for what is not known."""
    return keys_of({key: value for key, value in record.items() if value is not None}, path, where, keys, problems)


def _work_table(record: Mapping[str, Any], number: int, problems: Problems) -> dict[str, Any]:
    """What a job costs, checked: tables within tables, still without the values made from them."""
    path, where = ("work", number), f"work[{number}]"
    work = _table(record, path, where, _WORK, problems)
    if "step_length" in work:
        within = f"{where}.step_length"
        work["step_length"] = _table(work["step_length"], (*path, "step_length"), within, _STEP_LENGTH, problems)
    work["steps"] = [
        _step_table(step, (*path, "steps", n), f"{where}.steps[{n}]", len(work.get("shape", ())), problems)
        for n, step in enumerate(work.get("steps", []))
    ]
    return work


def _step_table(record: Mapping[str, Any], path: KeyPath, where: str, ndim: int, problems: Problems) -> dict[str, Any]:
    step = _table(record, path, where, _STEP, problems)
    exchanges = []
    for n, exchange in enumerate(step.get("exchanges", [])):
        within, inner = f"{where}.exchanges[{n}]", (*path, "exchanges", n)
        table = _table(exchange, inner, within, _EXCHANGE, problems)
        for key in ("widths", "wraps"):
            if ndim and key in table and len(table[key]) != ndim:
                problems.add(
                    (*inner, key),
                    f"{within} {key} = {checks.shown(exchange[key])}; expected one for each of {ndim} axes",
                )
        exchanges.append({"wraps": (False,) * ndim, **table})
    return {**step, "exchanges": exchanges}


def _work(table: Mapping[str, Any]) -> JobWork:
    made: dict[str, Any] = {"steps": tuple(map(_step, table["steps"]))}
    if "step_length" in table:
        made["step_length"] = StepLength(**table["step_length"])
    return JobWork(**{**table, **made})


def _step(table: Mapping[str, Any]) -> StepWork:
    return StepWork(**{**table, "exchanges": tuple(HaloTraffic(**exchange) for exchange in table["exchanges"])})


def save(path: Path, machine: Machine) -> None:
    """Write a profile; it is complete, or what was there before. Local."""
    document = {
        "schema": SCHEMA,
        **{key: value for key, value in asdict(machine).items() if value not in (None, "", {})},
    }
    write_json(path, document)
