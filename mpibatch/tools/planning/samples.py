"""Small runs of a job by some ranks: a tiny one, a quarter, and whole ones, well beyond the caches."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base import tally, timing
from mpibatch.base.compiled import compile_seconds
from mpibatch.base.errors import RunError, UsageError
from mpibatch.job.execution.account import peak_memory
from mpibatch.job.execution.pipeline import run
from mpibatch.job.file.schema import Job
from mpibatch.job.file.simulation import SimulationJob
from mpibatch.job.plan import layout
from mpibatch.mpi import MPI
from mpibatch.simulate import Simulation
from mpibatch.simulate.schedule import Every, Schedule
from mpibatch.tools.planning import measurement
from mpibatch.tools.planning.machine import WARMUP_STEPS, HaloTraffic
from mpibatch.tools.planning.measurement import sleepy
from mpibatch.tools.planning.work import CELLS, SHAPE, Subject, resized

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Group", "ProbeSample", "Sampler", "stepping"]

FIELD_BYTES = 64 << 20  # of a rank's share of a field: well beyond the caches; a simulation has several fields
STEPPED_BYTES = 32 << 20
TINY_CELLS = 1 << 15
TINY_STEPS, QUARTER_STEPS = 64, 16
FEW_STEPS = 4
STEADY_SAMPLES, MOST_SAMPLES = 4, 4  # of the whole: of a simulation, once it has found out, and of a pipeline
LEAST_PART = 4


@dataclass(frozen=True)
class ProbeSample:
    """One run of a job on some size, the same on all ranks.

    Attributes
    ----------
    shape, steps : the grid, and the steps made.
    seconds : by lap, of the slowest rank; those of compiling are not in it.
    exchanges, reductions : by lap, as `mpibatch.base.tally` counts them.
    memory, whole : the most bytes of a rank, and the seconds of all.
    written : bytes of one output.
    dt : the mean time step.
    first_pass, stepping : steps and seconds of a simulation's first pass, and seconds of all its steps; those in
        `seconds` are of as many later ones.
    """

    shape: tuple[int, ...]
    steps: int
    seconds: dict[str, float]
    exchanges: dict[str, tuple[HaloTraffic, ...]]
    reductions: dict[str, int]
    memory: int
    whole: float
    written: float = 0.0
    dt: float = 0.0
    first_pass: tuple[int, float] = (0, 0.0)
    stepping: float = 0.0


@dataclass(frozen=True)
class Group:
    """Samples by so many ranks: the process's first one and another, both tiny, a quarter, and whole ones.

    `usual` are those of the whole ones whose steps take as long as those of long runs; `largest` is as large as is
    well beyond the caches, however slow the machine is at the moment: it tells memory.
    """

    ranks: int
    first: ProbeSample
    tiny: ProbeSample
    quarter: ProbeSample
    wholes: list[ProbeSample]
    usual: list[ProbeSample]
    largest: ProbeSample

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole samples. Local."""
        return self.wholes[0].shape

    def seconds(self, name: str) -> float:
        """The usual seconds of a step. Local."""
        return statistics.median(s.seconds[name] / s.steps for s in self.usual)

    def per_call(self, name: str) -> float:
        """Seconds of a step without cells. Local."""
        each = self.seconds(name) / math.prod(self.shape)
        return max(0.0, self.tiny.seconds[name] / self.tiny.steps - each * math.prod(self.tiny.shape))

    def warmup(self) -> tuple[float, float]:
        """Return what a simulation's first steps take beyond later ones. Local.

        Seconds per cell of the fullest rank of the first pass, and seconds of all passes after it.
        """
        begin, rest = self.wholes[0], sum(map(self.seconds, stepping(self.wholes[0])))
        first = max(0.0, begin.first_pass[1] - begin.first_pass[0] * rest)
        others = begin.stepping - begin.first_pass[1] - (begin.steps - begin.first_pass[0]) * rest
        return first / layout(self.shape, self.ranks, {}).cells, max(0.0, others)

    def memory(self) -> tuple[float, float]:
        """Bytes per cell of the fullest rank, and what a rank takes besides. Local.

        A line from the tiny sample to the largest, raised to be below none: the one between lie in memory that was
        kept from before, and what is made for long runs may not grow with cells.
        """
        cells = {s.shape: layout(s.shape, self.ranks, {}).cells for s in (self.tiny, self.largest, *self.wholes)}
        small, large = cells[self.tiny.shape], cells[self.largest.shape]
        most = max(s.memory for s in (self.largest, *self.wholes) if s.shape == self.largest.shape)
        slope = max(0.0, (most - self.tiny.memory) / max(1, large - small))
        return slope, max(s.memory - slope * cells[s.shape] for s in (self.tiny, self.largest, *self.wholes))


# Seconds by lap, shape, steps, bytes written, mean time step, steps and seconds of the first pass, seconds of all.
_Measures = tuple[dict[str, float], tuple[int, ...], int, float, float, tuple[int, float], float]


