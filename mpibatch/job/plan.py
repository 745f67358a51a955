"""What a job would do, in words, without MPI and without reading data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mpibatch.domain import Decomposition
from mpibatch.errors import UsageError
from mpibatch.io.formats import inspect
from mpibatch.io.naming import split_path, whole_name
from mpibatch.job.checks import shown
from mpibatch.job.functions import parameters_of
from mpibatch.job.schema import Job, Step, check_fit
from mpibatch.job.simulation import SimulationJob
from mpibatch.job.words import bytes_text, shape_text

__all__ = ["plan"]


def plan(job: Job | SimulationJob, ranks: int) -> str:
    """Return the resolved plan of `job` over `ranks` ranks, as text. Local. Opens the input, but reads no values.

    Raises RunError if there is no such input, UsageError if it cannot be spread over so many ranks.
    """
    return _simulation(job, ranks) if isinstance(job, SimulationJob) else _pipeline(job, ranks)


def _pipeline(job: Job, ranks: int) -> str:
    path, dataset = split_path(job.input.path, job.input.dataset)
    source = inspect(job.input.path, job.input.dataset)
    count = source.components if job.input.components is None else job.input.components
    if not 0 <= count < len(source.shape):
        raise UsageError(
            f"[input] components = {count}, but {source.name} has {len(source.shape)} axes; leave 1 or more"
        )
    shape, channels = source.shape[: len(source.shape) - count], source.shape[len(source.shape) - count :]
    check_fit(job, len(shape))
    each = f", {shape_text(channels)} values each" if channels else ""
    lines = [
        f"job     {job.source or '(command line)'}",
        f"input   {whole_name(path, dataset or source.dataset)}: {shape_text(shape)} cells of "
        f"{np.dtype(source.dtype).name}{each}",
        *_grid(job.grid, shape, ranks, np.dtype(source.dtype).itemsize * math.prod(channels)),
    ]
    for number, step in enumerate(job.steps):
        lines.append(f"step {number + 1:<2} {_call(step)}" + (f"  → saved as {step.save!r}" if step.save else ""))
    saved = ", ".join(step.save for step in job.steps if step.save)
    return "\n".join([*lines, f"output  {job.output.path}: {saved}", *_checkpoints(job)])


def _simulation(job: SimulationJob, ranks: int) -> str:
    """The plan of a simulation; a program tells its grid by a parameter `shape`."""
    schedule, shape = job.schedule, getattr(job.parameters, "shape", None)
    ends = [f"t = {schedule.until:g}"] if schedule.until is not None else []
    ends += [f"{schedule.steps} steps"] if schedule.steps is not None else []
    outputs = schedule.outputs()
    lines = [
        f"job     {job.source}",
        f"program {job.program.name}: {job.program.title}",
        *(f"        {name} = {_value(getattr(job.parameters, name))}" for name in job.program.defaults()),
        *(_grid(job.grid, shape, ranks) if isinstance(shape, tuple) else ()),
        f"until   {' or '.join(ends)}",
        f"output  {job.output}: {schedule.output}" + (f", {outputs} outputs" if outputs else ""),
        f"rows    {job.diagnostics or 'in the output'}: {schedule.diagnostics}",
        *_checkpoints(job),
    ]
    return "\n".join(lines)


def _checkpoints(job: Job | SimulationJob) -> list[str]:
    asked = job.checkpoint
    if asked is None:
        return []
    steps = [f"{asked.every_steps} steps"] if asked.every_steps is not None else []
    minutes = [f"{asked.every_minutes:g} minutes"] if asked.every_minutes is not None else []
    return [f"resume  from {asked.path}: every {' and every '.join([*steps, *minutes])}"]


def _value(value: Any) -> str:
    return "(the program's choice)" if value is None else shown(list(value) if isinstance(value, tuple) else value)


def _grid(grid: Mapping[str, Any], shape: tuple[int, ...], ranks: int, cell: int = 0) -> list[str]:
    """The process grid; `cell` is the bytes of one cell of the input, if there is one."""
    decomposition = Decomposition.over(shape, ranks, grid.get("topology"), grid.get("sizes"))
    blocks = [[high - low for low, high in map(axis.bounds, range(axis.parts))] for axis in decomposition.axes]
    largest = [max(sizes) for sizes in blocks]
    lines = [
        f"grid    {shape_text(decomposition.topology)} = {ranks} {'rank' if ranks == 1 else 'ranks'}, "
        f"blocks up to {shape_text(largest)} cells, imbalance {decomposition.imbalance():.2f}",
    ]
    if cell:
        lines.append(f"        {bytes_text(math.prod(largest) * cell)} of the input on a rank; a step adds its result")
    if any(0 in sizes for sizes in blocks):
        lines.append("        some ranks own no cells: fewer ranks would do")
    others = {key: value for key, value in grid.items() if key not in ("topology", "sizes")}
    return lines + [f"        {key} = {shown(value)}" for key, value in others.items()]


def _call(step: Step) -> str:
    """A step as a Python call, defaults included, so that the log of a dry run says everything."""
    given: dict[str, Any] = dict(step.parameters)
    known = parameters_of(step.filter)
    words = [f"{p.name}={repr(given[p.name]) if p.name in given else p.default}" for p in known]
    return f"{step.name} = {step.filter}({', '.join([step.input, *words])})"
