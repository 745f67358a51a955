"""What a job would do, in words, without MPI and without reading data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpibatch.domain import Decomposition
from mpibatch.errors import UsageError
from mpibatch.io.formats import inspect
from mpibatch.io.naming import split_path, whole_name
from mpibatch.job.checks import shown
from mpibatch.job.functions import parameters_of
from mpibatch.job.schema import Job, Step, check_fit
from mpibatch.job.words import bytes_text, shape_text

__all__ = ["plan"]


def plan(job: Job, ranks: int) -> str:
    """Return the resolved plan of `job` over `ranks` ranks, as text. Local. Opens the input, but reads no values.

    Raises RunError if there is no such input, UsageError if it cannot be spread over so many ranks.
    """
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
        *_grid(job, shape, ranks, np.dtype(source.dtype).itemsize * math.prod(channels)),
    ]
    for number, step in enumerate(job.steps):
        lines.append(f"step {number + 1:<2} {_call(step)}" + (f"  → saved as {step.save!r}" if step.save else ""))
    saved = ", ".join(step.save for step in job.steps if step.save)
    return "\n".join([*lines, f"output  {job.output.path}: {saved}"])


def _grid(job: Job, shape: tuple[int, ...], ranks: int, cell: int) -> list[str]:
    """The process grid; `cell` is the bytes of one cell of the input."""
    decomposition = Decomposition.over(shape, ranks, job.grid.get("topology"), job.grid.get("sizes"))
    blocks = [[high - low for low, high in map(axis.bounds, range(axis.parts))] for axis in decomposition.axes]
    largest = [max(sizes) for sizes in blocks]
    lines = [
        f"grid    {shape_text(decomposition.topology)} = {ranks} {'rank' if ranks == 1 else 'ranks'}, "
        f"blocks up to {shape_text(largest)} cells, imbalance {decomposition.imbalance():.2f}",
        f"        {bytes_text(math.prod(largest) * cell)} of the input on a rank; a step adds its result",
    ]
    if any(0 in sizes for sizes in blocks):
        lines.append("        some ranks own no cells: fewer ranks would do")
    others = {key: value for key, value in job.grid.items() if key not in ("topology", "sizes")}
    return lines + [f"        {key} = {shown(value)}" for key, value in others.items()]


def _call(step: Step) -> str:
    """A step as a Python call, defaults included, so that the log of a dry run says everything."""
    given: dict[str, Any] = dict(step.parameters)
    known = parameters_of(step.filter)
    words = [f"{p.name}={repr(given[p.name]) if p.name in given else p.default}" for p in known]
    return f"{step.name} = {step.filter}({', '.join([step.input, *words])})"
