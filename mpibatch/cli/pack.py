"""``mpibatch pack``: the environment as one archive for the nodes of a cluster, or the host's MPI for containers."""

from __future__ import annotations

import argparse

__all__ = ["add", "execute"]

DESCRIPTION = """\
Write the virtual environment that this mpibatch is installed in into one archive. mpibatch submit --packed FILE sends
it to each node of a job (sbcast), unpacks it to the node's own disk, for this user alone, and removes it at the end.
With --mpi, copy the host's MPI into a folder that container images without one can borrow: mpibatch guide containers.
"""
EPILOG = """\
Thousands of ranks that each open thousands of small files keep a shared file system busy for minutes. The record of a
run (MPIBATCH_RECORD) tells how long its ranks took to start: start_seconds. The Python that the environment was
made with is not packed: nodes must have it under the same path. A squashfs (squashfs-tools 4.5 or newer, on nodes, too)
is a third as large as a tar.

example:
  mpibatch pack environment.tar
  mpibatch submit job.toml --profile site.toml --packed environment.tar
  mpibatch pack environment.sqfs
  mpibatch pack --mpi host-mpi && mpibatch submit job.toml --container mpibatch.sif --container-mpi host-mpi

exit codes: 0 done, 1 the archive cannot be written, 2 usage error
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "pack",
        parents=[shared],
        help="pack the environment into one archive, for submit --packed",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="the archive: FILE.tar, or FILE.sqfs (squashfs)")
    parser.add_argument("--mpi", metavar="FOLDER", help="copy the host's MPI into this new folder")
    parser.add_argument("--libmpi", metavar="FILE", help="its library (default: the one that mpi4py loads here)")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    from pathlib import Path

    from mpibatch.base.errors import UsageError
    from mpibatch.base.processes.launch import launched
    from mpibatch.base.units import bytes_text
    from mpibatch.tools.slurm.software import archive, libraries

    if launched()[0] != 0:
        return 0
    if (args.file is None) == (args.mpi is None) or (args.libmpi and args.file):
        raise UsageError("give the archive's FILE, or --mpi FOLDER (and of that, --libmpi FILE)")
    if args.file:
        count, size = archive.pack(Path(args.file))
    else:
        count, size = libraries.collect(Path(args.mpi), Path(args.libmpi) if args.libmpi else None)
    if not args.quiet:
        print(f"{args.file or args.mpi}: {count} files, {bytes_text(size)}")
    return 0
