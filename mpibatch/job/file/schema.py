"""What a job file may say, as frozen values, and how a TOML document becomes one.

Every mistake is noted with its place and all are told at once; see `mpibatch.job` for the format. Nothing here
needs MPI, NumPy or numba, so that a job can be checked wherever Python runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError, nearest
from mpibatch.io.base.names import HAZARDS, SEPARATOR, check_tree, normal_name, split_path, user_place
from mpibatch.job.document import checks
from mpibatch.job.document.caps import MOST_STEPS
from mpibatch.job.document.problems import Problems
from mpibatch.job.document.tables import Key, keys_of, table_of
from mpibatch.job.file.arithmetic import EXPRESSION
from mpibatch.job.file.formats import OUTPUT_KEYS, Output, check_format, check_secrecy
from mpibatch.job.file.functions import check_axes, check_parameters, is_filter, known_filters
from mpibatch.job.file.inputs import Input, Step, split_fields, step_inputs
from mpibatch.job.file.stream import STREAM_KEYS, Streaming, check_streaming

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "INPUT", "STEP_KEYS", "TABLES", "Checkpointing", "Input", "Job", "Output", "Step", "Supervising", "build",
    "check_fit", "checkpointing", "grid_options", "step_names",
]  # fmt: skip

EVERY_MINUTES = 10.0  # between checkpoints, where a job says nothing else
INPUT = "input"  # what a step's `input` says to read the file again instead of an earlier step's result


@dataclass(frozen=True)
class Checkpointing:
    """Where and when a job leaves what another run can go on from. Its parameters are its attributes.

    Parameters
    ----------
    path : str
        The folder of the checkpoints.
    every_steps, every_minutes : int or float, optional
        After how many steps (of a pipeline: filters) or minutes there is one, as in `mpibatch.Checkpoints`. In a job
        file that names neither: 10 minutes.
    keep : int, default 2
        Of a simulation: how many are kept.
    encrypt : str, optional
        A file with recipients, who alone can read them.

    Notes
    -----
    Local. `parse` makes it of a section ``[checkpoint]``.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.job.Checkpointing("edges.h5.checkpoints", every_steps=4).keep
    2
    """

    path: str
    every_steps: int | None = None
    every_minutes: float | None = None
    keep: int = 2
    encrypt: str | None = None


@dataclass(frozen=True)
class Supervising:
    """When a job in which no rank goes on is ended. Its parameters are its attributes.

    Parameters
    ----------
    seconds : float, optional
        Without progress, until then, as in `mpibatch.supervise`. Default: ``MPIBATCH_SUPERVISE``, else 1800.
    end : bool, default True
        Whether the job is ended, or only the page written that says where each rank is.

    Notes
    -----
    Local. `parse` makes it of a section ``[supervise]``, which the commands ``mpibatch run`` and ``batch`` obey; `run`
    does not.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.job.Supervising(seconds=600).end
    True
    """

    seconds: float | None = None
    end: bool = True


@dataclass(frozen=True)
class Job:
    """A pipeline whose job file has been checked. Its parameters are its attributes.

    Parameters
    ----------
    source : str
        What messages call the job file, normally its name.
    text : str
        The text that it was made from, with settings as comments at its end.
    input : Input
        What is read.
    grid : mapping of str to object
        Keywords of `mpibatch.Grid`.
    steps : tuple of Step
        What is computed, in order.
    output : Output
        What is written.
    checkpoint : Checkpointing, optional
        What another run can go on from. Default: no checkpoints.
    supervise : Supervising, default Supervising()
        When it is ended because no rank goes on.
    stream : Streaming, optional
        How the data go through memory in slabs. Default: they are in memory as a whole.

    Notes
    -----
    Local. `parse` makes it, `run` runs it.

    Examples
    --------
    >>> import mpibatch as mb
    >>> text = '''
    ... input.path = "raw.h5"
    ... output.path = "edges.h5"
    ... step = [{filter = "sobel"}]
    ... '''
    >>> mb.job.parse(text).steps[0].save
    'sobel'
    """

    source: str
    text: str
    input: Input
    grid: Mapping[str, Any]
    steps: tuple[Step, ...]
    output: Output
    checkpoint: Checkpointing | None = None
    supervise: Supervising = field(default_factory=Supervising)
    stream: Streaming | None = None


_SIZES = checks.list_of(checks.list_of(checks.integer(0)))
_WEIGHTS = checks.list_of(checks.list_of(checks.real(least=0)))
TABLES: Mapping[str, Mapping[str, Key]] = {
    "input": {
        "path": Key(checks.text, required=True, made=user_place),
        "dataset": Key(checks.text),
        "components": Key(checks.integer(0)),
        "region": Key(checks.region),
        "allow": Key(checks.list_of(checks.one_of(*HAZARDS))),
        "frame": Key(checks.integer()),
        "channel": Key(checks.integer()),
        "series": Key(checks.integer(0)),
        "level": Key(checks.integer(0)),
        "dtype": Key(checks.text),
        "shape": Key(checks.list_of(checks.integer(1))),
        "offset": Key(checks.integer(0)),
        "order": Key(checks.one_of("C", "F")),
        "byteorder": Key(checks.one_of("little", "big")),
        "identity": Key(checks.text, made=user_place),
    },
    "grid": {
        "topology": Key(checks.list_of(checks.integer(0))),
        "sizes": Key(_SIZES),
        "weights": Key(_WEIGHTS),
        "periodic": Key(checks.one_or_list(checks.flag)),
        "spacing": Key(checks.one_or_list(checks.real(above=0))),
        "origin": Key(checks.one_or_list(checks.real())),
        "units": Key(checks.any_of(checks.text, checks.one_of(""))),
        "axes": Key(checks.list_of(checks.text)),
    },
    "output": OUTPUT_KEYS,
    "checkpoint": {
        "path": Key(checks.text, made=user_place),
        "every_steps": Key(checks.integer(1)),
        "every_minutes": Key(checks.real(above=0)),
        "keep": Key(checks.integer(1)),
        "encrypt": Key(checks.text, made=user_place),
    },
    "supervise": {"seconds": Key(checks.real(least=0)), "end": Key(checks.flag)},
    "stream": STREAM_KEYS,
}
STEP_KEYS: Mapping[str, Key] = {
    "filter": Key(checks.text, required=True),
    "name": Key(checks.text),
    "input": Key(checks.any_of(checks.text, checks.list_of(checks.text))),
    "save": Key(checks.any_of(checks.flag, checks.text)),
}


def build(document: Mapping[str, Any], problems: Problems, text: str = "") -> Job:
    """Return the job that `document` describes. Local.

    Raises UsageError with everything that is wrong, including what `problems` held before.
    """
    for section in document:
        if section not in TABLES and section != "step":
            problems.add((section,), f"unknown section [{section}]{nearest(section, [*TABLES, 'simulation', 'step'])}")
    tables = {name: table_of(document, name, keys, problems) for name, keys in TABLES.items()}
    raw = _raw_steps(document, problems)
    steps = _steps(raw, tables["output"].get("dataset"), problems)
    _outputs(steps, tables, problems)
    check_secrecy(document, tables, problems)
    check_format(document, tables["output"], sum(step.save is not None for step in steps), problems)
    check_streaming(document, problems)
    problems.check()
    return Job(
        source=problems.source,
        text=text,
        input=Input(**tables["input"]),
        grid=grid_options(tables["grid"]),
        steps=tuple(steps),
        output=Output(**tables["output"]),
        checkpoint=checkpointing(document, tables),
        supervise=Supervising(**tables["supervise"]),
        stream=Streaming(**tables["stream"]) if "stream" in document else None,
    )


def checkpointing(document: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> Checkpointing | None:
    """Return what the section [checkpoint] says, if there is one. Local."""
    if "checkpoint" not in document:
        return None
    given = {"path": f"{tables['output'].get('path', '')}.checkpoints", **tables["checkpoint"]}
    return Checkpointing(**({} if "every_steps" in given else {"every_minutes": EVERY_MINUTES}) | given)


def check_fit(job: Job, ndim: int) -> None:
    """Raise UsageError with every parameter that does not fit an input of `ndim` grid axes. Local."""
    problems = Problems(job.source)
    for number, step in enumerate(job.steps):
        for _, wrong in check_axes(step.filter, step.parameters, ndim):
            problems.add((), f"{_label(number, step.name, step.filter)}: {wrong}")
    problems.check()


def _raw_steps(document: Mapping[str, Any], problems: Problems) -> list[dict[str, Any]]:
    steps = document.get("step", [])
    if isinstance(steps, dict):
        problems.add(("step",), "[step] is a single section; write [[step]], once for each step")
        return []
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        problems.add(("step",), f"step = {checks.shown(steps)}; write each step as a section [[step]]")
        return []
    if len(steps) > MOST_STEPS:
        problems.add(("step", MOST_STEPS), f"{len(steps)} steps, and a job has {MOST_STEPS} at most; split it")
        return []
    if not steps:
        problems.add((), 'there is no [[step]]; add at least one, with filter = "..."')
    return steps


def step_names(raw: list[dict[str, Any]]) -> list[str]:
    """Return a distinct name for each step: its own, else its filter's, numbered from the second on. Local."""
    taken = {str(step["name"]) for step in raw if "name" in step}
    used: dict[str, int] = {}  # the last number of each base name: counting from 1 again would be quadratic
    names = []
    for step in raw:
        name = str(step.get("name", ""))
        if not name:
            base = str(step.get("filter", "step"))
            number = used.get(base, 0) + 1
            name = base if number == 1 else f"{base}_{number}"
            while name in taken:
                number += 1
                name = f"{base}_{number}"
            used[base] = number
            taken.add(name)
        names.append(name)
    return names


