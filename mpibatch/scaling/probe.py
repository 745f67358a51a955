"""What jobs cost on this machine: their own steps, on a part of the input or a smaller grid, by one rank and by all.

A job is run on three sizes: a tiny one, which compiles, and tells what a step costs whatever its cells; a quarter; and
one that is well beyond the caches. Memory per cell is what the last two differ by.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mpibatch import tally, timing
from mpibatch.compiled import compile_seconds
from mpibatch.errors import MpibatchError, RunError, UsageError
from mpibatch.host import cpu_model
from mpibatch.job.account import peak_memory
from mpibatch.job.pipeline import run
from mpibatch.job.plan import layout
from mpibatch.job.schema import Job
from mpibatch.job.simulation import SimulationJob
from mpibatch.job.words import bytes_text
from mpibatch.mpi import MPI, agreed, private
from mpibatch.scaling import measuring
from mpibatch.scaling.machine import WARMUP_STEPS, Exchange, Machine, StepLength, StepWork, Work, load, save
from mpibatch.scaling.measuring import alone, sleepy
from mpibatch.scaling.prediction import Model, side_of
from mpibatch.scaling.work import CELLS, SHAPE, Subject, resized, subject_of
from mpibatch.simulate import Simulation
from mpibatch.simulate.schedule import Every, Schedule

__all__ = ["Asked", "Sample", "probe", "told", "work_of"]

FIELD_BYTES = 64 << 20  # of a rank's share of a field: well beyond the caches; a simulation has several fields
STEPPED_BYTES = 32 << 20
TINY_CELLS = 1 << 15
TINY_STEPS, QUARTER_STEPS = 64, 16
FEW_STEPS = 4
STEADY_SAMPLES, MOST_SAMPLES = 4, 4  # of the whole: of a simulation, once it has found out, and of a pipeline
LEAST_PART = 4
UNTRIED = 64 << 20  # bytes of code and buffers of fused steps, where there were too few steps to try them
LEAST_SHARE = 0.5  # of a step that is spent on cells, whatever messages and calls seem to take
LONGEST_FIXED = 3.0  # seconds: what is beyond was compiling, which later runs are spared


@dataclass(frozen=True)
class Asked:
    """How to probe: the profile's file, where to write for a moment, the machine's name, seconds for a job."""

    path: Path
    folder: str = "."
    name: str | None = None
    seconds: float = 8.0
    anew: bool = False


@dataclass(frozen=True)
class Sample:
    """One run of a job on some size, the same on all ranks.

    Attributes
    ----------
    shape, steps : the grid, and the steps made.
    seconds : by lap, of the slowest rank; those of compiling are not in it.
    exchanges, reductions : by lap, as `mpibatch.tally` counts them.
    memory, whole : the most bytes of a rank, and the seconds of all.
    written : bytes of one output.
    dt : the mean time step.
    first_pass, stepping : steps and seconds of a simulation's first pass, and seconds of all its steps; those in
        `seconds` are of as many later ones.
    """

    shape: tuple[int, ...]
    steps: int
    seconds: dict[str, float]
    exchanges: dict[str, tuple[Exchange, ...]]
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

    `usual` are those of the whole ones whose steps take as long as those of long runs.
    """

    ranks: int
    first: Sample
    tiny: Sample
    quarter: Sample
    wholes: list[Sample]
    usual: list[Sample]

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
        """Seconds per cell of the fullest rank of a simulation's first pass, and of all others, beyond later ones."""
        begin, rest = self.wholes[0], sum(map(self.seconds, _stepping(self.wholes[0])))
        first = max(0.0, begin.first_pass[1] - begin.first_pass[0] * rest)
        others = begin.stepping - begin.first_pass[1] - (begin.steps - begin.first_pass[0]) * rest
        return first / layout(self.shape, self.ranks, {}).cells, max(0.0, others)

    def memory(self) -> tuple[float, float]:
        """Bytes per cell of the fullest rank, and what a rank takes besides. Local."""
        small, large = (layout(shape, self.ranks, {}).cells for shape in (self.quarter.shape, self.shape))
        least, most = self.quarter.memory, max(s.memory for s in self.wholes)
        slope = max(0.0, (most - least) / max(1, large - small))
        return slope, max(0.0, most - slope * large)


