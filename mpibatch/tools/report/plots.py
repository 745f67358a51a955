"""The report's pictures, as SVG and PNG: equal figures give equal bytes.

Each line is named where it ends, colors are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which people
with any kind of color vision can tell apart, and nothing is told by color alone. Axes of ranks are logarithmic, with
ticks at the counts that were measured.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.units import plural
from mpibatch.tools.report.measures import PHASES, Measures, Roof, Row
from mpibatch.tools.report.words import PHASE_NAMES, seconds_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Plot", "draw"]

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip
DARK_ORANGE = "#8a5f00"  # for letters on white
INK, PALE = "#1a1a1a", "#767676"
PHASE_COLORS = {
    "compute": BLUE, "compile": "#8c8c8c", "pack": SKY, "halo": ORANGE, "reduce": GREEN, "io": PINK, "other": "#c8c8c8",
}  # fmt: skip
LINES = (BLUE, RED, GREEN, PINK, ORANGE)
MARKERS = "osD^vP"
GOOD = 0.8  # what POP calls acceptable
MOST_KERNELS = 6
# Inches. Shown at 96 dots an inch or less: the letters stay readable when a phone shrinks them by a third.
SIZE = (5.4, 3.6)
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters everywhere
    "font.size": 9.5,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.minor.visible": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "path",
    "path.simplify": False,
}


@dataclass(frozen=True)
class Plot:
    """One picture. `description` says in words what it shows, for those who do not see it."""

    name: str
    title: str
    description: str
    svg: str
    png: bytes


def draw(measures: Measures) -> list[Plot]:
    """Return the pictures of a study. Local. Needs matplotlib."""
    plots = [_drawn("speedup", _speedup, measures), _drawn("efficiency", _efficiency, measures)]
    plots.append(_drawn("time", _time, measures))
    if any(row.split for row in measures.rows):
        plots.append(_drawn("split", _split, measures))
    if measures.roofs:
        plots.append(_drawn("roofline", _roofline, measures))
    return plots


def _drawn(name: str, paint: Any, measures: Measures) -> Plot:
    with _figure(name) as figure:
        axes = figure.add_subplot()
        title, description = paint(axes, measures)
        axes.set_title(title, pad=10)
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Plot(name, title, description, _inline(svg.getvalue().decode(), name, description), png.getvalue())


@contextmanager
def _figure(name: str) -> Iterator[Figure]:
    """A figure in our style, without a window, whose SVG has the same identifiers every time."""
    from matplotlib import rc_context, rcParamsDefault
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # What the user's own matplotlibrc says is for the user's pictures; the backend is none of our business.
    style: dict[Any, Any] = {key: value for key, value in rcParamsDefault.items() if not key.startswith("backend")}
    style |= {**STYLE, "svg.hashsalt": f"mpibatch {name}"}
    with rc_context(style):
        figure = Figure(figsize=SIZE, layout=None)
        FigureCanvasAgg(figure)
        figure.subplots_adjust(left=0.125, right=0.76, bottom=0.15, top=0.88)
        yield figure


def _inline(svg: str, name: str, description: str) -> str:
    """Only the <svg> element, with identifiers of its own, of the width of where it stands."""
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    size = re.search(r'viewBox="[^"]*"', svg)
    box = size[0] if size else ""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box} '
        f'role="img" aria-label="{escape(description, quote=True)}">'
    )
    return head + svg[svg.index(">") + 1 :].rstrip()


def _series(m: Measures) -> dict[int, list[Row]]:
    """Rows by threads per rank: one line each."""
    series: dict[int, list[Row]] = {}
    for row in m.rows:
        series.setdefault(row.point.threads, []).append(row)
    return series


def _named(threads: int, m: Measures) -> str:
    return "measured" if len({row.point.threads for row in m.rows}) == 1 else plural(threads, "thread")


def _counts(axes: Axes, m: Measures, margin: float = 1.12) -> list[int]:
    """Make the horizontal axis one of counts, and return them."""
    from matplotlib.ticker import FixedLocator, NullLocator

    widths = sorted({row.width for row in m.rows})
    axes.set_xscale("log", base=2)
    axes.set_xlim(widths[0] / margin, widths[-1] * margin)
    # Where counts stand so close that their names would touch, powers of two keep theirs.
    shown = widths if len(widths) <= 9 else [w for w in widths if w & (w - 1) == 0] or widths[:: len(widths) // 8]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(shown, [str(width) for width in shown])
    axes.set_xlabel("ranks" if m.by == "ranks" else "cores (ranks × threads)")
    return widths


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], gap: float = 0.075, mark: str = "") -> None:
    """Write each line's name at its right end, in its color, and apart from the others.

    Where colors are too pale for letters, a `mark` before the name has the color, and the name is dark.
    """
    x_right = axes.get_xlim()[1]
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = sorted(ends, key=lambda end: end[0])
    at = [min(max(float(to_axes.transform((x_right, y))[1]), 0.0), 1.0) for y, _, _ in ends]
    # Pushed apart from below, then back down from above, then half of each: a crowd stays around where it belongs.
    up, down = list(at), list(at)
    for i in range(1, len(at)):
        up[i] = max(up[i], up[i - 1] + gap)
        down[-1 - i] = min(down[-1 - i], down[-i] - gap)
    middles = [(raised + lowered) / 2 for raised, lowered in zip(up, down, strict=True)]
    over = max(middles[-1] - 1.0, 0.0)
    for middle, (_, text, color) in zip(middles, ends, strict=True):
        parts = [(1.02, mark, color), (1.065, text, INK)] if mark else [(1.02, text, color)]
        for x, part, shade in parts:
            axes.text(
                x, middle - over, part, color=shade, transform=axes.transAxes, va="center", ha="left", fontsize=8.5,
                parse_math=False, clip_on=False, linespacing=1.05,
            )  # fmt: skip


def _bars(rows: Sequence[Row], attribute: str) -> tuple[list[float], list[list[float]]]:
    """The values of an interval and the lengths of its two halves."""
    intervals = [getattr(row, attribute) for row in rows]
    return [i.value for i in intervals], [[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]


def _lines(axes: Axes, m: Measures, attribute: str) -> list[tuple[float, str, str]]:
    """Draw measured values with their intervals, a line for each number of threads."""
    ends = []
    for place, (threads, rows) in enumerate(_series(m).items()):
        color = LINES[place % len(LINES)]
        values, errors = _bars(rows, attribute)
        axes.errorbar(
            [row.width for row in rows], values, yerr=errors, color=color, marker=MARKERS[place % len(MARKERS)],
            markersize=5, capsize=3.5, elinewidth=1.2, zorder=4,
            linewidth=1.0 if m.fits and attribute == "speedup" else 1.6,
        )  # fmt: skip
        if rows[-1].width == m.widest.width:
            ends.append((values[-1], _named(threads, m), color))
        else:
            axes.annotate(
                _named(threads, m), (rows[-1].width, values[-1]), (5, 4), textcoords="offset points",
                color=color, fontsize=8.5,
            )  # fmt: skip
    return ends


def _speedup(axes: Axes, m: Measures) -> tuple[str, str]:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    widths = _counts(axes, m)
    base = m.base.width
    ideal = [width / base for width in widths]
    axes.plot(widths, ideal, color=PALE, linewidth=1.1, linestyle=(0, (5, 3)), zorder=2)
    ends = [(ideal[-1], "ideal", PALE), *_lines(axes, m, "speedup")]
    dense = [widths[0] * (widths[-1] / widths[0]) ** (i / 60) for i in range(61)]
    for fit, color, dashes in zip(m.fits, (GREEN, PINK), ((0, (1, 1.5)), (0, (6, 2, 1, 2))), strict=False):
        if fit.estimates and not fit.refused:
            curve = [fit.speedup(width, base) for width in dense]
            axes.plot(dense, curve, color=color, linewidth=1.3, linestyle=dashes, zorder=3)
            ends.append((curve[-1], "USL" if fit.law.startswith("Univ") else fit.law, color))
    axes.set_yscale("log", base=2)
    if ideal[-1] <= 2:
        axes.yaxis.set_major_locator(FixedLocator([0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    least = min(1.0, *(row.speedup.low for row in m.rows))
    axes.set_ylim(least / 1.12, max(ideal[-1], *(row.speedup.high for row in m.rows)) * 1.12)
    axes.set_ylabel(f"speed against {base} {m.by if base > 1 else m.by.removesuffix('s')}")
    _label_ends(axes, ends)
    speedups = ", ".join(f"{row.speedup.value:.2f} on {row.label}" for row in m.rows)
    return ("Scaled speed-up" if m.is_weak else "Speed-up"), f"Speed-up with the ideal line: {speedups}."


def _efficiency(axes: Axes, m: Measures) -> tuple[str, str]:
    from matplotlib.ticker import FuncFormatter

    _counts(axes, m)
    axes.axhline(1.0, color=PALE, linewidth=1.1, linestyle=(0, (5, 3)), zorder=2)
    axes.axhline(GOOD, color=PALE, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
    ends = [(1.0, "ideal", PALE), (GOOD, "80 %, acceptable\nto POP", PALE), *_lines(axes, m, "efficiency")]
    axes.set_ylim(0, max(1.1, *(row.efficiency.high * 1.05 for row in m.rows)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    _label_ends(axes, ends, gap=0.09)
    efficiencies = ", ".join(f"{100 * row.efficiency.value:.0f} % on {row.label}" for row in m.rows)
    return "Efficiency", f"Parallel efficiency: {efficiencies}."


def _time(axes: Axes, m: Measures) -> tuple[str, str]:
    """Every run as a point, so that nobody has to trust a median."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    _counts(axes, m)
    ends: list[tuple[float, str, str]] = []
    everything: list[float] = []
    for place, (threads, rows) in enumerate(_series(m).items()):
        color = LINES[place % len(LINES)]
        middles = [row.time.median.value for row in rows]
        axes.plot([row.width for row in rows], middles, color=color, linewidth=1.4, zorder=3)
        for row in rows:
            axes.plot(
                [row.width] * len(row.times), row.times, linestyle="none", marker="o", markersize=5,
                markerfacecolor="none", markeredgecolor=color, markeredgewidth=1.0, alpha=0.8, zorder=4,
            )  # fmt: skip
            everything += row.times
        name = "median" if len(_series(m)) == 1 else _named(threads, m)
        if rows[-1].width == m.widest.width:
            ends.append((middles[-1], name, color))
    predictions = [(row.width, seconds) for row in m.rows if (seconds := row.predicted("seconds"))]
    if predictions:
        axes.plot(
            *zip(*predictions, strict=True), linestyle="none", marker="_", markersize=17, markeredgewidth=2.2,
            color=DARK_ORANGE, zorder=5,
        )  # fmt: skip
        ends.append((predictions[-1][1], "predicted", DARK_ORANGE))
        everything += [seconds for _, seconds in predictions]
    axes.set_yscale("log")
    least, most = min(everything), max(everything)
    if m.is_weak or most / least < 1.5:  # nearly equal times: from zero, or small differences look large
        axes.set_yscale("linear")
        axes.set_ylim(0, 1.15 * most)
    else:
        axes.set_ylim(least / 1.25, most * 1.25)
        axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("seconds")
    _label_ends(axes, ends)
    medians = ", ".join(f"{row.time.median.value:.3g} s on {row.label}" for row in m.rows)
    return "Time of each run", f"The time of every run; medians: {medians}."


