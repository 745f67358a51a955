"""``mpibatch COMMAND ...``: the arguments that all commands share, and the way to each command."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch import __version__
from mpibatch.base.log import LEVELS, setup
from mpibatch.base.processes.launch import launched, let_first_speak, seldom_collected
from mpibatch.base.trust.privacy import keep_private
from mpibatch.cli import (
    batch,
    cancel,
    doctor,
    drill,
    filter,
    guide,
    history,
    info,
    key,
    logs,
    merge,
    net,
    pack,
    plan,
    preview,
    probe,
    report,
    run,
    scale,
    sign,
    status,
    submit,
    verdict,
    verify,
    view,
)
from mpibatch.cli._arguments import Parser
from mpibatch.cli._exit import OK, USAGE_ERROR, guarded
from mpibatch.cli._streams import Streams, streams
from mpibatch.tools.slurm import completion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["command_line", "main"]

# What these do is done whether or not anybody reads what they print; others print, and nothing else. What ranks do
# together must not end because the output of one of them does.
WORKING = (
    "run",
    "batch",
    "filter",
    "view",
    "preview",
    "verify",
    "merge",
    "sign",
    "key",
    "probe",
    "pack",
    "submit",
    "cancel",
    "doctor",
    "drill",
    "scale",
    "report",
    "verdict",
)
DESCRIPTION = """\
Filter images and volumes, and run simulations, with MPI: the same bits on any number of ranks.

Every command runs on one rank without mpiexec, or on several with it:
  mpiexec -n 8 mpibatch run job.toml
"""
EPILOG = """\
examples:
  mpibatch run job.toml --dry-run                    check a job and show its plan
  mpiexec -n 4 mpibatch run job.toml --set step.sigma=3
  mpiexec -n 4 mpibatch filter in.h5::raw out.h5::edges gaussian_filter:sigma=2 sobel
  mpiexec -n 8 mpibatch batch job.toml               a job for each of many items
  mpibatch info out.h5 --digest
  mpibatch view out.h5::edges edges.png
  mpibatch preview job.toml slice.png --slice z=100   one slice of what a job would make
  mpibatch plan job.toml --ranks 1..1024             what it would need and take
  mpibatch scale job.toml --ranks 1,2,4              run it on each, several times; then mpibatch report
  mpibatch submit job.toml --profile generic --nodes 2 --ntasks-per-node 64 --dry-run
  mpibatch guide                                     the chapters of the user's guide

exit codes:
  0  done
  1  run error: the request is valid, but it failed (file missing or damaged, disk full, out of memory)
  2  usage error: the request is not valid (unknown name, wrong value, mistakes in the job file)
  3  from verify: files that mpibatch did not write
  70 from run: no rank made progress for a long time (MPIBATCH_SUPERVISE); a page said where each was
  75 stopped by SIGUSR1 or SIGTERM after a checkpoint: the same command with --resume goes on (EX_TEMPFAIL)
  141 the reader closed the output pipe, as `| head` does (commands that only print)

