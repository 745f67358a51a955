"""Running a job: read, filter, write."""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mpibatch.io as io
from mpibatch.base import tally
from mpibatch.base.compiled import compile_seconds
from mpibatch.base.errors import UsageError
from mpibatch.base.progress import rounds
from mpibatch.base.progress.heartbeat import name_step
from mpibatch.base.timing import phase
from mpibatch.base.trust import privacy
from mpibatch.fields.field import Field
from mpibatch.io.base.names import foreign_format, split_path
from mpibatch.io.seal.content import content_of
from mpibatch.io.write.provenance import input_digest
from mpibatch.io.write.storage.settings import chosen
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.job.document.checks import slices
from mpibatch.job.execution.progress import Report, silent
from mpibatch.job.execution.resumption import FINGERPRINT, Result, Start, StepFiles, is_complete, needed_steps, opened
from mpibatch.job.execution.steps import Value, computed
from mpibatch.job.file.arithmetic import EXPRESSION, OPERATIONS, evaluate, operate
from mpibatch.job.file.schema import INPUT, Job, Step, check_fit
from mpibatch.job.file.stream import lasting_text
from mpibatch.job.target import check_target
from mpibatch.mpi import MPI, agreed, private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.fields.grid import Grid

__all__ = ["ATTRIBUTE_BYTES", "LapClock", "Saved", "Summary", "apply", "inputs_text", "provenance", "run"]