class Sampler:
    """Runs parts of one job, which are written to a folder for a moment.

    Attributes
    ----------
    axes : of the grid, as the last run had it.
    """

    def __init__(self, subject: Subject, where: Path) -> None:
        self.subject, self.where = subject, where
        self.axes = 2  # of programs that make their grid from `cells`; told by the first run

    def group(self, comm: MPI.Intracomm, budget: float) -> Group:
        """Return samples by all ranks, which take about `budget` seconds. Collective."""
        ranks = comm.size
        most = ranks * (STEPPED_BYTES if self.is_simulation else FIELD_BYTES) // self._cell_bytes()
        most = min(most, self._cells_of(self.subject.job))
        small = self._part(min(TINY_CELLS * ranks, most // 16))
        first = self._sample(comm, small, FEW_STEPS)
        tiny = self._sample(comm, small, TINY_STEPS)
        quarter = self._sample(comm, self._part(self._affordable(tiny, most // 4, 0.05 * budget)), QUARTER_STEPS)
        part = self._part(self._affordable(quarter, most, 0.15 * budget))
        if self.is_simulation:
            # The first one still finds out how to be fast. Files are written by the last one, which tells memory.
            wholes = [self._sample(comm, part, WARMUP_STEPS, 0.4 * budget)]
            wholes += [self._sample(comm, part, WARMUP_STEPS, 0.1 * budget) for _ in range(STEADY_SAMPLES)]
            largest = self._sample(comm, self._part(self._affordable(quarter, most, budget)), FEW_STEPS)
        else:
            wholes = self._several(comm, part, budget)
            largest = max(wholes, key=lambda sample: sample.memory)
        return Group(
            ranks=ranks, first=first, tiny=tiny, quarter=quarter, wholes=wholes, usual=wholes[1:], largest=largest
        )

    def _several(self, comm: MPI.Intracomm, part: Job | SimulationJob, budget: float) -> list[ProbeSample]:
        """Two samples or more of a part, as time allows. Collective."""
        begin, wholes = time.perf_counter(), [self._sample(comm, part)]
        while len(wholes) < MOST_SAMPLES:
            taken = comm.bcast((time.perf_counter() - begin) / len(wholes), root=0)
            if len(wholes) > 1 and (len(wholes) + 1) * taken > 0.75 * budget:
                break
            wholes.append(self._sample(comm, part))
        return wholes

    def _affordable(self, sample: ProbeSample, most: int, seconds: float) -> int:
        """So many cells that a few steps take about so long, by a smaller sample; at most `most`."""
        steps = FEW_STEPS if self.is_simulation else 1
        cells = seconds / max(1e-12, steps * _each_step(sample) / math.prod(sample.shape))
        # Not much less if time is short, since others may be at work: smaller arrays tell nothing of memory.
        return int(min(most, max(2 * math.prod(sample.shape), most // LEAST_PART, cells)))

    @property
    def is_simulation(self) -> bool:
        """Whether the job makes steps. Local."""
        return isinstance(self.subject.job, SimulationJob)

    def _cell_bytes(self) -> int:
        return self.subject.cell_bytes or np.dtype(self.subject.dtype).itemsize

    def _cells_of(self, job: Job | SimulationJob) -> int:
        if isinstance(job, Job):
            return math.prod(_lengths(job))
        given = getattr(job.parameters, SHAPE, None)
        return math.prod(given) if given else getattr(job.parameters, CELLS) ** self.axes

    def _part(self, cells: int) -> Job | SimulationJob:
        """The job on about so many cells, or its own if that is less."""
        job, shape = self.subject.job, self.subject.shape
        if isinstance(job, Job):
            job = replace(job, grid=_free(job.grid), checkpoint=None)
            return _region_of(job, _shrunk(shape, cells))
        job = replace(job, grid=_free(job.grid), checkpoint=None, diagnostics=None)
        while True:
            try:
                if len(shape) == 1 and not hasattr(job.parameters, SHAPE):
                    side = min(shape[0], max(4, round(cells ** (1 / self.axes))))
                    return job if side >= shape[0] else resized(job, side)
                small = _shrunk(shape, cells)
                return job if small == shape else resized(job, dict(enumerate(small)))
            except UsageError:
                # Some programs refuse coarse grids.
                cells *= 2

    def _sample(
        self, comm: MPI.Intracomm, job: Job | SimulationJob, steps: int = 1, seconds: float | None = None
    ) -> ProbeSample:
        """Run a job; a simulation for so many steps, or, without output, about so many seconds if that is less."""
        measurement.restart_peak()
        timing.reset()
        tally.reset()
        sleepy(comm)
        begin, compiling = time.perf_counter(), compile_seconds()
        if isinstance(job, Job):
            measures = self._filter(comm, job)
        else:
            measures = self._simulate(comm, job, steps, seconds)
        laps, shape, made, written, dt, first_pass, all_steps = measures
        whole = time.perf_counter() - begin
        compiling = compile_seconds() - compiling
        names = list(laps)
        slowest = np.array([*laps.values(), first_pass[1], all_steps, compiling, whole, peak_memory()])
        comm.Allreduce(MPI.IN_PLACE, slowest, op=MPI.MAX)
        *taken, first, all_steps, compiling, whole, memory = map(float, slowest)
        parts = [lap for lap in tally.exchanges() if lap.exchanges or lap.reductions]
        return ProbeSample(
            shape=shape,
            steps=made,
            seconds=dict(zip(names, taken, strict=True)),
            exchanges={lap.name: _exchanges(lap, made) for lap in parts},
            reductions={lap.name: lap.reductions for lap in parts},
            memory=int(memory),
            whole=whole,
            written=written,
            dt=dt,
            first_pass=(first_pass[0], first),
            stepping=all_steps,
        )

    def _filter(self, comm: MPI.Intracomm, job: Job) -> _Measures:
        path = self.where / f"filtered-{comm.size}.h5"
        job = replace(job, output=replace(job.output, path=str(path)), text="")
        summary = run(job, comm)
        return dict(summary.seconds), summary.shape, 1, float(sum(s.bytes for s in summary.saved)), 0.0, (0, 0.0), 0.0

    def _simulate(self, comm: MPI.Intracomm, job: SimulationJob, steps: int, seconds: float | None) -> _Measures:
        path = str(self.where / f"simulated-{comm.size}.h5") if seconds is None else None
        schedule = Schedule(None, steps, Every(), Every(), job.schedule.check_every)
        passes: list[tuple[int, float]] = []

        def passed(done: int, *_: object) -> None:
            passes.append((done, time.perf_counter() - compile_seconds() - timing.spent("io")))
            if seconds is not None and comm.allreduce(passes[-1][1] - passes[0][1], op=MPI.MAX) > seconds:
                simulation.stop()

        simulation = Simulation(schedule, output=path, comm=comm, report=passed)
        with simulation:
            job.program.module.run(job.parameters, simulation)
        done = simulation.outcome
        if done is None:
            raise RunError(f"the program {job.program.name!r} made no step; let it loop over simulation.steps(...)")
        self.axes = done.grid.ndim
        laps = {"steps": done.steps * _steady(passes)}
        # Both states that were written are in the datasets; without a file there is none.
        written = math.fsum(size for _, _, _, size in done.written) / 2
        (_, begun), (made, since), (_, ended) = *passes[:2], passes[-1]
        return laps, done.grid.shape, done.steps, written, done.time / done.steps, (made, since - begun), ended - begun


def stepping(sample: ProbeSample) -> dict[str, float]:
    """Return the seconds of the laps in which steps are made. Local."""
    return {name: seconds for name, seconds in sample.seconds.items() if name not in ("reading", "writing")}


def _exchanges(lap: tally.Lap, steps: int) -> tuple[HaloTraffic, ...]:
    return tuple(
        HaloTraffic(need.widths, need.corners, need.wraps, need.bytes_per_cell, times / steps, need.steps)
        for need, times in lap.exchanges.items()
    )


def _steady(passes: Sequence[tuple[int, float]]) -> float:
    """Seconds of a step, by when how many were done; in the first pass memory is used for the first time."""
    (begun, since), (done, now) = passes[1 if len(passes) > 2 else 0], passes[-1]
    return (now - since) / max(1, done - begun)


def _each_step(sample: ProbeSample) -> float:
    return math.fsum(stepping(sample).values()) / sample.steps


def _free(grid: Any) -> dict[str, Any]:
    return {key: value for key, value in grid.items() if key not in ("topology", "sizes", "weights")}


def _shrunk(shape: Sequence[int], cells: int) -> tuple[int, ...]:
    """A shape of about so many cells and of the same proportions, at most `shape`."""
    factor = min(1.0, (cells / math.prod(shape)) ** (1 / len(shape)))
    return tuple(min(n, max(1, round(factor * n))) for n in shape)


def _region_of(job: Job, lengths: Sequence[int]) -> Job:
    """The job on the first cells along each axis of what it reads."""
    from mpibatch.job.document.checks import slices
    from mpibatch.job.plan import values_of

    shape = values_of(job).shape
    given = slices(job.input.region) if job.input.region else None
    words = []
    for axis, (cells, whole) in enumerate(zip(lengths, shape, strict=True)):
        old = given[axis] if given and axis < len(given) else slice(None)
        step, start = old.step or 1, old.start or 0
        words.append(f"{start}:{start + cells * step}:{step}" if cells < whole or given else f"0:{cells}")
    return replace(job, input=replace(job.input, region=", ".join(words)))


def _lengths(job: Job) -> list[int]:
    from mpibatch.job.plan import values_of

    return list(values_of(job).shape)
