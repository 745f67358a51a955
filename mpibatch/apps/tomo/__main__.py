"""``python -m mpibatch.apps.tomo``: the volume of a scan and its pores; centers on a sheet; scans of known bodies."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields
from typing import Any

import mpibatch as mb
from mpibatch.apps.tomo.acquisition import Acquisition, center_of, measure
from mpibatch.apps.tomo.attempts import PARTS, Attempts, State, identity_of
from mpibatch.apps.tomo.phantoms import phantom
from mpibatch.apps.tomo.pores import KINDS, find_objects
from mpibatch.apps.tomo.scans import Scan, look, read_scan
from mpibatch.apps.tomo.sheets import draw_centers, parse_sweep
from mpibatch.apps.tomo.volumes import (
    FILTERS,
    Settings,
    Volume,
    check_center,
    check_room,
    margin_of,
    needed_bytes,
    reconstruct,
    sinograms_of,
)
from mpibatch.base.units import bytes_text
from mpibatch.cli import Parser, command_line
from mpibatch.cli._files import check_targets
from mpibatch.cli._picture import check_picture
from mpibatch.cli._settings import add_settings, settings_of
from mpibatch.io.write.saver import save_table
from mpibatch.io.write.tables.parquet import load_arrow
from mpibatch.job.execution.progress import Report, reporter
from mpibatch.mpi import MPI, agreed, private

__all__ = ["main"]

EVERY = 10.0  # minutes between checkpoints
TABLES = (".csv", ".fits", ".h5", ".hdf5", ".parquet")
VOLUMES = (".h5", ".hdf5")
STEPS = ("flats and darks", "stripes", "phase", "center", "slices", "pores", "file")
EXAMPLES = """\
scans: HDF5 of NXtomo or DXchange; or TIFF ('scan/proj_*.tif'), or any other stack of images, with --flats, --darks and
--angles. Detectors and rows count from 0.

examples:
  mpiexec -n 4 python -m mpibatch.apps.tomo reconstruct scan.nxs volume.h5 --table pores.csv
  mpiexec -n 4 python -m mpibatch.apps.tomo preview scan.nxs centers.png --centers 1010:1030:1
  mpiexec -n 4 python -m mpibatch.apps.tomo reconstruct 'proj_*.tif' volume.h5 --flats 'flat_*.tif' \\
    --darks 'dark_*.tif' --angles 180 --pixel 1.3 --center 1019.5 --rows 400:600
  mpiexec -n 4 python -m mpibatch.apps.tomo make-scan scan.h5 --size 128 --pores 20 --center 61.3
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. Local."""
    top = Parser(
        prog="python -m mpibatch.apps.tomo",
        description="Make the volume of a tomographic scan, and a table of its pores, with the same bits on any number "
        "of ranks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = Parser(add_help=False)
    shared.add_argument("--quiet", action="store_true", help="no progress")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    scan = Parser(add_help=False, parents=[shared])
    scan.add_argument("scan", help="a file, FILE::DATASET, or names with * and ?, in quotes")
    scan.add_argument("--settings", metavar="FILE.toml", help="what the settings below are if they are not given")
    _add_scan(scan)
    _add_settings(scan)
    commands = top.add_subparsers(metavar="COMMAND", dest="command", required=True, parser_class=Parser)
    volume = commands.add_parser("reconstruct", parents=[scan], help="the volume of a scan, and its pores")
    volume.add_argument("output", help="HDF5 to write: volume, labels and table of objects")
    volume.add_argument("--rows", type=_rows, default=slice(None), metavar="A:B", help="of the images (all)")
    volume.add_argument("--table", metavar="FILE", help=f"the table alone, too: {', '.join(TABLES)}")
    volume.add_argument("--checkpoints", metavar="FOLDER", help="what is done so far: the same command goes on from it")
    volume.add_argument("--every", type=float, metavar="MIN", help=f"minutes between checkpoints ({EVERY:g})")
    volume.add_argument("--anew", action="store_true", help="remove what is in FOLDER first")
    preview = commands.add_parser("preview", parents=[scan], help="a slice at many centers, as a picture")
    preview.add_argument("picture", help="to draw, such as centers.png")
    preview.add_argument("--centers", required=True, metavar="FIRST:LAST:STEP", help="of the axis, in detectors")
    preview.add_argument("--row", type=int, metavar="N", help="of the images (the middle one)")
    make = commands.add_parser("make-scan", parents=[shared], help="a scan of a known body, by DXchange")
    make.add_argument("output", help="HDF5 to write")
    make.add_argument("--volume", metavar="FILE", help="the body: attenuation, in any file of a volume")
    make.add_argument("--size", type=int, default=64, metavar="N", help="else: of a cylinder in N × N × N voxels (64)")
    make.add_argument("--pores", type=int, default=8, metavar="N", help="in the cylinder (8)")
    make.add_argument("--grains", type=int, default=0, metavar="N", help="in the cylinder (0)")
    for field in fields(Acquisition):
        usual = "the middle one" if field.name == "center" else f"{field.default:g}"
        make.add_argument(
            f"--{field.name}", type=type(field.default), metavar="N", help=f"{ACQUIRED[field.name]} ({usual})"
        )
    return top


# What `Acquisition` has, for --help.
ACQUIRED = {
    "angles": "how many projections",
    "arc": "degrees that they are spread over, from 0 on",
    "counts": "of a pixel in the middle of the beam",
    "absorption": "-log of the transmission of the darkest ray",
    "center": "of the axis, in detectors",
    "stripes": "share of the detector's pixels with dust on them",
    "zingers": "share of a projection's pixels",
    "flats": "images without the body",
    "darks": "images without the beam",
    "pixel": "its width in µm",
    "seed": "of all that is random",
}


def _add_scan(to: argparse.ArgumentParser) -> None:
    group = to.add_argument_group("what a scan has not, or what is to take its place")
    group.add_argument("--flats", default="", metavar="FILE", help="images without the body; none: they are divided")
    group.add_argument("--darks", default="", metavar="FILE", help="images without the beam; none: they are 0")
    group.add_argument("--angles", default="", metavar="A", help="degrees of the turn, evenly from 0; or a file")


def _add_settings(to: argparse.ArgumentParser) -> None:
    words = {
        "outliers": "of transmission, from the median around, to be replaced by it; 0: none",
        "stripes": "detectors of the median that takes out stripes, odd, a tenth of all at most; 0: they stay",
        "phase": "δ / β of the material, for Paganin's filter; 0: none",
        "energy": "of the beam, in keV",
        "distance": "from body to detector, in m",
        "pixel": "size in µm; 0: what the scan says",
        "center": "detector of the axis; nan: found",
        "filter": ", ".join(FILTERS),
        "objects": ", ".join(KINDS),
        "smooth": "voxels of a Gaussian before the threshold",
        "smallest": "voxels of an object, at least",
    }
    add_settings(to, Settings(), words)


def _rows(text: str) -> slice:
    first, colon, last = text.partition(":")
    rows = slice(int(first) if first else None, int(last) if last else None)
    if not colon or any(n is not None and n < 0 for n in (rows.start, rows.stop)):
        raise ValueError
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code. Collective."""
    commands = {"reconstruct": _reconstruct, "preview": _preview, "make-scan": _make_scan}
    return command_line(parser(), lambda args: commands[args.command](args), argv)


