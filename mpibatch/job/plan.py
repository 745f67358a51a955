"""What a job would do, in words, without MPI and without reading data."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.units import bytes_text, plural, shape_text
from mpibatch.domain import Decomposition
from mpibatch.io.base.names import foreign_format, split_path, whole_name
from mpibatch.io.formats import Source, ask, inspect
from mpibatch.io.formats.picks import with_picks
from mpibatch.io.read.region import chosen_region
from mpibatch.io.vault.keyring import is_sealed, unlock
from mpibatch.io.write.storage.aggregators import aggregators
from mpibatch.io.write.storage.file_system import file_system
from mpibatch.io.write.storage.settings import chosen, given_hints, given_stripes
from mpibatch.io.write.storage.stripes import stripe_count
from mpibatch.job.document.checks import shown, slices
from mpibatch.job.file.functions import parameters_of
from mpibatch.job.file.schema import INPUT, Job, Step, check_fit
from mpibatch.job.file.simulation import SimulationJob
from mpibatch.job.moves import Moves, moves_of, shape_after
from mpibatch.job.passes.outlook import outlooks
from mpibatch.job.passes.traits import check_streamed
from mpibatch.job.rehearsal import Rehearsed, Values, rehearsed
from mpibatch.job.target import check_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Distribution", "Values", "layout", "moved", "plan", "slab_source", "source_of", "values_of"]


@dataclass(frozen=True)
class Distribution:
    """Cells over ranks: the process grid, the largest and the smallest block, and the largest over the mean."""

    decomposition: Decomposition
    largest: tuple[int, ...]
    smallest: tuple[int, ...]
    imbalance: float

    @property
    def topology(self) -> tuple[int, ...]:
        """Ranks along each axis. Local."""
        return self.decomposition.topology

    @property
    def cells(self) -> int:
        """Cells of the fullest rank. Local."""
        return math.prod(self.largest)


def source_of(job: Job) -> Source:
    """Return what a job's input holds. Local. RunError if there is no such file, UsageError if it cannot be read."""
    given = job.input
    path, dataset = split_path(given.path, given.dataset)
    unlock(path, given.identity)
    source = inspect(path, with_picks(path, dataset, given.choices, given.raw), tuple(given.allow))
    ask(source, given.components, job.grid.get("axes"))
    return source


def slab_source(job: Job, values: Values) -> Source:
    """Return what a streamed job's input holds. Local. UsageError if its steps or the input do not go through slabs."""
    check_streamed(job, values)
    if is_sealed(split_path(job.input.path)[0]):
        raise UsageError(
            f"{values.name} is encrypted, and passes over it keep in plain what they make of it; leave "
            "[stream] out, and preview steps that take no threshold from the whole"
        )
    source = source_of(job)
    if not source.boxwise:
        raise UsageError(
            f"[stream]: {values.name} is of a format that is read as a whole; convert it to one that is read "
            "in parts, such as HDF5, TIFF or Zarr"
        )
    return source


def values_of(job: Job) -> Values:
    """Return what a pipeline reads. Local. Opens the input, but reads no values.

    Raises RunError if there is no such input, UsageError if its axes do not fit the job.
    """
    given = job.input
    path, dataset = split_path(given.path, given.dataset)
    source = source_of(job)
    count = source.components if given.components is None else given.components
    if not 0 <= count < len(source.shape):
        raise UsageError(
            f"[input] components = {count}, but {source.name} has {len(source.shape)} axes; leave 1 or more"
        )
    whole, channels = source.shape[: len(source.shape) - count], source.shape[len(source.shape) - count :]
    name = whole_name(path, dataset or source.dataset)
    shape = tuple(map(len, chosen_region(name, whole, slices(given.region) if given.region else None)))
    check_fit(job, len(shape))
    periodic = job.grid.get("periodic", source.grid.get("periodic", False))
    wraps = tuple(map(bool, np.broadcast_to(periodic, len(shape))))
    return Values(name, shape, channels, np.dtype(source.dtype).name, wraps)


def layout(shape: tuple[int, ...], ranks: int, grid: Mapping[str, Any]) -> Distribution:
    """Return how `shape` is spread over ranks, as `grid` asks for. Local. Raises UsageError if it cannot be."""
    decomposition = Decomposition.over(shape, ranks, *(grid.get(key) for key in ("topology", "sizes", "weights")))
    sizes = []
    for axis in decomposition.axes:
        # Even blocks differ by one cell at most: the first is the largest, the last the smallest.
        parts = (0, axis.parts - 1) if axis.starts is None else range(axis.parts)
        sizes.append([high - low for low, high in map(axis.bounds, parts)])
    largest, smallest = tuple(map(max, sizes)), tuple(map(min, sizes))
    return Distribution(decomposition, largest, smallest, math.prod(largest) * ranks / math.prod(shape))


def plan(job: Job | SimulationJob, ranks: int) -> str:
    """Return the resolved plan of `job` over `ranks` ranks, as text. Local. Opens the input, but reads no values.

    Raises RunError if there is no such input, UsageError if it cannot be spread over so many ranks.
    """
    return _simulation(job, ranks) if isinstance(job, SimulationJob) else _pipeline(job, ranks)


