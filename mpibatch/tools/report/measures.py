"""From the runs of a study to what is said of them: speed-up, efficiency, where the seconds go.

The time of a run is that of its slowest rank, from the start of the job to its end, without the start of Python and
MPI. Speed is work per second, work is cells × steps: for a strong study that is one over the time, and in a weak study
points whose work is not quite in proportion are compared fairly all the same. The split of the seconds, and what is
sent, are those of one run, the one with the median time, so that its parts add up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.tools.report.fits import Fit, FitPoint, fit_all
from mpibatch.tools.report.statistics import Interval, Spread, median, ratio_of_medians, spread
from mpibatch.tools.scaling.records import Run, number

if TYPE_CHECKING:
    from mpibatch.tools.scaling.study import Point, Study

__all__ = ["PHASES", "Efficiencies", "Measures", "PhaseShare", "Roof", "Row", "measure"]

# In the order in which they are told; they add up to "total".
PHASES = ("compute", "compile", "pack", "halo", "reduce", "io", "other")
OF_OTHER = ("compile",)  # what older records have in "other"


@dataclass(frozen=True)
class PhaseShare:
    """Seconds of one phase: the mean over ranks, the most of a rank, and which rank that was."""

    mean: float
    slowest: float
    slowest_rank: int


@dataclass(frozen=True)
class Efficiencies:
    """What POP's factors are for one run, as far as they can be told without a trace; see `efficiencies`."""

    parallel: float
    load_balance: float
    communication: float
    computation: float | None = None  # POP's computation scaling; None where work is unknown


@dataclass(frozen=True)
class Roof:
    """One kernel at one point: operations per byte and per second, and what memory allows for that."""

    kernel: str
    label: str
    width: int
    intensity: float
    measured: float  # GFlop/s of all ranks together
    ceiling: float  # GFlop/s: triad × intensity
    triad: float  # GB/s of all ranks together
    triad_ranks: int  # ranks on a node on which the triad was measured
    seconds: float

    @property
    def share(self) -> float:
        """The measured rate as a part of what memory allows."""
        return self.measured / self.ceiling if self.ceiling else 0.0


@dataclass(frozen=True)
class Row:
    """All that is said of one point."""

    point: Point
    label: str
    width: int
    time: Spread
    work: float
    speedup: Interval
    efficiency: Interval
    ideal: float
    serial: float | None
    typical: Run
    split: Mapping[str, PhaseShare]
    pop: Efficiencies | None
    launch: float  # seconds that a user waits beyond the run itself: the start of Python and MPI
    bare: float | None = None  # speed-up of the times without loading compiled code; None where none was told
    is_base: bool = False

    @property
    def times(self) -> tuple[float, ...]:
        """The times of the runs, in their order."""
        return tuple(run.total for run in self.point.runs)

    @property
    def slowest_rank(self) -> int | None:
        """The rank that computed longest, in the run with the median time."""
        return self.split["compute"].slowest_rank if "compute" in self.split else None

    def share(self, phase: str) -> float:
        """The mean time of a phase as a part of the whole."""
        whole = sum(part.mean for part in self.split.values())
        return self.split[phase].mean / whole if phase in self.split and whole else 0.0

    def traffic(self, quantity: str, which: str = "total") -> float | None:
        """Messages or bytes that halos sent: of all ranks, or the most of one."""
        table = self.typical.traffic.get(quantity)
        return table[which] if table is not None and which in table else None

    def lap(self, name: str) -> float | None:
        """The median over the runs of the seconds of a lap; None where it was not told."""
        seconds = [run.laps[name] for run in self.point.runs if name in run.laps]
        return median(seconds) if seconds else None

    def predicted(self, quantity: str) -> float | None:
        """What was predicted before the run: its `seconds`, its `memory` or the `seconds_per_step`."""
        return number((self.typical.predicted or {}).get(quantity)) or None

    @property
    def seconds_per_step(self) -> float | None:
        """The median time of a step; of a pipeline, of all its filters."""
        parts = {name: self.lap(name) or 0.0 for name in self.typical.laps}
        if self.typical.kind == "pipeline":
            return sum(seconds for name, seconds in parts.items() if name not in ("reading", "writing")) or None
        return parts.get("steps", 0.0) / self.typical.steps or None if self.typical.steps else None

    def lost(self, base: Row) -> dict[str, float]:
        """Seconds of all ranks together, by phase, beyond those that the base takes for as much work."""
        scale = self.work / base.work
        return {
            phase: part.mean * self.point.ranks - base.split[phase].mean * base.point.ranks * scale
            for phase, part in self.split.items()
            if phase in base.split
        }


