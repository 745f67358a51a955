"""What a reader of a study should not believe, or should do: each finding with its words and what to do about it.

A finding is made from what the records hold, and names the figures it rests on. The thresholds are constants here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from mpibatch.tools.report.measures import Measures, Row
from mpibatch.tools.report.statistics import different, drift, median
from mpibatch.tools.report.words import clean
from mpibatch.tools.scaling.records import number
from mpibatch.tools.scaling.study import missing
from mpibatch.tools.scaling.summary import alike

__all__ = ["Finding", "find"]

FEW_RUNS = 5
WIDE = 0.10  # IQR / median above which nothing is concluded
UNEVEN_WORK = 0.02  # of work per rank in a weak study
IMBALANCE = 1.05  # slowest / mean of compute
WAITING = 0.05  # part of the time in halos above which it is asked for whom they wait
NEWLINE = "\n"
DRIFT_CHANGE, DRIFT_CHANCE = 0.03, 0.01
COLD = 1.15  # first run of a point / median of the others
COMPILING = 0.10  # of the time
SHORT = 1.0  # seconds
BOUND = 0.7  # of the measured triad; and of the ideal gain in triad
FILES = 0.30  # part of the time in I/O


@dataclass(frozen=True)
class Finding:
    """`level` is error (the promise is broken), warning (do not conclude) or note (good to know)."""

    level: str
    key: str
    words: str
    advice: str


def find(measures: Measures) -> list[Finding]:
    """Return all findings, errors first. Local."""
    findings = [finding for check in _CHECKS for finding in check(measures)]
    return sorted(findings, key=lambda finding: ("error", "warning", "note").index(finding.level))


def _digests(m: Measures) -> Iterator[Finding]:
    for group in alike((row.point for row in m.rows), m.study.mode):
        counts: dict[str, list[str]] = {}
        for run in group:
            if not run.digest:
                continue
            counts.setdefault(run.digest, []).append(f"{run.ranks} × {run.threads} run {run.repeat}")
        if len(counts) > 1:
            digests = "; ".join(f"{digest[:12]} ({_some(names)})" for digest, names in sorted(counts.items()))
            yield Finding(
                "error",
                "outputs-differ",
                f"The outputs differ between runs of the same work, although one answer on any number of ranks is "
                f"promised: {digests}.",
                "Compare the versions and hosts below: equal bits are promised for one set of versions on one kind of "
                "machine. If they are the same, look for values that depend on the rank, or on time, in the job's own "
                "functions; find the dataset with mpibatch info --digest. Do not use these results until it is clear.",
            )
    if not any(run.digest for run in m.runs):
        yield Finding(
            "note",
            "no-digests",
            "The records hold no digests of the outputs, so that nothing is said here about equal results.",
            "Make the runs again with this version of mpibatch.",
        )


def _absent(m: Measures) -> Iterator[Finding]:
    for failure in m.study.failures[:5]:
        yield Finding(
            "warning",
            "run-failed",
            f"Run {failure.repeat} on {_count(failure.ranks, 'rank')} × {_count(failure.threads, 'thread')} failed: "
            f"{clean(failure.reason.strip().partition(NEWLINE)[0], 200)}.",
            f"Its log is {m.study.path.name}/points/r{failure.ranks:05d}-t{failure.threads}/"
            f"run-{failure.repeat:02d}.log; the same mpibatch scale makes it again.",
        )
    missing_runs = missing(m.study)
    failed = {(failure.ranks, failure.threads, failure.repeat) for failure in m.study.failures}
    waiting = [key for key in missing_runs if key not in failed]
    if waiting:
        of = _some([f"{ranks} × {threads}" for ranks, threads in sorted({key[:2] for key in waiting})])
        yield Finding(
            "warning",
            "runs-missing",
            f"{_count(len(waiting), 'run')} that {'was' if len(waiting) == 1 else 'were'} asked for "
            f"{'is' if len(waiting) == 1 else 'are'} not there (ranks × threads: {of}).",
            "The same mpibatch scale makes what is missing.",
        )


def _base(m: Measures) -> Iterator[Finding]:
    if m.base.width > 1:
        yield Finding(
            "warning",
            "base-missing",
            f"There is no point on 1 {m.by.removesuffix('s')}: speed-up is against {m.base.width}, so that what is "
            f"lost between 1 and {m.base.width} does not show.",
            "Add 1 to --ranks; if the job does not fit into one rank's memory, say so where you quote these figures.",
        )
    if len(m.rows) == 1:
        yield Finding(
            "warning", "one-point", "There is one point only: nothing can be said about scaling.", "Add --ranks."
        )


def _work(m: Measures) -> Iterator[Finding]:
    per_rank = {row.label: row.work / row.width for row in m.rows}
    if m.is_weak:
        least, most = min(per_rank.values()), max(per_rank.values())
        if least > 0 and most / least - 1 > UNEVEN_WORK:
            few, many = min(per_rank, key=per_rank.__getitem__), max(per_rank, key=per_rank.__getitem__)
            yield Finding(
                "warning",
                "work-not-constant",
                f"Work per rank is not constant, as it should be in a weak study: {per_rank[few]:.4g} cell updates on "
                f"{few}, {per_rank[many]:.4g} on {many} ({100 * (most / least - 1):.0f} % more).",
                "Speed-up and efficiency here are of work per second, which takes it into account; the times cannot "
                "be compared as they are. Choose sizes that grow in proportion.",
            )
    elif len({row.work for row in m.rows}) > 1:
        updates = ", ".join(f"{row.work:.4g} on {row.label}" for row in m.rows)
        yield Finding(
            "warning",
            "work-differs",
            f"The points of a strong study did different work (cells × steps: {updates}).",
            "Speed-up here is of work per second. Give the job a fixed number of steps instead of an end that depends "
            "on the time step.",
        )


def _crowded(m: Measures) -> Iterator[Finding]:
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
        yield Finding(
            "warning",
            "oversubscribed",
            f"More threads than cores on {_some(crowded)}. They take turns, and what waits for one of them waits long.",
            "Leave these points out when you speak of scaling, or use more nodes.",
        )
    if shared:
        yield Finding(
            "note",
            "binding-shared",
            f"On {_some(shared)} the ranks of a host may use the same cores: the system moves them as it likes, which "
            "adds to the spread.",
            "Bind them: mpiexec -bind-to core (MPICH), --bind-to core (Open MPI), srun --cpu-bind=cores.",
        )


def _noise(m: Measures) -> Iterator[Finding]:
    few = [f"{_at(m, row)} ({row.time.count})" for row in m.rows if row.time.count < FEW_RUNS]
    if few:
        yield Finding(
            "warning",
            "few-runs",
            f"Fewer than {FEW_RUNS} runs on {_some(few)}. Their intervals are guesses.",
            f"mpibatch scale --repeat {FEW_RUNS} makes those that are missing.",
        )
    wide = [f"{_at(m, row)} ({100 * row.time.relative:.0f} %)" for row in m.rows if row.time.relative > WIDE]
    if wide:
        yield Finding(
            "warning",
            "spread-wide",
            f"The times spread too far to conclude much from: half of the runs lie further apart than "
            f"{100 * WIDE:.0f} % of the median on {_some(wide)}.",
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
        yield Finding(
            "warning",
            "inside-noise",
            f"Between {_some(same)} {_word(m)} the difference in time is inside the noise (Mann–Whitney, 5 %).",
            "Do not say which is faster; more runs would tell.",
        )


def _above_one(m: Measures) -> Iterator[Finding]:
    for row in m.rows:
        if row.efficiency.value <= 1.0 or row.is_base:
            continue
        sentence = f"Efficiency on {row.label} {_word(m)} is {row.efficiency.value:.2f}, above 1"
        if row.efficiency.low <= 1.0:
            yield Finding(
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
        yield Finding(
            "warning",
            "above-one",
            f"{sentence}, and more than the spread ({row.efficiency.low:.2f} to {row.efficiency.high:.2f}) explains: "
            f"{guess}.",
            ("Compare the kernels' rates in the roofline with memory's; m" if m.roofs else "M")
            + "easure the base again; take a larger problem.",
        )


def _waiting(m: Measures) -> Iterator[Finding]:
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
            yield Finding(
                "warning",
                "imbalance",
                f"On {row.label} {_word(m)} {100 * row.share('halo'):.0f} % of the time is spent in halos, but rank "
                f"{compute.slowest_rank} computes {100 * (compute.slowest / compute.mean - 1):.0f} % longer than the "
                "mean: the others wait for it, not for the network.",
                "Look for uneven blocks (mpibatch plan shows them), work that depends on the values, or a busy core; "
                "a faster network would not help.",
            )


def _unlike(m: Measures) -> Iterator[Finding]:
    versions: dict[str, set[str]] = {}
    for run in m.runs:
        for name, version in run.versions.items():
            versions.setdefault(name, set()).add(version)
        if run.mpi:
            versions.setdefault("MPI", set()).add(run.mpi)
    mixed = [
        f"{name} {' and '.join(sorted(variants))}" for name, variants in sorted(versions.items()) if len(variants) > 1
    ]
    if mixed:
        yield Finding(
            "warning",
            "versions-differ",
            f"Runs were made with different versions: {'; '.join(mixed)}.",
            "Compare like with like: make a new study with one of them.",
        )
    if len(m.commits) > 1:
        commits = "; ".join(f"{_commit(commit) or 'none'} on {_some(labels)}" for commit, labels in m.commits.items())
        yield Finding(
            "warning",
            "commits-differ",
            f"Runs were made at different commits: {commits}.",
            "What changed between them may show as scaling: make a new study at one of them.",
        )
    hosts = {row.label: {host for run in row.point.runs for host in run.hosts} for row in m.rows}
    apart = [
        f"{label} ({_some(sorted(hosts[label]))}) and {following} ({_some(sorted(hosts[following]))})"
        for label, following in pairwise(hosts)
        if hosts[label] and hosts[following] and not hosts[label] & hosts[following]
    ]
    if apart:
        yield Finding(
            "warning",
            "hosts-differ",
            f"Points were measured on different hosts: {_some(apart)}.",
            "If the hosts are of one kind, this is fine; else measure all points on the same ones "
            "(a profile's constraint).",
        )


def _order(m: Measures) -> Iterator[Finding]:
    dated = [[run.total for run in sorted(row.point.runs, key=lambda run: (run.date, run.repeat))] for row in m.rows]
    cold = [times[0] / median(times[1:]) for times in dated if len(times) >= 3]
    is_cold = bool(cold) and median(cold) > COLD
    if is_cold:
        yield Finding(
            "warning",
            "cold-start",
            f"First runs are slow: {median(cold):.2f} × the median of the later ones.",
            "Compiled code, the file cache or the processor's clock were cold; the medians hardly feel it, "
            "mean values would. Let a run that does not count go first.",
        )
    change, chance = drift([times[1:] for times in dated] if is_cold else dated)
    if chance < DRIFT_CHANCE and abs(change) > DRIFT_CHANGE:
        slower = "slower" if change > 0 else "faster"
        yield Finding(
            "warning",
            "drift",
            f"The machine became {slower} while the study ran: later runs took {100 * abs(change):.0f} % "
            f"{'more' if change > 0 else 'less'} time (p = {chance:.3f}).",
            "Heat and the processor's clock, or other users. Runs that go round over all counts feel it alike; "
            "measure again when the machine is quiet.",
        )


def _inside(m: Measures) -> Iterator[Finding]:
    compiling = [
        f"{_at(m, row)} ({row.typical.compile_seconds:.1f} s of {row.time.median.value:.1f} s)"
        for row in m.rows
        if row.typical.compile_seconds > COMPILING * row.typical.total
    ]
    if compiling:
        yield Finding(
            "warning",
            "compiling",
            f"The times hold the compiling, or loading, of compiled code, which does not scale: on {_some(compiling)}.",
            "Take longer runs, in which it does not matter. Where it is more than a second, it was compiled anew: let "
            "a run that does not count go first, and see that $MPIBATCH_CACHE_DIR can be written.",
        )
    if min(run.total for run in m.runs) < SHORT:
        yield Finding(
            "note",
            "short-runs",
            f"The shortest run took {1000 * min(run.total for run in m.runs):.0f} ms: starting, and the system's "
            "other business, weigh much in it.",
            f"Take more steps or a larger problem, so that the run on {m.widest.label} {_word(m)} takes some seconds.",
        )
    files = [f"{_at(m, row)} ({100 * row.share('io'):.0f} %)" for row in m.rows if row.share("io") > FILES]
    if files:
        yield Finding(
            "note",
            "files",
            f"Much of the time goes into files: on {_some(files)}. What scales here is the file system as much as the "
            "program.",
            "Read the tables of phases and laps; write less often if computing is what you ask about.",
        )


def _memory_bound(m: Measures) -> Iterator[Finding]:
    """Memory that gives little more to more ranks, and kernels that take what it gives."""
    roofs = [roof for roof in m.roofs if roof.label == m.widest.label]
    before = [roof for roof in m.roofs if roof.label == m.base.label]
    if m.widest.is_base or not roofs or not before:
        return
    heaviest = max(roofs, key=lambda roof: roof.seconds)
    gain = heaviest.triad / before[0].triad
    if heaviest.share > BOUND and gain < BOUND * m.widest.ideal and heaviest.seconds > 0.25 * m.widest.typical.total:
        yield Finding(
            "note",
            "memory-bound",
            f"Memory sets the limit: it gives {heaviest.triad:.3g} GB/s to {m.widest.label} {_word(m)} and "
            f"{before[0].triad:.3g} to {m.base.label}, {gain:.2f} × as much, and the kernel "
            f"{clean(heaviest.kernel, 40)} takes {100 * heaviest.share:.0f} % of what that allows.",
            "More ranks on the same node will not help much; more nodes will, and so do fused steps (mb.iterate) and "
            "smaller types (f4).",
        )


def _filters(m: Measures) -> Iterator[Finding]:
    """Kernels of stencils alone count what they compute."""
    if any(run.kind == "pipeline" for run in m.runs) and not any(run.kernels for run in m.runs):
        yield Finding(
            "note",
            "no-roofline",
            "Filters count no flops and bytes: there is no roofline, and whether memory sets their limit is not told.",
            "Look in “Part by part” for the filter that gains least from more ranks; where that is no more than the "
            "triad gains, which mpibatch probe shows by ranks, memory is the likely limit.",
        )


def _machine(m: Measures) -> Iterator[Finding]:
    if not m.roofs and any(run.kernels for run in m.runs):
        yield Finding(
            "note",
            "no-profile",
            "There is no profile of the machine in the study: the kernels' rates cannot be held against its memory.",
            "mpibatch probe measures it; studies made after that hold it.",
        )
    dirty = [_commit(commit) for commit in m.commits if commit.partition(" ")[0].endswith("-dirty")]
    if dirty:
        yield Finding(
            "note",
            "dirty",
            f"The files differed from those of commit {_some(dirty)}.",
            "Commit before you measure what others shall repeat.",
        )


def _at(m: Measures, row: Row) -> str:
    return _count(row.point.ranks, "rank") if m.by == "ranks" else f"{row.label} ranks × threads"


def _commit(text: str) -> str:
    """A commit, shortened, and the repository that it is of: 0123456789ab of simulations."""
    number, _, repository = text.partition(" ")
    return clean(f"{clean(number.removesuffix('-dirty'))[:12]} {repository}", 60)


def _word(m: Measures) -> str:
    return "ranks" if m.by == "ranks" else "ranks × threads"


def _some(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


_CHECKS: tuple[Callable[[Measures], Iterator[Finding]], ...] = (
    _digests, _absent, _base, _work, _crowded, _noise, _above_one, _waiting, _unlike, _order, _inside, _memory_bound,
    _filters, _machine,
)  # fmt: skip
