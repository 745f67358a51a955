"""``mpibatch view``: a dataset, or a slice of it, as a picture."""

from __future__ import annotations

import argparse

from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.log import launched
from mpibatch.cli._exit import printable

__all__ = ["add", "execute"]

EPILOG = """\
bool is shown as black and white, bytes as they are, other numbers stretched from their least to their largest value,
or between two percentiles. Three or four channels of bytes as the last axis are a colour picture. Axes that are
neither shown nor given by --slice are cut in the middle, that of a series' times at the last one; what is cut, and
where, is said. Large pictures are thinned out to --longest pixels a side.

examples:
  mpibatch view out.h5::edges edges.png
  mpibatch view volume.h5::raw slice.png --slice 0:128
  mpibatch view heat.h5::u first.png --slice 0:0
  mpibatch view out.h5::filtered smooth.png --percentile 1,99
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "view",
        parents=[shared],
        help="write a dataset as a PNG picture",
        description="Write a dataset, or a slice of it, as a picture (PNG, or what the name's ending says).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="FILE[::DATASET]", help="the dataset to show")
    parser.add_argument("picture", metavar="OUT.png", help="the picture to write")
    parser.add_argument(
        "--slice", dest="slices", metavar="AXIS:INDEX", action="append", default=[], help="cut an axis (repeatable)"
    )
    parser.add_argument("--percentile", metavar="LOW,HIGH", help="stretch the contrast between these percentiles")
    parser.add_argument("--longest", type=int, default=4096, metavar="N", help="pixels a side (default: %(default)s)")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    chosen = dict(map(_slice, args.slices))
    percentiles = _percentiles(args.percentile) if args.percentile else None
    if args.longest < 1:
        raise UsageError(f"--longest {args.longest}: give 1 pixel or more")
    if launched()[0] != 0:
        return 0
    from PIL import Image

    from mpibatch.base.units import shape_text
    from mpibatch.cli._picture import cut, gray, is_color
    from mpibatch.cli.times import axes_of, time_at
    from mpibatch.io import read_slice
    from mpibatch.io.formats import inspect

    source = inspect(args.source)
    color = is_color(source.shape, source.dtype)
    axes = axes_of(args.source, source)
    selection = cut(source.shape, color, chosen, args.longest, is_series=axes[:1] in (["t"], ["time"]))
    pixels = gray(read_slice(args.source, None, selection), percentiles)
    image = Image.fromarray(pixels if pixels.ndim > 1 else pixels.reshape(1, -1))
    try:
        image.save(args.picture)
    except ValueError as error:  # the name's ending
        raise UsageError(f"the picture {args.picture!r} cannot be written: {error}; name it .png") from None
    except OSError as error:
        raise RunError(f"the picture {args.picture!r} cannot be written: {error}") from None
    if not args.quiet:
        words = [f"{image.width} × {image.height} pixels of {source.name}, {shape_text(source.shape)}"]
        words += [
            f"{name} = {index} of 0 to {n - 1}{time_at(args.source, name, index, n)}"
            for name, index, n in zip(axes, selection, source.shape, strict=False)
            if isinstance(index, int)
        ]
        print(printable(f"{args.picture}: {', '.join(words)}".replace("\n", "\\n")))
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