def _pipeline(job: Job, ranks: int) -> str:
    values = values_of(job)
    each = f", {shape_text(values.channels)} values each" if values.channels else ""
    lines = [
        f"job     {job.source or '(command line)'}",
        f"input   {values.name}: {shape_text(values.shape)} cells of {values.dtype}{each}",
        *_grid(job.grid, values.shape, ranks, values.cell_bytes),
    ]
    check_target(Path(job.output.path))
    if job.stream is not None:
        slab_source(job, values)
    results, note = rehearsed(job, values)
    moves = moved(job, values, ranks, results)
    lines += [f"        {note}"] if note else []
    for number, step in enumerate(job.steps):
        dtype = f": {results[number].words}" if results else ""
        lines.append(
            f"step {number + 1:<2} {_call(step)}{dtype}" + (f"  → saved as {step.save!r}" if step.save else "")
        )
        lines += [f"        {moves[step.name].words}"] if step.name in moves else []
    if job.stream is not None and results:
        passes = outlooks(job, results, values, ranks)
        lines += [f"pass {number + 1:<2} {each.words}" for number, each in enumerate(passes)]
    saved = ", ".join(step.save for step in job.steps if step.save)
    return "\n".join([*lines, f"output  {job.output.path}: {saved}", *_storage(job, ranks), *_checkpoints(job)])


def _storage(job: Job, ranks: int) -> list[str]:
    """How the output gets to the disk, where MPI-IO writes it."""
    out = job.output
    folder = Path(os.path.realpath(out.path)).parent
    if foreign_format(out.path) or not folder.is_dir():
        return []
    kind = file_system(folder)
    with chosen(out.hints, out.stripes):
        stripes, hints = given_stripes(), given_hints()
        count = stripe_count(folder, kind)
    choice = aggregators(1, ranks, kind, count)
    words = [f"        on {kind or 'an unknown file system'}: {plural(choice.per_node, 'rank')} of a node collect"]
    words += [f"over {plural(count, 'server')}"] if count else []
    words += [f"stripes {stripes}" + ("" if kind == "lustre" else " (for Lustre alone)")] if stripes else []
    words += [f"subfiles {out.subfiles}"] if out.subfiles else []
    words += ["hints " + ", ".join(f"{name}={value}" for name, value in hints.items())] if hints else []
    return [", ".join(words)]


def moved(job: Job, values: Values, ranks: int, results: Sequence[Rehearsed] = ()) -> dict[str, Moves]:
    """Return what steps that need whole lines or images move over so many ranks, by their names. Local.

    Dtypes are those of rehearsed results, if there are any, else those of the input.
    """
    shapes: dict[str, tuple[int, ...] | None] = {INPUT: values.shape}
    kinds = {INPUT: (values.dtype, math.prod(values.channels))}
    moves: dict[str, Moves] = {}
    for number, step in enumerate(job.steps):
        shape, (dtype, count) = shapes[step.input], kinds[step.input]
        each = None
        if shape is not None:
            sizes = job.grid if shape == values.shape else {"topology": job.grid.get("topology")}
            with suppress(UsageError):  # of a step's shape nobody asked for; that of the input is refused elsewhere
                each = moves_of(step, layout(shape, ranks, sizes).decomposition, dtype, count)
        if each is not None:
            moves[step.name] = each
        shapes[step.name] = None if shape is None else shape_after(step, shape)
        kinds[step.name] = (dtype, count)
        if results and not results[number].dtype.startswith("a table"):
            kinds[step.name] = (results[number].dtype, math.prod(results[number].components))
    return moves


def _simulation(job: SimulationJob, ranks: int) -> str:
    """The plan of a simulation; a program tells its grid by a parameter `shape`."""
    schedule, shape = job.schedule, getattr(job.parameters, "shape", None)
    ends = [f"t = {schedule.until:g}"] if schedule.until is not None else []
    ends += [f"{schedule.steps} steps"] if schedule.steps is not None else []
    check_target(Path(job.output))
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
    settings = job.checkpoint
    if settings is None:
        return []
    steps = [f"{settings.every_steps} steps"] if settings.every_steps is not None else []
    minutes = [f"{settings.every_minutes:g} minutes"] if settings.every_minutes is not None else []
    return [f"resume  from {settings.path}: every {' and every '.join([*steps, *minutes])}"]


def _value(value: Any) -> str:
    return "(the program's choice)" if value is None else shown(list(value) if isinstance(value, tuple) else value)


def _grid(grid: Mapping[str, Any], shape: tuple[int, ...], ranks: int, cell_bytes: int = 0) -> list[str]:
    """The process grid; `cell_bytes` is the bytes of one cell of the input, if there is one."""
    spread = layout(shape, ranks, grid)
    lines = [
        f"grid    {shape_text(spread.topology)} = {plural(ranks, 'rank')}, "
        f"blocks up to {shape_text(spread.largest)} cells, imbalance {spread.imbalance:.2f}",
    ]
    if cell_bytes:
        lines.append(f"        {bytes_text(spread.cells * cell_bytes)} of the input on a rank; a step adds its result")
    if 0 in spread.smallest:
        lines.append("        some ranks own no cells: fewer ranks would do")
    others = {key: value for key, value in grid.items() if key not in ("topology", "sizes")}
    return lines + [f"        {key} = {shown(value)}" for key, value in others.items()]


def _call(step: Step) -> str:
    """A step as a Python call, defaults included, so that the log of a dry run says everything."""
    given: dict[str, Any] = dict(step.parameters)
    known = parameters_of(step.filter)
    words = [f"{p.name}={repr(given[p.name]) if p.name in given else p.default}" for p in known]
    listed = {p.name for p in known}
    words += [f"{key}={value!r}" for key, value in given.items() if key not in listed]
    named = [f"{key}={name}" for key, name in step.fields.items()]
    return f"{step.name} = {step.filter}({', '.join([step.input, *step.others, *named, *words])})"
