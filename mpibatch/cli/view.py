"""``mpibatch view``: a dataset, or a slice of it, as a picture; a table as text or as a plot."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.processes.launch import launched
from mpibatch.cli._exit import printable

if TYPE_CHECKING:
    from mpibatch.io.formats.source import Source

__all__ = ["add", "execute"]

EPILOG = """\
bool is shown in black and white, bytes unchanged, and other numbers scaled from their minimum to their maximum, or
between two percentiles. Three or four channels of bytes as the last axis are a color picture. Axes that are
neither shown nor given by --slice are cut in the middle, and the time axis of a series at the last time; the
cuts are printed. Large pictures are subsampled to --longest pixels a side.

Labels are drawn with --over as outlines and numbers over another dataset of the same file, or over FILE::DATASET, or
with --labels in colors; a label's color follows from its number alone. For a table, the first rows are printed, or
with --plot COLUMN a histogram; with the name of a picture (PNG, SVG) it is drawn, or two columns against each other.

examples:
  mpibatch view out.h5::edges edges.png
  mpibatch view volume.h5::raw slice.png --slice 0:128
  mpibatch view heat.h5::u first.png --slice 0:0
  mpibatch view out.h5::filtered smooth.png --percentile 1,99
  mpibatch view out.h5::labels objects.png --over raw
  mpibatch view out.h5::table
  mpibatch view out.h5::table --plot area
  mpibatch view out.h5::table --plot area,eccentricity plot.svg
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "view",
        parents=[shared],
        help="write a dataset as a PNG picture, print or plot a table",
        description="Write a dataset, or a slice of it, as a picture (PNG, or what the name's ending says); print or "
        "plot a table.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="FILE[::DATASET]", help="the dataset, or table, to show")
    parser.add_argument("picture", metavar="OUT.png", nargs="?", help="the picture to write")
    parser.add_argument(
        "--slice", dest="slices", metavar="AXIS:INDEX", action="append", default=[], help="cut an axis (repeatable)"
    )
    parser.add_argument("--percentile", metavar="LOW,HIGH", help="stretch the contrast between these percentiles")
    parser.add_argument("--longest", type=int, default=4096, metavar="N", help="pixels a side (default: %(default)s)")
    parser.add_argument("--over", metavar="[FILE::]DATASET", help="draw outlines and numbers of labels over this")
    parser.add_argument("--labels", action="store_true", help="draw labels in colors")
    parser.add_argument("--plot", metavar="COLUMN[,COLUMN]", help="a histogram of a table's column, or two columns")
    parser.add_argument("--rows", type=int, default=20, metavar="N", help="rows to print of a table (default: 20)")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    chosen = dict(map(_slice, args.slices))
    percentiles = _percentiles(args.percentile) if args.percentile else None
    if args.longest < 1:
        raise UsageError(f"--longest {args.longest}: give 1 pixel or more")
    if args.rows < 1:
        raise UsageError(f"--rows {args.rows}: give 1 or more")
    if args.labels and args.over is not None:
        raise UsageError("--labels draws labels in colors, and --over their outlines over something else; give one")
    if args.labels and percentiles:
        raise UsageError("--percentile stretches a contrast, and labels in colors (--labels) have none; leave it out")
    if launched()[0] != 0:
        return 0
    from mpibatch.io.formats import inspect

    source = inspect(args.source, tables=True)
    if source.columns:
        return _show_table(args, source)
    if args.plot is not None:
        raise UsageError(f"--plot {args.plot}: {source.name} is an array, and columns of tables are plotted")
    if args.picture is None:
        raise UsageError(f"{source.name} is an array; name the picture to write, such as {source.dataset or 'out'}.png")
    words = _show_array(args, source, chosen, percentiles)
    if not args.quiet:
        print(printable(f"{args.picture}: {', '.join(words)}".replace("\n", "\\n")))
    return 0


def _show_array(
    args: argparse.Namespace, source: Source, chosen: dict[int, int], percentiles: tuple[float, float] | None
) -> list[str]:
    """Write the picture of an array, or of labels; return what it shows."""
    from PIL import Image

    from mpibatch.base.units import shape_text
    from mpibatch.cli._picture import cut, gray, is_color
    from mpibatch.cli._times import axes_of, time_at
    from mpibatch.io import read_slice

    color = is_color(source.shape, source.dtype)
    axes = axes_of(args.source, source)
    selection = cut(source.shape, color, chosen, args.longest, is_series=axes[:1] in (["t"], ["time"]))
    values = read_slice(args.source, None, selection)
    objects: list[str] = []
    if args.over is not None or args.labels:
        values = values if values.ndim > 1 else values.reshape(1, -1)
        pixels, objects = _labeled(args, source, values, selection, percentiles)
    else:
        pixels = gray(values, percentiles)
    image = Image.fromarray(pixels if pixels.ndim > 1 else pixels.reshape(1, -1))
    try:
        image.save(args.picture)
    except ValueError as error:  # the name's ending
        raise UsageError(f"the picture {args.picture!r} cannot be written: {error}; name it .png") from None
    except OSError as error:
        raise RunError(f"the picture {args.picture!r} cannot be written: {error}") from None
    words = [f"{image.width} × {image.height} pixels of {source.name}, {shape_text(source.shape)}", *objects]
    return words + [
        f"{name} = {index} of 0 to {n - 1}{time_at(args.source, name, index, n)}"
        for name, index, n in zip(axes, selection, source.shape, strict=False)
        if isinstance(index, int)
    ]