@dataclass(frozen=True)
class Measures:
    """A study with all that is computed from it."""

    study: Study
    rows: tuple[Row, ...]
    by: str  # what `width` counts: "ranks", or "cores" if the points have different numbers of threads
    fits: tuple[Fit, ...]
    roofs: tuple[Roof, ...]

    @property
    def base(self) -> Row:
        """The point that the others are compared with: the narrowest."""
        return next(row for row in self.rows if row.is_base)

    @property
    def widest(self) -> Row:
        """The point with the most ranks, or cores."""
        return max(self.rows, key=lambda row: row.width)

    @property
    def is_weak(self) -> bool:
        """Whether the work grows with the ranks."""
        return self.study.mode == "weak"

    @property
    def runs(self) -> tuple[Run, ...]:
        """All good runs."""
        return tuple(run for row in self.rows for run in row.point.runs)

    @property
    def commits(self) -> dict[str, list[str]]:
        """The commits at which runs were made, and on which points; the study's for records that tell none."""
        labels_by_commit: dict[str, list[str]] = {}
        for row in self.rows:
            for run in row.point.runs:
                point = run.raw.get("point")
                commit = point.get("commit") if isinstance(point, Mapping) else None
                labels = labels_by_commit.setdefault(commit if isinstance(commit, str) else self.study.commit, [])
                if row.label not in labels:
                    labels.append(row.label)
        return labels_by_commit


def measure(study: Study) -> Measures:
    """Return a study's figures. Local. Raises UsageError if it has no run that ended well. Needs scipy."""
    timed_points = [
        dataclasses.replace(point, runs=tuple(run for run in point.runs if run.total > 0)) for point in study.points
    ]
    points = [point for point in timed_points if point.runs and number(point.ranks) and number(point.threads)]
    if not all(run.cells for point in points for run in point.runs):  # work of some against a guess of others is noise
        points = [
            dataclasses.replace(point, runs=tuple(dataclasses.replace(run, cells=0) for run in point.runs))
            for point in points
        ]
    if not points:
        reason = study.failures[0].reason.strip().partition("\n")[0][:200] if study.failures else ""
        raise UsageError(
            f"the study {study.path} has no run that ended well"
            + (f" ({len(study.failures)} failed: {reason})" if study.failures else "")
            + f"; make its runs: mpibatch scale {study.source} --mode {study.mode} --ranks "
            + f"{','.join(map(str, study.counts))} --folder {study.path}"
        )
    by = "ranks" if len({point.threads for point in points}) == 1 else "cores"
    base = min(points, key=lambda point: (_width(point, by), point.ranks))
    rows = tuple(_row(point, base, by, study.mode) for point in sorted(points, key=lambda p: (_width(p, by), p.ranks)))
    samples = [
        FitPoint(row.width, tuple(time * rows[0].work / row.work if row.work else time for time in row.times))
        for row in rows
    ]
    return Measures(study, rows, by, tuple(fit_all(samples, study.mode)), tuple(_roofs(study, rows)))


def _width(point: Point, by: str) -> int:
    return point.ranks if by == "ranks" else point.ranks * point.threads


