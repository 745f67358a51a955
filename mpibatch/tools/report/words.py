"""A study in words: numbers as readers want them, what was run, and the one sentence to quote."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mpibatch.base.units import bytes_text, plural, shape_text
from mpibatch.tools.scaling.records import number
from mpibatch.tools.scaling.summary import alike

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from mpibatch.tools.report.measures import Measures
    from mpibatch.tools.report.statistics import Interval

__all__ = [
    "PHASE_NAMES", "clean", "facts", "interval", "losses", "moment", "percent", "promise", "same_unit", "seconds_text",
    "short", "summary", "title",
]  # fmt: skip

PHASE_NAMES = {
    "compute": "compute", "compile": "compile", "pack": "pack", "halo": "halo wait", "reduce": "reduce", "io": "I/O",
    "other": "other",
}  # fmt: skip
_LOST = {
    "compute": "longer computing (shared memory and caches, cells computed twice)",
    "compile": "compiling, or loading compiled code", "pack": "packing",
    "halo": "waiting in halos", "reduce": "reductions", "io": "files", "other": "other work (Python)",
}  # fmt: skip
DIGITS = 3


def seconds_text(value: float) -> str:
    """Return a time in words: 12.3 s, 250 ms. Local."""
    if value >= 1 or value == 0:
        return f"{short(value)} s"
    return f"{short(1e3 * value)} ms" if value >= 1e-3 else f"{short(1e6 * value)} µs"


def short(value: float) -> str:
    """Return a number with three digits that count, without an exponent if it can be helped. Local."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    size = math.floor(math.log10(abs(value)))
    if -4 <= size < 6:
        return f"{value:.{max(0, DIGITS - 1 - size)}f}"
    return f"{value:.{DIGITS - 1}e}"


def percent(part: float, digits: int = 0) -> str:
    """Return a part of a whole in percent. Local."""
    return f"{100 * part:.{digits}f} %"


def interval(estimate: Interval) -> str:
    """Return a value with between what it lies: 1.87 (1.80–1.93). Local."""
    if estimate.low == estimate.high:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"


