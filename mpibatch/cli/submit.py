"""``mpibatch submit``: a job file as a job of Slurm."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from mpibatch.cli import _slurm_options

if TYPE_CHECKING:
    from mpibatch.tools.slurm.profiles import Profile
    from mpibatch.tools.slurm.request import Request

__all__ = ["add", "execute"]

EPILOG = """\
A profile has what a site requires of every job: partition, account, modules, launcher and so on. Give its name, or your
own file; `--profile list` shows those that come with mpibatch.

--array FILE runs the job once for each line of FILE, which holds settings as for mpibatch run --set:
  output.path=weak.h5 gaussian_filter.sigma=1
  output.path=strong.h5 gaussian_filter.sigma=3

--chain lets a job with a [checkpoint] run as a series of jobs: before the time limit it saves a checkpoint, requeues
itself, and continues from there. It also does so after a preemption or the loss of a node.

A job with a section [batch] is run for each of its items: by one MPI job, or, with --parts N, by an array of N that
share the items and their journal. --chain goes on there, too, until no item is left.

The same run on several numbers of ranks, to see how it scales: mpibatch scale JOB.toml --profile P.

examples:
  mpibatch submit job.toml --profile generic --nodes 2 --ntasks-per-node 64 --time 30 --dry-run
  mpibatch submit heat.toml --profile archer2 --account t01 --nodes 4 --ntasks-per-node 128 --time 12:00:00 --chain
  mpibatch submit job.toml --profile mysite.toml --array settings.txt --at-once 8
  mpibatch submit batch.toml --profile generic --ntasks-per-node 64 --parts 8
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "submit",
        parents=[shared],
        help="submit a job file to Slurm",
        description="Render a batch script for a job file and a site's profile, and submit it to Slurm.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", metavar="JOB.toml", nargs="?", help="the job file")
    parser.add_argument("--profile", default="generic", metavar="P", help="the site's profile (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print the script, and submit nothing")
    size = parser.add_argument_group("how much")
    size.add_argument("--nodes", type=int, default=1, metavar="N", help="nodes (default: %(default)s)")
    size.add_argument("--ntasks-per-node", type=int, default=1, metavar="R", help="MPI ranks on each (default: 1)")
    size.add_argument("--cpus-per-task", type=int, default=1, metavar="C", help="CPUs, and threads, of each rank")
    _slurm_options.add(size)
    how = parser.add_argument_group("how often and when")
    kind = how.add_mutually_exclusive_group()
    kind.add_argument("--array", metavar="FILE", help="one run for each line of settings in FILE")
    kind.add_argument(
        "--chain",
        nargs="?",
        const="requeue",
        choices=("requeue", "dependent"),
        help="go on until done: by requeueing itself, or by dependent jobs where that is not allowed",
    )
    kind.add_argument("--parts", type=int, metavar="N", help="of a job with [batch]: N jobs that share its items")
    how.add_argument("--at-once", type=int, metavar="N", help="at most N tasks of the array at a time")
    how.add_argument("--after", metavar="JOBID", action="append", default=[], help="start when that job has succeeded")
    how.add_argument("--margin", type=int, metavar="SECONDS", help="time to save a checkpoint before the time limit")
    parser.add_argument("--name", help="the job's name (default: that of the job file)")
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="change a value of the job"
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    from mpibatch.base.errors import UsageError
    from mpibatch.base.processes.launch import launched
    from mpibatch.tools.slurm import commands, durations, renderer, request, submission, submissions

    if launched()[0] != 0:
        return 0
    if args.profile == "list":
        return _list_profiles()
    if args.job is None:
        raise UsageError("name the job file: mpibatch submit JOB.toml")
    profile = _slurm_options.chosen(args)
    requested = _request(args, profile)
    request.check(requested, profile)
    script = renderer.render(requested, profile)
    if args.dry_run:
        _check_run(args, requested)
        print(script, end="")
        return 0
    done = submission.submit(script, requested, profile)
    if args.quiet:
        print(done.number)
        return 0
    for key, value in commands.overriding(exports=bool(profile.export)).items():
        print(f"note: {key}={value} in your environment wins over the script")
    print(
        f"job {done.number}: {requested.ranks} ranks × {requested.cpus_per_task} threads on {requested.nodes} nodes, "
        f"{_repetition(requested)}"
    )
    print(_slurm_options.describe(profile))
    limit = durations.text(requested.time) if requested.time else "the site's"
    stop = (
        f"asked to stop {requested.margin} s before"
        if requested.can_stop
        else "then it is lost: it has no [checkpoint]"
    )
    print(f"time limit: {limit}; {stop}")
    print(f"log: {submissions.log_of(done)} (mpibatch logs -f {done.number}); script: {done.script}")
    return 0


