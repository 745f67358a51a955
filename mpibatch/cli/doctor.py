"""``mpibatch doctor``: what would make runs here fail, slow or wrong."""

from __future__ import annotations

import argparse

__all__ = ["add", "execute"]

DESCRIPTION = """\
Look for what makes runs fail, slow or wrong: packages, MPI and its launcher, HDF5, cores and binding, memory, limits,
folders, Slurm. Each finding says what to type next. Nothing is changed; files made for a test are removed. With
--clean, what killed runs have left is removed instead, if it is yours and no process has it open.
"""
EPILOG = """\
Run it as you will run jobs: alone, it examines this host and tries mpiexec with two ranks; under mpiexec or srun, it
examines the ranks that these started.

examples:
  mpibatch doctor
  mpiexec -n 4 mpibatch doctor --folder /scratch/me
  srun -n 8 mpibatch doctor --json > report.json
  mpibatch doctor --clean --folder /scratch/me
  srun --ntasks-per-node 1 mpibatch doctor --clean

--clean removes names of shared memory that an MPI has left in /dev/shm, our temporary folders, and files NAME.part in
the folder: those of this user, that no process of this host has open or locked, untouched for a minute. It keeps, and
says why, a file with which a run may go on (--resume), and on a file system that hosts share what is not a day old.

exit codes:
  0  all is well
  1  warnings: runs will be slow or unreliable
  2  errors: runs will fail (if MPI itself crashes, the launcher may return another code)
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "doctor",
        parents=[shared],
        help="examine this machine and this way of starting ranks",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--folder", metavar="DIR", default=".", help="the folder that outputs will go to (default: this)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object: findings and environment")
    parser.add_argument("--verbose", action="store_true", help="show what was not tried, too")
    parser.add_argument(
        "--patience", type=float, metavar="S", default=10.0, help="seconds for one step (default: %(default)g)"
    )
    parser.add_argument("--clean", action="store_true", help="remove what killed runs have left; examine nothing")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command. All ranks must call it; rank 0 alone reports; a rank that MPI failed has its exit code, too."""
    import sys
    import time
    from pathlib import Path

    from mpibatch.base.errors import UsageError
    from mpibatch.tools.doctor.checkup import examine
    from mpibatch.tools.doctor.finding import exit_code

    if not args.patience > 0:
        raise UsageError(f"--patience {args.patience:g}: give seconds, more than 0")
    if args.clean:
        return _clean(args)
    checkup = examine(Path(args.folder), args.patience)
    if checkup.rank:
        if checkup.failure is None:
            return 0
        if not checkup.is_reported:
            sys.stderr.write(f"mpibatch doctor: rank {checkup.rank} of {checkup.ranks}: {checkup.failure.message}\n")
        # A launcher may lose the code of rank 0 when it learns that another has left MPI badly.
        return 2
    if shown := _shown(args, checkup):
        print(shown, flush=True)
    if any(finding.level == "error" for finding in checkup.findings) and checkup.ranks > 1:
        # Launchers drop what they have not passed on by the time they learn that a rank has died.
        time.sleep(0.3)
    if checkup.rendezvous is not None:
        checkup.rendezvous.close()
    return exit_code(checkup.findings)


def _shown(args: argparse.Namespace, checkup: object) -> str:
    import os
    import shutil
    import sys

    from mpibatch.tools.doctor.checks.launchers import starter
    from mpibatch.tools.doctor.checkup import Checkup
    from mpibatch.tools.doctor.report import as_json, as_text

    assert isinstance(checkup, Checkup)
    if args.json:
        return as_json(checkup)
    # Open MPI's launcher gives its ranks a terminal, also where all goes into a file.
    terminal = sys.stdout.isatty() and not starter()
    return as_text(
        checkup,
        width=min(shutil.get_terminal_size((100, 24)).columns, 120),
        verbose=args.verbose,
        quiet=args.quiet,
        color=terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb",
        plain="utf" not in (sys.stdout.encoding or "").lower(),
    )


def _clean(args: argparse.Namespace) -> int:
    """Remove what killed runs have left: on each host the first rank does. Local."""
    import json
    from pathlib import Path

    from mpibatch.tools.doctor.checkup import is_first_of_host
    from mpibatch.tools.doctor.leftovers import LeftoverPlaces, leftovers, lines, remove

    if not is_first_of_host():
        return 0
    removed, kept = remove(leftovers(LeftoverPlaces.usual(Path(args.folder).resolve())))
    if args.json:
        files = [{"path": str(item.path), "bytes": item.bytes, "kept": item.kept} for item in (*removed, *kept)]
        print(json.dumps({"files": files, "bytes": sum(item.bytes for item in removed)}, indent=2))
    elif not args.quiet:
        print("\n".join(lines([*removed, *kept], "removed")) or "killed runs have left nothing here")
    return 1 if any("cannot be removed" in item.kept for item in kept) else 0
