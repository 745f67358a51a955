"""What jobs cost on this machine: their own steps, on a part of the input or a smaller grid, by one rank and by all.

A job is run on three sizes: a tiny one, which compiles, and tells what a step costs whatever its cells; a quarter; and
one that is well beyond the caches. Memory per cell is what the tiny one and the last one differ by.
"""

from __future__ import annotations

import math
import os
import statistics
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mpibatch.base.errors import MpibatchError, RunError, UsageError
from mpibatch.base.host import cpu_model
from mpibatch.base.units import bytes_text
from mpibatch.job.file.simulation import SimulationJob
from mpibatch.job.plan import layout
from mpibatch.mpi import MPI, agreed, private
from mpibatch.stencil.choices import forget_choices, known_choices, timed_anew
from mpibatch.tools.planning import measurement
from mpibatch.tools.planning.machine import WARMUP_STEPS, JobWork, Machine, StepLength, StepWork
from mpibatch.tools.planning.measurement import alone
from mpibatch.tools.planning.prediction import Model, side_of
from mpibatch.tools.planning.profile import load, save
from mpibatch.tools.planning.samples import Group, ProbeSample, Sampler, stepping
from mpibatch.tools.planning.work import CELLS, SHAPE, Subject, key_of, subject_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mpibatch.job.file.schema import Job

__all__ = ["ProbeRequest", "describe", "probe", "work_of"]

UNTRIED = 64 << 20  # bytes of code and buffers of fused steps, where there were too few steps to try them
LEAST_SHARE = 0.5  # of a step that is spent on cells, whatever messages and calls seem to take
LONGEST_FIXED = 3.0  # seconds: what is beyond was compiling, which later runs are spared
MOST_CHOICES = 12  # lines about what was found for kernels


@dataclass(frozen=True)
class ProbeRequest:
    """How to probe: the profile's file, where to write for a moment, the machine's name, seconds for a job."""

    path: Path
    folder: str = "."
    name: str | None = None
    seconds: float = 8.0
    anew: bool = False


def probe(comm: MPI.Intracomm, jobs: Sequence[Job | SimulationJob], request: ProbeRequest) -> Machine:
    """Measure the machine and the jobs, and put them into the profile. Collective. Returns the whole profile."""
    with agreed(comm, f"probing {request.folder}"):
        if not os.access(request.folder, os.W_OK | os.X_OK):
            raise RunError(f"the folder {request.folder!r} is not there, or not writable; name another with --folder")
    if request.anew:
        forget_choices()
    machine, kept = _known(comm, request)
    if machine is None:
        machine = measurement.machine_of(comm, request.folder, request.name).with_work(kept)
    elif request.name:
        machine = replace(machine, name=request.name)
    _save(comm, request.path, machine)
    for job in jobs:
        machine = machine.with_work([work_of(comm, job, machine, request)])
        _save(comm, request.path, machine)
    return machine