def _row(point: Point, base: Point, by: str, mode: str) -> Row:
    times, before = [run.total for run in point.runs], [run.total for run in base.runs]
    work, width = _work(point, mode), _width(point, by)
    ideal = width / _width(base, by)
    # speed = work / time, so that the times stand the other way round
    speedup = (
        Interval(1.0, 1.0, 1.0) if point is base else ratio_of_medians(before, times, scale=work / _work(base, mode))
    )
    typical = sorted(point.runs, key=lambda run: (run.total, run.repeat))[(len(point.runs) - 1) // 2]
    split = _split(typical)
    return Row(
        point=point,
        label=str(point.ranks) if by == "ranks" else f"{point.ranks} × {point.threads}",
        width=width,
        time=spread(times),
        work=work,
        speedup=speedup,
        efficiency=Interval(speedup.value / ideal, speedup.low / ideal, speedup.high / ideal),
        ideal=ideal,
        serial=serial_fraction(speedup.value, ideal, mode),
        typical=typical,
        split=split,
        pop=efficiencies(split, point, base, mode),
        launch=max(0.0, typical.launch_seconds - typical.total),
        bare=_bare(point, base, work / _work(base, mode)),
        is_base=point is base,
    )


def _work(point: Point, mode: str) -> float:
    """Cells × steps of a run; where that was not told, what the mode promises."""
    run = point.runs[0]
    updates = float(run.cells) * max(run.steps, 1)
    return updates or float(point.ranks if mode == "weak" else 1)


def _bare(point: Point, base: Point, work: float) -> float | None:
    """The speed-up of the times less the loading, or compiling, of compiled code, which no rank shares."""
    times, before = ([run.total - run.compile_seconds for run in p.runs] for p in (point, base))
    has_loading = any(run.compile_seconds for p in (point, base) for run in p.runs)
    return work * median(before) / median(times) if has_loading and min(*times, *before) > 0 else None


def _split(run: Run) -> dict[str, PhaseShare]:
    parts = {}
    for phase in PHASES:
        seconds = run.seconds.get(phase, {} if phase in OF_OTHER and run.seconds else None)
        if seconds is not None:
            slowest = seconds.get("slowest", 0.0)
            parts[phase] = PhaseShare(seconds.get("mean", slowest), slowest, int(seconds.get("slowest_rank", 0)))
    return parts


def serial_fraction(speedup: float, ideal: float, mode: str) -> float | None:
    """Return the serial fraction that one point shows by itself; None for the base. Local.

    Strong: Karp and Flatt, doi:10.1145/78607.78614. Weak: Gustafson's law, doi:10.1145/42411.42415, solved for it.
    """
    if ideal <= 1 or speedup <= 0:
        return None
    if mode == "weak":
        return (ideal - speedup) / (ideal - 1)
    return (1 / speedup - 1 / ideal) / (1 - 1 / ideal)


def efficiencies(split: Mapping[str, PhaseShare], point: Point, base: Point, mode: str) -> Efficiencies | None:
    """Return POP's efficiencies of a run, of its time without I/O. Local.

    POP (Performance Optimization and Productivity, https://co-design.pop-coe.eu/metrics): useful time is time outside
    MPI; load balance = mean useful / most useful; communication = most useful / runtime; parallel = their product;
    computation scaling = useful time of all ranks here against the base. Here useful is compute, compile, pack,
    other. Which rank's sum of these is largest is not recorded; it is taken to be the rank that computes longest, with
    the mean of the rest. How communication divides into waiting for others (serialization) and moving data (transfer)
    only a trace can tell.
    """
    if not all(phase in split for phase in PHASES):
        return None
    useful = _useful(split)
    runtime = sum(part.mean for phase, part in split.items() if phase != "io")
    most = min(useful + split["compute"].slowest - split["compute"].mean, runtime)
    if runtime <= 0 or most <= 0:
        return None
    before = sorted(base.runs, key=lambda run: (run.total, run.repeat))[(len(base.runs) - 1) // 2]
    alone = _split(before)
    known = all(phase in alone for phase in PHASES) and useful > 0
    per_work = _work(point, mode) / _work(base, mode)
    computation = _useful(alone) * base.ranks * per_work / (useful * point.ranks) if known else None
    return Efficiencies(useful / runtime, useful / most, most / runtime, computation)


def _useful(split: Mapping[str, PhaseShare]) -> float:
    return sum(split[phase].mean for phase in ("compute", "compile", "pack", "other"))


def _roofs(study: Study, rows: Sequence[Row]) -> list[Roof]:
    """Each kernel at each point against the triad that was measured on the machine."""
    triad = (study.profile_of_machine or {}).get("triad")
    if not isinstance(triad, Mapping):
        return []
    speeds = {int(ranks): number(speed) for ranks, speed in triad.items() if str(ranks).isdecimal() and number(speed)}
    if not speeds:
        return []
    roofs = []
    for row in rows:
        hosts = row.typical.hosts or {"": row.point.ranks}
        # One thread is one core's worth of loads, be it a rank's only one or one of several.
        crowd = max(hosts.values()) * row.point.threads
        nearest = max((ranks for ranks in speeds if ranks <= crowd), default=min(speeds))
        speed = speeds[nearest] * len(hosts)
        for kernel in row.typical.kernels:
            flops, moved = number(kernel.get("flops")), number(kernel.get("bytes"))
            cells, seconds = number(kernel.get("cells")), number(kernel.get("seconds"))
            if flops > 0 and moved > 0 and cells > 0 and seconds > 0:
                rate, intensity = flops * cells / seconds / 1e9, flops / moved
                name = str(kernel.get("name", "kernel"))
                ceiling = intensity * speed
                roofs.append(
                    Roof(
                        kernel=name,
                        label=row.label,
                        width=row.width,
                        intensity=intensity,
                        measured=rate,
                        ceiling=ceiling,
                        triad=speed,
                        triad_ranks=nearest,
                        seconds=seconds,
                    )
                )
    return roofs
