"""``mpibatch probe``: measure this machine, and what jobs cost on it."""

from __future__ import annotations

import argparse

__all__ = ["add", "execute"]

DESCRIPTION = """\
Measure the machine (memory bandwidth, messages, files) and, with jobs, what a cell of their steps costs in seconds,
messages and memory: their own steps are run on a part of their input, or on a smaller grid, by one rank and by all.
`mpibatch plan` and the runs' own predictions read what is measured from .mpibatch/machine.json.
"""
EPILOG = """\
Start it with as many ranks as a node has cores, or on two nodes, to have messages between them, too. What the profile
knows already of this machine, with as many ranks, is not measured again (--anew does), and a job is added to it.
Printed with it is what kernels were found to be fastest with on this processor; --anew has that timed again, too.

examples:
  mpiexec -n 2 mpibatch probe job.toml
  mpibatch probe                                    the machine alone, and by one rank
  mpiexec -n 64 mpibatch probe heat.toml --set simulation.dtype=f4 --folder /scratch/me --seconds 20
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "probe",
        parents=[shared],
        help="measure this machine, and what jobs cost on it",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("jobs", metavar="JOB.toml", nargs="*", help="jobs to measure (small parts of them)")
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="change a value of the jobs"
    )
    parser.add_argument(
        "--folder", metavar="DIR", default=".", help="the folder for temporary test files (default: here)"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="the profile (default: $MPIBATCH_MACHINE or .mpibatch/machine.json)"
    )
    parser.add_argument("--name", help="what to call this machine (default: its host's name)")
    parser.add_argument("--seconds", type=float, default=8.0, help="approximate seconds per job (default: %(default)g)")
    parser.add_argument("--anew", action="store_true", help="measure again what the profile has already")
    parser.add_argument("--json", action="store_true", help="print the profile")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command. Collective."""
    from mpibatch.base.errors import UsageError
    from mpibatch.tools.planning.profile import default_path

    if not 0.1 <= args.seconds <= 3600:
        raise UsageError(f"--seconds {args.seconds:g}: give 0.1 to 3600")
    from pathlib import Path

    from mpibatch.job.file.reader import parse_any, read_text
    from mpibatch.mpi import agreed, private
    from mpibatch.tools.planning import probe

    comm = private()
    texts: list[str] = []
    with agreed(comm, "reading the jobs"):
        if comm.rank == 0:
            texts = [read_text(path) for path in args.jobs]
    texts = comm.bcast(texts, root=0)
    with agreed(comm, "reading the jobs"):
        jobs = [parse_any(text, path, args.settings) for text, path in zip(texts, args.jobs, strict=True)]
    path = Path(args.output) if args.output else default_path()
    request = probe.ProbeRequest(path, args.folder, args.name, args.seconds, args.anew)
    machine = probe.probe(comm, jobs, request)
    if comm.rank == 0:
        if args.json:
            print(path.read_text(encoding="utf-8"), end="")
        elif not args.quiet:
            print("\n".join(probe.describe(machine, path, comm.size)))
    return 0
