"""``mpibatch verdict``: what a batch script asks at the begin and the end of a run. Not for typing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["add", "execute"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line; it is for scripts, and not listed there. Local."""
    parser = commands.add_parser(
        "verdict",
        parents=[shared],
        description="Decide how a run in a batch script ended. Exit code 0: done; 75: go on; others: give up.",
    )
    parser.add_argument("state", metavar="FOLDER", help="the folder of the run's attempts")
    event = parser.add_mutually_exclusive_group(required=True)
    event.add_argument("--begin", action="store_true", help="an attempt begins")
    event.add_argument("--code", type=int, help="an attempt ends; the exit code of the launcher")
    event.add_argument("--successor", metavar="JOBID", help="the run goes on as another job")
    parser.add_argument("--chain", action="store_true", help="the run may go on in another attempt")
    parser.add_argument("--progress", metavar="DIR", help="the folder where checkpoints appear")
    parser.add_argument(
        "--stopping", type=_seconds, metavar="SECONDS", help="from the signal to the end; '': no signal"
    )
    parser.add_argument("--record", metavar="FILE", help="the completion record (default: record.json in FOLDER)")
    study = parser.add_argument_group("a run of a scaling study")
    study.add_argument("--point", metavar="FILE", help="where its record shall be")
    study.add_argument("--launch-microseconds", type=int, default=0, metavar="N", help="from its launch to its end")
    study.add_argument("--command", dest="launch", default="", metavar="TEXT", help="how it was launched")
    parser.set_defaults(execute=execute)


def _seconds(text: str) -> int | None:
    return int(text) if text else None


def execute(args: argparse.Namespace) -> int:
    """Run the command. Local."""
    from pathlib import Path

    from mpibatch.tools.slurm import attempts

    state = Path(args.state)
    if args.successor is not None:
        attempts.follow(state, args.successor)
        return 0
    step = attempts.newest_step(args.progress)
    if args.begin:
        verdict = attempts.begin(state, os.environ, step)
    else:
        record = Path(args.record) if args.record else None
        verdict = attempts.end(
            state, os.environ, args.code, chain=args.chain, step=step, record=record, stopping=args.stopping
        )
        if args.point:
            from mpibatch.tools.scaling import batch

            seconds = args.launch_microseconds / 1e6
            batch.keep(Path(args.point), record, code=verdict.code, launch_seconds=seconds, command=args.launch)
    words = verdict.words
    if args.point:
        put_off = "put off, as the time was up; the same `mpibatch scale` goes on with what is missing"
        words = f"{Path(args.point).stem}: {put_off if verdict.code == attempts.AGAIN else words}"
    print(f"mpibatch: {words}", flush=True)
    return verdict.code