def probe(comm: MPI.Intracomm, jobs: Sequence[Job | SimulationJob], asked: Asked) -> Machine:
    """Measure the machine and the jobs, and put them into the profile. Collective. Returns the whole profile."""
    with agreed(comm, f"probing {asked.folder}"):
        if not os.access(asked.folder, os.W_OK | os.X_OK):
            raise RunError(f"the folder {asked.folder!r} is not there, or not writable; name another with --folder")
    machine, kept = _known(comm, asked)
    if machine is None:
        machine = measuring.machine_of(comm, asked.folder, asked.name).with_work(kept)
    elif asked.name:
        machine = replace(machine, name=asked.name)
    _save(comm, asked.path, machine)
    for job in jobs:
        machine = machine.with_work([work_of(comm, job, machine, asked)])
        _save(comm, asked.path, machine)
    return machine


def _known(comm: MPI.Intracomm, asked: Asked) -> tuple[Machine | None, tuple[Work, ...]]:
    """The profile that is there, if nothing of it is to be measured again, and what jobs cost in it. Collective."""
    found, here = None, _ranks_here(comm)
    is_enough = False
    with agreed(comm, f"reading {asked.path}"):
        if comm.rank == 0 and (found := _read(asked)) is not None:
            is_ours = (found.cpu, found.cores_per_node) == (cpu_model(), measuring.cores())
            if not is_ours and not asked.anew:
                raise UsageError(
                    f"{asked.path} is the profile of {found.name} ({found.cpu or 'another processor'}, "
                    f"{found.cores_per_node} cores), not of this machine; give --output, or --anew to replace it"
                )
            knows_links = found.links is not None or here == 1
            knows_all = max(found.triad) >= here and knows_links and found.nodes >= -(-comm.size // here)
            is_enough = knows_all and not asked.anew
            found = found if is_ours else None
    kept: Machine | None
    kept, is_enough = comm.bcast((found, is_enough), root=0)
    return kept if is_enough else None, kept.work if kept is not None else ()


def _read(asked: Asked) -> Machine | None:
    """The profile, if there is one; one that is to be replaced need not be readable."""
    try:
        return load(asked.path) if asked.path.exists() else None
    except MpibatchError:
        if asked.anew:
            return None
        raise


def _ranks_here(comm: MPI.Intracomm) -> int:
    """The most ranks on a node. Collective."""
    node = measuring.node_of(comm)
    most = int(comm.allreduce(node.size, op=MPI.MAX))
    node.Free()
    return most


def _save(comm: MPI.Intracomm, path: Path, machine: Machine) -> None:
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            save(path, machine)


def work_of(comm: MPI.Intracomm, job: Job | SimulationJob, machine: Machine, asked: Asked) -> Work:
    """Return what a job costs. Collective. Leaves no files."""
    subject = None
    with agreed(comm, f"probing {job.source}"):
        subject = _subject(job, machine)
    with measuring.scratch(comm, asked.folder) as where:
        return _Probing(comm, subject, machine, where, asked.seconds).work()


def _subject(job: Job | SimulationJob, machine: Machine) -> Subject:
    """The job with its grid. A program that makes its grid from `cells` has it tell in the tiny run."""
    cells = getattr(job.parameters, CELLS, None) if isinstance(job, SimulationJob) else None
    if isinstance(cells, int) and not hasattr(job.parameters, SHAPE):  # type: ignore[union-attr]
        from mpibatch.scaling.work import key_of

        assert isinstance(job, SimulationJob)
        return Subject(job, key_of(job), (cells,), 0, "f8", (False,))
    return subject_of(job, replace(machine, work=()))


# Seconds by lap, shape, steps, bytes written, mean time step, steps and seconds of the first pass, seconds of all.
_Found = tuple[dict[str, float], tuple[int, ...], int, float, float, tuple[int, float], float]


class _Probing:
    """One job on all ranks of a communicator."""

    def __init__(self, comm: MPI.Intracomm, subject: Subject, machine: Machine, where: Path, seconds: float) -> None:
        self.comm, self.subject, self.machine, self.where, self.seconds = comm, subject, machine, where, seconds
        self.here = _ranks_here(comm)

    def work(self) -> Work:
        """Measure it. Collective."""
        doing = f"probing {self.subject.job.source}"
        one, self.axes = alone(self.comm, doing, lambda: (self._group(private(MPI.COMM_SELF), 1), self.axes))
        groups: dict[int, Group] = {1: one}
        if self.comm.size > 1:
            groups[self.here] = self._group(self.comm, self.comm.size)
        return self._put_together(groups)

    def _group(self, comm: MPI.Intracomm, ranks: int) -> Group:
        """Samples by some ranks. Collective over `comm`."""
        budget = self.seconds / (1 if self.comm.size == 1 else 2)
        most = ranks * (STEPPED_BYTES if self._is_simulation else FIELD_BYTES) // self._cell_bytes()
        most = min(most, self._cells_of(self.subject.job))
        small = self._part(min(TINY_CELLS * ranks, most // 16))
        first = self._sample(comm, small, FEW_STEPS)
        tiny = self._sample(comm, small, TINY_STEPS)
        quarter = self._sample(comm, self._part(self._affordable(tiny, most // 4, 0.05 * budget)), QUARTER_STEPS)
        part = self._part(self._affordable(quarter, most, 0.15 * budget))
        if self._is_simulation:
            # The first one still finds out how to be fast. Files are written by the last one, which tells memory.
            wholes = [self._sample(comm, part, WARMUP_STEPS, 0.4 * budget)]
            wholes += [self._sample(comm, part, WARMUP_STEPS, 0.1 * budget) for _ in range(STEADY_SAMPLES)]
            return Group(ranks, first, tiny, quarter, [*wholes, self._sample(comm, part, FEW_STEPS)], wholes[1:])
        begin, wholes = time.perf_counter(), [self._sample(comm, part)]
        while len(wholes) < MOST_SAMPLES:
            taken = comm.bcast((time.perf_counter() - begin) / len(wholes), root=0)
            if len(wholes) > 1 and (len(wholes) + 1) * taken > 0.75 * budget:
                break
            wholes.append(self._sample(comm, part))
        return Group(ranks, first, tiny, quarter, wholes, wholes[1:])

    def _affordable(self, sample: Sample, most: int, seconds: float) -> int:
        """So many cells that a few steps take about so long, by a smaller sample; at most `most`."""
        steps = FEW_STEPS if self._is_simulation else 1
        cells = seconds / max(1e-12, steps * _each_step(sample) / math.prod(sample.shape))
        # Not much less if time is short, since others may be at work: smaller arrays tell nothing of memory.
        return int(min(most, max(2 * math.prod(sample.shape), most // LEAST_PART, cells)))

    @property
    def _is_simulation(self) -> bool:
        return isinstance(self.subject.job, SimulationJob)

    def _cell_bytes(self) -> int:
        return self.subject.cell or np.dtype(self.subject.dtype).itemsize

    def _cells_of(self, job: Job | SimulationJob) -> int:
        if isinstance(job, Job):
            return math.prod(_lengths(job))
        given = getattr(job.parameters, SHAPE, None)
        return math.prod(given) if given else getattr(job.parameters, CELLS) ** self.axes

    axes = 2  # of programs that make their grid from `cells`; told by the tiny run

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
    ) -> Sample:
        """Run a job; a simulation for so many steps, or, without output, about so many seconds if that is less."""
        measuring.restart_peak()
        timing.reset()
        tally.reset()
        sleepy(comm)
        begin, compiling = time.perf_counter(), compile_seconds()
        if isinstance(job, Job):
            found = self._filter(comm, job)
        else:
            found = self._simulate(comm, job, steps, seconds)
        laps, shape, made, written, dt, first_pass, stepping = found
        whole = time.perf_counter() - begin
        compiling = compile_seconds() - compiling
        names = list(laps)
        slowest = np.array([*laps.values(), first_pass[1], stepping, compiling, whole, peak_memory()])
        comm.Allreduce(MPI.IN_PLACE, slowest, op=MPI.MAX)
        *taken, first, stepping, compiling, whole, memory = map(float, slowest)
        parts = [lap for lap in tally.exchanges() if lap.exchanges or lap.reductions]
        return Sample(
            shape,
            made,
            dict(zip(names, taken, strict=True)),
            {lap.name: _exchanges(lap, made) for lap in parts},
            {lap.name: lap.reductions for lap in parts},
            int(memory),
            whole,
            written,
            dt,
            (first_pass[0], first),
            stepping,
        )

    def _filter(self, comm: MPI.Intracomm, job: Job) -> _Found:
        path = self.where / f"filtered-{comm.size}.h5"
        job = replace(job, output=replace(job.output, path=str(path)), text="")
        summary = run(job, comm)
        return dict(summary.seconds), summary.shape, 1, float(sum(s.bytes for s in summary.saved)), 0.0, (0, 0.0), 0.0

    def _simulate(self, comm: MPI.Intracomm, job: SimulationJob, steps: int, seconds: float | None) -> _Found:
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

    def _put_together(self, groups: dict[int, Group]) -> Work:
        subject, one, most = self.subject, groups[1], max(groups)
        whole, cells = one.wholes[0], math.prod(one.shape)
        memory = [group.memory() for group in groups.values()]
        fixed = max(least for _, least in memory)
        steps = []
        for name in _stepping(whole):
            call, seconds = one.per_call(name), one.seconds(name)
            per_cell = max(seconds - call, LEAST_SHARE * seconds) / cells
            reductions = whole.reductions.get(name, 0) / whole.steps
            steps.append(StepWork(name, {1: per_cell}, call, whole.exchanges.get(name, ()), reductions))
        work = Work(
            key=subject.key,
            job=subject.job.source,
            kind="simulation" if self._is_simulation else "pipeline",
            shape=whole.shape,
            ranks=self.comm.size,
            steps=tuple(steps),
            # One rank alone has less around its cells; but as arrays of a small sample may lie in memory that was kept
            # from the one before, its own slope is too low: half-way to the most.
            memory_alone=((memory[0][0] + max(memory)[0]) / 2, fixed + self._untried([one])),
            memory_per_cell=max(slope for slope, _ in memory),
            memory_fixed=fixed + self._untried([*groups.values()]),
            fixed_seconds=min(LONGEST_FIXED, max(0.0, one.first.whole - one.tiny.whole)),
            output_per_cell=one.wholes[-1].written / cells,
            reading=self._rates(groups, "reading", subject.cell),
            writing=self._rates(groups, "writing", one.wholes[-1].written / cells),
            step_length=_length(one.tiny if one.quarter.shape == whole.shape else one.quarter, whole)
            if self._is_simulation
            else None,
            warmup={n: group.warmup()[1] for n, group in groups.items()} if self._is_simulation else {},
            # Memory that one rank had freed before is no measure.
            first_use=statistics.mean(group.warmup()[0] for group in groups.values()) if self._is_simulation else 0.0,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return work if most == 1 else self._with_all(work, groups[most], most)

    def _untried(self, groups: list[Group]) -> int:
        """Bytes for what longer runs do that these did not."""
        wholes = [group.wholes[0] for group in groups]
        fused = [one.steps > 1 for sample in wholes for lap in sample.exchanges.values() for one in lap]
        if not self._is_simulation or min(sample.steps for sample in wholes) >= WARMUP_STEPS:
            return 0
        return UNTRIED // 2 if any(fused) else UNTRIED

    def _rates(self, groups: dict[int, Group], name: str, cell: float) -> dict[int, float]:
        """Seconds per byte of the whole file, by ranks."""
        found = {}
        for group in groups.values():
            taken = [sample.seconds[name] for sample in group.wholes if name in sample.seconds]
            if taken and cell:
                found[group.ranks] = statistics.median(taken) / (math.prod(group.shape) * cell)
        return found

    def _with_all(self, work: Work, group: Group, here: int) -> Work:
        """Add the seconds per cell by all ranks: what is left when modelled messages are taken away."""
        steps = []
        whole = replace(self.subject, shape=group.shape, job=replace(self.subject.job, grid={}))
        cells = layout(group.shape, self.comm.size, {}).cells
        for step in work.steps:
            one = replace(whole, work=replace(work, steps=(step,)))
            modelled = Model(one, self.machine, here).at(self.comm.size)
            seconds = group.seconds(step.name)
            left = seconds - step.seconds_per_call - (modelled.halo or 0.0) - (modelled.reduce or 0.0)
            per_cell = max(left, LEAST_SHARE * seconds) / cells
            steps.append(replace(step, seconds_per_cell={**step.seconds_per_cell, here: per_cell}))
        return replace(work, steps=tuple(steps))


def _stepping(sample: Sample) -> dict[str, float]:
    """The laps in which steps are made."""
    return {name: seconds for name, seconds in sample.seconds.items() if name not in ("reading", "writing")}


def _exchanges(lap: tally.Lap, steps: int) -> tuple[Exchange, ...]:
    return tuple(
        Exchange(need.widths, need.corners, need.wraps, need.bytes_per_cell, times / steps, need.steps)
        for need, times in lap.exchanges.items()
    )


def _steady(passes: Sequence[tuple[int, float]]) -> float:
    """Seconds of a step, by when how many were done; in the first pass memory is used for the first time."""
    (begun, since), (done, now) = passes[1 if len(passes) > 2 else 0], passes[-1]
    return (now - since) / max(1, done - begun)


def _each_step(sample: Sample) -> float:
    return math.fsum(_stepping(sample).values()) / sample.steps


def _length(quarter: Sample, whole: Sample) -> StepLength:
    """How the time step goes with the cells along an axis."""
    small, large = side_of(quarter.shape), side_of(whole.shape)
    power = math.log(whole.dt / quarter.dt) / math.log(large / small) if large > small and quarter.dt > 0 else 0.0
    return StepLength(whole.dt, large, round(power, 2))


def _free(grid: Any) -> dict[str, Any]:
    return {key: value for key, value in grid.items() if key not in ("topology", "sizes", "weights")}


def _shrunk(shape: Sequence[int], cells: int) -> tuple[int, ...]:
    """A shape of about so many cells and of the same proportions, at most `shape`."""
    factor = min(1.0, (cells / math.prod(shape)) ** (1 / len(shape)))
    return tuple(min(n, max(1, round(factor * n))) for n in shape)


def _region_of(job: Job, lengths: Sequence[int]) -> Job:
    """The job on the first cells along each axis of what it reads."""
    from mpibatch.job.checks import slices
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


def told(machine: Machine, path: Path, ranks: int) -> list[str]:
    """Return the profile in words. Local."""
    triad = ", ".join(f"{rate:.3g} on {count}" for count, rate in machine.triad.items())
    lines = [f"{machine.name}: {machine.cpu}, {machine.cores_per_node} cores", f"  triad     {triad} (GB/s, by ranks)"]
    for words, links in (("messages", machine.links), ("far away", machine.internode)):
        if links is not None:
            lines.append(
                f"  {words}  {1e6 * links.latency:.2g} µs, {links.bandwidth / 1e9:.3g} GB/s, all-reduce "
                f"{1e6 * links.reduce_seconds():.2g} µs"
            )
    for words, rates in (("writing", machine.write), ("reading", machine.read)):
        speeds = ", ".join(f"{rate / 1e9:.3g} on {count}" for count, rate in rates.items())
        lines.append(f"  {words}   {speeds} (GB/s, by ranks; {machine.folder})")
    for work in machine.work:
        lines.append(
            f"{work.job}: {work.memory_per_cell:.3g} bytes a cell and {bytes_text(int(work.memory_fixed))} a rank"
        )
        for step in work.steps:
            speeds = ", ".join(f"{1e9 * each:.3g} on {count}" for count, each in step.seconds_per_cell.items())
            lines.append(
                f"  {step.name:<24} {speeds} (ns a cell, by ranks), {1e6 * step.seconds_per_call:.3g} µs a step"
            )
    return [*lines, f"written to {path}; next: mpibatch plan JOB.toml --ranks 1..1024"]
