"""What the runs of a study show that should not be concluded from, or that can be helped."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from mpibatch.base.units import plural, some
from mpibatch.tools.report.findings.finding import Remark
from mpibatch.tools.report.statistics import different
from mpibatch.tools.report.words import clean
from mpibatch.tools.scaling.records import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpibatch.tools.report.measures import Measures, Row

__all__ = ["CHECKS"]

FEW_RUNS = 5
WIDE = 0.10  # IQR / median above which nothing is concluded
IMBALANCE = 1.05  # slowest / mean of compute
WAITING = 0.05  # part of the time in halos above which it is asked for whom they wait
COMPILING = 0.10  # of the time
SHORT = 1.0  # seconds
BOUND = 0.7  # of the measured triad; and of the ideal gain in triad
FILES = 0.30  # part of the time in I/O


def _crowded(m: Measures) -> Iterator[Remark]:
    crowded, shared = [], []
    for row in m.rows:
        run = row.typical
        cores = int(number(run.binding.get("host_cores")) or number(m.study.machine.get("cores")))
        on_one = max(run.hosts.values(), default=row.point.ranks) * row.point.threads
        bound = int(number(run.binding.get("cores")))
        if cores and on_one > cores:
            crowded.append(f"{_at(m, row)} ({on_one} threads on {cores} cores)")
        elif bound and row.point.threads > bound:
            crowded.append(f"{_at(m, row)} ({row.point.threads} threads of a rank on {bound} of its cores)")
        elif run.binding.get("shared") is True and row.point.ranks > 1:
            shared.append(_at(m, row))
    if crowded:
        yield Remark(
            "warning",
            "oversubscribed",
            f"More threads than cores on {some(crowded)}. They take turns, and what waits for one of them waits long.",
            "Leave these points out when you speak of scaling, or use more nodes.",
        )
    if shared:
        yield Remark(
            "note",
            "binding-shared",
            f"On {some(shared)} the ranks of a host may use the same cores: the system moves them as it likes, which "
            "adds to the spread.",
            "Bind them: mpiexec -bind-to core (MPICH), --bind-to core (Open MPI), srun --cpu-bind=cores.",
        )


def _noise(m: Measures) -> Iterator[Remark]:
    few = [f"{_at(m, row)} ({row.time.count})" for row in m.rows if row.time.count < FEW_RUNS]
    if few:
        yield Remark(
            "warning",
            "few-runs",
            f"Fewer than {FEW_RUNS} runs on {some(few)}. Their intervals are guesses.",
            f"mpibatch scale --repeat {FEW_RUNS} makes those that are missing.",
        )
    wide = [f"{_at(m, row)} ({100 * row.time.relative:.0f} %)" for row in m.rows if row.time.relative > WIDE]
    if wide:
        yield Remark(
            "warning",
            "spread-wide",
            f"The times spread too far to conclude much from: half of the runs lie further apart than "
            f"{100 * WIDE:.0f} % of the median on {some(wide)}.",
            "Measure on a machine that does nothing else, bind the ranks, take longer runs, or more of them.",
        )
    same = [
        f"{narrower.label} and {wider.label}"
        for narrower, wider in pairwise(m.rows)
        if narrower.point.threads == wider.point.threads
        and min(narrower.time.count, wider.time.count) >= 4  # with fewer nothing can be told at 5 %, whatever it is
        and not m.is_weak  # where equal times are what is hoped for
        and not different(narrower.times, wider.times)
    ]
    if same:
        yield Remark(
            "warning",
            "inside-noise",
            f"Between {some(same)} {_word(m)} the difference in time is inside the noise (Mann–Whitney, 5 %).",
            "Do not say which is faster; more runs would tell.",
        )


def _above_one(m: Measures) -> Iterator[Remark]:
    for row in m.rows:
        if row.efficiency.value <= 1.0 or row.is_base:
            continue
        sentence = f"Efficiency on {row.label} {_word(m)} is {row.efficiency.value:.2f}, above 1"
        if row.efficiency.low <= 1.0:
            yield Remark(
                "note",
                "above-one-noise",
                f"{sentence}, but the interval from {row.efficiency.low:.2f} to {row.efficiency.high:.2f} holds 1: it "
                "is noise.",
                "Quote it as 1.",
            )
            continue
        has_io = "io" in row.split and "io" in m.base.split
        io = has_io and row.split["io"].mean < 0.5 * m.base.split["io"].mean
        guess = (
            "I/O became much faster with ranks, which is not what is meant by scaling"
            if io and m.base.share("io") > FILES
            else "less data per rank may fit into a cache that it did not fit into before, or the base was slowed down"
        )
        yield Remark(
            "warning",
            "above-one",
            f"{sentence}, and more than the spread ({row.efficiency.low:.2f} to {row.efficiency.high:.2f}) explains: "
            f"{guess}.",
            ("Compare the kernels' rates in the roofline with memory's; m" if m.roofs else "M")
            + "easure the base again; take a larger problem.",
        )


def _waiting(m: Measures) -> Iterator[Remark]:
    for row in m.rows:
        if row.point.ranks == 1 or not {"compute", "halo"} <= row.split.keys():
            continue
        compute, halo = row.split["compute"], row.split["halo"]
        longer = compute.slowest - compute.mean
        if (
            row.share("halo") > WAITING
            and compute.mean > 0
            and compute.slowest / compute.mean > IMBALANCE
            and longer > 0.3 * halo.mean
        ):
            yield Remark(
                "warning",
                "imbalance",
                f"On {row.label} {_word(m)} {100 * row.share('halo'):.0f} % of the time is spent in halos, but rank "
                f"{compute.slowest_rank} computes {100 * (compute.slowest / compute.mean - 1):.0f} % longer than the "
                "mean: the others wait for it, not for the network.",
                "Look for uneven blocks (mpibatch plan shows them), work that depends on the values, or a busy core; "
                "a faster network would not help.",
            )


def _inside(m: Measures) -> Iterator[Remark]:
    compiling = [
        f"{_at(m, row)} ({row.typical.compile_seconds:.1f} s of {row.time.median.value:.1f} s)"
        for row in m.rows
        if row.typical.compile_seconds > COMPILING * row.typical.total
    ]
    if compiling:
        yield Remark(
            "warning",
            "compiling",
            f"The times hold the compiling, or loading, of compiled code, which does not scale: on {some(compiling)}.",
            "Take longer runs, in which it does not matter. Where it is more than a second, it was compiled anew: let "
            "a run that does not count go first, and see that $MPIBATCH_CACHE_DIR can be written.",
        )
    if min(run.total for run in m.runs) < SHORT:
        yield Remark(
            "note",
            "short-runs",
            f"The shortest run took {1000 * min(run.total for run in m.runs):.0f} ms: starting, and the system's "
            "other business, weigh much in it.",
            f"Take more steps or a larger problem, so that the run on {m.widest.label} {_word(m)} takes some seconds.",
        )
    files = [f"{_at(m, row)} ({100 * row.share('io'):.0f} %)" for row in m.rows if row.share("io") > FILES]
    if files:
        yield Remark(
            "note",
            "files",
            f"Much of the time goes into files: on {some(files)}. What scales here is the file system as much as the "
            "program.",
            "Read the tables of phases and laps; write less often if computing is what you ask about.",
        )


def _memory_bound(m: Measures) -> Iterator[Remark]:
    """Memory that gives little more to more ranks, and kernels that take what it gives."""
    roofs = [roof for roof in m.roofs if roof.label == m.widest.label]
    before = [roof for roof in m.roofs if roof.label == m.base.label]
    if m.widest.is_base or not roofs or not before:
        return
    heaviest = max(roofs, key=lambda roof: roof.seconds)
    gain = heaviest.triad / before[0].triad
    if heaviest.share > BOUND and gain < BOUND * m.widest.ideal and heaviest.seconds > 0.25 * m.widest.typical.total:
        yield Remark(
            "note",
            "memory-bound",
            f"Memory sets the limit: it gives {heaviest.triad:.3g} GB/s to {m.widest.label} {_word(m)} and "
            f"{before[0].triad:.3g} to {m.base.label}, {gain:.2f} × as much, and the kernel "
            f"{clean(heaviest.kernel, 40)} takes {100 * heaviest.share:.0f} % of what that allows.",
            "More ranks on the same node will not help much; more nodes will, and so do fused steps (mb.iterate) and "
            "smaller types (f4).",
        )


def _filters(m: Measures) -> Iterator[Remark]:
    """Kernels, and filters along axes, over windows and of ranks by networks, count what they compute."""
    if any(run.kind == "pipeline" for run in m.runs) and not any(run.kernels for run in m.runs):
        yield Remark(
            "note",
            "no-roofline",
            "No step of the job counts flops and bytes, as most filters do: there is no roofline, and whether memory "
            "sets the limit is not told.",
            "Look in “Part by part” for the filter that gains least from more ranks; where that is no more than the "
            "triad gains, which mpibatch probe shows by ranks, memory is the likely limit.",
        )


def _at(m: Measures, row: Row) -> str:
    return plural(row.point.ranks, "rank") if m.by == "ranks" else f"{row.label} ranks × threads"


def _word(m: Measures) -> str:
    return "ranks" if m.by == "ranks" else "ranks × threads"


CHECKS: tuple[Callable[[Measures], Iterator[Remark]], ...] = (
    _crowded,
    _noise,
    _above_one,
    _waiting,
    _inside,
    _memory_bound,
    _filters,
)
