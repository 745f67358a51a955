"""``mpibatch history``: what was run, and whether somebody has changed what is told of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["add", "execute"]

DESCRIPTION = """\
Show what was run: when, by whom, with which job, on which inputs and with which outputs, and how it ended.
"""
EPILOG = """\
mpibatch run, batch and filter each append an entry when they begin and one after their end: rank 0 alone, one run
after the other. A run without an end is shown as running or killed, and as unfinished if it was begun on another host.
Every entry tells the SHA-256 of the one before, so that verify finds entries that were changed, removed, added or
moved. It prints the digest of the last entry: kept elsewhere, and given as --head, it also shows a history that was
written anew as a whole.

The history is $MPIBATCH_HISTORY (0: none), else $XDG_STATE_HOME/mpibatch/history.jsonl, else
~/.local/state/mpibatch/history.jsonl. With --private a run tells no user, host or absolute path there.

examples:
  mpibatch history                       the last 20 runs
  mpibatch history --last 3 --json
  mpibatch history verify

exit codes: 0 done, 1 the history was changed, or cannot be read, 2 usage error
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "history",
        parents=[shared],
        help="show what was run, and verify that nobody has changed the record of it",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=("list", "verify"), default="list", help="what to do (list)")
    parser.add_argument("--file", metavar="FILE", help="another history than this user's")
    parser.add_argument("--last", type=int, metavar="N", default=20, help="with list: number of runs (default: 20)")
    parser.add_argument(
        "--head", metavar="SHA256", default="", help="of verify: the digest of an entry, kept elsewhere"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    import json
    from pathlib import Path

    from mpibatch.base.errors import UsageError
    from mpibatch.base.processes.launch import launched
    from mpibatch.tools.history import chain
    from mpibatch.tools.history.entry import VARIABLE, default_path
    from mpibatch.tools.history.runs import runs

    if args.last < 1 or (args.head and args.action != "verify"):
        raise UsageError("--last takes 1 or more, and --head belongs to verify")
    if launched()[0] != 0:
        return 0
    path = Path(args.file) if args.file else default_path()
    if path is None:
        raise UsageError(f"{VARIABLE} is 0: no history is kept; unset it, or name one: --file FILE")
    if args.action == "verify":
        report = chain.verify(path, args.head.lower())
        if args.json:
            print(json.dumps({"file": str(path), **vars(report), "problems": [*report.problems]}))
        else:
            for problem in report.problems:
                print(f"{path}: {problem}")
            if not report.problems:
                print(f"{path}: {report.entries} entries, none changed; the last is {report.head}")
        return 1 if report.problems else 0
    for run in runs(path)[-args.last :]:
        print(json.dumps(run) if args.json else _line(run))
    return 0


def _line(run: Mapping[str, Any]) -> str:
    from mpibatch.tools.history.runs import ENDED, STATE

    outputs = ", ".join(str(file.get("path", f"and {file.get('more')} more")) for file in run.get("outputs", []))
    result = outputs or f"exit code {run.get('code')}"
    return (
        f"{run.get('number'):>5}  {run.get('ended') or run.get('began')}  {run.get('user')}@{run.get('host')}  "
        f"{run.get('command')} {run.get('job')} on {run.get('ranks')} -> "
        f"{result if run[STATE] == ENDED else run[STATE]}"
    )
