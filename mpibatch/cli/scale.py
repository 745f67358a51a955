"""``mpibatch scale``: the same job on several numbers of ranks, often enough to tell what more ranks are worth."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mpibatch.tools.scaling.study import Study
    from mpibatch.tools.slurm.profiles import Profile

__all__ = ["add", "execute"]

EPILOG = """\
strong: the job as it is, on each number of ranks. All runs must end in the same bits; this is checked.
weak:   the job as it is on 1 rank, and grown on more, so that the number of cells per rank stays the same. A simulation
        needs `steps` and a parameter `shape`; if it has a `length`, cells keep their size. A pipeline's input is
        repeated in mirrored tiles, in STUDY/inputs.

The runs take turns over the numbers of ranks, so that a machine that becomes slower affects all of them. Each number
is run once before, unrecorded, to compile. Output files are removed once their digests are known. A [checkpoint] in
the job is left out.

The same command continues an interrupted study, and with more --ranks, --threads or --repeat it makes only the missing
runs. If a run fails or takes longer than --timeout, its last lines are recorded, and the other points continue.

Runs are started by the mpiexec beside this Python; MPIBATCH_MPIEXEC is another launcher with its options, such as
"mpiexec -bind-to core". With --profile they are jobs of Slurm, one for each number of ranks.

examples:
  mpibatch scale job.toml --ranks 1,2,4
  mpibatch scale heat.toml --mode weak --ranks 1,2,4,8 --set simulation.steps=500 --folder heat-weak
  mpibatch scale job.toml --ranks 1,2 --threads 1,2 --repeat 9
  mpibatch scale job.toml --ranks 64,128,256 --profile archer2 --ntasks-per-node 128 --time 30
  mpibatch report scaling-job-strong
"""

MACHINE_HELP = (
    "the machine's profile, for predictions; replaces that of a study that goes on (default, of a new study: what "
    "mpibatch probe left here; with --profile: none)"
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    from mpibatch.cli import _slurm_options

    parser = commands.add_parser(
        "scale",
        parents=[shared],
        help="run a job on several numbers of ranks, as a study",
        description="Run a job on several numbers of ranks, several times each, and keep the record of each run.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", metavar="JOB.toml", help="the job file")
    parser.add_argument("--mode", choices=("strong", "weak"), default="strong", help="(default: %(default)s)")
    parser.add_argument("--ranks", required=True, metavar="LIST", help="numbers of ranks, such as 1,2,4")
    parser.add_argument(
        "--threads", default="1", metavar="LIST", help="threads of each rank; filters use one (default: %(default)s)"
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each (default: %(default)s)")
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="change a value of the job"
    )
    parser.add_argument("--folder", metavar="STUDY", help="the study's folder (default: scaling-JOB-MODE)")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="of a run (default: 3600; on Slurm: --time)")
    parser.add_argument("--keep-outputs", action="store_true", help="keep the files that runs write (much disk space)")
    parser.add_argument("--machine", metavar="FILE", help=MACHINE_HELP)
    slurm = parser.add_argument_group("on Slurm")
    slurm.add_argument("--profile", metavar="P", help="submit the runs to Slurm, with this site's profile")
    slurm.add_argument("--ntasks-per-node", type=int, metavar="R", help="at most so many ranks on a node")
    slurm.add_argument("--wait", action="store_true", help="wait for the jobs, and show what they found")
    slurm.add_argument("--dry-run", action="store_true", help="print the scripts, and submit nothing")
    _slurm_options.add(slurm)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command. Local."""
    from pathlib import Path

    from mpibatch.base.errors import UsageError
    from mpibatch.cli import _study
    from mpibatch.job.file.reader import parse_any, read_text
    from mpibatch.tools.scaling import local_machine, runs

    _check_alone()
    counts, threads = _numbers("--ranks", args.ranks), _numbers("--threads", args.threads)
    if args.repeat < 1:
        raise UsageError(f"--repeat {args.repeat}: give 1 or more")
    if args.timeout is not None and not 0 < args.timeout < float("inf"):
        raise UsageError(f"--timeout {args.timeout:g}: give a number of seconds above 0")
    _check_options(args)
    text = read_text(args.job)
    job = parse_any(text, args.job, args.settings)
    runs.check_job(job, args.mode, counts)
    folder = Path(args.folder or f"scaling-{Path(args.job).stem}-{args.mode}")
    site_profile, is_new = None, not folder.exists()
    if args.profile is None:
        local_machine.launcher()
    else:
        site_profile = _site(args, folder)
    study = _study.study_of(args, folder, text, counts, threads, runs.sources_of(job))
    return _run_locally(args, study) if site_profile is None else _on_slurm(args, study, site_profile, is_new)


