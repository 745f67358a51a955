"""Running a job: read, filter, write."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpibatch.io as io
from mpibatch.errors import RunError
from mpibatch.field import Field
from mpibatch.job.functions import function
from mpibatch.job.own import measured
from mpibatch.job.progress import Report, silent
from mpibatch.job.schema import INPUT, Job, Step, check_fit
from mpibatch.mpi import MPI, agreed, private
from mpibatch.timing import phase

__all__ = ["ATTRIBUTE_BYTES", "Saved", "Summary", "check_target", "last_uses", "run"]

ATTRIBUTE_BYTES = 60_000  # HDF5 holds 64 KiB in one attribute of a file that older readers know

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """One dataset that was written: name, global shape, dtype, bytes, and what its step took from the data."""

    dataset: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    measured: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """What a run did; the same on every rank but for the seconds, which are this rank's."""

    shape: tuple[int, ...]
    topology: tuple[int, ...]
    path: str
    saved: tuple[Saved, ...]
    seconds: tuple[tuple[str, float], ...]  # of reading, of each step, of writing
    notes: tuple[str, ...] = ()  # lines for the reader


def last_uses(job: Job) -> dict[str, int]:
    """Return for each result the number of the step that reads it last; `saved` ones are kept to the end. Local."""
    return {step.input: number for number, step in enumerate(job.steps)}


def run(job: Job, comm: MPI.Intracomm | None = None, report: Report = silent) -> Summary:
    """Run a job. Collective.

    Intermediate results are freed as soon as no later step needs them. Raises UsageError or RunError, the same on
    every rank; nothing is left under the output's name then, unless it was there before.
    """
    comm = private(comm)
    with agreed(comm, f"preparing {job.output.path}"):
        if comm.rank == 0:
            check_target(Path(job.output.path))
    total = len(job.steps) + 2
    clock = _Clock()
    report(0, total, f"reading {job.input.path}")
    results = {INPUT: _load(job, comm)}
    check_fit(job, results[INPUT].grid.ndim)
    clock.lap("reading")
    shape, topology = results[INPUT].grid.shape, results[INPUT].grid.topology
    uses = last_uses(job)
    kept: dict[str, Field] = {}
    notes: dict[str, dict[str, float]] = {}
    for number, step in enumerate(job.steps):
        report(number + 1, total, step.name)
        result, found = _apply(step, results[step.input])
        clock.lap(step.name)
        if step.save:
            kept[step.save] = result
            notes[step.save] = found
        results[step.name] = result
        del result
        results = {name: field for name, field in results.items() if uses.get(name, -1) > number}
    report(total - 1, total, f"writing {job.output.path}")
    saved = tuple(_saved(name, field, notes[name]) for name, field in kept.items())
    with phase("io"):
        io.save(job.output.path, kept, attrs=_provenance(job), dataset_attrs=notes)
    clock.lap("writing")
    report(total, total, "done")
    return Summary(shape, topology, job.output.path, saved, tuple(clock.laps))


class _Clock:
    """Seconds from one call of `lap` to the next."""

    def __init__(self) -> None:
        self.laps: list[tuple[str, float]] = []
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps.append((name, now - self._since))
        _log.info("%s took %.3f s", name, now - self._since)
        self._since = now


def check_target(path: Path) -> None:
    """Refuse now what would otherwise fail after the last step. Local."""
    folder = path.parent
    if path.is_dir():
        raise RunError(f"the output {str(path)!r} is a folder; give the name of a file")
    if not folder.is_dir():
        raise RunError(f"the output's folder {str(folder)!r} does not exist; make it, or write elsewhere")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RunError(f"the output's folder {str(folder)!r} is not writable; allow it, or write elsewhere")


def _load(job: Job, comm: MPI.Intracomm) -> Field:
    with phase("io"):
        components: Any = "auto" if job.input.components is None else job.input.components
        return io.load(job.input.path, job.input.dataset, comm=comm, components=components, **job.grid)


def _provenance(job: Job) -> dict[str, str]:
    """What the output tells of its making; not how many ranks, nor when: these do not change the bits."""
    told = job.text.encode("utf-8", "replace")
    return {"job": told.decode()} if len(told) <= ATTRIBUTE_BYTES else {}


def _apply(step: Step, field: Field) -> tuple[Field, dict[str, float]]:
    """Return the result of a step, and what it took from the data."""
    _log.debug("%s: %s(%s) of %r", step.name, step.filter, dict(step.parameters), field)
    with phase("compute"):
        found = measured(step.filter, field, step.parameters)
        result: Field = function(step.filter)(field, **{**step.parameters, **found})
    return result, found


def _saved(name: str, field: Field, notes: dict[str, float]) -> Saved:
    return Saved(name, field.shape, field.dtype.name, math.prod(field.shape) * field.dtype.itemsize, notes)
