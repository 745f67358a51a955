"""A study for Extra-P, which finds how each part of a program grows: its text format, and JSON Lines.

The formats are described in docs/file-formats.md of https://github.com/extra-p/extrap (read at commit 291ac81). Regions
are call paths: ``run`` for the whole, ``run->compute`` for the phases, ``run->kernel:NAME`` for kernels. The metric is
time in seconds of the slowest rank, one value for each run; bytes sent are a metric of their own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mpibatch.tools.report.measures import PHASES, Measures
from mpibatch.tools.scaling.records import Run, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["json_lines", "text"]


def text(measures: Measures) -> str:
    """Return a study in Extra-P's text format. Local."""
    names = _parameters(measures)
    points = " ".join(f"({' '.join(map(str, point))})" for point in _points(measures))
    lines = [
        f"# mpibatch: {measures.study.mode} scaling, one DATA line for each point, one value for each run",
        f"PARAMETER {' '.join(names)}",
        f"POINTS {points}",
    ]
    regions = list(_regions(measures))
    for metric in dict.fromkeys(metric for metric, _, _ in regions):
        lines.append(f"METRIC {metric}")
        for of, path, values in regions:
            if of == metric:
                lines.append(f"REGION {path}")
                # Extra-P's grammar has no exponents
                lines += [f"DATA {' '.join(f'{value:.9f}' for value in group)}" for group in values]
    return "\n".join(lines) + "\n"


def json_lines(measures: Measures) -> str:
    """Return a study in Extra-P's JSON Lines format: a line for each point of each region. Local."""
    names = _parameters(measures)
    lines = []
    for metric, path, values in _regions(measures):
        for point, group in zip(_points(measures), values, strict=True):
            record: dict[str, Any] = {
                "params": dict(zip(names, point, strict=True)),
                "callpath": path,
                "metric": metric,
            }
            lines.append(json.dumps({**record, "value": list(group)}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def _parameters(m: Measures) -> tuple[str, ...]:
    """Threads are a parameter only if they vary: Extra-P cannot model what stands still."""
    return ("ranks", "threads") if len({row.point.threads for row in m.rows}) > 1 else ("ranks",)


def _points(m: Measures) -> list[tuple[int, ...]]:
    return [(row.point.ranks, row.point.threads)[: len(_parameters(m))] for row in m.rows]


def _regions(m: Measures) -> Iterator[tuple[str, str, list[list[float]]]]:
    """Yield (metric, call path, values of each point); only regions that every run has."""
    yield "time", "run", [[run.total for run in row.point.runs] for row in m.rows]
    for phase in PHASES:
        if all(phase in run.seconds for run in m.runs):
            yield "time", f"run->{phase}", _values(m, [run.seconds[phase].get("slowest") for run in m.runs])
    for kernel in _common([[str(kernel.get("name", "")) for kernel in run.kernels] for run in m.runs]):
        seconds = [_of_kernel(run, kernel) for run in m.runs]
        yield "time", f"run->kernel:{_word(kernel)}", _values(m, seconds)
    for lap in _common([[*run.laps] for run in m.runs]):
        yield "time", f"run->lap:{_word(lap)}", _values(m, [run.laps[lap] for run in m.runs])
    if all("bytes" in run.traffic for run in m.runs):
        yield "bytes_sent", "run->halo", _values(m, [run.traffic["bytes"].get("total") for run in m.runs])


def _values(m: Measures, figures: Sequence[Any]) -> list[list[float]]:
    """Cut one value a run into those of each point."""
    left = iter(figures)
    return [[number(next(left)) for _ in row.point.runs] for row in m.rows]


def _common(names: Sequence[Sequence[str]]) -> list[str]:
    """The names that all runs have, in the order of the first."""
    return [name for name in dict.fromkeys(names[0]) if name and all(name in others for others in names)]


def _of_kernel(run: Run, name: str) -> float:
    return sum(number(kernel.get("seconds")) for kernel in run.kernels if kernel.get("name") == name)


def _word(name: str) -> str:
    """A name as part of a call path: one line, no blanks, and no arrow of its own."""
    return "_".join("".join(c if c.isprintable() else " " for c in name).replace("->", "_").split()) or "unnamed"