def _check_alone() -> None:
    """Refuse to be started by mpiexec: the ranks of a study are started by the study."""
    import os

    from mpibatch.base.errors import UsageError
    from mpibatch.base.processes.launch import launched

    if launched()[1] > 1 or any(name in os.environ for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")):
        raise UsageError("mpibatch scale was started by mpiexec, but starts the ranks itself; leave mpiexec out")


def _check_options(args: argparse.Namespace) -> None:
    from mpibatch.base.errors import UsageError

    names = ("ntasks_per_node", "wait", "dry_run", "time", "account", "partition", "qos", "memory_limit", "binding",
             "no_binding", "export", "packed", "container", "runner", "container_mpi")  # fmt: skip
    given = [name for name in names if getattr(args, name, None)]
    if args.profile is None and given:
        raise UsageError(f"--{given[0].replace('_', '-')} is for runs on Slurm; give --profile, too")
    if args.profile is not None and (args.timeout is not None or args.keep_outputs):
        option = "--keep-outputs" if args.timeout is None else "--timeout"
        raise UsageError(f"{option} is for runs on this machine; with --profile give --time for the jobs")
    if args.ntasks_per_node is not None and args.ntasks_per_node < 1:
        raise UsageError(f"--ntasks-per-node {args.ntasks_per_node}: give 1 or more")


def _numbers(option: str, text: str) -> list[int]:
    from mpibatch.base.errors import UsageError

    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text!r}: write whole numbers with commas between them, such as 1,2,4") from None
    wrong = [number for number in numbers if number < 1]
    if wrong:
        raise UsageError(f"{option} {text}: {wrong[0]} cannot be run; give 1 or more")
    twice = [number for number in numbers if numbers.count(number) > 1]
    if twice:
        raise UsageError(f"{option} {text}: {twice[0]} is there twice; --repeat says how often each is run")
    return sorted(numbers)


def _run_locally(args: argparse.Namespace, study: Study) -> int:
    import shutil

    from mpibatch.cli import _study
    from mpibatch.tools.scaling import runs
    from mpibatch.tools.scaling.folder import INPUTS, load, locked
    from mpibatch.tools.scaling.study import missing

    tell = _teller(args)
    with locked(study.path):
        study = _study.remember(study)
        todo = _todo(args, study)
        if todo:
            tell(f"{study.path}: {len(todo)} of {_all_runs(study)} runs to make, {_points(study)}")
            options = runs.RunOptions(args.timeout or runs.RunOptions.timeout, args.keep_outputs)
            try:
                runs.run_all(study, todo, options, tell)
            except KeyboardInterrupt:
                tell(f"what was run is in {study.path}; the same command goes on from there")
                raise
        study = load(study.path)
        if not missing(study) and not args.keep_outputs:
            shutil.rmtree(study.path / INPUTS, ignore_errors=True)
    return _conclude(args, study)


def _site(args: argparse.Namespace, folder: Path) -> Profile:
    """The site's profile. What is wrong with it, or no sbatch, is told before there is a folder that is bound to it."""
    from mpibatch.cli import _slurm_options
    from mpibatch.tools.scaling.folder import holds_study
    from mpibatch.tools.slurm import commands, durations

    if args.time:
        durations.seconds(args.time)
    profile = _slurm_options.chosen(args)
    if not args.dry_run and not holds_study(folder):
        commands.find("sbatch")
    return profile


