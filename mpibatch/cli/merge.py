"""``mpibatch merge``: one file from a front and its subfiles."""

from __future__ import annotations

import argparse

from mpibatch.base.processes.launch import launched
from mpibatch.cli._exit import OK, printable

__all__ = ["add", "execute"]

EPILOG = """\
A file that was written with subfiles (mb.save(..., subfiles="node"), [output] subfiles) is a front: its values lie in
sealed files in the folder FRONT.subfiles. What is written has the bytes of the file that would have been written
without them. The front stays as it is.

examples:
  mpiexec -n 8 mpibatch merge out.h5 whole.h5
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "merge",
        parents=[shared],
        help="make one file of a front and its subfiles",
        description="Write one HDF5 file from a front and its subfiles.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("front", metavar="FRONT", help="HDF5 file that was written with subfiles")
    parser.add_argument("out", metavar="OUT", help="HDF5 file to write")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command. Collective."""
    from mpibatch.io import merge

    merge(args.front, args.out)
    if launched()[0] == 0 and not args.quiet:
        print(printable(f"{args.out}: written"))
    return OK