def _known(comm: MPI.Intracomm, request: ProbeRequest) -> tuple[Machine | None, tuple[JobWork, ...]]:
    """The profile that is there, if nothing of it is to be measured again, and what jobs cost in it. Collective."""
    profile, node_ranks = None, _count_node_ranks(comm)
    is_enough = False
    with agreed(comm, f"reading {request.path}"):
        if comm.rank == 0 and (profile := _read(request)) is not None:
            is_ours = (profile.cpu, profile.cores_per_node) == (cpu_model(), measurement.cores())
            if not is_ours and not request.anew:
                raise UsageError(
                    f"{request.path} is the profile of {profile.name} ({profile.cpu or 'another processor'}, "
                    f"{profile.cores_per_node} cores), not of this machine; give --output, or --anew to replace it"
                )
            knows_links = profile.links is not None or node_ranks == 1
            knows_all = (
                max(profile.triad) >= node_ranks and knows_links and profile.nodes >= -(-comm.size // node_ranks)
            )
            is_enough = knows_all and not request.anew
            profile = profile if is_ours else None
    kept: Machine | None
    kept, is_enough = comm.bcast((profile, is_enough), root=0)
    return kept if is_enough else None, kept.work if kept is not None else ()


def _read(request: ProbeRequest) -> Machine | None:
    """The profile, if there is one; one that is to be replaced need not be readable."""
    try:
        return load(request.path) if request.path.exists() else None
    except MpibatchError:
        if request.anew:
            return None
        raise


def _count_node_ranks(comm: MPI.Intracomm) -> int:
    """The most ranks on a node. Collective."""
    node = measurement.node_of(comm)
    most = int(comm.allreduce(node.size, op=MPI.MAX))
    node.Free()
    return most


def _save(comm: MPI.Intracomm, path: Path, machine: Machine) -> None:
    with agreed(comm, f"writing {path}"):
        if comm.rank == 0:
            save(path, machine)


def work_of(comm: MPI.Intracomm, job: Job | SimulationJob, machine: Machine, request: ProbeRequest) -> JobWork:
    """Return what a job costs. Collective. Leaves no files."""
    subject = None
    with agreed(comm, f"probing {job.source}"):
        subject = _subject(job, machine)
    # Cells of another shape have other choices, and what these take, memory for trials too, is what is to be predicted.
    with measurement.scratch(comm, request.folder) as where, timed_anew():
        return _Probing(comm, subject, machine, where, request.seconds).work()


def _subject(job: Job | SimulationJob, machine: Machine) -> Subject:
    """The job with its grid. A program that makes its grid from `cells` has it tell in the tiny run."""
    cells = getattr(job.parameters, CELLS, None) if isinstance(job, SimulationJob) else None
    if isinstance(cells, int) and not hasattr(job.parameters, SHAPE):  # type: ignore[union-attr]
        assert isinstance(job, SimulationJob)
        return Subject(job, key_of(job), (cells,), 0, "f8", (False,))
    return subject_of(job, replace(machine, work=()))


class _Probing:
    """One job on all ranks of a communicator."""

    def __init__(self, comm: MPI.Intracomm, subject: Subject, machine: Machine, where: Path, seconds: float) -> None:
        self.comm, self.subject, self.machine, self.seconds = comm, subject, machine, seconds
        self.sampler = Sampler(subject, where)
        self.node_ranks = _count_node_ranks(comm)

    def work(self) -> JobWork:
        """Measure it. Collective."""
        budget = self.seconds / (1 if self.comm.size == 1 else 2)
        doing = f"probing {self.subject.job.source}"
        groups = [alone(self.comm, doing, lambda: self.sampler.group(private(MPI.COMM_SELF), budget))]
        if self.comm.size > 1:
            # Only rank 0 has met a grid yet.
            self.sampler.axes = len(groups[0].shape)
            groups.append(self.sampler.group(self.comm, budget))
        return self._put_together(groups)

    def _put_together(self, groups: list[Group]) -> JobWork:
        """From samples by one rank, and by all if there are more."""
        subject, single = self.subject, groups[0]
        # By ranks on a node: where each has one, what all take is what one takes.
        by_node = {1: single} if self.node_ranks == 1 else {1: single, self.node_ranks: groups[-1]}
        is_simulation = self.sampler.is_simulation
        whole, cells = single.wholes[0], math.prod(single.shape)
        memory, written = [group.memory() for group in groups], single.largest.written / math.prod(single.largest.shape)
        fixed = max(least for _, least in memory)
        steps = []
        for name in stepping(whole):
            call, seconds = single.per_call(name), single.seconds(name)
            per_cell = max(seconds - call, LEAST_SHARE * seconds) / cells
            reductions = whole.reductions.get(name, 0) / whole.steps
            steps.append(StepWork(name, {1: per_cell}, call, whole.exchanges.get(name, ()), reductions))
        work = JobWork(
            key=subject.key,
            job=subject.job.source,
            kind="simulation" if is_simulation else "pipeline",
            shape=whole.shape,
            ranks=self.comm.size,
            steps=tuple(steps),
            memory_alone=(memory[0][0], fixed + self._untried([single])),  # which has less around its cells
            memory_per_cell=max(slope for slope, _ in memory),
            memory_fixed=fixed + self._untried(groups),
            fixed_seconds=min(LONGEST_FIXED, max(0.0, single.first.whole - single.tiny.whole)),
            output_per_cell=written,
            reading=self._rates(groups, "reading", subject.cell_bytes),
            writing=self._rates(groups, "writing", written),
            step_length=_length(single.tiny if single.quarter.shape == whole.shape else single.quarter, whole)
            if is_simulation
            else None,
            warmup={n: group.warmup()[1] for n, group in by_node.items()} if is_simulation else {},
            first_use=statistics.mean(group.warmup()[0] for group in groups) if is_simulation else 0.0,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return work if self.node_ranks == 1 else self._with_all(work, groups[-1], self.node_ranks)

    def _untried(self, groups: list[Group]) -> int:
        """Bytes for what longer runs do that these did not."""
        wholes = [group.wholes[0] for group in groups]
        fused = [exchange.steps > 1 for sample in wholes for lap in sample.exchanges.values() for exchange in lap]
        few = self.sampler.is_simulation and min(sample.steps for sample in wholes) < WARMUP_STEPS
        return UNTRIED if few and not any(fused) else 0

    def _rates(self, groups: list[Group], name: str, cell_bytes: float) -> dict[int, float]:
        """Seconds per byte of the whole file, by ranks."""
        rates = {}
        for group in groups:
            taken = [sample.seconds[name] for sample in group.wholes if name in sample.seconds]
            if taken and cell_bytes:
                rates[group.ranks] = statistics.median(taken) / (math.prod(group.shape) * cell_bytes)
        return rates

    def _with_all(self, work: JobWork, group: Group, node_ranks: int) -> JobWork:
        """Add the seconds per cell by all ranks: what is left when modeled messages are taken away."""
        steps = []
        whole = replace(self.subject, shape=group.shape, job=replace(self.subject.job, grid={}))
        cells = layout(group.shape, self.comm.size, {}).cells
        for step in work.steps:
            subject = replace(whole, work=replace(work, steps=(step,)))
            modeled = Model(subject, self.machine, node_ranks).at(self.comm.size)
            seconds = group.seconds(step.name)
            left = seconds - step.seconds_per_call - (modeled.halo or 0.0) - (modeled.reduce or 0.0)
            per_cell = max(left, LEAST_SHARE * seconds) / cells
            steps.append(replace(step, seconds_per_cell={**step.seconds_per_cell, node_ranks: per_cell}))
        return replace(work, steps=tuple(steps))


def _length(quarter: ProbeSample, whole: ProbeSample) -> StepLength:
    """How the time step goes with the cells along an axis."""
    small, large = side_of(quarter.shape), side_of(whole.shape)
    power = math.log(whole.dt / quarter.dt) / math.log(large / small) if large > small and quarter.dt > 0 else 0.0
    return StepLength(whole.dt, large, round(power, 2))


def describe(machine: Machine, path: Path, ranks: int) -> list[str]:
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
    choices = known_choices()
    lines += [f"  {line}" for line in choices[:MOST_CHOICES]]
    if len(choices) > MOST_CHOICES:
        lines.append(f"  and {len(choices) - MOST_CHOICES} more choices of kernels; --anew has them timed again")
    return [*lines, f"written to {path}; next: mpibatch plan JOB.toml --ranks 1..1024"]
