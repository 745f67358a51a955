"""A simulation as a job: what its file may say, as a frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import MpibatchError, UsageError, nearest
from mpibatch.io.base.names import SEPARATOR, user_place
from mpibatch.job.document import checks
from mpibatch.job.document.tables import Key, table_of
from mpibatch.job.file.formats import PERMISSIONS, check_secrecy, check_written
from mpibatch.job.file.programs import COMMON, Program, find
from mpibatch.job.file.schema import TABLES, Checkpointing, Supervising, checkpointing, grid_options
from mpibatch.simulate.schedule import Every, Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.job.document.problems import Problems

__all__ = ["SIMULATION_TABLES", "SimulationJob", "build_simulation"]

_EVERY: Mapping[str, Key] = {"every": Key(checks.real(above=0)), "every_steps": Key(checks.integer(1))}

# The program's parameters are in [simulation], too.
SIMULATION_TABLES: Mapping[str, Mapping[str, Key]] = {
    "simulation": COMMON,
    "grid": {key: TABLES["grid"][key] for key in ("topology", "sizes", "weights")},
    "output": {
        "path": Key(checks.text, required=True, made=user_place),
        "record": Key(checks.flag),
        "encrypt": TABLES["output"]["encrypt"],
        **_EVERY,
        **PERMISSIONS,
    },
    "diagnostics": {"path": Key(checks.text, made=user_place), **_EVERY},
    "checkpoint": TABLES["checkpoint"],
    "supervise": TABLES["supervise"],
}


@dataclass(frozen=True)
class SimulationJob:
    """A checked simulation. `parameters` is the program's own value, `grid` are keywords of `mpibatch.Grid`."""

    source: str
    text: str
    program: Program
    parameters: Any
    grid: Mapping[str, Any]
    schedule: Schedule
    output: str
    diagnostics: str | None = None
    checkpoint: Checkpointing | None = None
    record: bool = True
    encrypt: str | None = None
    supervise: Supervising = field(default_factory=Supervising)
    permissions: Mapping[str, str] = field(default_factory=dict)


def build_simulation(document: Mapping[str, Any], problems: Problems, text: str = "") -> SimulationJob:
    """Return the simulation that `document` describes. Local.

    Raises UsageError with everything that is wrong, including what `problems` held before.
    """
    for section in document:
        if section in ("input", "step"):
            problems.add(
                (section,), f"a job with a [simulation] has no [{section}]; it computes or it filters, not both"
            )
        elif section not in SIMULATION_TABLES:
            problems.add((section,), f"unknown section [{section}]{nearest(section, SIMULATION_TABLES)}")
    raw = document.get("simulation")
    raw = raw if isinstance(raw, dict) else {}
    common = {key: value for key, value in raw.items() if key in COMMON}
    given = {key: value for key, value in raw.items() if key not in COMMON}
    shown = {**document, "simulation": common if isinstance(document["simulation"], dict) else document["simulation"]}
    tables = {name: table_of(shown, name, keys, problems) for name, keys in SIMULATION_TABLES.items()}
    program = _program(tables["simulation"].get("program"), given, problems)
    schedule = _schedule(tables, problems)
    path = tables["output"].get("path", "")
    if SEPARATOR in path:
        problems.add(
            ("output", "path"), f"[output] path = {path!r} names a dataset; the program names them: give a file"
        )
    check_written(path, problems)
    check_secrecy(document, tables, problems)
    if "encrypt" in tables["output"] and "path" in tables["diagnostics"]:
        words = "[diagnostics] path would keep in plain what [output] encrypts; leave it out: the output has the rows"
        problems.add(("diagnostics", "path"), words)
    problems.check()
    assert program is not None
    assert schedule is not None
    return SimulationJob(
        source=problems.source,
        text=text,
        program=program,
        parameters=program.parameters(given),
        grid=grid_options(tables["grid"]),
        schedule=schedule,
        output=path,
        diagnostics=tables["diagnostics"].get("path"),
        checkpoint=checkpointing(document, tables),
        record=bool(tables["output"].get("record", True)),
        encrypt=tables["output"].get("encrypt"),
        supervise=Supervising(**tables["supervise"]),
        permissions={key: tables["output"][key] for key in PERMISSIONS if key in tables["output"]},
    )


def _program(name: str | None, given: Mapping[str, Any], problems: Problems) -> Program | None:
    if name is None:
        return None
    try:
        program = find(name)
    except MpibatchError as error:
        problems.add(("simulation", "program"), f"[simulation]: {error}")
        return None
    for key, wrong in program.problems(given, COMMON):
        problems.add(("simulation", key) if key else ("simulation",), f"[simulation] {name}: {wrong}")
    return program


def _schedule(tables: Mapping[str, Mapping[str, Any]], problems: Problems) -> Schedule | None:
    simulation = tables["simulation"]
    cadences: dict[str, Every] = {}
    for section in ("output", "diagnostics"):
        table = tables[section]
        try:
            cadences[section] = Every(_float(table.get("every")), _int(table.get("every_steps")))
        except UsageError as error:
            problems.add((section, "every_steps"), f"[{section}]: {error}")
    if "until" not in simulation and "steps" not in simulation:
        problems.add(("simulation",), "[simulation] has no end; give until (units of time) or steps")
        return None
    if len(cadences) < 2:
        return None
    row_cadence = cadences["diagnostics"] if cadences["diagnostics"] != Every() else cadences["output"]
    check = int(simulation.get("check_every", Schedule.check_every))
    return Schedule(
        _float(simulation.get("until")), _int(simulation.get("steps")), cadences["output"], row_cadence, check
    )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _int(value: Any) -> int | None:
    return None if value is None else int(value)
