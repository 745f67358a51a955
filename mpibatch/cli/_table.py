"""Tables as text and as pictures: their first rows, a histogram of one column, a scatter of two."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import RunError, UsageError, nearest

if TYPE_CHECKING:
    from mpibatch.io.formats.source import Source

__all__ = ["bars", "draw", "read_columns", "rows_text"]

Columns = Mapping[str, npt.NDArray[Any]]

BINS, BARS = 40, 16  # of a picture, and of text
WIDTH = 50  # letters of the longest bar
MOST_POINTS = 200_000  # of a scatter: evenly chosen of more


def read_columns(source: Source, names: Sequence[str], rows: slice = slice(None)) -> dict[str, npt.NDArray[Any]]:
    """Return columns of a table. Local. UsageError if there is no such column."""
    from mpibatch.io import read_slice

    for name in names:
        if name not in source.columns:
            raise UsageError(f"{source.name} has no column {name!r}{nearest(name, [*source.columns])}")
    if not source.shape[0]:
        return {name: np.empty(0, source.columns[name]) for name in names}
    return {name: read_slice(source.path, f"{source.dataset}/{name}", (rows,)) for name in names}


def rows_text(source: Source, most: int) -> list[str]:
    """Return the first rows of a table as lines of text, under the names of the columns. Local."""
    rows = source.shape[0]
    columns = read_columns(source, [*source.columns], slice(0, most))
    texts = {name: [name, *map(_number, values.tolist())] for name, values in columns.items()}
    widths = {name: max(map(len, column)) for name, column in texts.items()}
    lines = ["  ".join(texts[name][n].rjust(widths[name]) for name in texts) for n in range(1 + min(rows, most))]
    if rows > most:
        lines.append(f"... and {rows - most} more rows of {rows}")
    return lines


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def bars(name: str, values: npt.NDArray[Any]) -> list[str]:
    """Return a histogram as lines of text. Local."""
    known = _finite(name, values)
    counts, ends = _binned(known, BARS)
    texts = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(ends)]
    wide, most = max(map(len, texts)), max(1, int(counts.max()))
    lines = [
        f"{name}: {len(known)} rows, least {known.min():.6g}, median {np.median(known):.6g}, most {known.max():.6g}"
    ]
    for text, count in zip(texts, counts.tolist(), strict=True):
        lines.append(f"  {text:<{wide}} {'█' * round(WIDTH * count / most)} {count}")
    return lines


def _finite(name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if values.dtype.kind not in "biuf":
        raise UsageError(f"column {name!r} of dtype {values.dtype} cannot be drawn; bool, integers and floats can")
    numbers = values.astype(np.float64)
    known: npt.NDArray[np.float64] = numbers[np.isfinite(numbers)]
    if not known.size:
        raise UsageError(f"column {name!r} has no finite value in its {len(values)} rows; choose another")
    return known


def _binned(known: npt.NDArray[np.float64], most: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Counts between ends: whole numbers in bins of whole numbers, what spans far in bins of equal ratio."""
    low, high = float(known.min()), float(known.max())
    is_whole = bool((known == np.rint(known)).all()) and high - low < 2**53
    if _spans_far(known):
        ends = np.geomspace(low, high + is_whole, most + 1)
        return np.histogram(known, np.unique(np.rint(ends)) - 0.5 if is_whole else ends)
    if is_whole:
        step = max(1, math.ceil((high - low + 1) / most))
        count = math.ceil((high - low + 1) / step)
        return np.histogram(known, low - 0.5 + step * np.arange(count + 1))
    return np.histogram(known, most)


def _spans_far(known: npt.NDArray[np.float64]) -> bool:
    return bool(known.min() > 0 and known.max() > 100 * known.min() and np.median(known) < known.max() / 10)


def draw(source: Source, names: Sequence[str], picture: str) -> str:
    """Draw a histogram of one column, or two against each other. Local. Returns what it is, in words."""
    try:
        from matplotlib import rc_context, rcParamsDefault
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "cannot draw a plot: matplotlib is not installed; type: pip install 'mpibatch[report]'"
        ) from None
    from mpibatch.tools.report.plots import SIZE, STYLE

    suffix = Path(picture).suffix.lower()
    if suffix not in (".png", ".svg"):
        raise UsageError(f"the plot {picture!r} cannot be written; name it .png or .svg")
    columns = read_columns(source, names)
    # What the user's own matplotlibrc says is for the user's pictures.
    style: dict[Any, Any] = {key: value for key, value in rcParamsDefault.items() if not key.startswith("backend")}
    style |= {**STYLE, "svg.hashsalt": "mpibatch"}
    with rc_context(style):
        figure = Figure(figsize=SIZE, dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        words = _scatter(axes, columns) if len(names) == 2 else _histogram(axes, names[0], columns[names[0]])
        axes.set_title(f"{Path(source.name).name}: {words}", pad=10)
        try:
            figure.savefig(picture, metadata={"Date": None} if suffix == ".svg" else {"Software": None})
        except OSError as error:
            raise RunError(f"the plot {picture!r} cannot be written: {error}") from None
    return words


def _histogram(axes: Any, name: str, values: npt.NDArray[Any]) -> str:
    from mpibatch.tools.report.plots import BLUE

    known = _finite(name, values)
    counts, ends = _binned(known, BINS)
    axes.stairs(counts, ends, fill=True, color=BLUE)
    axes.stairs(counts, ends, color="white", linewidth=0.4)
    if _spans_far(known):
        axes.set_xscale("log")
    axes.set_xlabel(name)
    axes.set_ylabel("rows")
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)
    return f"{len(known)} rows, median {np.median(known):.4g}"


def _scatter(axes: Any, columns: Columns) -> str:
    from mpibatch.tools.report.plots import BLUE

    (first, across), (second, up) = columns.items()
    far = {name: _spans_far(_finite(name, values)) for name, values in columns.items()}
    known = np.isfinite(across.astype(np.float64)) & np.isfinite(up.astype(np.float64))
    step = max(1, -(-int(known.sum()) // MOST_POINTS))
    x, y = across[known][::step], up[known][::step]
    size = float(np.clip(6000 / max(1, len(x)), 3, 24))
    # Thousands of points as a picture within the SVG: as paths they would take a viewer minutes.
    axes.scatter(x, y, s=size, color=BLUE, alpha=0.6 if len(x) > 200 else 0.9, linewidths=0, rasterized=len(x) > 5000)
    axes.set_xlabel(first)
    axes.set_ylabel(second)
    if far[first]:
        axes.set_xscale("log")
    if far[second]:
        axes.set_yscale("log")
    return f"{int(known.sum())} rows" + (f", every {step}th drawn" if step > 1 else "")