def _steps(raw: list[dict[str, Any]], last_dataset: str | None, problems: Problems) -> list[Step]:
    names = step_names(raw)
    first: dict[str, int] = {}  # the first step of each name: a search through all names would be quadratic
    for number, name in enumerate(names):
        first.setdefault(name, number)
    steps: list[Step] = []
    for number, (entry, name) in enumerate(zip(raw, names, strict=True)):
        path = ("step", number)
        where = _label(number, name, entry.get("filter"))
        common = {key: value for key, value in entry.items() if key in STEP_KEYS}
        accepted = keys_of(common, path, where, STEP_KEYS, problems)
        chosen = accepted.get("filter", "")
        given = {key: value for key, value in entry.items() if key not in STEP_KEYS}
        parameters, fields = split_fields(chosen, given)
        if chosen and not is_filter(chosen):
            problems.add((*path, "filter"), f"{where}: unknown filter {chosen!r}{nearest(chosen, known_filters())}")
        elif chosen:
            for key, wrong in check_parameters(chosen, parameters, fields):
                problems.add((*path, key), f"{where}: {wrong}")
        if name == INPUT or first[name] != number:
            taken = "stands for the input file" if name == INPUT else "is taken by an earlier step"
            problems.add((*path, "name"), f"{where}: the name {name!r} {taken}; choose another")
        default = names[number - 1] if number else INPUT
        sources, fields, wrong = step_inputs(chosen, accepted.get("input"), default, parameters, fields)
        if wrong:
            problems.add((*path, "expression" if chosen == EXPRESSION else "input"), f"{where}: {wrong}")
        for source in (*sources, *fields.values()):
            if source != INPUT and first.get(source, number) >= number:
                close = [INPUT, *names[max(0, number - 50) : number]]
                later = "; it comes later" if source in first else nearest(source, close)
                key = next((key for key, named in given.items() if named == source), "input")
                problems.add((*path, key), f"{where}: there is no earlier step {source!r} to read{later}")
        save = _dataset(accepted.get("save", False), name, last_dataset if entry is raw[-1] else None)
        steps.append(
            Step(
                name=name,
                filter=chosen,
                input=sources[0],
                parameters=parameters,
                save=save,
                others=tuple(sources[1:]),
                fields=fields,
            )
        )
    return steps


