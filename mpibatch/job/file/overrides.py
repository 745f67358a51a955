"""Values from the command line, put into a job's document before it is checked: ``--set step.sigma=3``."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError, nearest
from mpibatch.job.document.caps import check_size
from mpibatch.job.file.functions import is_filter, parameters_of, results_taken
from mpibatch.job.file.schema import STEP_KEYS, TABLES, step_names
from mpibatch.job.file.simulation import SIMULATION_TABLES

if TYPE_CHECKING:
    from mpibatch.job.document.lines import KeyPath
    from mpibatch.job.document.problems import Place, Problems

__all__ = ["override", "toml_value"]

_FIRST = -1_000_000  # what the command line says is told before what the file says


_WORDS = re.compile(r"\[([ ]*[A-Za-z_][\w-]*[ ]*(?:,[ ]*[A-Za-z_][\w-]*[ ]*)*)\]")


def toml_value(text: str) -> Any:
    """Return the TOML value that `text` is; (1, 2) is a list, and a text without quotes is a string. Local.

    So are words in a list: [label, area].
    """
    stripped = text.strip()
    if stripped.startswith("("):
        stripped = stripped.replace("(", "[").replace(")", "]")
    try:
        if "\n" not in stripped:
            check_size(stripped, "a value")
            return tomllib.loads(f"x = {stripped}")["x"]
    except tomllib.TOMLDecodeError:
        pass
    if words := _WORDS.fullmatch(stripped):
        return [word.strip() for word in words[1].split(",")]
    if not stripped or stripped[0] in "[{\"'":
        raise UsageError(f"{text!r} is not a value; give a number, true, false, a text or a list such as [1, 2]")
    return stripped


def override(document: dict[str, Any], settings: list[str], places: dict[KeyPath, Place], problems: Problems) -> None:
    """Put every ``KEY=VALUE`` of `settings` into `document`, and its place into `places`; note what cannot be. Local.

    KEY is SECTION.KEY, STEP.KEY with a step's name, step.NUMBER.KEY (from 1), or step.KEY if that is
    of one step alone.
    """
    for order, setting in enumerate(settings):
        place = (_FIRST + order, f"--set {setting}")
        try:
            key, equals, text = setting.partition("=")
            names = key.strip().split(".")
            if not equals or len(names) < 2 or not all(names):
                raise UsageError("write SECTION.KEY=VALUE or STEP.KEY=VALUE, as in --set step.sigma=3")
            path = _path(document, names)
            table: Any = document
            for part in path[:-1]:
                table = table.setdefault(part, {}) if isinstance(table, dict) else table[int(part)]
            table[path[-1]] = toml_value(text)
            places[path] = place
        except UsageError as error:
            problems.entries.append((place[0], f"{place[1]}: {error}"))


def _path(document: dict[str, Any], names: list[str]) -> KeyPath:
    """Return the path in the document that a dotted key means."""
    head, key = names[0], names[-1]
    sections = [*(SIMULATION_TABLES if "simulation" in document else TABLES), *({"batch"} & {*document})]
    if head in sections and len(names) == 2:
        if not isinstance(document.get(head, {}), dict):
            raise UsageError(f"{head} is not a section of this job")
        return head, key
    raw = document.get("step", [])
    steps = [step for step in raw if isinstance(step, dict)] if isinstance(raw, list) else []
    labels = step_names(steps)
    if head == "step" and len(names) == 3:
        return "step", _number(names[1], labels), key
    if head == "step" and len(names) == 2:
        return "step", _only(key, steps, labels), key
    if len(names) == 2 and head in labels:
        return "step", labels.index(head), key
    known = [*sections, "step", *labels] if "simulation" not in document else sections
    raise UsageError(f"there is no section or step {'.'.join(names[:-1])!r}{nearest(head, known)}")


def _number(text: str, labels: list[str]) -> int:
    if text.isdecimal() and 1 <= int(text) <= len(labels):
        return int(text) - 1
    if text in labels:
        return labels.index(text)
    raise UsageError(f"there is no step {text}; the steps are 1 to {len(labels)}: {', '.join(labels) or 'none'}")


def _only(key: str, steps: list[dict[str, Any]], labels: list[str]) -> int:
    """Return the only step that has `key`, else the only one whose filter takes it."""
    having = [number for number, step in enumerate(steps) if key in step]
    taking = [
        number
        for number, step in enumerate(steps)
        if key in STEP_KEYS or (is_filter(str(step.get("filter"))) and key in _keys_of(str(step["filter"])))
    ]
    for candidates in (having, taking):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            listed = ", ".join(f"step.{number + 1}.{key} ({labels[number]})" for number in candidates)
            raise UsageError(f"{len(candidates)} steps could be meant; say which: {listed}")
    raise UsageError(f"no step of this job takes {key!r}; the steps are {', '.join(labels) or 'none'}")


def _keys_of(name: str) -> set[str]:
    return {*(parameter.name for parameter in parameters_of(name)), *results_taken(name)}
