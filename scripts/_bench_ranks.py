"""A benchmark on several numbers of ranks, each in processes of its own: `--ranks 1,2`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

RANKS, NO_PEERS = "--ranks", "--no-peers"


def add_ranks(parser: argparse.ArgumentParser) -> None:
    """Add the options that `has_compared` reads. Local."""
    parser.add_argument(NO_PEERS, action="store_true", help="time ourselves only")
    parser.add_argument(
        RANKS, type=lambda text: [int(n) for n in text.split(",")], metavar="N,…",
        help="such as 1,2: start as many ranks, without peers, and compare each number with the first",
    )  # fmt: skip


def has_compared(options: argparse.Namespace, script: str) -> bool:
    """Run a script with each number of ranks, if any are given, and print its lines, with ratios. Local."""
    if not options.ranks:
        return False
    own = Path(sys.executable).with_name("mpiexec")  # of the environment's MPI, which mpi4py will load
    launcher = shlex.split(os.environ.get("MPIBATCH_MPIEXEC", str(own) if own.exists() else "mpiexec"))
    words = [NO_PEERS, *_others(sys.argv[1:])]
    base: dict[str, float] = {}
    for ranks in options.ranks:
        command = [*launcher, "-n", str(ranks), sys.executable, script, *words]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        for text in done.stdout.splitlines():
            entry = json.loads(text)
            seconds = base.setdefault(entry["case"], entry["seconds"])
            peer = f"mpibatch on {options.ranks[0]} ranks"
            entry["against"], entry["ratio"] = {peer: seconds}, {peer: round(seconds / entry["seconds"], 2)}
            print(json.dumps(entry), flush=True)
    return True


def _others(words: list[str]) -> list[str]:
    """Arguments without these options'."""
    kept = []
    rest = iter(words)
    for word in rest:
        if word == RANKS:
            next(rest, None)
        elif word != NO_PEERS and not word.startswith(f"{RANKS}="):
            kept.append(word)
    return kept
