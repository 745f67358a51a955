"""``mpibatch submit``: a job file as a job of Slurm."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpibatch.slurm.profiles import Profile
    from mpibatch.slurm.request import Request

__all__ = ["add", "execute"]

EPILOG = """\
A profile says what a site wants of every job: partition, account, modules, launcher and so on. Give its name, or a file
of your own; `--profile list` shows those that come with mpibatch.

--array FILE runs the job once for each line of FILE, which holds settings as for mpibatch run --set:
  output.path=weak.h5 gaussian_filter.sigma=1
  output.path=strong.h5 gaussian_filter.sigma=3

--chain lets a job with a [checkpoint] go on for as many jobs as it takes: before the time limit it saves a checkpoint,
requeues itself, and goes on from there; so it does after a preemption and the loss of a node.

examples:
  mpibatch submit job.toml --profile generic --nodes 2 --ntasks-per-node 64 --time 30 --dry-run
  mpibatch submit heat.toml --profile archer2 --account t01 --nodes 4 --ntasks-per-node 128 --time 12:00:00 --chain
  mpibatch submit job.toml --profile mysite.toml --array settings.txt --at-once 8
  mpibatch submit job.toml --profile laptop --ntasks-per-node 4 --scaling 1,2,4 --repeat 5
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
    size.add_argument("--time", metavar="T", help="time limit: minutes, HH:MM:SS or D-HH:MM:SS (default: the site's)")
    size.add_argument("--no-binding", action="store_true", help="leave out the profile's binding of ranks to cores")
    for key, what in (("account", "account"), ("partition", "partition"), ("qos", "quality of service")):
        size.add_argument(f"--{key}", metavar="NAME", help=f"the {what}, in place of the profile's")
    how = parser.add_argument_group("how often and when")
    kind = how.add_mutually_exclusive_group()
    kind.add_argument("--array", metavar="FILE", help="one run for each line of settings in FILE")
    kind.add_argument("--scaling", metavar="RANKS", help="the same run on several numbers of ranks, such as 1,2,4")
    kind.add_argument(
        "--chain",
        nargs="?",
        const="requeue",
        choices=("requeue", "dependent"),
        help="go on until done: by requeueing itself, or by dependent jobs where that is not allowed",
    )
    how.add_argument("--at-once", type=int, default=0, metavar="N", help="at most N tasks of the array at a time")
    how.add_argument("--repeat", type=int, default=1, metavar="N", help="with --scaling: runs of each number of ranks")
    how.add_argument("--after", metavar="JOBID", action="append", default=[], help="start when that job has succeeded")
    how.add_argument("--margin", type=int, metavar="SECONDS", help="time to save a checkpoint before the time limit")
    parser.add_argument("--name", help="the job's name (default: that of the job file)")
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="change a value of the job"
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    import dataclasses

    from mpibatch.errors import UsageError
    from mpibatch.log import launched
    from mpibatch.slurm import commands, durations, ledger, profiles, rendering, request, submission

    if launched()[0] != 0:
        return 0
    if args.profile == "list":
        return _list_profiles()
    if args.job is None:
        raise UsageError("name the job file: mpibatch submit JOB.toml")
    profile = request.with_choices(
        profiles.load(args.profile), account=args.account, partition=args.partition, qos=args.qos
    )
    if args.no_binding:
        profile = dataclasses.replace(profile, binding=())
    asked = _request(args, profile)
    request.check(asked, profile)
    script = rendering.render(asked, profile)
    if args.dry_run:
        print(script, end="")
        return 0
    done = submission.submit(script, asked, profile)
    if args.quiet:
        print(done.number)
        return 0
    for key, value in commands.overriding().items():
        print(f"note: {key}={value} in your environment wins over the script")
    print(
        f"job {done.number}: {asked.ranks} ranks × {asked.cpus_per_task} threads on {asked.nodes} nodes, {_what(asked)}"
    )
    limit = durations.text(asked.time) if asked.time else "the site's"
    print(f"time limit: {limit}; asked to stop {asked.margin} s before")
    print(f"log: {ledger.log_of(done)} (mpibatch logs -f {done.number}); script: {done.script}")
    return 0


def _request(args: argparse.Namespace, profile: Profile) -> Request:
    from pathlib import Path

    from mpibatch.errors import UsageError
    from mpibatch.job.reading import parse_any, read_text
    from mpibatch.slurm import durations, ledger
    from mpibatch.slurm.quoting import checked, plain_name
    from mpibatch.slurm.request import Request, array_items, margin_for

    job = parse_any(read_text(args.job), args.job, args.settings)
    output = job.output if isinstance(job.output, str) else job.output.path
    time = durations.seconds(args.time) if args.time else durations.seconds(profile.time) if profile.time else None
    counts: tuple[int, ...] = ()
    if args.scaling:
        try:
            counts = tuple(int(word) for word in args.scaling.split(","))
        except ValueError:
            raise UsageError(f"--scaling {args.scaling}: write numbers of ranks, such as 1,2,4") from None
    if args.chain and job.checkpoint is None:
        raise UsageError(
            f"--chain: {args.job} has no section [checkpoint], so that no life could go on where the last one ended; "
            "add one (it may be empty)"
        )
    name = checked(args.name or Path(args.job).stem, "--name")
    kind = "array" if args.array else "scaling" if args.scaling else "chain" if args.chain else "run"
    return Request(
        job=checked(args.job, "the job file"),
        kind=kind,
        name=name,
        nodes=args.nodes,
        ntasks_per_node=args.ntasks_per_node,
        cpus_per_task=args.cpus_per_task,
        time=time,
        margin=margin_for(time, ledger.measured_stopping(plain_name(name))) if args.margin is None else args.margin,
        settings=tuple(checked(text, "--set") for text in args.settings),
        after=tuple(args.after),
        items=array_items(args.array, args.job, args.settings) if args.array else (),
        at_once=args.at_once,
        counts=counts,
        repeat=args.repeat,
        dependent=args.chain == "dependent" or not profile.requeue,
        folder=str(Path(output).parent),
        checkpoints="" if job.checkpoint is None else job.checkpoint.path,
    )


def _what(asked: Request) -> str:
    words = {
        "run": "once",
        "array": f"{len(asked.items)} runs",
        "scaling": f"on {', '.join(map(str, asked.counts))} ranks",
        "chain": "until it is done",
    }
    return words[asked.kind]


def _list_profiles() -> int:
    from mpibatch.slurm.profiles import known_profiles, load

    for name in known_profiles():
        print(f"{name:<12} {load(name).description}")
    return 0