def _on_slurm(args: argparse.Namespace, study: Study, profile: Profile, is_new: bool) -> int:
    from mpibatch.cli import _slurm_options, _study
    from mpibatch.tools.scaling import batch, runs
    from mpibatch.tools.scaling.folder import load, locked

    tell = _teller(args)
    options = batch.BatchOptions(ntasks_per_node=args.ntasks_per_node or 0, time=args.time or "")
    if args.dry_run:
        todo = _todo(args, study)
        if not todo:
            return _conclude(args, study)
        batch.run(study, profile, todo, options, dry_run=True)
        return 0
    with locked(study.path), _study.removed_if_refused(study.path) if is_new else nullcontext():
        study = _study.remember(study)
        todo = _todo(args, study)
        if not todo:
            return _conclude(args, study)
        runs.prepare_inputs(study, sorted({ranks for ranks, _, _ in todo}), tell)
        for failure in study.failures:
            if any((failure.ranks, failure.threads) == key[:2] for key in todo):
                why = failure.reason.splitlines()[0]
                tell(f"{runs.words_of(failure.ranks, failure.threads)}, run {failure.repeat}, before: {why}")
        jobs = batch.run(study, profile, todo, options)
    tell(f"{study.path}: {len(todo)} of {_all_runs(study)} runs, in jobs {', '.join(job.number for job in jobs)}")
    tell(_slurm_options.describe(profile))
    if not args.wait:
        tell(f"mpibatch status shows them; when they have ended: mpibatch report {study.path}")
        return 0
    batch.wait(jobs, args.quiet)
    return _conclude(args, load(study.path))


def _todo(args: argparse.Namespace, study: Study) -> list[tuple[int, int, int]]:
    """The runs that are missing on the numbers of ranks and threads that were asked for now."""
    from mpibatch.tools.scaling.study import missing

    counts, threads = _numbers("--ranks", args.ranks), _numbers("--threads", args.threads)
    return [key for key in missing(study) if key[0] in counts and key[1] in threads]


def _conclude(args: argparse.Namespace, study: Study) -> int:
    """Show what was found, and return the exit code: 1 if runs are missing or end in other bits than they must."""
    import sys

    from mpibatch.base.errors import RunError
    from mpibatch.tools.scaling import summary

    sys.stdout.flush()
    if study.points and not args.quiet:
        print(summary.table(study))
    differ = summary.differing(study)
    if differ:
        raise RunError(
            f"{study.path}: runs that must end in the same bits do not (digests, and ranks × threads with them):\n"
            + "\n".join(differ)
            + "\nmpibatch promises the same bits on any number of ranks: look for what the job takes from outside"
        )
    same = summary.same_bits(study)
    left = _todo(args, study)
    if not args.quiet:
        if same:
            print(same)
        if study.points:
            print(f"what is behind it: mpibatch report {study.path}")
    if left:
        points = list(dict.fromkeys((ranks, threads) for ranks, threads, _ in left))
        reasons = {(f.ranks, f.threads): f for f in study.failures}
        lines = []
        for ranks, threads in points:
            words = f"  {ranks} × {threads}"
            failure = reasons.get((ranks, threads))
            log = f" (points/r{ranks:05d}-t{threads}/run-{failure.repeat:02d}.log)" if failure else ""
            lines.append(f"{words}: {failure.reason.splitlines()[0] if failure else 'not run'}{log}")
        raise RunError(
            f"{study.path}: {len(left)} of {_all_runs(study)} runs are missing (ranks × threads):\n"
            + "\n".join(lines)
            + "\nthe same command tries these again"
        )
    return 0


def _teller(args: argparse.Namespace) -> Callable[[str], None]:
    def tell(line: str) -> None:
        if not args.quiet:
            print(line, flush=True)

    return tell


def _all_runs(study: Study) -> int:
    return len(study.counts) * len(study.threads) * study.repeat


def _points(study: Study) -> str:
    threads = "" if study.threads == (1,) else f", {', '.join(map(str, study.threads))} threads each"
    return f"{study.mode}, on {', '.join(map(str, study.counts))} ranks{threads}"
