"""Two studies of the same thing: what became slower or faster by more than the noise.

A point is called slower if Mann and Whitney's test tells the two sets of runs apart at 5 %, the 95 % interval of the
ratio of medians leaves out 1, and the ratio differs from 1 by at least 2 %. Of many points without any change about
one in twenty may be called so all the same. What differs between two days (heat, other users) is no noise within
either study, and shows as a change: measure both again, in turns, before blaming a version.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.tools.report.measures import PHASES, Measures, Row
from mpibatch.tools.report.statistics import LEVEL, Interval, mann_whitney, ratio_of_medians

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Change", "Comparison", "compare"]

LEAST = 0.02


@dataclass(frozen=True)
class Change:
    """One point in both studies. `ratio` is the new time over the old one: above 1 is slower."""

    label: str
    ranks: int
    threads: int
    old: float
    new: float
    runs: tuple[int, int]
    ratio: Interval
    chance: float
    verdict: str  # slower, faster, same, or unclear: too few runs to tell anything at 5 %
    where: str = ""  # the phase that changed most, if there is a change


@dataclass(frozen=True)
class Comparison:
    """All points of both studies, and what must be known about comparing them."""

    old: str
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]

    @property
    def slower(self) -> tuple[Change, ...]:
        """The points that became slower."""
        return tuple(change for change in self.changes if change.verdict == "slower")

    @property
    def summary(self) -> str:
        """One sentence."""
        labels_by_verdict = {
            verdict: [f"{c.label} ({c.ratio.value:.2f} × the time)" for c in self.changes if c.verdict == verdict]
            for verdict in ("slower", "faster")
        }
        clauses = [f"{verdict} on {', '.join(labels)}" for verdict, labels in labels_by_verdict.items() if labels]
        unclear = [c.label for c in self.changes if c.verdict == "unclear"]
        if unclear:
            clauses.append(f"too few runs to tell on {', '.join(unclear)}")
        return "; ".join(clauses) if clauses else "nothing changed by more than the noise"


def compare(new: Measures, old: Measures) -> Comparison:
    """Return what changed from an old study to a new one. Local."""
    before = {(row.point.ranks, row.point.threads): row for row in old.rows}
    pairs = [(row, before[key]) for row in new.rows if (key := (row.point.ranks, row.point.threads)) in before]
    return Comparison(
        old=f"{old.study.name} ({old.study.path}, {old.study.created})",
        changes=tuple(_change(row, other) for row, other in pairs),
        remarks=tuple(_remarks(new, old, pairs)),
    )


def _change(row: Row, before: Row) -> Change:
    # Where the work differs, what is compared is the time for as much work.
    scale = before.work / row.work if row.work and before.work else 1.0
    times = [time * scale for time in row.times]
    ratio = ratio_of_medians(times, before.times)
    chance = mann_whitney(times, before.times)
    least = 2 / math.comb(len(times) + len(before.times), len(times))
    apart = chance <= 1 - LEVEL and not ratio.low <= 1 <= ratio.high and abs(ratio.value - 1) >= LEAST
    verdict = "same" if not apart else "slower" if ratio.value > 1 else "faster"
    if least > 1 - LEVEL:
        verdict = "unclear"
    return Change(
        label=f"{row.point.ranks} × {row.point.threads}" if row.point.threads > 1 else str(row.point.ranks),
        ranks=row.point.ranks,
        threads=row.point.threads,
        old=before.time.median.value,
        new=row.time.median.value,
        runs=(before.time.count, row.time.count),
        ratio=ratio,
        chance=chance,
        verdict=verdict,
        where=_where(row, before, scale) if apart else "",
    )


def _where(row: Row, before: Row, scale: float) -> str:
    grown = {
        phase: row.split[phase].mean * scale - before.split[phase].mean
        for phase in PHASES
        if phase in row.split and phase in before.split
    }
    if not grown:
        return ""
    most = max(grown, key=lambda phase: abs(grown[phase]))
    return f"{most} {grown[most]:+.3g} s"


def _remarks(new: Measures, old: Measures, pairs: list[tuple[Row, Row]]) -> list[str]:
    remarks = []
    if new.study.mode != old.study.mode:
        remarks.append(f"The modes differ: {old.study.mode} before, {new.study.mode} now.")
    if new.study.fingerprint != old.study.fingerprint:
        remarks.append(
            "The job or its settings are not the same: times are compared for the same number of cell updates."
        )
    if not pairs:
        remarks.append("No number of ranks and threads is in both studies: there is nothing to compare.")
    for key in ("host", "cpu", "cores"):
        was, now = old.study.machine.get(key), new.study.machine.get(key)
        if was != now:
            remarks.append(f"The machines differ in {key}: {was} before, {now} now.")
    remarks += _versions(_software(old), _software(new))
    if any(change[0].time.count < 4 or change[1].time.count < 4 for change in pairs):
        remarks.append("With fewer than 4 runs on each side no difference can be told from noise at 5 %.")
    return remarks


def _software(m: Measures) -> dict[str, str]:
    run = m.base.typical
    return {**run.versions, "MPI": run.mpi, "commit": " and ".join(m.commits)}


def _versions(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    changed = [
        f"{name} {before.get(name) or 'unknown'} → {now.get(name) or 'unknown'}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    return [f"What changed besides: {', '.join(changed)}."] if changed else []
