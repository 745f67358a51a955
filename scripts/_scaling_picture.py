"""Draw several studies side by side, for the README.

    python scripts/_scaling_picture.py OUT.png STUDY...

For each number of ranks a bar: where the seconds of its median run went. The line on top is the range of all runs.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mpibatch.tools.report.plots import PHASE_COLORS
from mpibatch.tools.report.words import PHASE_NAMES
from mpibatch.tools.scaling.folder import load
from mpibatch.tools.scaling.summary import efficiency

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mpibatch.tools.scaling.records import Run
    from mpibatch.tools.scaling.study import Point, Study

INK = "#1a1a1a"
WIDTH = 0.62


def typical(point: Point) -> Run:
    """Return the run whose time is the median, or the one below it."""
    return sorted(point.runs, key=lambda run: run.total)[(len(point.runs) - 1) // 2]


def bars(axes: Axes, one: Study) -> None:
    """Draw a study's points into `axes`."""
    for place, point in enumerate(one.points):
        run, bottom = typical(point), 0.0
        # The mean over the ranks: phases of different slowest ranks would not add up.
        for phase, color in PHASE_COLORS.items():
            seconds = run.seconds[phase]["mean"]
            axes.bar(place, seconds, WIDTH, bottom, color=color, label=PHASE_NAMES[phase] if not place else None)
            bottom += seconds
        times = [each.total for each in point.runs]
        axes.plot([place, place], [min(times), max(times)], color=INK, linewidth=1.2)
        worth = efficiency(one, point)
        words = f"{median(times):.1f} s"
        if place:
            faster = worth * point.ranks / one.points[0].ranks
            words += f"\n{faster:.2f} × as fast" if one.mode == "strong" else f"\nefficiency {worth:.0%}"
        axes.annotate(words, (place, max(times)), (0, 4), textcoords="offset points", ha="center", va="bottom", size=8)
    axes.set_xticks(range(len(one.points)), [f"{p.ranks} rank{'s' * (p.ranks > 1)}" for p in one.points])
    axes.set_ylim(0, 1.3 * max(run.total for point in one.points for run in point.runs))
    shapes = [" × ".join(map(str, point.runs[0].shape)) for point in one.points]
    each_rank = " a rank" if one.mode == "weak" else ""
    title = f"{one.name}, {one.mode}\n{shapes[0]}{each_rank}"
    axes.set_title(title, loc="left", size=9.5, weight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8.5, bottom=False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)


def main(target: str, folders: list[str]) -> int:
    """Draw all studies, and write the picture."""
    studies = [load(folder) for folder in folders]
    figure = Figure(figsize=(2.35 * len(studies) + 0.2, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(studies), squeeze=False)[0]
    for axes, one in zip(panels, studies, strict=True):
        bars(axes, one)
    panels[0].set_ylabel("seconds", color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8.5)
    figure.savefig(target, dpi=110, metadata={"Software": None})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
