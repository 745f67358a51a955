"""``mpibatch run``: a job from a TOML file."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from mpibatch.base.processes.launch import launched
from mpibatch.cli._arguments import add_supervision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.job.execution.resumption import Start
    from mpibatch.job.file.schema import Job
    from mpibatch.job.file.simulation import SimulationJob

__all__ = ["add", "execute", "read_job"]

EPILOG = """\
A job file has the sections [input], [[step]] (one for each filter, in order), [output] and, optionally, [grid]:

  [input]
  path = "volume.h5"
  dataset = "raw"

  [[step]]
  filter = "gaussian_filter"
  sigma = 2
  save = "filtered"

  [[step]]
  filter = "binarize"
  threshold = "otsu"
  save = "mask"

  [output]
  path = "out.h5"

A simulation has [simulation], [output] and, optionally, [diagnostics] and [grid]:

  [simulation]
  program = "heat"            # a program of mpibatch.apps, or a file such as "my_heat.py"
  until = 0.02                # units of time, or steps = 1000
  shape = [128, 128]          # and other parameters of the program

  [output]
  path = "heat.h5"
  every = 0.004               # units of time, or every_steps = 100

  [diagnostics]
  path = "heat.csv"
  every = 0.002

Both kinds may have [checkpoint], and can then resume after an interruption, on any number of ranks:

  [checkpoint]
  every_minutes = 10          # the default; or every_steps = 1000 (of a pipeline: filters), or both
  keep = 2                    # of a simulation: how many
  path = "heat.h5.checkpoints"   # a folder; this is the default, beside the output

SIGUSR1 and SIGTERM then end the run after the current step (or filter), with a checkpoint and exit code 75. The same
command with --resume continues; if everything is complete, it does nothing and exits with 0.

A job in which no rank makes progress for a long time is ended, and a page says which rank hangs, and where:

  [supervise]
  seconds = 1800              # the default; four times as long while a rank compiles, or is in files; 0: never
  end = true                  # false: only write the page

A step may combine earlier results, cell by cell: two with filter = "subtract" (add, multiply, divide, and, or, ...)
and input = ["a", "b"], or any number by an expression of their names and of numbers among the step's keys:

  [[step]]
  filter = "expression"
  expression = "input - 0.5 * smooth > limit"
  limit = 0.25
  save = "mask"

A pipeline whose data exceed the memory of all ranks goes through them in slabs, to the same bytes:

  [stream]
  memory = "2 GiB"            # of a rank; default: MPIBATCH_MEMORY_LIMIT, or 1 GiB; or slab = 64 (planes)
  path = "out.h5.stream"      # a folder for what lies between passes; this is the default, beside the output

--dry-run shows its passes; after an early end, --resume goes on behind a slab of the last ten seconds.

Paths are relative to the working directory. All mistakes in a job file are listed at once, with line numbers.

examples:
  mpiexec -n 8 mpibatch run job.toml
  mpiexec -n 4 mpibatch run job.toml --resume
  mpibatch run job.toml --dry-run --ranks 64
  mpibatch run job.toml --set output.path=other.h5 --set gaussian_filter.sigma=[1,2,2]

--set takes SECTION.KEY, NAME.KEY with a step's name, step.NUMBER.KEY (from 1), or step.KEY where that is of one
step alone.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "run",
        parents=[shared],
        help="run the job in a TOML file",
        description="Run the job in a TOML file: read, filter, write one HDF5 file; or simulate and write a series.",
        epilog=EPILOG,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--help", "-h", action=_Help, help="show this help, with all keys of a job file, and exit")
    parser.add_argument("job", metavar="JOB.toml", help="the job file")
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="change a value (repeatable)"
    )
    parser.add_argument("--dry-run", action="store_true", help="check the job and print its plan; no data is read")
    parser.add_argument(
        "--ranks", type=int, metavar="N", help="with --dry-run: plan for N ranks (default: those started)"
    )
    add_supervision(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on from the newest checkpoint, if there is one")
    start.add_argument("--anew", action="store_true", help="remove the checkpoints of an earlier run first")
    parser.set_defaults(execute=execute)


class _Help(argparse.Action):
    """Help with the reference of keys, which is made only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *given: object) -> None:
        from mpibatch.job.file.explanation import reference

        parser.epilog = f"{EPILOG}\nall keys of a job file:\n{reference()}\n"
        parser.print_help()
        parser.exit()


def execute(args: argparse.Namespace) -> int:
    """Run the command. Collective."""
    from mpibatch.base.errors import UsageError

    if args.ranks is not None and (not args.dry_run or args.ranks < 1):
        raise UsageError(f"--ranks {args.ranks}: give 1 or more, and only with --dry-run; mpiexec sets a run's")
    if args.dry_run:
        return _dry_run(args)
    from mpibatch.checkpoint.signals import Caught

    # At once: a signal may come while libraries are loading.
    caught = Caught()
    with ExitStack() as early:
        early.enter_context(caught)
        job, comm = read_job(args.job, args.settings)
        if job.checkpoint is None:
            early.pop_all()
            caught.redeliver()
        from mpibatch.cli._summary import run_and_report
        from mpibatch.mpi.supervision import supervise

        start: Start = "resume" if args.resume else "anew" if args.anew else "new"
        given = job.supervise.seconds if args.supervise is None else args.supervise
        with supervise(given, end=job.supervise.end):
            return run_and_report(job, comm, args.quiet, start)


def read_job(path: str, settings: Sequence[str]) -> tuple[Job | SimulationJob, Any]:
    """Return the job in a file, with settings, and the communicator of all ranks. Collective."""
    from mpibatch.job.file.reader import parse_any, read_text
    from mpibatch.mpi import agreed, private

    comm = private()
    text = ""
    # One rank reads, so that a thousand ranks neither storm the file server nor see different versions.
    with agreed(comm, f"reading {path}"):
        if comm.rank == 0:
            text = read_text(path)
    text = comm.bcast(text, root=0)
    # A program may be a file that one node does not see.
    with agreed(comm, f"reading {path}"):
        job = parse_any(text, path, settings)
    return job, comm


def _dry_run(args: argparse.Namespace) -> int:
    from mpibatch.job.file.reader import parse_any, read_text
    from mpibatch.job.plan import plan

    rank, size = launched()
    if rank == 0:
        print(plan(parse_any(read_text(args.job), args.job, args.settings), args.ranks or size))
    return 0
