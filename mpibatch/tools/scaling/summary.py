"""What a study shows at a glance: a small table, and whether all runs ended in the same bits."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING

from mpibatch.base.units import some

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mpibatch.tools.scaling.records import Run
    from mpibatch.tools.scaling.study import Point, Study

__all__ = ["alike", "differing", "efficiency", "same_bits", "table"]

DIGITS = 12  # of a digest, shown


def table(study: Study) -> str:
    """Return a line for each point: median and spread of the seconds, speed-up and efficiency. Local.

    All is measured against the point of the fewest ranks and threads.
    """
    lines = [f"{'ranks':>6} {'threads':>7} {'runs':>5} {'seconds':>9} {'spread':>7} {'speed-up':>8} {'efficiency':>10}"]
    for point in study.points:
        times = [run.total for run in point.runs]
        middle = median(times)
        spread = (max(times) - min(times)) / middle if middle else 0.0
        efficient = efficiency(study, point)
        faster = efficient * _workers(point) / _workers(study.points[0])
        lines.append(
            f"{point.ranks:>6} {point.threads:>7} {len(times):>5} {middle:>9.3f} {spread:>7.1%} {faster:>8.2f} "
            f"{efficient:>10.2f}"
        )
    notes = {
        "strong": "speed-up: how many times faster than the first line, with the same cells",
        "weak": "speed-up: how many times more cells a second than the first line, with the same cells on each rank",
    }
    return "\n".join([*lines, notes[study.mode]])


def efficiency(study: Study, point: Point) -> float:
    """Return the speed-up of a point over the first, by how much more it has of ranks and threads. Local."""
    first = study.points[0]
    before, now = (median(run.total for run in p.runs) for p in (first, point))
    if not now:
        return 1.0
    work = 1.0
    if study.mode == "weak":
        # By the cells that were computed: blocks need not be equal to the last cell.
        cells = [p.runs[0].cells for p in (first, point)]
        work = cells[1] / cells[0] if all(cells) else point.ranks / first.ranks
    return before / now * work * _workers(first) / _workers(point)


def alike(points: Iterable[Point], mode: str) -> list[list[Run]]:
    """Return the runs in groups that must end in the same bits. Local.

    In a strong study all runs compute the same; in a weak one those on one number of ranks do.
    """
    groups: dict[int, list[Run]] = defaultdict(list)
    for point in points:
        groups[0 if mode == "strong" else point.ranks] += point.runs
    return list(groups.values())


def differing(study: Study) -> list[str]:
    """Return what ends in other bits than it must, a line for each digest; nothing if all is well. Local."""
    lines = []
    for group in alike(study.points, study.mode):
        runs_by_digest: dict[str, list[str]] = defaultdict(list)
        for run in group:
            if run.digest:
                runs_by_digest[run.digest].append(f"{run.ranks}×{run.threads} run {run.repeat}")
        if len(runs_by_digest) > 1:
            lines += [f"  {digest[:DIGITS]}…  {some(runs)}" for digest, runs in runs_by_digest.items()]
    return lines


def same_bits(study: Study) -> str:
    """Return the line that tells of equal outputs; "" where nothing could be compared. Local."""
    runs = [run for point in study.points for run in point.runs]
    if not runs or not all(run.digest for run in runs):
        return ""
    counts = sorted({point.ranks for point in study.points})
    if len(runs) == (1 if study.mode == "strong" else len(counts)):
        return ""
    if study.mode == "weak":
        return f"{len(runs)} runs, and on each number of ranks all ended in the same bits"
    listed = ", ".join(map(str, counts[:-1])) + (" and " if counts[:-1] else "") + str(counts[-1])
    ranks = "rank" if counts == [1] else "ranks"
    return f"all {len(runs)} runs, on {listed} {ranks}, ended in the same bits: digest {runs[0].digest[:DIGITS]}…"


def _workers(point: Point) -> int:
    return point.ranks * point.threads
