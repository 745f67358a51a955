"""A machine in numbers, and what jobs cost on it, as its profile tells them; see `mpibatch.tools.planning.profile`.

`triad` is in GB/s, by ranks of a node at once; latencies are in seconds, bandwidths in bytes per second between two
ranks that send to each other; `write` and `read` in bytes per second, by ranks; `touch` is what the first use of
memory costs each rank, in seconds per byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

__all__ = ["WARMUP_STEPS", "HaloTraffic", "JobWork", "Links", "Machine", "Rates", "StepLength", "StepWork", "by_ranks"]

WARMUP_STEPS = 160  # as many as `mpibatch.iterate` takes to find out how it is fastest


Rates = Mapping[int, float]


@dataclass(frozen=True)
class Links:
    """Messages: seconds until a small one is there, bytes per second of large ones, seconds of an all-reduce of two."""

    latency: float
    bandwidth: float
    allreduce: float = 0.0  # 0: two latencies

    def reduce_seconds(self) -> float:
        """The seconds of an all-reduce of two ranks. Local."""
        return self.allreduce or 2 * self.latency


@dataclass(frozen=True)
class HaloTraffic:
    """Halos that a step brings. `steps`: for how many steps one is enough; `times`: how many in a step."""

    widths: tuple[tuple[int, int], ...]
    corners: bool
    wraps: tuple[bool, ...]
    bytes_per_cell: int
    times: float
    steps: int = 1


@dataclass(frozen=True)
class StepWork:
    """What one step of a job costs a rank: by ranks on its node per cell, and whatever the number of cells."""

    name: str
    seconds_per_cell: Rates
    seconds_per_call: float = 0.0
    exchanges: tuple[HaloTraffic, ...] = ()
    reductions: float = 0.0


@dataclass(frozen=True)
class StepLength:
    """The time step of a simulation on a grid of so many cells along an axis; it goes with their `power`."""

    time: float
    side: float
    power: float

    def at(self, side: float) -> float:
        """The time step on another grid. Local."""
        return float(self.time * (side / self.side) ** self.power)


@dataclass(frozen=True)
class JobWork:
    """What a job costs, whatever its size.

    Attributes
    ----------
    key : of the job without its size; see `mpibatch.tools.planning.work`.
    shape, ranks : of the grid that was measured, and the most ranks.
    memory_per_cell, memory_fixed : bytes of a rank.
    memory_alone : the same of one rank alone, which has less around its cells; None: not known.
    fixed_seconds : of a run, once.
    output_per_cell : bytes of an output (a pipeline has one).
    reading, writing : seconds per byte of the whole, by ranks; none for simulations.
    step_length : of simulations.
    warmup : by ranks, seconds that the first WARMUP_STEPS steps of a simulation take beyond later ones, whatever the
        cells: `iterate` finds out how it is fastest.
    first_use : seconds per cell of a simulation's first pass beyond later ones: memory is used for the first time.
    """

    key: str
    job: str
    kind: str
    shape: tuple[int, ...]
    ranks: int
    steps: tuple[StepWork, ...]
    memory_per_cell: float
    memory_fixed: float
    fixed_seconds: float = 0.0
    output_per_cell: float = 0.0
    reading: Rates = field(default_factory=dict)
    writing: Rates = field(default_factory=dict)
    step_length: StepLength | None = None
    memory_alone: tuple[float, float] | None = None
    warmup: Rates = field(default_factory=dict)
    first_use: float = 0.0
    date: str = ""


@dataclass(frozen=True)
class Machine:
    """A machine's numbers; None or empty: not known. See the module's text for units."""

    name: str
    cores_per_node: int
    triad: Rates
    memory_per_node: int | None = None
    latency: float | None = None
    bandwidth: float | None = None
    allreduce: float | None = None
    internode: Links | None = None
    write: Rates = field(default_factory=dict)
    read: Rates = field(default_factory=dict)
    library_memory: int | None = None
    touch: Rates = field(default_factory=dict)
    host: str = ""
    cpu: str = ""
    folder: str = ""
    date: str = ""
    nodes: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)
    work: tuple[JobWork, ...] = ()

    @property
    def links(self) -> Links | None:
        """Messages within a node; None if they were not measured. Local."""
        if self.latency is None or self.bandwidth is None:
            return None
        return Links(self.latency, self.bandwidth, self.allreduce or 0.0)

    def work_of(self, key: str) -> JobWork | None:
        """What the job of this key costs, if that was measured. Local."""
        return next((work for work in self.work if work.key == key), None)

    def with_work(self, new: Sequence[JobWork]) -> Machine:
        """Return this with what jobs cost, in place of what was known of the same jobs. Local."""
        keys = {work.key for work in new}
        return replace(self, work=(*(work for work in self.work if work.key not in keys), *new))


def by_ranks(rates: Rates, ranks: int) -> float:
    """Return the rate of this number of ranks, else that of the nearest lower one, else of the lowest. Local."""
    lower = [count for count in rates if count <= ranks]
    return rates[max(lower)] if lower else rates[min(rates)]