ATTRIBUTE_BYTES = 60_000  # HDF5 holds 64 KiB in one attribute of a file that older readers know

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A result that a run has written. Its parameters are its attributes.

    Parameters
    ----------
    dataset : str
        Its name in the output.
    shape : tuple of int
        Global; of a table rows and columns.
    dtype : str
        Such as "float32"; "table" of a table.
    bytes : int
        Of its values, before compression.
    measured : mapping of str to float
        What its step has taken from the data: a threshold, the number of objects.

    Notes
    -----
    Local. See `Summary`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.job.Saved("edges", (4, 6), "bool", 24, {"threshold": 3.5}).measured["threshold"]
    3.5
    """

    dataset: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    measured: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """What a run has done. Its parameters are its attributes.

    Parameters
    ----------
    shape : tuple of int
        Of the grid.
    topology : tuple of int
        Ranks along each axis.
    path : str
        The output.
    saved : tuple of Saved
        What was written, in the order of the steps.
    seconds : tuple of (str, float)
        What each part of the run took on this rank, without compiling. Of a pipeline: reading, each step (of slabs:
        each pass) and writing. Of a simulation: its steps, output, compiling and the rest.
    notes : tuple of str, default ()
        Lines for the reader.
    was_complete : bool, default False
        Whether an earlier run had done everything, so that nothing was to do.
    kind : {"pipeline", "simulation"}, default "pipeline"
        What was run.
    steps : int, default 0
        How many steps this run has made.

    Notes
    -----
    Local. `run` returns it; but for `seconds` it is the same on every rank.

    Examples
    --------
    >>> import mpibatch as mb
    >>> summary = mb.job.Summary((4, 6), (2, 1), "edges.h5", (), (("reading", 0.2), ("writing", 0.3)))
    >>> sum(seconds for _, seconds in summary.seconds)
    0.5
    """

    shape: tuple[int, ...]
    topology: tuple[int, ...]
    path: str
    saved: tuple[Saved, ...]
    seconds: tuple[tuple[str, float], ...]  # of a pipeline: reading, each step, writing; of a simulation: see there
    notes: tuple[str, ...] = ()  # lines for the reader
    was_complete: bool = False  # an earlier run had done it all
    kind: str = "pipeline"  # or "simulation"
    steps: int = 0  # that this run has made


def run(
    job: Job, comm: MPI.Intracomm | None = None, report: Report = silent, start: Start = "new", *, tells: bool = False
) -> Summary:
    """Run a job; with ``start="resume"`` only what an earlier run has left of it. Collective.

    Intermediate results are freed as soon as no later step needs them. Raises UsageError or RunError, the same on
    every rank; nothing is left under the output's name then, unless it was there before. `tells`: the summary has
    what was measured also where the output is encrypted, for callers who show it to nobody.
    """
    comm = private(comm)
    with agreed(comm, f"preparing {job.output.path}"):
        if comm.rank == 0:
            check_target(Path(job.output.path))
    checkpoints = opened(job.checkpoint, comm, start)
    total = len(job.steps) + 2
    clock = LapClock()
    report(0, total, f"reading {job.input.path}")
    name_step("reading")
    source = _load(job, comm)
    results, grid = {INPUT: Result(source, {})}, source.grid
    check_fit(job, grid.ndim)
    attrs, files = {**provenance(job), "inputs": _inputs(job, source)}, None
    clock.lap("reading")
    if checkpoints is not None:
        files = StepFiles(job, comm, checkpoints, source, start)
        attrs |= {FINGERPRINT: files.mark}
        if start == "resume" and is_complete(comm, job.output.path, files.mark):
            files.clear()
            return Summary(grid.shape, grid.topology, job.output.path, (), (), was_complete=True)
        files.find(start)
    with files or nullcontext():
        del source  # which `results` gives up when it is no longer needed
        kept = _steps(job, grid, results, files, report, clock)
        report(total - 1, total, f"writing {job.output.path}")
        name_step("writing")
        # What was taken from the data would be told on the screen, and in logs.
        is_told = tells or job.output.encrypt is None
        saved = tuple(
            _saved(name, result.value, result.measurements if is_told else {}) for name, result in kept.items()
        )
        with phase("io"):
            fields = {name: result.value for name, result in kept.items()}
            notes = {name: result.measurements for name, result in kept.items()}
            out = job.output
            if kind := foreign_format(out.path):
                out = replace(out, record=False)
                if not kind.endswith("Zarr"):  # which has no place for anything but the values and their grid
                    attrs, notes = {}, {}
            with chosen(out.hints, out.stripes):
                io.save(
                    out.path, fields, attrs=attrs, dataset_attrs=notes, record=out.record,
                    compression=out.compression, chunks=out.chunks, driver=out.driver, pyramid=out.pyramid,
                    encrypt=out.encrypt, disclose=out.disclose, subfiles=out.subfiles,
                )  # fmt: skip
    if files is not None:
        files.clear()
    clock.lap("writing")
    report(total, total, "done")
    lines = files.notes if files is not None else ()
    known = files.known if files is not None else frozenset()
    steps = sum(name not in known for name, _ in clock.laps[1:-1])
    return Summary(grid.shape, grid.topology, job.output.path, saved, tuple(clock.laps), lines, steps=steps)


def _steps(
    job: Job, grid: Grid, results: dict[str, Result], files: StepFiles | None, report: Report, clock: LapClock
) -> dict[str, Result]:
    """Compute, or read, the result of every step that is needed; return those to be saved, by dataset.

    `results` holds the input, and loses what is no longer needed.
    """
    known = files.known if files is not None else frozenset()
    needed = needed_steps(job, known)
    uses = {
        name: number for number, step in enumerate(job.steps) if step.name in needed - known for name in step.inputs
    }
    for number, step in enumerate(job.steps):
        if step.name not in needed:
            continue
        report(number + 1, len(job.steps) + 2, step.name)
        name_step(f"step {step.name}")
        if files is not None and step.name in known:
            results[step.name] = files.load(step.name, grid)
        else:
            with rounds.listening(_rounds_of(step.name, number + 1, len(job.steps) + 2, report)):
                results[step.name] = apply(step, [results[name].value for name in step.inputs])
        clock.lap(step.name)
        live = {step.name for step in job.steps[: number + 1] if step.save} | {
            name for name, last in uses.items() if last > number
        }
        for name in results.keys() - live:
            del results[name]
        if files is not None and step.name not in known:
            ahead = {later.name for later in job.steps[number + 1 :]} & needed & known
            files.finished(number + 1, {name: result for name, result in results.items() if name != INPUT}, ahead)
    return {step.save: results[step.name] for step in job.steps if step.save}


def _rounds_of(name: str, done: int, total: int, report: Report) -> rounds.Listener:
    """What tells of the rounds of a step that goes on until nothing changes: nobody knows how many there will be."""
    return lambda count, _: report(done, total, f"{name}, round {count}") if count > 1 else None


class LapClock:
    """Seconds from one call of `lap` to the next, without those of compiling."""

    def __init__(self) -> None:
        self.laps: list[tuple[str, float]] = []
        self._since = time.perf_counter() - compile_seconds()

    def lap(self, name: str) -> None:
        """End a part of the run. Local."""
        now = time.perf_counter() - compile_seconds()
        self.laps.append((name, now - self._since))
        tally.lap(name)
        _log.info("%s took %.3f s", name, now - self._since)
        self._since = now


def _load(job: Job, comm: MPI.Intracomm) -> Field:
    with phase("io"):
        components: Any = "auto" if job.input.components is None else job.input.components
        given = job.input
        region = slices(given.region) if given.region else None
        return io.load(
            given.path, given.dataset, **given.choices, raw=given.raw, comm=comm, components=components, region=region,
            allow=given.allow, identity=given.identity, **job.grid,
        )  # fmt: skip


def provenance(job: Job) -> dict[str, str]:
    """What the output tells of its making; not how many ranks, nor when: these do not change the bits."""
    text = privacy.words(lasting_text(job.text) if job.stream else job.text).encode("utf-8", "replace")
    return {"job": text.decode()} if len(text) <= ATTRIBUTE_BYTES else {}


def _inputs(job: Job, field: Field) -> str:
    """Which values a job began with, as JSON, the same on all ranks. Collective."""
    comm, content = field.grid.comm, None
    with phase("io"), agreed(comm, f"reading {job.input.path}"):
        if comm.rank == 0:
            content = content_of(split_path(job.input.path)[0])
    with phase("io"):
        content, values = comm.bcast(content, root=0), input_digest(comm, field)
    return inputs_text(job, values, content)


def inputs_text(job: Job, values: str, content: str | None) -> str:
    """Return which values a job began with, as JSON: their digest, and what a sealed file tells of itself. Local."""
    record = {"dataset": job.input.dataset, "values": values, "content": content}
    return json.dumps(
        {privacy.path_text(job.input.path): {name: value for name, value in record.items() if value is not None}}
    )


def apply(step: Step, values: Sequence[Value]) -> Result:
    """Return the result of a step of those that it reads, and what it took from the data. Collective."""
    fields = [value for value in values if isinstance(value, Field)]
    if len(fields) < len(values):
        table = next(name for name, value in zip(step.inputs, values, strict=True) if not isinstance(value, Field))
        raise UsageError(
            f"{step.filter} was to read {table!r}, which is a table; tables can be saved, and are read by no step"
        )
    _log.debug("%s: %s(%s) of %r", step.name, step.filter, dict(step.parameters), fields[0])
    with phase("compute"):
        if step.filter in OPERATIONS:
            return Result(operate(step.filter, fields), {})
        if step.filter == EXPRESSION:
            numbers = {key: value for key, value in step.parameters.items() if key != EXPRESSION}
            names = dict(zip(step.inputs, fields, strict=True))
            return Result(evaluate(step.parameters[EXPRESSION], {**names, **numbers}), {})
        by_name = dict(zip(step.fields, fields[len(fields) - len(step.fields) :], strict=True))
        return Result(*computed(step.filter, fields, by_name, step.parameters))


def _saved(name: str, value: Value, notes: Mapping[str, float]) -> Saved:
    if isinstance(value, RegionTable):
        nbytes = value.rows * sum(column.dtype.itemsize for column in value.values())
        return Saved(name, (value.rows, len(value)), "table", nbytes, notes)
    return Saved(name, value.shape, value.dtype.name, math.prod(value.shape) * value.dtype.itemsize, notes)
