"""``mpibatch filter``: a pipeline told on the command line."""

from __future__ import annotations

import argparse

from mpibatch.base.processes.launch import launched

__all__ = ["add", "execute"]

EPILOG = """\
A step is NAME or NAME:KEY=VALUE,KEY=VALUE with the filter's parameters; lists in brackets are one value. The result
of the last step is written; save=NAME in an earlier step writes its result too.

examples:
  mpibatch filter photo.png edges.h5 rgb2gray gaussian_filter:sigma=2 sobel_magnitude binarize:threshold=otsu
  mpiexec -n 4 mpibatch filter in.h5::raw out.h5::edges gaussian_filter:sigma=[1,2,2],mode=nearest sobel
  mpibatch filter cells.ome.tif::channel=2,frame=0 out.h5 gaussian_filter:sigma=1
  mpiexec -n 4 mpibatch filter in.h5::raw out.ome.zarr median_filter:size=3 --set output.pyramid=3
  mpibatch filter in.h5::raw out.h5 median_filter:size=3,save=clean laplace:mode=wrap --set grid.topology=[1,0]

filters (`mpibatch filter --list` shows their parameters, `mpibatch filter --help FILTER` explains one): those of
scipy.ndimage and scikit-image by name, binarize, convert, and operations such as subtract.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "filter",
        parents=[shared],
        help="filter a dataset, without a job file",
        description="Read IN, apply the steps in order, write OUT (HDF5, or by its ending: .zarr, .tif, .fits ...).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="mpibatch filter IN[::DATASET] OUT.h5[::DATASET] STEP [STEP ...] [options]\n"
        "       mpibatch filter --list",
    )
    parser.add_argument("source", metavar="IN[::DATASET]", nargs="?", help="a file of any format that can be read")
    parser.add_argument("target", metavar="OUT[::DATASET]", nargs="?", help="the file to write")
    parser.add_argument("steps", metavar="STEP", nargs="*", help="NAME or NAME:KEY=VALUE,...")
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="as for mpibatch run",
    )
    parser.add_argument("--dry-run", action="store_true", help="check the steps and print the plan; no data is read")
    parser.add_argument("--list", action="store_true", help="list all filters with their parameters")
    parser.add_argument("--explain", metavar="FILTER", help="explain one filter; so does --help FILTER")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command. Collective."""
    from mpibatch.base.errors import UsageError
    from mpibatch.job.file.command_line import job_of

    if args.explain is not None:
        if launched()[0] == 0:
            from mpibatch.job.file.explanation import explained

            print(explained(args.explain))
        return 0
    if args.list:
        return _list()
    if not args.steps:
        raise UsageError("IN, OUT and at least one step are needed; mpibatch filter --help shows how")
    job = job_of(args.source, args.target, args.steps, args.settings)
    if args.dry_run:
        from mpibatch.job.plan import plan

        rank, size = launched()
        if rank == 0:
            print(plan(job, size))
        return 0
    from mpibatch.cli._summary import run_and_report
    from mpibatch.mpi import private

    return run_and_report(job, private(), args.quiet, command="filter")


def _list() -> int:
    from mpibatch.job.file.functions import known_filters, parameters_of

    if launched()[0] == 0:
        for name in known_filters():
            words = [p.name if p.default is None else f"{p.name}={p.default}" for p in parameters_of(name)]
            print(f"{name}({', '.join(words)})".replace("'", '"'))
    return 0