def _check_ending(path: str, endings: Sequence[str], kind: str) -> None:
    """Refuse now what could not be written in the end. Local. UsageError."""
    if not path.endswith(tuple(endings)):
        raise mb.UsageError(f"the {kind} {path} has none of the endings {', '.join(endings)}; give it one of them")


def _sources(args: argparse.Namespace) -> list[str | None]:
    """Return what a scan is read from. Local."""
    return [args.scan, args.flats, args.darks, args.angles, args.settings]


def _steps(report: Report) -> Callable[[str], None]:
    return lambda step: report(STEPS.index(step), len(STEPS), step)


def _scan(args: argparse.Namespace, settings: Settings, comm: MPI.Intracomm, rows: slice) -> Scan:
    scan = read_scan(args.scan, comm, args.flats, args.darks, args.angles, rows, margin_of(settings))
    if comm.rank == 0 and not args.quiet:
        count, height, width = scan.shape
        own = scan.projections.dtype.itemsize * -(-count // comm.size) * scan.projections.grid.shape[1] * width
        print(f"scan        {count} projections of {height} × {width} pixels")
        print(f"memory      {bytes_text(own + needed_bytes(scan, settings))} on each of {comm.size} ranks", flush=True)
    return scan


def _reconstruct(args: argparse.Namespace) -> int:
    comm = private()
    with agreed(comm, "reading the command line"):
        settings = settings_of(Settings, args)
        _check_ending(args.output, VOLUMES, "volume")
        if args.table:
            if settings.objects == "none":
                raise mb.UsageError(f"--table {args.table} has nothing in it with --objects none; leave one out")
            _check_ending(args.table, TABLES, "table")
            if comm.rank == 0 and args.table.endswith(".parquet"):
                load_arrow()
        check_targets(
            [(args.output, "the volume"), (args.table, "the table"), (args.checkpoints, "the checkpoints")],
            _sources(args),
        )
        _check_checkpoints(args)
    with ExitStack() as stack:
        volume, report, attempts = _volume(args, settings, comm, stack)
        results: dict[str, Any] = {"volume": volume.field}
        about: dict[str, Any] = {"center": volume.center}
        if settings.objects != "none":
            _steps(report)("pores")
            objects = find_objects(volume.field, settings.objects, settings.smooth, settings.smallest)
            results |= {settings.objects: objects.labels, "table": objects.table}
            about |= {"threshold": objects.threshold, "share": objects.share}
            if attempts:
                attempts.keep(State(None, volume.field, volume.center, PARTS))
        _steps(report)("file")
        names = {"volume": {"long_name": "attenuation in 1 / pixel"}}
        shown = {name: value for name, value in asdict(settings).items() if name != "center"}
        mb.save(args.output, results, attrs=about | shown, dataset_attrs=names)
        if args.table:
            save_table(objects.table, args.table, "objects")
        report(len(STEPS), len(STEPS), "done")
        if attempts:
            attempts.clear()
    if comm.rank == 0:
        print(f"center      {volume.center:.4f}")
        if settings.objects != "none":
            print(f"{settings.objects:<11} {objects.table.rows}, {objects.share:.4%} of the volume", flush=True)
    return 0


def _check_checkpoints(args: argparse.Namespace) -> None:
    """Refuse options that mean nothing. Local. UsageError."""
    if not args.checkpoints and (args.anew or args.every is not None):
        raise mb.UsageError("--every and --anew are of checkpoints, and there are none; give --checkpoints FOLDER")
    if args.every is not None and not 0 < args.every < math.inf:
        raise mb.UsageError(f"--every {args.every:g} is not valid; give minutes between checkpoints, above 0")


def _volume(
    args: argparse.Namespace, settings: Settings, comm: MPI.Intracomm, stack: ExitStack
) -> tuple[Volume, Report, Attempts | None]:
    """Return the volume, and what goes on: its scan, which needs memory, is not among it. Collective."""
    scan, attempts = _scan(args, settings, comm, args.rows), None
    if args.checkpoints:
        checkpoints = mb.Checkpoints(
            args.checkpoints,
            comm=comm,
            every_minutes=EVERY if args.every is None else args.every,
            keep=1,
            identity=identity_of(scan, settings),
        )
        checkpoints.again = "the same command goes on"
        attempts = Attempts(stack.enter_context(checkpoints))
        if args.anew:
            attempts.clear()
    report = stack.enter_context(reporter(comm.rank, args.quiet))
    return reconstruct(scan, settings, _steps(report), attempts), report, attempts


def _preview(args: argparse.Namespace) -> int:
    comm = private()
    with agreed(comm, "reading the command line"):
        settings = settings_of(Settings, args)
        check_picture(args.picture)
        check_targets([(args.picture, "the picture")], _sources(args))
        centers = parse_sweep(args.centers)
    _, height, width = look(args.scan, comm).shape
    row = height // 2 if args.row is None else args.row
    with agreed(comm, "reading the command line"):
        if not 0 <= row < height:
            raise mb.UsageError(f"--row {row} is none of the rows 0 to {height - 1}; give one of them")
        for center in (centers[0], centers[-1]):
            check_center(center, width)
    scan = _scan(args, settings, comm, slice(row, row + 1))
    check_room(scan, settings)
    with reporter(comm.rank, args.quiet) as report:
        sinograms = sinograms_of(scan, settings, _steps(report))
        _steps(report)("slices")
        draw_centers(_only_plane(sinograms), scan.angles, centers, settings, args.picture)
        report(len(STEPS), len(STEPS), "done")
    if comm.rank == 0 and not args.quiet:
        print(f"picture     row {row} at {len(centers)} centers, {centers[0]:g} to {centers[-1]:g}", flush=True)
    return 0


def _only_plane(u: mb.Field) -> mb.Field:
    """Return the plane of a field that has no other along its first axis, which is one rank's. Collective."""
    owner = u.grid.decomposition.owner((0, 0, 0))
    plane = u.owned[0] if u.grid.rank == owner else None
    return mb.scatter(plane, mb.Grid(u.shape[1:], comm=u.grid.comm), root=owner)


def _make_scan(args: argparse.Namespace) -> int:
    comm = private()
    with agreed(comm, "reading the command line"):
        given = {field.name: getattr(args, field.name) for field in fields(Acquisition)}
        how = Acquisition(**{name: value for name, value in given.items() if value is not None})
        _check_ending(args.output, VOLUMES, "scan")
        check_targets([(args.output, "the scan")], [args.volume])
        for name, least in (("size", 16), ("pores", 0), ("grains", 0)):
            if getattr(args, name) < least:
                raise mb.UsageError(f"--{name} {getattr(args, name)} is not valid; give {least} or more")
    if args.volume:
        body = mb.load(args.volume, comm=comm)
    else:
        body = phantom((args.size,) * 3, args.pores, comm, how.seed, args.grains).volume
    scan, units = measure(body, how, circle=not args.volume)
    mb.save(args.output, scan, dataset_attrs=units)
    if comm.rank == 0 and not args.quiet:
        count, rows, width = scan["exchange/data"].shape
        print(
            f"scan        {count} projections of {rows} × {width} pixels, center {center_of(how, width):g}", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
