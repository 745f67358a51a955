"""``python -m mpibatch.apps.cells``: labels and measures of the cells in a slide, or in each of many fields."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence

import mpibatch as mb
from mpibatch.apps.cells.fields import COUNTS, Item, Request, analyze_fields, analyzed, is_pattern, items_of
from mpibatch.apps.cells.illumination import gain_of, load_gain, median_of
from mpibatch.apps.cells.images import load_image
from mpibatch.apps.cells.segmentation import Settings
from mpibatch.apps.cells.tables import merged, save_named
from mpibatch.cli import Parser, command_line
from mpibatch.cli._settings import add_settings, settings_of
from mpibatch.io.write.saver import save_table
from mpibatch.io.write.tables.parquet import load_arrow
from mpibatch.mpi import MPI, agreed, private

__all__ = ["main"]

TABLES = (".csv", ".h5", ".hdf5", ".parquet")
MEDIAN = "median"
EXAMPLES = f"""\
images: two or three axes in any format that mpibatch.load reads; FILE::NAME is a dataset in a file
tables: by the ending of the name, {", ".join(TABLES)}; labels: HDF5, .ome.tif or .ome.zarr
many fields: several names, or one with * or ? in quotes; {{name}} in other names is that of the field

examples:
  mpiexec -n 4 python -m mpibatch.apps.cells slide.ome.tif --table cells.csv --segments labels.ome.zarr
  mpiexec -n 4 python -m mpibatch.apps.cells slide.h5::dapi --table cells.h5 --labels cellpose_masks.tif
  mpiexec -n 4 python -m mpibatch.apps.cells 'plate/*.tif' --table cells.parquet --flat median \\
      --picture 'seen/{{name}}.png' --journal plate.journal
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line. Local."""
    result = Parser(
        prog="python -m mpibatch.apps.cells",
        description="Find the cells, or nuclei, in microscope images, and measure them, with the same bits on any "
        "number of ranks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("images", nargs="+", metavar="IMAGE", help="an image, which all ranks share, or many fields")
    result.add_argument("--table", required=True, metavar="FILE", help="measures of each cell to write")
    result.add_argument("--segments", default="", metavar="FILE", help="labels to write: .h5, .ome.tif or .ome.zarr")
    result.add_argument("--picture", default="", metavar="FILE.png", help="outlines over the image, to be drawn")
    result.add_argument("--labels", default="", metavar="FILE", help="labels of another program, to be measured only")
    result.add_argument("--channel", type=int, metavar="N", help="of an image with several, from 0")
    result.add_argument("--properties", type=_words, default=(), metavar="A,B", help="columns, by scikit-image's names")
    result.add_argument("--debug", action="store_true", help="show the traceback of an error")
    result.add_argument(
        "--settings", metavar="FILE.toml", help="what options of segmentation are if they are not given"
    )
    group = result.add_argument_group("light")
    group.add_argument("--flat", metavar="FILE", help=f"image of an empty, lit field; {MEDIAN}: that of the fields")
    group.add_argument("--flat-sigma", type=float, default=25.0, metavar="S", help=f"that smooths the {MEDIAN} (25)")
    _add_settings(result)
    group = result.add_argument_group("many fields")
    group.add_argument("--summary", metavar="FILE", help="table with a row for each field to write")
    group.add_argument("--ranks-per-field", type=int, default=1, metavar="N", help="(default: %(default)s)")
    group.add_argument("--journal", metavar="FOLDER", help="notes of what is done: the same command goes on from it")
    return result


def _add_settings(to: argparse.ArgumentParser) -> None:
    words = {
        "background": "what is taken away: none, tophat:SIZE or ball:RADIUS, in pixels",
        "sigma": "of the Gaussian that smooths the image",
        "block": "pixels of the window of the local threshold; 0: none",
        "fraction": "of Otsu's threshold of the whole image; 0: none",
        "small": "pixels of an object that is dropped, at most",
        "distance": "pixels between the middles of cells that touch, at least",
        "split-sigma": "of the Gaussian that smooths the distances to the background",
    }
    group = add_settings(to, Settings(), words, "segmentation")
    group.add_argument(
        "--clear-border", action="store_true", default=None, help="drop cells that touch the image's edge"
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code. Collective."""
    return command_line(parser(), _execute, argv)


