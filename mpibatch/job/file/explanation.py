"""What a filter does, and what a job file may say: made from the sources and the schema, so that it cannot lie."""

from __future__ import annotations

import ast
import inspect
import re
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError, nearest
from mpibatch.base.units import plural
from mpibatch.job.file.arithmetic import EXPRESSION, OPERATIONS
from mpibatch.job.file.functions import Parameter, is_filter, known_filters, parameters_of, results_taken
from mpibatch.job.file.schema import STEP_KEYS, TABLES
from mpibatch.job.file.signatures import THRESHOLDS, definition_of
from mpibatch.job.file.simulation import SIMULATION_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.job.document.tables import Key

__all__ = ["explained", "reference"]

# Sections of a docstring that are for those who call a filter from Python.
_PYTHONS = re.compile(r"(Returns|Raises|Examples)\n---")

# What a step makes of functions that return something else than a Field.
_AS_STEP = {
    **dict.fromkeys(THRESHOLDS, "As a step: the mask of the cells above it. The threshold is kept in the file."),
    "threshold_multiotsu": "As a step: of each cell the number of thresholds below it. They are kept in the file.",
    "label": "As a step: the labels. The number of objects is kept in the file.",
    "relabel_sequential": "As a step: the labels, without the maps.",
    "join_segmentations": "As a step: the labels, without the maps: return_mapping = true is refused.",
    "peak_local_max": "As a step: a table of the peaks' indices; with indices = false a mask.",
    "regionprops_table": "As a step: a table, which is saved as a group of columns and read by no other step.",
}

_EXAMPLES = {"float": "2.0", "int": "3", "str": '"f4"', "bool": "true"}


def explained(name: str) -> str:
    """Return the signature, the docstring and an example of a filter. Local. Raises UsageError if there is none."""
    if not is_filter(name):
        raise UsageError(f"there is no filter {name!r}{nearest(name, known_filters())}")
    known = parameters_of(name)
    taken = [(key, needed) for key, needed in results_taken(name).items() if key not in {p.name for p in known}]
    words = [key if needed else f"{key}=None" for key, needed in taken[1:]]
    words += [p.name if p.default is None else f"{p.name}={p.default}" for p in known]
    lines = [f"{name}({', '.join(['input', *words])})".replace("'", '"'), "", _doc(name)]
    keys = {taken[0][0]: "the name of an earlier step, as input (default: the step before)"} if len(taken) > 1 else {}
    keys |= {key: f"the name of an earlier step, {'must' if needed else 'may'} be given" for key, needed in taken[1:]}
    keys |= {p.name: f"{_kind(name, p)}, {_default(p.default)}" for p in known}
    if keys:
        width = max(map(len, keys))
        lines += ["", "keys:", *(f"  {key:<{width}}  {text}" for key, text in keys.items())]
    return "\n".join([*lines, "", "example:", *_example(name)])


def _kind(name: str, parameter: Parameter) -> str:
    """What a key takes, in the words of its annotation."""
    is_either = parameter.name in results_taken(name)
    return parameter.annotation.replace("Field", "the name of an earlier step") if is_either else parameter.annotation


def _default(default: str | None) -> str:
    return "must be given" if default is None else f"default {default}".replace("'", '"')


def _doc(name: str) -> str:
    if name in OPERATIONS:
        function, takes = OPERATIONS[name]
        return f"numpy.{function} of {plural(takes, 'earlier result')}, cell by cell."
    if name == EXPRESSION:
        return (
            "An expression of the names of earlier steps, input, numbers, and other keys of the step that are\n"
            "numbers, "
            "cell by cell: + - * / **, comparisons, and, or, not, & | ^ ~, abs, sqrt, minimum, maximum, where,\n"
            "threshold_otsu(name)."
        )
    text = inspect.cleandoc(ast.get_docstring(definition_of(name)) or "")
    # What a program gets of it does not matter to a job file, which has its own example.
    parts = [part for part in re.split(r"\n\n(?=[A-Z]\w+\n-{3,}\n)", text) if not _PYTHONS.match(part)]
    return "\n\n".join([parts[0], *([_AS_STEP[name]] if name in _AS_STEP else []), *parts[1:]])


def _example(name: str) -> list[str]:
    lines = ["  [[step]]", f'  filter = "{name}"']
    if name == EXPRESSION:
        return [*lines, '  expression = "input - 0.5 * smooth > limit"', "  limit = 0.25", "  save = true"]
    if OPERATIONS.get(name, ("", 1))[1] > 1:
        listed = ", ".join(f'"{source}"' for source in ("input", "a", "b")[: OPERATIONS[name][1]])
        lines.append(f"  input = [{listed}]")
    known = parameters_of(name)
    lines += [f'  {key} = "smooth"' for key, needed in [*results_taken(name).items()][1:] if needed]
    if name == "regionprops_table":
        lines += ['  intensity = "smooth"', '  properties = ["label", "area", "centroid", "intensity_mean"]']
    given = {p.name: _EXAMPLES.get(p.annotation.split(" | ")[0], "[[0, 1, 0], [1, 1, 1], [0, 1, 0]]") for p in known}
    given |= {"sigma": "2", "size": "3", "percentile": "50", "rank": "0"}
    if name.endswith("1d"):
        given["weights"] = "[1, 2, 1]"
    needed = [p.name for p in known if p.default is None and p.name not in results_taken(name)]
    windows = [p.name for p in known if p.name in ("size", "footprint", "structure")]
    needed += windows[:1] if len(windows) > 1 else []
    return [*lines, *(f"  {key} = {given[key]}" for key in needed), "  save = true"]


def reference() -> str:
    """Return all keys of a job file, with what each takes. Local."""
    tables = {"input": TABLES["input"], "step": STEP_KEYS, **TABLES}
    tables |= {name: keys for name, keys in SIMULATION_TABLES.items() if name not in TABLES}
    lines = []
    for name, keys in tables.items():
        both = {**keys, **SIMULATION_TABLES["output"]} if name == "output" else keys
        lines += [f"  [[{name}]]" if name == "step" else f"  [{name}]", *_keys(both)]
        if name == "step":
            lines.append("    and the filter's own parameters: mpibatch filter --help FILTER")
        if name == "simulation":
            lines.append("    and the program's own parameters")
    return "\n".join(lines)


def _keys(keys: Mapping[str, Key]) -> list[str]:
    lines = []
    for key, spec in keys.items():
        takes = spec.check(None) or "any value"
        lines.append(f"    {key:<13} {takes}{' (needed)' if spec.required else ''}")
    return lines
