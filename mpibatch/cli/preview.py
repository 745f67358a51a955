"""``mpibatch preview``: a part of what a job would make, in a moment, and how it changes with a parameter."""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["add", "execute"]

DESCRIPTION = """\
Compute a slice, or a region, of a step's result from the cells around it, equal to those cells of the whole run, and
write it as a picture, as .npy or as .h5. With --sweep: one picture for each value, on a sheet.
"""
EPILOG = """\
The step is --step, by default the last one whose cells follow from cells nearby; labels and tables are of the whole and
are not shown. Thresholds such as Otsu's are those of the whole, too: for them, and only then, all of the data are read,
slab by slab, and the numbers are told.

examples:
  mpibatch preview job.toml slice.png --slice z=100
  mpibatch preview job.toml part.npy --region "10:60, :, 200:300" --step smooth
  mpibatch preview job.toml sheet.png --slice z=100 --sweep smooth.sigma=1,2,4 --sweep binarize.threshold=0.3,0.5
"""
MOST = 64  # pictures on a sheet
FORMATS = (".png", ".npy", ".h5")
LETTERS, WIDTH = 12, 240  # pixels of a caption's height, and of the width that one needs


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "preview",
        parents=[shared],
        help="show a slice or region of what a job would make",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", metavar="JOB.toml", help="the job file, of a pipeline")
    parser.add_argument("target", metavar="OUT", help="what to write: .png, .npy or .h5")
    parser.add_argument(
        "--slice", dest="slices", metavar="AXIS=INDEX", action="append", default=[], help="cut an axis (repeatable)"
    )
    parser.add_argument("--region", metavar="SLICES", help='the cells to show, such as "10:60, :, 200:300"')
    parser.add_argument("--step", metavar="NAME", help="whose result to show")
    parser.add_argument(
        "--sweep", dest="sweeps", metavar="KEY=V1,V2,...", action="append", default=[],
        help="show the result for each value of a key of --set; twice: for all pairs",
    )  # fmt: skip
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="as for mpibatch run"
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command. Collective."""
    from mpibatch.cli.run import read_job
    from mpibatch.job.file.schema import Job
    from mpibatch.job.preview import previewed
    from mpibatch.mpi import agreed

    sweeps = [_values(text) for text in args.sweeps]
    cases = [[f"{key}={value}" for key, value in case] for case in itertools.product(*sweeps)]
    _check(args, len(cases))
    shown = []
    for case in cases:
        job, comm = read_job(args.job, [*args.settings, *case])
        with agreed(comm, "previewing"):
            if not isinstance(job, Job):
                raise UsageError(f"{args.job} is a simulation; a preview is of a pipeline")
        preview = previewed(job, comm, _region(args, job, comm), args.step)
        shown.append(preview.gathered())
    with agreed(comm, f"writing {args.target}"):
        if comm.rank == 0:
            words = _write(args.target, shown, [", ".join(case) for case in cases], args)
            if not args.quiet:
                print("\n".join([f"{args.target}: {preview.step}, {words}", *preview.notes]))
    return 0


def _check(args: argparse.Namespace, count: int) -> None:
    if len(args.sweeps) > 2:
        raise UsageError(f"--sweep is given {len(args.sweeps)} times; a sheet has rows and columns: give two at most")
    if count > MOST:
        raise UsageError(f"--sweep has {count} cases; a sheet shows {MOST} at most: give fewer values")
    if args.sweeps and not args.target.endswith(".png"):
        raise UsageError(f"--sweep makes a sheet of pictures, and {args.target!r} is no .png; name it so")
    if not args.target.endswith(FORMATS):
        raise UsageError(f"{args.target!r} is of no format that a preview is written in; name it .png, .npy or .h5")
    if args.region is not None and args.slices:
        raise UsageError("--region says which cells to show, and so does --slice; give one of them")


def _values(text: str) -> list[tuple[str, str]]:
    """The key and each value of a sweep."""
    from mpibatch.job.file.command_line import split_commas

    key, equals, values = text.partition("=")
    if not equals or not key.strip() or not values.strip():
        raise UsageError(f"--sweep {text}: write KEY=VALUE,VALUE,..., as in --sweep smooth.sigma=1,2,4")
    return [(key.strip(), value.strip()) for value in split_commas(values)]


def _region(args: argparse.Namespace, job: Any, comm: Any) -> list[slice]:
    from mpibatch.fields.axes import axis_names
    from mpibatch.job.document.checks import slices
    from mpibatch.job.plan import source_of, values_of
    from mpibatch.mpi import agreed

    if args.region is not None:
        chosen = slices(args.region)
        if chosen is None:
            raise UsageError(f'--region {args.region!r}: write slices, such as "10:60, :, 200:300"')
        return list(chosen)
    region: list[slice] = []
    with agreed(comm, "previewing"):
        if comm.rank == 0:
            shape = values_of(job).shape
            known = job.grid.get("axes") or source_of(job).grid.get("axes") or ()
            names = axis_names(known if len(known) == len(shape) else None, len(shape))
            region = [slice(None)] * len(shape)
            for text in args.slices:
                axis, index = _cut(text, names)
                if not -shape[axis] <= index < shape[axis]:
                    raise UsageError(f"--slice {text}: {names[axis]} has the indices 0 to {shape[axis] - 1}")
                region[axis] = slice(index % shape[axis], index % shape[axis] + 1)
    result: list[slice] = comm.bcast(region, root=0)
    return result


def _cut(text: str, names: Sequence[str]) -> tuple[int, int]:
    axis, _, index = text.partition("=")
    numbers = {name: number for number, name in enumerate(names)} | {str(n): n for n in range(len(names))}
    try:
        return numbers[axis.strip()], int(index)
    except (KeyError, ValueError):
        raise UsageError(
            f"--slice {text}: write AXIS=INDEX, as in --slice {names[0]}=100; the axes are {', '.join(names)}"
        ) from None


def _write(target: str, arrays: list[Any], captions: list[str], args: argparse.Namespace) -> str:
    """Write what is to be shown; return what it is, in words."""
    import numpy as np

    from mpibatch.base.units import shape_text

    try:
        if target.endswith(".npy"):
            np.save(target, arrays[0])
        elif target.endswith(".h5"):
            import mpibatch.io as io
            from mpibatch.fields.grid import Grid
            from mpibatch.fields.redistribution import scatter
            from mpibatch.mpi import MPI

            io.save(target, preview=scatter(arrays[0], Grid(arrays[0].shape, comm=MPI.COMM_SELF)))
        elif target.endswith(".png"):
            return _picture(target, arrays, captions if args.sweeps else [])
    except OSError as error:
        raise RunError(f"{target!r} cannot be written: {error}") from error
    return f"{shape_text(arrays[0].shape)} cells of {arrays[0].dtype.name}"


def _picture(target: str, arrays: list[Any], captions: list[str]) -> str:
    """Write a picture, or a sheet of them in one contrast."""
    import numpy as np
    from PIL import Image

    from mpibatch.cli._picture import gray, is_color, sheet

    planes = []
    for array in arrays:
        spatial = 3 if is_color(array.shape, array.dtype) else 2
        thin = [axis for axis in range(array.ndim) if array.shape[axis] == 1]
        flat = array.squeeze(tuple(thin[: max(0, array.ndim - spatial)]))
        while flat.ndim > spatial:
            flat = flat[len(flat) // 2]
        planes.append(flat if flat.ndim > 1 else flat.reshape(1, -1))
    pixels = gray(np.stack(planes))
    scale = max(1, WIDTH // pixels.shape[2]) if captions else 1  # so that captions fit
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    image = (
        sheet([Image.fromarray(each) for each in pixels], captions, LETTERS) if captions else Image.fromarray(pixels[0])
    )
    image.save(target)
    count = f"{len(planes)} pictures, " if captions else ""
    return f"{count}{image.width} × {image.height} pixels"
