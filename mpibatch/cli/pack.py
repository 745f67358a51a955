"""``mpibatch pack``: the environment as one archive for the nodes of a cluster."""

from __future__ import annotations

import argparse

__all__ = ["add", "execute"]

DESCRIPTION = """\
Write the virtual environment that this mpibatch is installed in into one archive. mpibatch submit --packed FILE sends
it to each node of a job (sbcast), unpacks it to the node's own disk, for this user alone, and removes it at the end.
"""
EPILOG = """\
Thousands of ranks that each open thousands of small files keep a shared file system busy for minutes. The record of a
run (MPIBATCH_RECORD) tells how long its ranks took to start: start_seconds. The Python that the environment was
made with is not packed: nodes must have it under the same path.

example:
  mpibatch pack environment.tar
  mpibatch submit job.toml --profile site.toml --packed environment.tar

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
    parser.add_argument("file", metavar="FILE.tar", help="the archive")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    from pathlib import Path

    from mpibatch.base.launch import launched
    from mpibatch.base.units import bytes_text
    from mpibatch.tools.slurm.archive import pack

    if launched()[0] != 0:
        return 0
    count, size = pack(Path(args.file))
    if not args.quiet:
        print(f"{args.file}: {count} files, {bytes_text(size)}")
    return 0
