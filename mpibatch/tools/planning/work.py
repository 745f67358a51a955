"""What a job is, apart from its size: the key under which a machine's profile knows what it costs. Pure, no MPI."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.job.file.arithmetic import EXPRESSION, OPERATIONS
from mpibatch.job.file.schema import INPUT, Job
from mpibatch.job.file.simulation import SimulationJob
from mpibatch.job.plan import Values, values_of
from mpibatch.tools.planning import halos
from mpibatch.tools.planning.machine import JobWork, Machine, StepWork

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CELLS", "SHAPE", "Subject", "key_of", "resized", "static_steps", "subject_of"]

# Parameters by which programs are told their grid: cells along each axis, or the same number along all of them.
SHAPE, CELLS = "shape", "cells"


@dataclass(frozen=True)
class Subject:
    """A job and its grid, as plans need them. `cell_bytes`: of a cell of the input; `work`: what it costs, if known."""

    job: Job | SimulationJob
    key: str
    shape: tuple[int, ...]
    cell_bytes: int
    dtype: str
    wraps: tuple[bool, ...]
    work: JobWork | None = None

    @property
    def cells(self) -> int:
        """Cells of the whole grid. Local."""
        return math.prod(self.shape)

    @property
    def is_pipeline(self) -> bool:
        """Whether it filters. Local."""
        return isinstance(self.job, Job)


def subject_of(job: Job | SimulationJob, machine: Machine | None = None) -> Subject:
    """Return a job and its grid, with what the machine's profile knows of it. Local. Opens a pipeline's input.

    Raises UsageError if the grid cannot be told without running the job.
    """
    if isinstance(job, Job):
        values = values_of(job)
        key = key_of(job, values)
        work = machine.work_of(key) if machine else None
        return Subject(
            job=job,
            key=key,
            shape=values.shape,
            cell_bytes=values.cell_bytes,
            dtype=values.dtype,
            wraps=values.periodic,
            work=work,
        )
    key = key_of(job)
    work = machine.work_of(key) if machine else None
    dtype = _dtype_of(getattr(job.parameters, "dtype", "f8"))
    given = getattr(job.parameters, SHAPE, None)
    if isinstance(given, tuple):
        shape = tuple(map(int, given))
    elif isinstance(given := getattr(job.parameters, CELLS, None), int) and work is not None:
        shape = (given,) * len(work.shape)
    elif isinstance(given, int):
        raise UsageError(
            f"{job.source}: the program {job.program.name!r} makes its grid from cells = {given}, and of how many axes "
            f"is known when it was probed: mpiexec -n 2 mpibatch probe {job.source}"
        )
    else:
        raise UsageError(
            f"{job.source}: the program {job.program.name!r} has no parameter {SHAPE!r} or {CELLS!r} that tells its "
            "grid; give it one"
        )
    wraps = (getattr(job.parameters, "walls", None) == "periodic",) * len(shape)
    return Subject(job=job, key=key, shape=shape, cell_bytes=0, dtype=dtype, wraps=wraps, work=work)


def _dtype_of(given: Any) -> str:
    """A program's parameter of that name, if it is one of NumPy's; "f8" if it means something else by it."""
    try:
        return str(np.dtype(given))
    except TypeError:
        return "f8"


def key_of(job: Job | SimulationJob, values: Values | None = None) -> str:
    """Return a digest of what decides the cost of a cell: of all but sizes, paths, ranks and plain numbers. Local."""
    if isinstance(job, Job):
        assert values is not None
        names = {INPUT: 0} | {step.name: number + 1 for number, step in enumerate(job.steps)}
        traits: Any = {
            "axes": len(values.shape),
            "channels": list(values.channels),
            "dtype": values.dtype,
            "wraps": list(values.periodic),
            "steps": [
                [
                    s.filter,
                    [names[n] for n in s.inputs] if len(s.inputs) > 1 else names[s.input],
                    dict(s.parameters),
                    bool(s.save),
                    *([[*s.fields]] if s.fields else []),
                ]
                for s in job.steps
            ],
            "compression": job.output.compression,
        }
    else:
        own = {f.name: getattr(job.parameters, f.name) for f in fields(job.parameters)}
        shape = own.pop(SHAPE, None)
        own.pop(CELLS, None)
        traits = {
            "program": job.program.name,
            "text": _text_of(job),
            "axes": len(shape) if isinstance(shape, tuple) else 0,
            # The value of a plain number does not change what a step costs; other choices may.
            "parameters": {name: value for name, value in own.items() if not _is_plain(value)},
            "check_every": job.schedule.check_every,
        }
    return hashlib.sha256(json.dumps(traits, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, float) or (isinstance(value, tuple) and all(map(_is_plain, value)))


def _text_of(job: SimulationJob) -> str:
    """A digest of a program of the user's; those of the package go with its version."""
    if not job.program.name.endswith(".py"):
        return ""
    return hashlib.sha256(Path(job.program.name).read_bytes()).hexdigest()


def resized(job: SimulationJob, side_of: Mapping[int, int] | int) -> SimulationJob:
    """Return a simulation with other cells along its axes: by axis, or the same along all. Local. UsageError."""
    if isinstance(side_of, int):
        return replace(job, parameters=replace(job.parameters, **{CELLS: side_of}))
    return replace(job, parameters=replace(job.parameters, **{SHAPE: tuple(side_of[a] for a in sorted(side_of))}))


def static_steps(subject: Subject) -> tuple[StepWork, ...]:
    """Return the steps of a job that was not probed, with the exchanges that its text tells, and no times. Local."""
    job, ndim = subject.job, len(subject.shape)
    if isinstance(job, SimulationJob):
        itemsize = np.dtype(subject.dtype).itemsize
        return (StepWork("steps", {}, exchanges=halos.of_kernels(job.program.module, ndim, itemsize, subject.wraps)),)
    channels = subject.cell_bytes // np.dtype(subject.dtype).itemsize
    known: dict[str, tuple[str, int]] = {INPUT: (subject.dtype, channels)}
    steps = []
    for step in job.steps:
        dtype, count = known[step.input]
        if step.filter in OPERATIONS or step.filter == EXPRESSION:
            # Cell by cell: nothing is exchanged.
            known[step.name] = (dtype, count)
            steps.append(StepWork(step.name, {}))
            continue
        if step.filter in ("rgb2gray", "channel_mean"):
            count = 1
        wide = known[step.input][1]
        exchanges = halos.of_filter(step.filter, step.parameters, ndim, dtype, wide, subject.wraps)
        known[step.name] = (halos.bytes_after(step.filter, step.parameters, dtype), count)
        steps.append(StepWork(step.name, {}, exchanges=exchanges))
    return tuple(steps)