def _check_run(args: argparse.Namespace, request: Request) -> None:
    """Refuse what the run would refuse, as ``mpibatch run --dry-run`` does; of an array its first task. Local."""
    from mpibatch.job.file.reader import parse_any, read_text
    from mpibatch.job.plan import plan

    if request.after or request.command == "batch" or not _can_read():
        return  # that job may make the input first; and where no file can be read, nothing is known of it
    for item in request.items[:1] or ((),):
        plan(parse_any(read_text(args.job), args.job, [*args.settings, *item]), request.ranks)


def _can_read() -> bool:
    """Whether files can be looked at here: a login node may lack the libraries. Local."""
    try:
        import mpibatch.io.formats  # noqa: F401
    except ImportError:
        return False
    return True


def _request(args: argparse.Namespace, profile: Profile) -> Request:
    from pathlib import Path

    from mpibatch.base.errors import UsageError
    from mpibatch.tools.slurm import durations, submissions
    from mpibatch.tools.slurm.quotes import checked, plain_name
    from mpibatch.tools.slurm.request import Request, array_items, margin_for

    output, checkpoints, is_many, encrypts = _places(args)
    time = durations.seconds(args.time) if args.time else durations.seconds(profile.time) if profile.time else None
    if args.chain and not checkpoints:
        raise UsageError(
            f"--chain: {args.job} has no section [checkpoint], so no attempt could go on where the last one ended; "
            "add one (it may be empty)"
        )
    if args.margin is not None and not checkpoints:
        raise UsageError(
            f"--margin: {args.job} has no section [checkpoint] and saves nothing before its time is up; add one"
        )
    if args.at_once is not None and (args.at_once < 1 or not (args.array or args.parts)):
        raise UsageError(f"--at-once {args.at_once}: give 1 or more, and only with --array: it limits an array's tasks")
    if is_many and args.array:
        raise UsageError(
            f"--array: {args.job} has a section [batch], whose items are run already; --parts N shares them"
        )
    if args.parts is not None and not is_many:
        raise UsageError(f"--parts: {args.job} has no section [batch], so there is nothing to share; use --array")
    name = checked(args.name or Path(args.job).stem, "--name")
    kind = "array" if args.array else "chain" if args.chain else "batch" if is_many else "run"
    return Request(
        job=checked(args.job, "the job file"),
        kind=kind,
        name=name,
        nodes=args.nodes,
        ntasks_per_node=args.ntasks_per_node,
        cpus_per_task=args.cpus_per_task,
        time=time,
        margin=margin_for(time, submissions.measured_stopping(plain_name(name)))
        if args.margin is None
        else args.margin,
        settings=tuple(checked(text, "--set") for text in args.settings),
        after=tuple(args.after),
        items=array_items(args.array, args.job, args.settings) if args.array else (),
        at_once=args.at_once or 0,
        dependent=args.chain == "dependent" or not profile.requeue,
        folder=str(Path(output).parent),
        checkpoints=checkpoints,
        command="batch" if is_many else "run",
        parts=1 if args.parts is None else args.parts,
        identity=_identity(args, encrypts=encrypts),
    )


def _identity(args: argparse.Namespace, *, encrypts: bool) -> str:
    """The file of the key that the job is given, "" for none; `encrypts`: what attempts and parts go on from."""
    from mpibatch.base.errors import UsageError
    from mpibatch.tools.slurm.quotes import checked

    identity = checked(args.identity or os.environ.get("MPIBATCH_IDENTITY", ""), "--identity")
    if identity.startswith("fd:"):
        raise UsageError(f"--identity {identity}: a job has no descriptor of this shell; give the file of a key")
    if encrypts and not identity and (args.chain or (args.parts or 1) > 1):
        raise UsageError(
            f"{args.job} encrypts what attempts and parts go on from, and none of them can read it without a key; give "
            "--identity FILE, which the nodes can read, too"
        )
    return identity


def _places(args: argparse.Namespace) -> tuple[str, str, bool, bool]:
    """Where the output goes, and checkpoints ("": it saves none), or a batch's journal; whether it is a batch.

    And whether checkpoints, or the journal, are encrypted.
    """
    from mpibatch.job.file.batch import is_batch, parse_batch
    from mpibatch.job.file.reader import parse_any, read_text

    text = read_text(args.job)
    if is_batch(text, args.job):
        batch = parse_batch(text, args.job, args.settings)
        return str(batch.settings.get("table", batch.journal)), batch.journal, True, batch.encrypt is not None
    job = parse_any(text, args.job, args.settings)
    output = job.output if isinstance(job.output, str) else job.output.path
    if job.checkpoint is None:
        return output, "", False, False
    return output, job.checkpoint.path, False, job.checkpoint.encrypt is not None


def _repetition(request: Request) -> str:
    from mpibatch.base.units import plural

    words = {
        "run": "once",
        "array": f"{len(request.items)} runs",
        "chain": "until it is done",
        "batch": f"{plural(request.parts, 'part')} of its items",
    }
    return words[request.kind]


def _list_profiles() -> int:
    from mpibatch.tools.slurm.profiles import known_profiles, load

    for name in known_profiles():
        print(f"{name:<12} {load(name).description}")
    return 0
