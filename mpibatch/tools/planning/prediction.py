"""What a job would need and take on any number of ranks of a machine: pure arithmetic, for the busiest rank.

A step takes the fullest rank's cells times the seconds per cell, plus the messages of the busiest rank at the
machine's latency and bandwidth, plus its all-reduces, which go with the logarithm of the ranks. Seconds per cell rise
with the ranks on a node as far as memory bandwidth is what they wait for: they are those that were measured, and
between and beyond the counts that were measured they follow the triad. Nothing overlaps, blocks never profit from
caches, and files are not written faster than with as many ranks as were measured: errors are on the slow side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.job.file.simulation import SimulationJob
from mpibatch.job.plan import Distribution, layout
from mpibatch.simulate.schedule import Clock
from mpibatch.tools.planning.machine import WARMUP_STEPS, Links, Machine, Rates, StepWork, by_ranks
from mpibatch.tools.planning.traffic import Traffic, fitted_to, halo_kept, traffic_of
from mpibatch.tools.planning.work import Subject, static_steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MARGIN", "Model", "Prediction", "seconds_per_cell"]

# Memory is predicted so much above what was measured: what lies idle between arrays differs from run to run.
MARGIN = 1.08


@dataclass(frozen=True)
class Prediction:
    """A job on so many ranks. None: not known.

    Attributes
    ----------
    ranks, nodes, topology, largest, smallest, imbalance, cells : who owns what; `cells` are the fullest rank's.
    memory_least : bytes of the fullest rank's values alone, as far as they are certain.
    memory, memory_node, fits : bytes of the fullest rank, and of a node full of such.
    messages, halo_bytes : sent by the busiest rank in a step (of a pipeline: in all filters).
    read_bytes, write_bytes : of the whole run.
    compute, halo, reduce, seconds_per_step : seconds of a step (of a pipeline: of all filters).
    steps, reading, writing, seconds : of the run.
    warmup : seconds that the first steps of a simulation take beyond `seconds_per_step`.
    """

    ranks: int
    nodes: int
    topology: tuple[int, ...]
    largest: tuple[int, ...]
    smallest: tuple[int, ...]
    imbalance: float
    cells: int
    messages: float
    halo_bytes: float
    read_bytes: int
    memory_least: int | None = None
    memory: int | None = None
    memory_node: int | None = None
    fits: bool | None = None
    write_bytes: int | None = None
    compute: float | None = None
    halo: float | None = None
    reduce: float | None = None
    seconds_per_step: float | None = None
    steps: int | None = None
    reading: float | None = None
    writing: float | None = None
    seconds: float | None = None
    warmup: float | None = None
    efficiency: float | None = None

    def mean_step(self) -> float | None:
        """Return the seconds of a step as a run measures them: the mean of all, warm-up included. Local."""
        if self.seconds_per_step is None or not self.steps:
            return self.seconds_per_step
        return self.seconds_per_step + (self.warmup or 0.0) / self.steps


class Model:
    """A job on a machine; the machine may be unknown. `home` is where the job was measured, if elsewhere."""

    def __init__(
        self, subject: Subject, machine: Machine | None = None, ranks_per_node: int = 0, home: Machine | None = None
    ) -> None:
        self.subject, self.machine = subject, machine
        self.home = home or machine
        self.work = subject.work
        self.steps: tuple[StepWork, ...] = self.work.steps if self.work else static_steps(subject)
        self.ranks_per_node = ranks_per_node or (machine.cores_per_node if machine else 0)
        self._traffic: dict[Any, Traffic] = {}
        self._known: dict[int, Prediction] = {}

    def at(self, ranks: int) -> Prediction:
        """Return what `ranks` ranks would need and take. Local. Raises UsageError if they do not fit the grid."""
        if ranks not in self._known:
            prediction = self._at(ranks)
            first = prediction if ranks == 1 else self._alone()
            if first is not None and first.seconds_per_step and prediction.seconds_per_step:
                speedup = first.seconds_per_step / prediction.seconds_per_step
                prediction = replace(prediction, efficiency=speedup / ranks)
            self._known[ranks] = prediction
        return self._known[ranks]

    def _alone(self) -> Prediction | None:
        try:
            return self.at(1)
        except UsageError:
            # The job fixes a process grid: one rank of it has the whole grid all the same.
            fixed = replace(self.subject, job=replace(self.subject.job, grid={}))
            return Model(fixed, self.machine, self.ranks_per_node, self.home).at(1)

    def quick(self, ranks: int) -> float:
        """Return what to compare numbers of ranks by: seconds of a step, or the fullest rank's cells. Local."""
        if self.work is None:
            return float(layout(self.subject.shape, ranks, self.subject.job.grid).cells)
        seconds = self.at(ranks).seconds_per_step
        assert seconds is not None
        return seconds

    def _at(self, ranks: int) -> Prediction:
        subject = self.subject
        if ranks > subject.cells:
            raise UsageError(
                f"{ranks} ranks are more than the {subject.cells} cells of the grid: ranks without cells only wait; "
                "give fewer"
            )
        spread = layout(subject.shape, ranks, subject.job.grid)
        node_ranks = min(ranks, self.ranks_per_node or ranks)
        traffic = [self._sent(step, spread, node_ranks) for step in self.steps]
        prediction = Prediction(
            ranks=ranks,
            nodes=-(-ranks // node_ranks),
            topology=spread.topology,
            largest=spread.largest,
            smallest=spread.smallest,
            imbalance=spread.imbalance,
            cells=spread.cells,
            messages=math.fsum(sent.messages for sent in traffic),
            halo_bytes=math.fsum(sent.bytes for sent in traffic),
            read_bytes=subject.cells * subject.cell_bytes,
            memory_least=spread.cells * _cell_at_least(subject) or None,
        )
        return self._costs(self._memory(prediction, spread, node_ranks), spread, node_ranks, traffic)

    def _sent(self, step: StepWork, spread: Distribution, node_ranks: int) -> Traffic:
        total = Traffic()
        for exchange in step.exchanges:
            fitted = fitted_to(exchange, spread)
            key = (spread.topology, fitted)
            if key not in self._traffic:
                self._traffic[key] = traffic_of(fitted, spread, node_ranks)
            total += self._traffic[key].times(fitted.times)
        return total

    def _memory(self, prediction: Prediction, spread: Distribution, node_ranks: int) -> Prediction:
        if self.work is None:
            return prediction
        cells = float(spread.cells)
        exchanges = [exchange for step in self.steps for exchange in step.exchanges]
        for axis, parts in enumerate(spread.topology):
            # Halos that the job had on fewer ranks too are in what was measured; those on cut axes may not be.
            if parts > 1:
                cells *= 1 + max((halo_kept(e, axis, spread) for e in exchanges), default=0) / spread.largest[axis]
        per_cell, fixed = self.work.memory_per_cell, self.work.memory_fixed
        if prediction.ranks == 1 and self.work.memory_alone is not None:
            per_cell, fixed = self.work.memory_alone
        memory = int(MARGIN * (fixed + per_cell * cells))
        room = self.machine.memory_per_node if self.machine else None
        return replace(
            prediction,
            memory=memory,
            memory_node=memory * node_ranks,
            fits=None if room is None else memory * node_ranks <= room,
        )

    def _costs(
        self, prediction: Prediction, spread: Distribution, node_ranks: int, traffic: Sequence[Traffic]
    ) -> Prediction:
        work, machine = self.work, self.machine
        if work is None or machine is None:
            return prediction
        compute = [
            step.seconds_per_call + spread.cells * self._cell_seconds(step.seconds_per_cell, node_ranks)
            for step in self.steps
        ]
        if self.subject.is_pipeline and machine.touch:
            # Every filter's result is memory that was not used before; the input's was, when it was read.
            fresh = max(0.0, work.memory_per_cell - self.subject.cell_bytes) * spread.cells
            compute.append(fresh * max(by_ranks(machine.touch, node_ranks), by_ranks(machine.touch, 1)))
        halo = [self._message_seconds(sent, node_ranks) for sent in traffic]
        reductions = math.fsum(step.reductions for step in self.steps)
        reduce = self._reduce_seconds(reductions, prediction.ranks, node_ranks)
        seconds = math.fsum(compute) + math.fsum(halo) + reduce
        steps = steps_of(self.subject)
        prediction = replace(
            prediction,
            compute=math.fsum(compute),
            halo=math.fsum(halo),
            reduce=reduce,
            seconds_per_step=seconds,
            steps=steps,
            warmup=self._warmup(spread.cells, node_ranks, steps),
            write_bytes=self._written(steps),
        )
        return self._whole(prediction)

    def _warmup(self, cells: int, node_ranks: int, steps: int | None) -> float | None:
        """Seconds of first steps beyond those of later ones; a run of few steps tries less."""
        assert self.work is not None
        if not self.work.warmup or steps is None:
            return None
        trying = by_ranks(self.work.warmup, node_ranks) * min(1.0, steps / WARMUP_STEPS)
        return trying + self.work.first_use * cells

    def _cell_seconds(self, rates: Rates, node_ranks: int) -> float:
        assert self.machine is not None
        assert self.home is not None
        return seconds_per_cell(rates, node_ranks, self.home.triad, self.machine.triad)

    def _links(self) -> tuple[Links, Links] | None:
        """Messages within a node and between two; where only one of them was measured, it stands for both."""
        assert self.machine is not None
        near, far = self.machine.links or self.machine.internode, self.machine.internode or self.machine.links
        return (near, far) if near is not None and far is not None else None

    def _message_seconds(self, sent: Traffic, node_ranks: int) -> float:
        assert self.machine is not None
        links = self._links()
        if links is None or not sent.messages:
            return 0.0
        near, far = links
        seconds = (sent.messages - sent.far_messages) * near.latency + (sent.bytes - sent.far_bytes) / near.bandwidth
        # All ranks of a node share its way out.
        sharing = node_ranks if self.machine.internode else 1
        return seconds + sent.far_messages * far.latency + sharing * sent.far_bytes / far.bandwidth

    def _reduce_seconds(self, times: float, ranks: int, node_ranks: int) -> float:
        links = self._links()
        if links is None or ranks == 1:
            return 0.0
        near, far = links
        nodes = -(-ranks // node_ranks)
        return times * (near.reduce_seconds() * math.log2(node_ranks) + far.reduce_seconds() * math.log2(nodes))

    def _written(self, steps: int | None) -> int | None:
        assert self.work is not None
        outputs: int | None = 1
        if isinstance(self.subject.job, SimulationJob):
            outputs = outputs_of(self.subject.job, steps)
        return None if outputs is None else int(self.work.output_per_cell * self.subject.cells * outputs)

    def _whole(self, prediction: Prediction) -> Prediction:
        """Add the seconds of the run, as far as they are known."""
        assert self.work is not None
        assert self.machine is not None
        reading, writing = 0.0 if not prediction.read_bytes else None, None
        if prediction.read_bytes and self.work.reading:
            reading = prediction.read_bytes * by_ranks(self.work.reading, prediction.ranks)
        if prediction.write_bytes is not None:
            if self.work.writing:
                writing = prediction.write_bytes * by_ranks(self.work.writing, prediction.ranks)
            elif self.machine.write:
                writing = prediction.write_bytes / by_ranks(self.machine.write, prediction.ranks)
        prediction = replace(prediction, reading=reading, writing=writing)
        each = prediction.mean_step()
        if reading is None or writing is None or prediction.steps is None or each is None:
            return prediction
        return replace(prediction, seconds=self.work.fixed_seconds + reading + writing + prediction.steps * each)


def seconds_per_cell(rates: Rates, ranks: int, home: Rates, triad: Rates) -> float:
    """Return the seconds that a cell takes on each of `ranks` ranks of a node. Local.

    `rates` were measured on a machine whose triad is `home`, for one of the given `triad`. The share of the time that
    follows memory bandwidth is found from how much slower cells became as ranks were added.
    """
    least = min(rates)
    alone, most = rates[least], max(rates)
    slower_here = _slowdown(home, most, least)
    share = 1.0
    if most > least and slower_here > 1.0:
        share = min(1.0, max(0.0, (rates[most] / alone - 1) / (slower_here - 1)))
    if triad is home or triad == home:
        # What was measured holds; ranks between two counts are as the next more.
        if ranks in rates or ranks < most:
            upper_rates = [rates[count] for count in sorted(rates) if count >= ranks]
            return max(upper_rates[0], alone)
        return max(alone, *rates.values()) * (1 - share + share * max(1.0, _slowdown(home, ranks, most)))
    faster = by_ranks(home, least) / least / (by_ranks(triad, least) / least)
    return alone * faster * (1 - share + share * max(1.0, _slowdown(triad, ranks, least)))


def _slowdown(triad: Rates, ranks: int, base: int) -> float:
    """How much less bandwidth each of `ranks` ranks has than each of `base`; beyond what was measured it is shared."""
    per_rank = [by_ranks(triad, count) / count for count in (base, ranks)]
    return per_rank[0] / per_rank[1]


def _cell_at_least(subject: Subject) -> int:
    """Bytes that each cell takes for certain; 0 if nothing is."""
    job = subject.job
    if isinstance(job, SimulationJob):
        # A program of the package has a field of its dtype, others may have what they like.
        return 0 if job.program.name.endswith(".py") else np.dtype(subject.dtype).itemsize
    return subject.cell_bytes  # the input; the first filter's result comes beside it


def steps_of(subject: Subject) -> int | None:
    """Return about how many steps a job makes; None if that cannot be told. Local."""
    job = subject.job
    if not isinstance(job, SimulationJob):
        return 1
    schedule = job.schedule
    if schedule.until is None:
        return schedule.steps
    given = getattr(job.parameters, "dt", None)
    length = float(given) if isinstance(given, float) and given > 0 else None
    if length is None and subject.work is not None and subject.work.step_length is not None:
        length = subject.work.step_length.at(side_of(subject.shape))
    return None if length is None else max(1, Clock(schedule).expected(length))


def outputs_of(job: SimulationJob, steps: int | None) -> int | None:
    """Return how many outputs a simulation makes; None if that cannot be told. Local."""
    every = job.schedule.output
    known = job.schedule.outputs()
    if known is not None:
        return known
    return 1 + math.ceil(steps / every.steps) if every.steps is not None and steps is not None else None


def side_of(shape: Sequence[int]) -> float:
    """The geometric mean of the cells along axes of more than one. Local."""
    wide = [n for n in shape if n > 1] or [1]
    return float(math.prod(wide) ** (1 / len(wide)))


def as_record(prediction: Prediction) -> Mapping[str, Any]:
    """Return a prediction as JSON holds it, without what is not known. Local."""
    return {key: value for key, value in vars(prediction).items() if value is not None}