Environment: MPIBATCH_MEMORY_LIMIT limits the memory that a filter may use on one rank in addition to its block
(such as 4G; default: the free memory); MPIBATCH_CACHE_DIR is the folder for compiled code. A job in which every
rank waits for others ends after MPIBATCH_PATIENCE seconds (default 300; 0: never); one in which no rank makes
progress, whatever it does, after MPIBATCH_SUPERVISE seconds (default 1800; 0: never; see mpibatch run --help).
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. Local."""
    shared = Parser(add_help=False)
    group = shared.add_argument_group("common options")
    group.add_argument("--log-level", choices=LEVELS, default="warning", help="what is logged (default: %(default)s)")
    group.add_argument("--quiet", action="store_true", help="print errors only")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    group.add_argument(
        "--identity", metavar="FILE", help="a key file for encrypted files, or fd:N (default: $MPIBATCH_IDENTITY)"
    )
    group.add_argument(
        "--private",
        action="store_true",
        help="leave names of hosts and users, and absolute paths, out of records, histories and reports",
    )
    top = Parser(
        prog="mpibatch", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command", parser_class=Parser)
    for module in (
        run,
        batch,
        filter,
        info,
        view,
        verify,
        sign,
        key,
        plan,
        preview,
        probe,
        pack,
        submit,
        status,
        logs,
        merge,
        cancel,
        doctor,
        drill,
        net,
        scale,
        report,
        history,
        guide,
        verdict,
    ):
        module.add(commands, shared)
    return top


def _explaining(argv: Sequence[str]) -> Sequence[str]:
    """``filter --help FILTER`` explains a filter; argparse has no help that takes a word. Local."""
    is_asked = len(argv) == 3 and argv[0] == "filter" and argv[1] in ("-h", "--help")
    return ["filter", "--explain", argv[2]] if is_asked else argv


def command_line(
    top: argparse.ArgumentParser, execute: Callable[[argparse.Namespace], int], argv: Sequence[str] | None = None
) -> int:
    """Run another command line, with an option --debug, as `main` runs ours; return its exit code. Collective."""
    with streams() as shown:
        args = _parsed(top, argv, shown)
        return args if isinstance(args, int) else guarded(lambda: execute(args), debug=args.debug)


def _parsed(top: argparse.ArgumentParser, argv: Sequence[str] | None, shown: Streams) -> argparse.Namespace | int:
    """The arguments, or the exit code where there is nothing else to do."""
    try:
        return top.parse_args(argv)
    except SystemExit as leaving:
        sys.stdout.flush()
        if leaving.code:
            let_first_speak()
        return shown.status(int(leaving.code or OK))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Collective."""
    with streams() as shown, seldom_collected() if argv is None else contextlib.nullcontext():
        return _main(argv, shown)


def _main(argv: Sequence[str] | None, shown: Streams) -> int:
    top = parser()
    argv = _explaining(sys.argv[1:] if argv is None else argv)
    args = _parsed(top, argv, shown)
    if isinstance(args, int):
        return args
    rank, size = launched()
    if args.version:
        if rank == 0:
            print(f"mpibatch {__version__}", flush=True)
        return shown.status(OK)
    if args.command is None:
        top.print_help()
        return USAGE_ERROR
    if args.private:
        keep_private()
    setup(args.log_level, rank=rank, size=size, quiet=args.quiet)
    if args.command not in WORKING:
        shown.be_strict()
    code = guarded(lambda: _executed(args), debug=args.debug)
    if args.command not in WORKING:
        code = shown.status(code)
    if args.command in ("run", "batch", "filter"):
        from mpibatch.tools.history import entry  # help needs none of it

        completion.leave(code)
        entry.end(code)
    return code


def _executed(args: argparse.Namespace) -> int:
    """The command's exit code. What encrypts and opens is loaded where it may be needed."""
    if args.identity is not None:
        from mpibatch.io.vault.keyring import use

        use(args.identity)
    return int(args.execute(args))


def run_program(file: str, argv: Sequence[str] | None = None) -> int:
    """Run the simulation program in `file` with the job file beside it, or another one in `argv`. Collective.

    For the end of a program: ``sys.exit(run_program(__file__))``. Arguments are those of ``mpibatch run``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    path = Path(file)
    if {"-h", "--help"} & {*arguments}:
        return _explain(file)
    if not arguments or arguments[0].startswith("-"):
        arguments.insert(0, str(path.with_suffix(".toml")))
    if path.resolve().parent != Path(__file__).resolve().parent.parent / "apps":
        # The job beside a copy may still name what it was copied from.
        arguments += ["--set", f"simulation.program={path}"]
    with seldom_collected() if argv is None else contextlib.nullcontext():
        return main(["run", *arguments])


def _explain(file: str) -> int:
    def show() -> int:
        from mpibatch.cli._program import explanation

        text = explanation(file)
        if launched()[0] == 0:
            print(text)
        return OK

    with streams() as shown:
        return shown.status(guarded(show))
