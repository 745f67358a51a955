"""``mpibatch drill``: whether faults end here as they must."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpibatch.tools.drill.verdicts import Trial

__all__ = ["add", "execute"]

DESCRIPTION = """\
Make faults on this machine, with your launcher, your MPI and your file system, and see that nothing is lost: a rank,
all ranks and the launcher are killed, in a simulation and in a batch; the disk is full; bits flip in outputs; encrypted
files are changed (40 changes a trial; with the extra seal); a rank stops, loops without end, leaves out a collective,
raises, exits, or is slow.
"""
EPILOG = """\
Only processes that the drill has started are killed. A disk is full by a limit on the size of files (RLIMIT_FSIZE),
which needs no root. Files go to a folder of their own, which is removed. Kills of a rank, and of all, reach those on
this host: run it within a job, on the first node.

examples:
  mpibatch drill
  mpibatch drill --launcher "srun -n 4" --folder /scratch/me
  mpibatch drill --only kill-rank,full-disk --times 10 --json

exit codes: 0 every fault ended as it must, 1 some did not, or no ranks start, 2 usage error
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "drill",
        parents=[shared],
        help="inject faults on this machine, and check that nothing is lost",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--launcher", metavar="WORDS", help='what starts ranks, two or more (default: mpiexec -n 3): "srun -n 4"'
    )
    parser.add_argument("--only", metavar="FAULT,...", help="only these faults; an unknown name lists them all")
    parser.add_argument("--times", type=int, metavar="N", default=1, help="trials of each (default: 1)")
    parser.add_argument(
        "--seconds", type=float, metavar="S", default=4.0, help="until a job that hangs is ended (default: 4)"
    )
    parser.add_argument("--folder", metavar="DIR", help="where files go (default: the folder for temporary files)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; not under mpiexec. Local."""
    import json
    import shlex
    from dataclasses import asdict
    from pathlib import Path

    from mpibatch.base.errors import UsageError, nearest
    from mpibatch.base.processes.launch import launched
    from mpibatch.tools.drill.launch import own_launcher
    from mpibatch.tools.drill.verdicts import FAULTS, drill, usual

    if launched()[1] > 1:
        raise UsageError("mpibatch drill starts ranks itself: type it without mpiexec, and give it as --launcher")
    names = args.only.split(",") if args.only else usual()
    for name in names:
        if name not in FAULTS:
            raise UsageError(f"--only {name}: no such fault{nearest(name, FAULTS)}; there are {', '.join(FAULTS)}")
    if args.times < 1 or args.seconds <= 0:
        raise UsageError("--times takes 1 or more, and --seconds a time above 0")
    folder = Path(args.folder) if args.folder else None
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--folder {folder}: there is no such folder; make it, or name another")
    start = shlex.split(args.launcher) if args.launcher else own_launcher(3)
    verdicts = []
    for verdict in drill(start, names, times=args.times, seconds=args.seconds, folder=folder):
        verdicts.append(verdict)
        if not args.json:
            print(_line(verdict), flush=True)
    bad = [verdict.fault for verdict in verdicts if not verdict.is_good]
    if args.json:
        facts: dict[str, Any] = {"launcher": shlex.join(start), "good": not bad}
        print(json.dumps({**facts, "verdicts": [asdict(verdict) for verdict in verdicts]}, indent=1))
    else:
        every = f"all {len(verdicts)} faults ended as they must" if len(verdicts) > 1 else "the fault ended as it must"
        words = f"not as they must: {', '.join(bad)}" if bad else every
        print(f"{words}; launcher: {shlex.join(start)}")
    return 1 if bad else 0


def _line(verdict: Trial) -> str:
    mark = "ok  " if verdict.is_good else "FAIL"
    lines = [f"{mark} {verdict.fault:<19} {verdict.times:>3} × {verdict.seconds:>6.1f} s  {verdict.expected}"]
    return "\n".join([*lines, *(f"       {problem}" for problem in verdict.problems)])
