"""How a study was made, as far as that stands in the way of conclusions."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from mpibatch.base.units import plural, some
from mpibatch.tools.report.findings.finding import Remark
from mpibatch.tools.report.statistics import drift, median
from mpibatch.tools.report.words import clean
from mpibatch.tools.scaling.study import missing
from mpibatch.tools.scaling.summary import alike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpibatch.tools.report.measures import Measures

__all__ = ["CHECKS"]

UNEVEN_WORK = 0.02  # of work per rank in a weak study
NEWLINE = "\n"
DRIFT_CHANGE, DRIFT_CHANCE = 0.03, 0.01
COLD = 1.15  # first run of a point / median of the others


def _digests(m: Measures) -> Iterator[Remark]:
    for group in alike((row.point for row in m.rows), m.study.mode):
        counts: dict[str, list[str]] = {}
        for run in group:
            if not run.digest:
                continue
            counts.setdefault(run.digest, []).append(f"{run.ranks} × {run.threads} run {run.repeat}")
        if len(counts) > 1:
            digests = "; ".join(f"{digest[:12]} ({some(names)})" for digest, names in sorted(counts.items()))
            yield Remark(
                "error",
                "outputs-differ",
                f"The outputs differ between runs of the same work, although one answer on any number of ranks is "
                f"promised: {digests}.",
                "Compare the versions and hosts below: equal bits are promised for one set of versions on one kind of "
                "machine. If they are the same, look for values that depend on the rank, or on time, in the job's own "
                "functions; find the dataset with mpibatch info --digest. Do not use these results until it is clear.",
            )
    if not any(run.digest for run in m.runs):
        yield Remark(
            "note",
            "no-digests",
            "The records hold no digests of the outputs, so that nothing is said here about equal results.",
            "Make the runs again with this version of mpibatch.",
        )


def _absent(m: Measures) -> Iterator[Remark]:
    for failure in m.study.failures[:5]:
        yield Remark(
            "warning",
            "run-failed",
            f"Run {failure.repeat} on {plural(failure.ranks, 'rank')} × {plural(failure.threads, 'thread')} failed: "
            f"{clean(failure.reason.strip().partition(NEWLINE)[0], 200)}.",
            f"Its log is {m.study.path.name}/points/r{failure.ranks:05d}-t{failure.threads}/"
            f"run-{failure.repeat:02d}.log; the same mpibatch scale makes it again.",
        )
    missing_runs = missing(m.study)
    failed = {(failure.ranks, failure.threads, failure.repeat) for failure in m.study.failures}
    waiting = [key for key in missing_runs if key not in failed]
    if waiting:
        of = some([f"{ranks} × {threads}" for ranks, threads in sorted({key[:2] for key in waiting})])
        yield Remark(
            "warning",
            "runs-missing",
            f"{plural(len(waiting), 'run')} that {'was' if len(waiting) == 1 else 'were'} asked for "
            f"{'is' if len(waiting) == 1 else 'are'} not there (ranks × threads: {of}).",
            "The same mpibatch scale makes what is missing.",
        )


def _base(m: Measures) -> Iterator[Remark]:
    if m.base.width > 1:
        yield Remark(
            "warning",
            "base-missing",
            f"There is no point on 1 {m.by.removesuffix('s')}: speed-up is against {m.base.width}, so that what is "
            f"lost between 1 and {m.base.width} does not show.",
            "Add 1 to --ranks; if the job does not fit into one rank's memory, say so where you quote these figures.",
        )
    if len(m.rows) == 1:
        yield Remark(
            "warning", "one-point", "There is one point only: nothing can be said about scaling.", "Add --ranks."
        )


def _work(m: Measures) -> Iterator[Remark]:
    per_rank = {row.label: row.work / row.width for row in m.rows}
    if m.is_weak:
        least, most = min(per_rank.values()), max(per_rank.values())
        if least > 0 and most / least - 1 > UNEVEN_WORK:
            few, many = min(per_rank, key=per_rank.__getitem__), max(per_rank, key=per_rank.__getitem__)
            yield Remark(
                "warning",
                "work-not-constant",
                f"Work per rank is not constant, as it should be in a weak study: {per_rank[few]:.4g} cell updates on "
                f"{few}, {per_rank[many]:.4g} on {many} ({100 * (most / least - 1):.0f} % more).",
                "Speed-up and efficiency here are of work per second, which takes it into account; the times cannot "
                "be compared as they are. Choose sizes that grow in proportion.",
            )
    elif len({row.work for row in m.rows}) > 1:
        updates = ", ".join(f"{row.work:.4g} on {row.label}" for row in m.rows)
        yield Remark(
            "warning",
            "work-differs",
            f"The points of a strong study did different work (cells × steps: {updates}).",
            "Speed-up here is of work per second. Give the job a fixed number of steps instead of an end that depends "
            "on the time step.",
        )


def _unlike(m: Measures) -> Iterator[Remark]:
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
        yield Remark(
            "warning",
            "versions-differ",
            f"Runs were made with different versions: {'; '.join(mixed)}.",
            "Compare like with like: make a new study with one of them.",
        )
    if len(m.commits) > 1:
        commits = "; ".join(f"{_commit(commit) or 'none'} on {some(labels)}" for commit, labels in m.commits.items())
        yield Remark(
            "warning",
            "commits-differ",
            f"Runs were made at different commits: {commits}.",
            "What changed between them may show as scaling: make a new study at one of them.",
        )
    hosts = {row.label: {host for run in row.point.runs for host in run.hosts} for row in m.rows}
    apart = [
        f"{label} ({some(sorted(hosts[label]))}) and {following} ({some(sorted(hosts[following]))})"
        for label, following in pairwise(hosts)
        if hosts[label] and hosts[following] and not hosts[label] & hosts[following]
    ]
    if apart:
        yield Remark(
            "warning",
            "hosts-differ",
            f"Points were measured on different hosts: {some(apart)}.",
            "If the hosts are of one kind, this is fine; else measure all points on the same ones "
            "(a profile's constraint).",
        )


def _order(m: Measures) -> Iterator[Remark]:
    dated = [[run.total for run in sorted(row.point.runs, key=lambda run: (run.date, run.repeat))] for row in m.rows]
    cold = [times[0] / median(times[1:]) for times in dated if len(times) >= 3]
    is_cold = bool(cold) and median(cold) > COLD
    if is_cold:
        yield Remark(
            "warning",
            "cold-start",
            f"First runs are slow: {median(cold):.2f} × the median of the later ones.",
            "Compiled code, the file cache or the processor's clock were cold; the medians hardly feel it, "
            "mean values would. Let a run that does not count go first.",
        )
    change, chance = drift([times[1:] for times in dated] if is_cold else dated)
    if chance < DRIFT_CHANCE and abs(change) > DRIFT_CHANGE:
        slower = "slower" if change > 0 else "faster"
        yield Remark(
            "warning",
            "drift",
            f"The machine became {slower} while the study ran: later runs took {100 * abs(change):.0f} % "
            f"{'more' if change > 0 else 'less'} time (p = {chance:.3f}).",
            "Heat and the processor's clock, or other users. Runs that go round over all counts feel it alike; "
            "measure again when the machine is quiet.",
        )


def _machine(m: Measures) -> Iterator[Remark]:
    if not m.roofs and any(run.kernels for run in m.runs):
        yield Remark(
            "note",
            "no-profile",
            "There is no profile of the machine in the study: the kernels' rates cannot be held against its memory.",
            "mpibatch probe measures it; studies made after that hold it.",
        )
    dirty = [_commit(commit) for commit in m.commits if commit.partition(" ")[0].endswith("-dirty")]
    if dirty:
        yield Remark(
            "note",
            "dirty",
            f"The files differed from those of commit {some(dirty)}.",
            "Commit before you measure what others shall repeat.",
        )


def _commit(text: str) -> str:
    """A commit, shortened, and the repository that it is of: 0123456789ab of simulations."""
    number, _, repository = text.partition(" ")
    return clean(f"{clean(number.removesuffix('-dirty'))[:12]} {repository}", 60)


CHECKS: tuple[Callable[[Measures], Iterator[Remark]], ...] = (
    _digests,
    _absent,
    _base,
    _work,
    _unlike,
    _order,
    _machine,
)
