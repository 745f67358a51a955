"""A part of what a job would make, from the cells around that part alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mpibatch.io as io
from mpibatch.base.errors import UsageError
from mpibatch.fields.redistribution import gather
from mpibatch.io.read.region import chosen_region
from mpibatch.job.document.checks import slices
from mpibatch.job.file.schema import INPUT, Job, Step
from mpibatch.job.file.stream import Streaming
from mpibatch.job.passes.traits import LABEL, TABLE, THRESHOLD, against, kind_of, period_of, reach_of
from mpibatch.job.plan import source_of, values_of
from mpibatch.job.rehearsal import Values, rehearse
from mpibatch.job.slabs.stream import numbers_of
from mpibatch.job.slabs.work import applied
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.job.rehearsal import Rehearsed

__all__ = ["Preview", "previewed"]

_WRAPS = ("wrap", "grid-wrap")
Ranges = tuple[range, ...]


@dataclass(frozen=True)
class Preview:
    """A part of a step's result: its cells, on a grid that may have others around them, and lines for the reader.

    `part`: where its cells lie in the field.
    """

    step: str
    field: Field
    part: tuple[slice, ...]
    notes: tuple[str, ...]

    def gathered(self) -> Any:
        """Return the cells as an array on rank 0, None elsewhere. Collective."""
        whole = gather(self.field)
        return None if whole is None else whole[self.part]


def previewed(job: Job, comm: MPI.Intracomm, region: Sequence[slice], name: str | None = None) -> Preview:
    """Return a region of a step's result, equal to the same cells of the whole. Collective.

    `name`: of a step; by default the last that has cells which follow from others nearby, or from a threshold.
    Thresholds are those of the whole, which is read for them. UsageError for a step of which no part can be told alone.
    """
    known: tuple[Values, Ranges] | None = None
    with agreed(comm, "previewing"):
        if comm.rank == 0:
            values = values_of(job)
            source = source_of(job)
            given = slices(job.input.region) if job.input.region else None
            known = values, chosen_region(values.name, source.shape[: len(values.shape)], given)
    both: tuple[Values, Ranges] = comm.bcast(known, root=0)
    values, read = both
    with agreed(comm, "previewing"):
        part = chosen_region("the result", values.shape, region)
        if any(indices.step != 1 for indices in part):
            raise UsageError("the region of a preview has steps; give first and last cells only, such as 10:20")
        chain, notes = _chain(job, len(values.shape), name)
        reach = dict(zip([step.name for step in job.steps], rehearse(job.steps, values), strict=True))
        around = _around(chain, reach, values, part)
    numbers: Mapping[str, Mapping[str, float]] = {}
    if any(kind_of(step) == THRESHOLD for step in chain):
        numbers = _thresholds(job, comm, chain)
        notes += [
            f"{step}: {', '.join(f'{key} {value:.6g}' for key, value in known.items())}, of the whole"
            for step, known in numbers.items()
        ]
    cut = tuple(slice(r[low], r[high - 1] + 1, r.step) for r, (low, high) in zip(read, around, strict=True))
    axes = {key: value for key, value in job.grid.items() if key not in ("topology", "sizes", "weights")}
    components: Any = "auto" if job.input.components is None else job.input.components
    results: dict[str, Field] = {
        INPUT: io.load(
            job.input.path, job.input.dataset, **job.input.choices, raw=job.input.raw, allow=job.input.allow, comm=comm,
            components=components, region=cut, **axes,
        )
    }  # fmt: skip
    for step in chain:
        results[step.name] = applied(step, kind_of(step), [results[source] for source in step.inputs], numbers)
    inside = tuple(slice(p.start - low, p.stop - low) for p, (low, _) in zip(part, around, strict=True))
    last = chain[-1].name if chain else INPUT
    return Preview(last, results[last], inside, tuple(notes))


def _chain(job: Job, ndim: int, name: str | None) -> tuple[list[Step], list[str]]:
    """The steps that a result needs, in order, and what is to be told of those left out."""
    against_any: dict[str, str] = {}
    needs: dict[str, set[str]] = {INPUT: set()}
    for step in job.steps:
        reason = against(step, ndim, goes_round=True)
        if kind_of(step) in (LABEL, TABLE):
            reason = "its numbers and rows are of the whole"
        blocked = next((source for source in step.inputs if source in against_any), None)
        if reason or blocked:
            against_any[step.name] = reason or f"it reads {blocked}, and of that {against_any[str(blocked)]}"
        needs[step.name] = {step.name, *step.inputs}.union(*(needs[source] for source in step.inputs)) - {INPUT}
    names = [step.name for step in job.steps if step.name not in against_any]
    if name is not None and name not in needs:
        raise UsageError(f"the job has no step {name!r}; its steps are {', '.join(step.name for step in job.steps)}")
    if name in against_any or not names:
        chosen = name or job.steps[0].name
        raise UsageError(f"no part of {chosen} can be shown alone: {against_any[chosen]}; preview another --step")
    target = name or names[-1]
    left = [step.name for step in job.steps if step.name in against_any]
    notes = [f"not shown: {', '.join(left)}, which need the whole"] if left and name is None else []
    return [step for step in job.steps if step.name in needs[target]], notes


def _around(
    chain: Sequence[Step], known: Mapping[str, Rehearsed], values: Values, part: Ranges
) -> list[tuple[int, int]]:
    """The cells that the part needs along each axis."""
    ndim = len(values.shape)
    wide: dict[str, list[int]] = {}
    for step in reversed(chain):
        own = wide.setdefault(step.name, [0] * ndim)
        reach = [0] * ndim if kind_of(step) == THRESHOLD else reach_of(step, known[step.name])
        for source in step.inputs:
            other = wide.setdefault(source, [0] * ndim)
            wide[source] = [max(a, b + r) for a, b, r in zip(other, own, reach, strict=True)]
    need = wide.get(INPUT, [0] * ndim)
    goes_round = any(mode in _WRAPS for step in chain for mode in _modes(step))
    result = []
    for axis, (cells, n) in enumerate(zip(part, values.shape, strict=True)):
        low, high = cells.start - need[axis], cells.stop + need[axis]
        # What lies behind a wall that is none is at the other end.
        if (goes_round or values.periodic[axis]) and (low < 0 or high > n):
            low, high = 0, n
        period = math.lcm(*(period_of(step, axis, ndim) for step in chain))
        result.append((max(low, 0) // period * period, min(high, n)))
    return result


def _modes(step: Step) -> list[str]:
    mode = step.parameters.get("mode", "")
    return [str(m) for m in mode] if isinstance(mode, list) else [str(mode)]


def _thresholds(job: Job, comm: MPI.Intracomm, chain: Sequence[Step]) -> dict[str, dict[str, float]]:
    """The thresholds that steps take from the whole, by passes over it."""
    last = max(number for number, step in enumerate(chain) if kind_of(step) == THRESHOLD)
    steps = tuple(replace(step, save=None) for step in chain[: last + 1])
    return numbers_of(replace(job, steps=steps, stream=job.stream or Streaming()), comm)