def _split(axes: Axes, m: Measures) -> tuple[str, str]:
    rows = [row for row in m.rows if row.split]
    last: list[tuple[float, str, str]] = []
    bottoms = [0.0] * len(rows)
    for phase in PHASES:
        shares = [100 * row.share(phase) for row in rows]
        axes.bar(range(len(rows)), shares, 0.68, bottoms, color=PHASE_COLORS[phase], edgecolor="white", linewidth=0.8)
        for place, share in enumerate(shares):
            if share >= 7:
                dark = phase in ("compute",)
                axes.text(
                    place, bottoms[place] + share / 2, f"{share:.0f} %", ha="center", va="center", fontsize=8,
                    color="white" if dark else INK,
                )  # fmt: skip
        if max(shares) >= 0.5:
            last.append((bottoms[-1] + shares[-1] / 2, PHASE_NAMES[phase], PHASE_COLORS[phase]))
        bottoms = [bottom + share for bottom, share in zip(bottoms, shares, strict=True)]
    for place, row in enumerate(rows):
        axes.text(place, 101.5, seconds_text(row.typical.total), ha="center", va="bottom", fontsize=8.5)
    axes.set_xticks(range(len(rows)), [row.label for row in rows], parse_math=False)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylim(0, 108)
    axes.set_yticks([0, 25, 50, 75, 100], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("ranks" if m.by == "ranks" else "ranks × threads")
    _label_ends(axes, last, mark="■")
    widest = max(rows, key=lambda row: row.width)
    parts = ", ".join(f"{PHASE_NAMES[p]} {100 * widest.share(p):.0f} %" for p in PHASES if p in widest.split)
    return "Where the time goes", f"The parts of the time at each count; on {widest.label}: {parts}."


def _roofline(axes: Axes, m: Measures) -> tuple[str, str]:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    kernels = _heaviest(m.roofs)
    roofs = [roof for roof in m.roofs if roof.kernel in kernels]
    ends_of = {roofs[0].label, max(roofs, key=lambda roof: roof.width).label}
    reach = [roof.intensity for roof in roofs]
    low, high = min(reach) / 2.5, max(reach) * 2.5
    ends = []
    for label in sorted(ends_of, key=lambda label: next(roof.width for roof in roofs if roof.label == label)):
        triad = next(roof.triad for roof in roofs if roof.label == label)
        axes.plot([low, high], [low * triad, high * triad], color=PALE, linewidth=1.2, zorder=2)
        ends.append((high * triad, f"{triad:.0f} GB/s\n(on {label})", PALE))
    axes.set_xscale("log")
    axes.set_yscale("log")
    for place, kernel in enumerate(kernels):
        own = [roof for roof in roofs if roof.kernel == kernel and roof.label in ends_of]
        color = LINES[place % len(LINES)]
        axes.plot(
            [roof.intensity for roof in own], [roof.measured for roof in own], color=color, linestyle=":",
            marker=MARKERS[place % len(MARKERS)], markersize=6, zorder=4,
        )  # fmt: skip
        for roof in own:
            axes.annotate(
                f"on {roof.label}", (roof.intensity, roof.measured), (6, -3), textcoords="offset points", fontsize=8,
                color=color,
            )  # fmt: skip
        ends.append((own[-1].measured, _plain(kernel), color))
    axes.set_xlim(low, high)
    rates = [roof.measured for roof in roofs]
    bottom, top = min(*rates, *(low * roof.triad for roof in roofs)), max(*rates, *(high * r.triad for r in roofs))
    axes.set_ylim(bottom / 1.6, top * 1.8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, (1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("operations per byte (from the kernel's footprint)")
    axes.set_ylabel("GFlop/s, all ranks")
    _label_ends(axes, ends, gap=0.1)
    shares = ", ".join(f"{_plain(r.kernel)} on {r.label}: {100 * r.share:.0f} % of the ceiling" for r in roofs[:8])
    return "Kernels against memory", f"Roofline: {shares}."


def _heaviest(roofs: Sequence[Roof]) -> list[str]:
    """The kernels that take most of the time, at most as many as a picture bears."""
    base = [roof for roof in roofs if roof.label == roofs[0].label]
    return [roof.kernel for roof in sorted(base, key=lambda roof: -roof.seconds)[:MOST_KERNELS]]


def _plain(name: str) -> str:
    """A name as letters that the font has, short enough for a margin."""
    text = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in name)
    return text if len(text) <= 18 else f"{text[:17]}…"