def same_unit(values: Iterable[float]) -> tuple[str, float, int]:
    """Return (unit, factor, digits behind the point) in which a column of times reads well. Local."""
    times = [value for value in values if value > 0]
    if not times:
        return "s", 1.0, 2
    unit, factor = ("s", 1.0) if max(times) >= 1 else ("ms", 1e3) if max(times) >= 1e-3 else ("µs", 1e6)
    size = math.floor(math.log10(factor * sorted(times)[len(times) // 2]))
    return unit, factor, min(3, max(0, DIGITS - 1 - size))


def clean(text: object, most: int = 400) -> str:
    """Return a value of a record as one printable line. Local."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def moment(date: str) -> str:
    """Return an ISO date as people write it, to the minute; other text as it is. Local."""
    try:
        at = datetime.fromisoformat(date)
    except ValueError:
        return clean(date, 40)
    return f"{at:%Y-%m-%d %H:%M}" + (" UTC" if at.utcoffset() == timedelta() else "")


def title(m: Measures) -> str:
    """Return the report's title. Local."""
    return f"{m.study.mode.capitalize()} scaling of {clean(m.study.name, 80)}"


# What a finding says of the study, for the headline. It then claims no more than the times.
_FORBIDS = {
    "outputs-differ": "the outputs differ", "oversubscribed": "there are more threads than cores",
    "spread-wide": "the times spread too far", "work-differs": "the points did different work",
    "versions-differ": "the versions differ", "commits-differ": "the commits differ",
    "above-one": "the efficiency is above 1 without a reason",
}  # fmt: skip


def summary(m: Measures, warned: Collection[str]) -> str:
    """Return what the study shows, in one sentence with its conditions. Local.

    `warned`: the keys of what was found (see `findings`); the sentence says nothing that these tell not to quote.
    """
    base, widest = m.base, m.widest
    of = "rank" if m.by == "ranks" else "core"
    subject = f"{clean(m.study.name, 60)} ({_problem(m)})"
    where = _where(m)
    if len(m.rows) == 1:
        return f"{subject} took {seconds_text(base.time.median.value)} on {plural(base.width, of)}{where}."
    gain = widest.speedup
    confidence = (
        ""
        if gain.low == gain.high or "few-runs" in warned
        else f", 95 % interval {short(gain.low)} to {short(gain.high)}"
    )
    runs = sorted({row.time.count for row in m.rows})
    of_runs = f"median of {'' if len(runs) == 1 else f'{runs[0]} to '}{plural(runs[-1], 'run')}"
    # The sizes of a weak study differ, and so do their outputs: that proves nothing about ranks.
    same = ", with the same bits on all of them" if _is_one_answer(m) and not m.is_weak else ""
    forbidden = [words for key, words in _FORBIDS.items() if key in warned]
    efficiency = widest.efficiency.value
    share = "100 % within the noise" if efficiency > 1 and "above-one-noise" in warned else percent(efficiency)
    if forbidden:
        return (
            f"{subject} took {seconds_text(base.time.median.value)} on {plural(base.width, of)} and "
            f"{seconds_text(widest.time.median.value)} on {plural(widest.width, of)}{where} ({of_runs}). What that "
            f"says of scaling is left open, as {_sentence(forbidden)}."
        )
    if m.is_weak:
        sentence = (
            f"{subject} with the same work for each {of} kept an efficiency of {share} from "
            f"{plural(base.width, of)} to {widest.width}{where}: {seconds_text(base.time.median.value)} became "
            f"{seconds_text(widest.time.median.value)} ({of_runs}; scaled speed-up {short(gain.value)}{confidence})"
        )
    else:
        sentence = (
            f"{subject} took {seconds_text(base.time.median.value)} on {plural(base.width, of)} and "
            f"{seconds_text(widest.time.median.value)} on {plural(widest.width, of)}{where}: {short(gain.value)} × as "
            f"fast ({of_runs}{confidence}), a parallel efficiency of {share}"
        )
    best = max(m.rows, key=lambda row: row.speedup.value)
    turned = (
        ""
        if best is widest or m.is_weak or "inside-noise" in warned
        else f"; it was fastest on {best.label} ({short(best.speedup.value)} ×)"
    )
    return f"{sentence}{turned}{same}."


def promise(m: Measures) -> str:
    """Return what the digests of the outputs say, if they say it for all runs. Local."""
    digests = {run.digest for run in m.runs if run.digest}
    if not digests:
        return ""
    ranks = _listed(sorted({row.point.ranks for row in m.rows}))
    if len(digests) == 1 and not m.is_weak and _is_one_answer(m):
        return f"All {len(m.runs)} runs, on {ranks} ranks, ended in the same output: content digest {digests.pop()}."
    if m.is_weak and _is_one_answer(m) and any(len(row.point.runs) > 1 for row in m.rows):
        return f"All runs of one size ended in the same output ({len(digests)} sizes on {ranks} ranks)."
    return ""


def losses(m: Measures) -> str:
    """Return what keeps the widest point from the ideal line, by phase; nothing where nothing much is lost. Local."""
    row = m.widest
    lost = {phase: seconds for phase, seconds in row.lost(m.base).items() if seconds > 0}
    whole = sum(lost.values())
    if row.is_base or not whole or row.efficiency.value > 0.97:
        return ""
    shares = [
        f"{percent(seconds / whole)} {'are ' if place == 0 else ''}{_LOST[phase]}"
        for place, (phase, seconds) in enumerate(sorted(lost.items(), key=lambda entry: -entry[1]))
        if seconds > 0.05 * whole
    ]
    return (
        f"Of the {seconds_text(whole)} that all ranks together lose on {row.label} "
        f"{'ranks' if m.by == 'ranks' else 'ranks × threads'} against the base, {_sentence(shares)}."
    )


def _sentence(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + "".join(parts[-1:])


def facts(m: Measures) -> list[tuple[str, str]]:
    """Return what was run, on what and with what, as (name, value). Local."""
    run, study = m.widest.typical, m.study
    machine = study.machine
    hosts = sorted({host for run in m.runs for host in run.hosts})
    versions = ", ".join(f"{clean(k, 30)} {clean(v, 40)}" for k, v in run.versions.items()) or "not recorded"
    return [
        ("Study", f"{study.mode} scaling on {_listed([row.label for row in m.rows])} "
         f"{'ranks' if m.by == 'ranks' else 'ranks × threads'}, {study.repeat} runs each; {moment(study.created)}"),
        ("Job", clean(study.source) + (f" with {clean(' '.join(study.settings))}" if study.settings else "")),
        ("Problem", _problem(m)),
        ("Process grids", "; ".join(
            f"on {row.label}: {shape_text(row.typical.topology)}" for row in m.rows if row.typical.topology) or "–"),
        ("Machine", ", ".join(filter(None, [
            clean(machine.get("cpu") or "", 80), f"{machine['cores']} cores" if machine.get("cores") else "",
            bytes_text(int(number(machine.get("memory")))) if machine.get("memory") else ""])) or "not recorded"),
        ("Hosts", _listed([clean(host, 60) for host in hosts][:12]) + (" …" if len(hosts) > 12 else "") or "–"),
        ("Started by", "mpiexec" if study.profile is None else f"Slurm, profile {clean(study.profile)}"),
        ("Binding", _binding(m)),
        ("Threads", _listed(sorted({row.point.threads for row in m.rows})) + " per rank"),
        ("MPI", clean(run.mpi or "not recorded", 120)),
        ("Versions", versions),
        ("Commit", "; ".join(
            (clean(commit, 120) or "none: not made in a git checkout")
            + (f" on {_listed(labels)}" if len(m.commits) > 1 else "") for commit, labels in m.commits.items())),
        ("First run", moment(min((run.date for run in m.runs if run.date), default="–"))),
        ("Last run", moment(max((run.date for run in m.runs if run.date), default="–"))),
    ]  # fmt: skip


def _is_one_answer(m: Measures) -> bool:
    """Whether every run told its digest, and they are equal wherever they should be."""
    groups = alike((row.point for row in m.rows), m.study.mode)
    return all(len({run.digest for run in group}) == 1 and group[0].digest for group in groups)


def _problem(m: Measures) -> str:
    small, large = m.base.typical, m.widest.typical
    if not large.shape:
        return large.kind or "a job"
    shapes = shape_text(small.shape) + (f" to {shape_text(large.shape)}" if small.shape != large.shape else "")
    noun = "filter" if large.kind == "pipeline" else "step"
    steps = f", {plural(large.steps, noun)}" if large.steps else ""
    return f"{clean(large.kind, 20)}{' of' if large.kind else ''} {shapes} cells{steps}"


def _where(m: Measures) -> str:
    hosts = {host for run in m.runs for host in run.hosts}
    cpu = clean(m.study.machine.get("cpu") or "", 60)
    place = cpu or clean(m.study.machine.get("host") or "", 40)
    machine = ", ".join(filter(None, [place, f"{len(hosts)} hosts" if len(hosts) > 1 else ""]))
    return f" ({machine})" if machine else ""


def _binding(m: Measures) -> str:
    labels_by_binding: dict[str, list[str]] = {}
    for row in m.rows:
        binding = row.typical.binding
        if "cores" in binding:
            shared = ", shared with other ranks" if binding.get("shared") is True and row.point.ranks > 1 else ""
            words = f"{plural(int(number(binding['cores'])), 'core')} for each rank{shared}"
            labels_by_binding.setdefault(words, []).append(row.label)
    if len(labels_by_binding) == 1:
        return next(iter(labels_by_binding))
    return "; ".join(f"on {_listed(labels)}: {words}" for words, labels in labels_by_binding.items()) or "not recorded"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