def _labeled(
    args: argparse.Namespace,
    source: Source,
    labels: Any,
    selection: tuple[int | slice, ...],
    percentiles: tuple[float, float] | None,
) -> tuple[Any, list[str]]:
    """The pixels of labels in their colors, or their outlines over another array; and what is in them."""
    import numpy as np

    from mpibatch.base.units import plural
    from mpibatch.cli._overlay import colors_of, enlargement, numbered, outlined
    from mpibatch.cli._picture import gray

    if labels.dtype.kind not in "iu" or labels.ndim != 2:
        raise UsageError(
            f"cannot draw {source.name} as labels: its dtype is {labels.dtype}; give integers, as `label` makes them"
        )
    count = len(np.unique(labels[labels > 0]))
    objects = plural(count, "object")
    if args.over is None:
        return colors_of(labels), [objects]
    below = gray(_below(args, source, selection), percentiles)
    below = below if below.ndim > 1 else below.reshape(1, -1)
    pixels, large = outlined(below, labels, enlargement(labels.shape, args.longest))
    pixels, numbers = numbered(pixels, large)
    return pixels, [f"{objects}, {numbers} of them numbered" if numbers < count else objects]


def _below(args: argparse.Namespace, source: Source, selection: tuple[int | slice, ...]) -> Any:
    """The values over which labels are drawn: a dataset of the same file, or another file's, of the same cells."""
    from mpibatch.base.units import shape_text
    from mpibatch.cli._picture import is_color
    from mpibatch.io import read_slice

    place, other = _other(args.over, source)
    cells = other.shape[:-1] if is_color(other.shape, other.dtype) else other.shape
    if cells != source.shape:
        raise UsageError(
            f"cannot draw {source.name} over {other.name}: they have {shape_text(source.shape)} and "
            f"{shape_text(cells)} cells; give a dataset with the same cells"
        )
    return read_slice(place, None, selection)


def _other(name: str, source: Source) -> tuple[str, Source]:
    """What a name stands for: a dataset of the same file, and only where it has none of this name, another file."""
    from pathlib import Path

    from mpibatch.io.base.names import SEPARATOR, whole_name
    from mpibatch.io.formats import inspect

    place = name if SEPARATOR in name else whole_name(source.path, name)
    try:
        return place, inspect(place)
    except UsageError:
        if not Path(name).is_file():
            raise
        return name, inspect(name)


def _show_table(args: argparse.Namespace, source: Source) -> int:
    """Print the first rows of a table, or a histogram; or draw columns."""
    from mpibatch.cli._table import bars, draw, read_columns, rows_text

    if args.over is not None or args.labels or args.slices or args.percentile is not None:
        raise UsageError(f"{source.name} is a table; --over, --labels, --slice and --percentile are for arrays")
    names = [name.strip() for name in args.plot.split(",")] if args.plot is not None else []
    if len(names) > 2:
        raise UsageError(f"--plot {args.plot}: give one column, or two with a comma between")
    if args.picture is not None and not names:
        raise UsageError(f"{source.name} is a table; say what to draw of it: --plot {next(iter(source.columns))}")
    if args.picture is not None:
        lines = [f"{args.picture}: {', '.join(names)} of {source.name}, {draw(source, names, args.picture)}"]
    elif len(names) == 2:
        raise UsageError(f"--plot {args.plot}: name the picture to write, such as plot.png or plot.svg")
    elif names:
        lines = bars(names[0], read_columns(source, names)[names[0]])
    else:
        lines = rows_text(source, args.rows)
    if not (args.quiet and args.picture is not None):
        print("\n".join(printable(line.replace("\n", "\\n")) for line in lines))
    return 0


def _slice(text: str) -> tuple[int, int]:
    axis, _, index = text.partition(":")
    try:
        return int(axis), int(index)
    except ValueError:
        raise UsageError(f"--slice {text}: write AXIS:INDEX, two whole numbers, as in --slice 0:128") from None


def _percentiles(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--percentile {text}: write LOW,HIGH, as in --percentile 1,99") from None
    if not 0 <= low < high <= 100:
        raise UsageError(f"--percentile {text}: give two numbers from 0 to 100, the lower first")
    return low, high
