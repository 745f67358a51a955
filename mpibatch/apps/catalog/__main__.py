"""``python -m mpibatch.apps.catalog``: the sources of a frame, or of each of many frames."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import mpibatch as mb
from mpibatch.apps.catalog.catalogs import Settings, make_catalog
from mpibatch.apps.catalog.frames import catalog_frames, items_of
from mpibatch.apps.catalog.outputs import write_maps, write_regions
from mpibatch.cli import Parser, command_line
from mpibatch.cli._files import check_targets
from mpibatch.cli._label_picture import draw
from mpibatch.cli._picture import check_picture
from mpibatch.cli._settings import add_settings, settings_of
from mpibatch.io.write.saver import save_table
from mpibatch.io.write.tables.parquet import load_arrow
from mpibatch.mpi import MPI, agreed, private

__all__ = ["main"]

TABLES = (".csv", ".fits", ".h5", ".hdf5", ".parquet")
MAPS = (".fits", ".h5", ".hdf5")
FILES = ("output", "segments", "background", "regions", "picture")
EXAMPLES = f"""\
frames: FITS (FILE.fits::SCI names an extension), TIFF, HDF5 or any other image of two axes
tables: by the ending of the name, {", ".join(TABLES)}
kernels: none, default (3 × 3, SExtractor's), gauss:FWHM in pixels, or a file of numbers, a row a line

examples:
  mpiexec -n 4 python -m mpibatch.apps.catalog detect mosaic.fits sources.csv --regions sources.reg
  mpiexec -n 4 python -m mpibatch.apps.catalog detect mosaic.fits sources.h5 --segments map.fits --picture sources.png
  mpiexec -n 4 python -m mpibatch.apps.catalog detect flt.fits::SCI sources.csv --noise local --kernel gauss:2.1
  mpiexec -n 4 python -m mpibatch.apps.catalog frames 'night/*.fits' catalogs --settings survey.toml
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of both commands. Local."""
    top = Parser(
        prog="python -m mpibatch.apps.catalog",
        description="Find the sources of astronomical frames, and measure them, with the same bits on any number of "
        "ranks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = Parser(add_help=False)
    shared.add_argument("--settings", metavar="FILE.toml", help="what the options below are if they are not given")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    _add_settings(shared)
    commands = top.add_subparsers(metavar="COMMAND", dest="command", required=True, parser_class=Parser)
    detect = commands.add_parser("detect", parents=[shared], help="the catalog of a frame")
    detect.add_argument("frame", help="a file, or FILE::EXTENSION")
    detect.add_argument("output", help=f"table to write: {', '.join(TABLES)}")
    detect.add_argument("--segments", metavar="FILE", help="map of the numbers of sources to write: .fits or .h5")
    detect.add_argument("--background", metavar="FILE", help="maps of background and noise to write: .fits or .h5")
    detect.add_argument("--regions", metavar="FILE.reg", help="Kron's ellipses to write, for DS9")
    detect.add_argument("--picture", metavar="FILE.png", help="outlines and numbers over the frame, to be drawn")
    frames = commands.add_parser("frames", parents=[shared], help="catalogs of many frames, rank by rank")
    frames.add_argument("frames", help="names with * and ?, in quotes: 'night/*.fits', 'night/*_flt.fits::SCI'")
    frames.add_argument("folder", help="where to write NAME.csv for each, and frames.csv with a row for each")
    frames.add_argument("--ranks-per-frame", type=int, default=1, metavar="N", help="(default: %(default)s)")
    frames.add_argument("--journal", metavar="FOLDER", help="notes of what is done: the same command goes on from it")
    frames.add_argument("--table", choices=TABLES, default=".csv", help="kind of the tables (default: %(default)s)")
    return top


def _add_settings(to: argparse.ArgumentParser) -> None:
    words = {
        "mesh": "pixels of a node of the background",
        "window": "nodes of which the median is taken, odd",
        "noise": "global: the median over the frame; local: of each pixel",
        "kernel": "of the matched filter",
        "threshold": "of the signal, in units of the noise",
        "area": "pixels of an object, at least, before it is taken apart",
        "deblend-steps": "thresholds at which objects are taken apart",
        "contrast": "share of an object's flux that a source in it has at least; 1: none is taken apart",
        "clean": "power with which wings fall, in which fainter sources are dropped, as 1; 0: none is",
        "gain": "electrons per unit of the frame, for errors; 0: not known",
    }
    group = add_settings(to, Settings(), words)
    radii = ",".join(map(str, Settings().apertures))
    group.add_argument("--apertures", type=_radii, metavar="R,R", help=f"radii of circles in pixels ({radii})")


def _radii(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(",") if word)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code. Collective."""
    commands = {"detect": _detect, "frames": _frames}
    return command_line(parser(), lambda args: commands[args.command](args), argv)


def _check_table(path: str, comm: MPI.Intracomm) -> None:
    """Refuse now what could not be written in the end. Local. UsageError."""
    if not path.endswith(TABLES):
        raise mb.UsageError(f"the table {path} has none of the endings {', '.join(TABLES)}; give it one of them")
    if comm.rank == 0 and path.endswith(".parquet"):
        load_arrow()


def _detect(args: argparse.Namespace) -> int:
    comm = private()
    with agreed(comm, "reading the command line"):
        settings = settings_of(Settings, args)
        _check_table(args.output, comm)
        if args.picture:
            check_picture(args.picture)
        for name in ("segments", "background"):
            path = getattr(args, name)
            if path and not path.endswith(MAPS):
                raise mb.UsageError(f"the map {path} has none of the endings {', '.join(MAPS)}; give it one of them")
        check_targets([(getattr(args, name), f"the {name}") for name in FILES], [args.frame, args.settings])
    catalog = make_catalog(mb.load(args.frame, comm=comm), settings)
    save_table(catalog.table, args.output, "sources")
    write_maps(catalog, args.segments, args.background)
    if args.regions:
        write_regions(catalog.table, args.regions)
    if args.picture:
        draw(catalog.value, catalog.segments, args.picture, is_upward=True)
    if comm.rank == 0:
        background, attrs = catalog.background, catalog.table.attrs
        print(f"background  {background.level:.6g}, noise {background.noise:.6g}, threshold {attrs['threshold']:.6g}")
        print(f"sources     {catalog.table.rows}", flush=True)
    return 0


def _frames(args: argparse.Namespace) -> int:
    comm = private()
    with agreed(comm, "reading the command line"):
        settings = settings_of(Settings, args)
        _check_table(args.table, comm)
        items = items_of(args.frames, args.folder, args.table) if comm.rank == 0 else []
    items = comm.bcast(items, root=0)
    batch = catalog_frames(comm, items, args.folder, settings, args.ranks_per_frame, args.journal)
    if comm.rank == 0:
        print(f"frames      {batch.done}, failed {len(batch.failed)}")
        for failure in batch.failed:
            print(f"  {failure.name}: {failure.error}")
        sys.stdout.flush()
    return 1 if batch.failed else 0


if __name__ == "__main__":
    sys.exit(main())