def _label(number: int, name: str, chosen: object) -> str:
    words = name if not chosen or name.startswith(str(chosen)) else f"{name}: {chosen}"
    return f"step {number + 1} ({words})"


def _dataset(save: bool | str, name: str, last: str | None) -> str | None:
    """Return the dataset that a step is saved to; `last` is what [output] calls the last step's result."""
    return save if isinstance(save, str) else last or (name if save else None)


def _outputs(steps: list[Step], tables: Mapping[str, dict[str, Any]], problems: Problems) -> None:
    """Check what is saved, where, and that nothing is computed for nothing."""
    if steps and not any(step.save for step in steps):
        # A pipeline that names no result means its last one.
        last = steps[-1]
        steps[-1] = replace(last, save=last.name)
    seen: dict[str, str] = {}
    read = {name for step in steps for name in step.inputs}
    for number, step in enumerate(steps):
        path = ("step", number, "save")
        if step.save and step.save in seen:
            problems.add(path, f"steps {seen[step.save]} and {step.name} both save {step.save!r}; name them apart")
        if step.save:
            seen[step.save] = step.name
            try:
                normal_name(step.save)
            except UsageError as error:
                problems.add(path, str(error))
        elif step.name not in read:
            problems.add(
                path[:2],
                f"step {number + 1} ({step.name}) is neither saved nor read by a later step; "
                "add save = true or remove it",
            )
    try:
        check_tree(seen)
    except UsageError as error:
        at = max((n for n, step in enumerate(steps) if step.save and repr(step.save) in str(error)), default=0)
        problems.add(("step", at, "save"), str(error))
    named = tables["output"].get("dataset")
    if steps and named and steps[-1].save != named:
        words = f"[output] dataset = {named!r}, but the last step is saved as {steps[-1].save!r}; name it once"
        problems.add(("output", "dataset"), words)
    source, target = tables["input"].get("path", ""), tables["output"].get("path", "")
    if SEPARATOR in target:
        file, _, inside = target.partition(SEPARATOR)
        words = f"[output] path = {target!r} names a dataset too; write path = {file!r} and dataset = {inside!r}"
        problems.add(("output", "path"), words)
    if source and target and os.path.realpath(split_path(source)[0]) == os.path.realpath(target):
        problems.add(("output", "path"), f"[output] path = {target!r} is the input file; choose another name")


def grid_options(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the [grid] section as Grid's keywords: TOML has no None, so 0 and [] stand for "you choose". Local."""
    options = dict(table)
    if "topology" in options:
        options["topology"] = [int(ranks) or None for ranks in options["topology"]]
    if "sizes" in options:
        options["sizes"] = [list(map(int, blocks)) or None for blocks in options["sizes"]]
    if "weights" in options:
        options["weights"] = [list(blocks) or None for blocks in options["weights"]]
    return options