def _execute(args: argparse.Namespace) -> int:
    comm = private()
    is_batch = len(args.images) > 1 or is_pattern(args.images[0])
    with agreed(comm, "reading the command line"):
        settings = settings_of(Settings, args)
        request = Request(settings, args.channel, args.properties)
        _check(args, comm, is_batch=is_batch)
        items: list[Item] = []
        if comm.rank == 0:
            tables = [(args.table, "the table"), (args.summary, "the summary")]
            sources = ("" if args.flat == MEDIAN else args.flat, args.settings)
            items = items_of(args.images, args.labels, args.segments, args.picture, tables, sources)
    items = comm.bcast(items, root=0)
    return _fields(args, comm, items, request) if is_batch else _slide(args, comm, items[0], request)


def _check(args: argparse.Namespace, comm: MPI.Intracomm, *, is_batch: bool) -> None:
    """Refuse now what could not be meant, or written in the end. Local. UsageError."""
    for path in filter(None, (args.table, args.summary)):
        _check_table(path, comm)
    if not args.flat_sigma >= 0:
        raise mb.UsageError(f"--flat-sigma {args.flat_sigma} is not valid; give a number, 0 or more")
    if is_batch:
        return
    if args.flat == MEDIAN:
        raise mb.UsageError(f"--flat {MEDIAN} is that of many fields; name a file for a single image")
    for name in ("summary", "journal"):
        if getattr(args, name):
            raise mb.UsageError(f"--{name} is of many fields, and {args.images[0]} is a single image; leave it out")


def _check_table(path: str, comm: MPI.Intracomm) -> None:
    if not path.endswith(TABLES):
        raise mb.UsageError(f"the table {path} has none of the endings {', '.join(TABLES)}; give it one of them")
    if comm.rank == 0 and path.endswith(".parquet"):
        load_arrow()


def _slide(args: argparse.Namespace, comm: MPI.Intracomm, item: Item, request: Request) -> int:
    gain = functools.partial(load_gain, args.flat, args.channel) if args.flat else None
    table, level = analyzed(item, request, gain, comm)
    save_table(table, args.table, "cells")
    if comm.rank == 0:
        print(*([] if item.labels else [f"threshold   {level:.6g}"]), f"cells       {table.rows}", sep="\n", flush=True)
    return 0


def _fields(args: argparse.Namespace, comm: MPI.Intracomm, items: Sequence[Item], request: Request) -> int:
    images = [item.image for item in items]
    gain = None
    if args.flat == MEDIAN:
        gain = mb.gather_all(gain_of(median_of(images, args.channel, args.flat_sigma, comm), MEDIAN))
    elif args.flat:
        flat = load_image(args.flat, args.channel, comm, is_light=True)
        gain = mb.gather_all(gain_of(flat, args.flat))
    batch = analyze_fields(items, request, gain, comm, ranks_per_item=args.ranks_per_field, journal=args.journal)
    rows = 0
    if batch.done:
        columns, numbers = merged(batch, comm, COUNTS)
        rows = save_named(args.table, comm, "cells", columns, numbers, images)
        if args.summary:
            counts = {name: batch.table[name] for name in COUNTS}
            save_named(args.summary, comm, "fields", counts, batch.table["item"], images)
    if comm.rank == 0:
        print(f"fields      {batch.done}, failed {len(batch.failed)}\ncells       {rows}")
        for failure in batch.failed:
            print(f"  {failure.name}: {failure.error}")
        sys.stdout.flush()
    return 1 if batch.failed else 0


if __name__ == "__main__":
    sys.exit(main())
