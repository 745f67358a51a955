#!/usr/bin/env python3
"""Kill a batch at many moments, and see that nothing is lost, and nothing that was done is done again.

    scripts/drill_batch.py                    # 20 kills on 3 ranks
    scripts/drill_batch.py --kills 3 --seed 7 --ranks 2 --folder /scratch/me

Every run is killed by SIGKILL (one rank, all ranks or the launcher) at a seeded moment. Then it is taken up again, in
turn on other numbers of ranks. For each: the outputs have the bytes of a run that nobody interrupted, and no item whose
result was in the journal ran again. Exit code 1 if not, or if no kill came before the end of its run.

Only processes that the drill has started itself are ever killed, by their numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ITEMS, SECONDS = 60, 0.02
TARGETS = ("rank", "all", "launcher")
PATIENCE = 30.0


def main() -> int:
    """Run the drill and print what it found as JSON."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.work)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        outcome = drill(Path(folder), args.kills, args.ranks, random.Random(args.seed))
    print(json.dumps(outcome))
    return 1 if outcome["wrong"] or not outcome["killed"] else 0


def drill(folder: Path, kills: int, ranks: int, chance: random.Random) -> dict[str, object]:
    """Kill and take up again, so many times."""
    whole = folder / "whole"
    whole.mkdir()
    finish(whole, 1)
    expected = outputs(whole)
    wrong, killed, kept, repeated = [], 0, 0, 0
    for number in range(kills):
        place = folder / f"{number:03d}"
        place.mkdir()
        target = TARGETS[number % len(TARGETS)]
        # From the first item on to some time after the last, when results are put together.
        delay = chance.uniform(0.0, 1.4 * ITEMS * SECONDS / ranks)
        killed += kill(place, ranks, target, chance.randrange(ranks), delay)
        before, runs = journalled(place), ran(place)
        finish(place, 1 + number % (ranks + 1))
        again = [item for item in before if ran(place).count(item) > runs.count(item)]
        kept, repeated = kept + len(before), repeated + len(again)
        if outputs(place) != expected or again:
            wrong.append({"kill": number, "target": target, "delay": delay, "done again": again})
        else:
            shutil.rmtree(place)
    return {"kills": kills, "killed": killed, "kept": kept, "done again": repeated, "wrong": wrong}


@contextmanager
def started(folder: Path, ranks: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run, and wait for its end; kill it if it does not come in time."""
    launcher = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, __file__, "--work", str(folder)]
    quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, stdout=quiet, stderr=pipe, start_new_session=True) as process:
        try:
            yield process
        except BaseException:
            # Else it would be waited for, without end.
            end([*pids(folder).values(), process.pid])
            raise


def end(numbers: Iterable[int]) -> None:
    """Kill these processes, as far as they are there."""
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def pids(folder: Path) -> dict[int, int]:
    """The processes of the ranks of a run, as far as they have written them down."""
    texts = {int(path.stem): path.read_text() for path in folder.glob("*.pid")}
    # Empty while it is written; and process 0 would be this drill itself.
    return {rank: int(text) for rank, text in texts.items() if text}


def finish(folder: Path, ranks: int) -> None:
    """Run to the end."""
    with started(folder, ranks) as process:
        _, text = process.communicate(timeout=100)
    if process.returncode:
        raise SystemExit(f"drill_batch: the run on {ranks} ranks in {folder} failed:\n{text.decode()}")


def kill(folder: Path, ranks: int, target: str, victim: int, delay: float) -> bool:
    """Run, and kill; whether there was still something to kill."""
    with started(folder, ranks) as process:
        until = time.monotonic() + PATIENCE
        while not ran(folder) and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(delay)
        numbers = pids(folder)
        was_running = process.poll() is None
        victims = [process.pid] if target == "launcher" else [*numbers.values()]
        if target == "rank":
            victims = [numbers[victim]] if victim in numbers else []
        if was_running:
            end(victims)
        process.communicate(timeout=PATIENCE)
    while any(is_alive(number) for number in numbers.values()) and time.monotonic() < until:
        time.sleep(0.01)
    for path in folder.glob("*.pid"):
        path.unlink()
    return was_running and process.returncode != 0


def is_alive(number: int) -> bool:
    """Whether a process still runs; one that nobody has waited for does not."""
    with suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def journalled(folder: Path) -> list[int]:
    """The items whose results are in the journal."""
    from mpibatch.batch.records import DONE, scan

    mark = folder / "mark"
    if not mark.exists():
        return []
    texts = [path.read_bytes() for path in folder.glob("journal/*.journal")]
    return [record.item for text in texts for record in scan(text, int(mark.read_text())) if record.kind == DONE]


def ran(folder: Path) -> list[int]:
    """All items that were begun, as often as they were."""
    return [int(line) for path in folder.glob("*.ran") for line in path.read_text().split()]


def outputs(folder: Path) -> list[bytes]:
    """The bytes of the outputs."""
    return [(folder / name).read_bytes() for name in ("all.h5", "numbers.csv")]


def work(folder: Path) -> int:
    """One rank of a run."""
    import numpy as np

    import mpibatch as mb
    from mpibatch.batch.items import identity_of
    from mpibatch.batch.records import mark_of
    from mpibatch.mpi import world

    rank = world().rank
    notes = os.open(folder / f"{rank}.ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def measure(item: int, rng: np.random.Generator) -> dict[str, object]:
        os.write(notes, f"{item}\n".encode())
        time.sleep(SECONDS * (0.5 + item % 3 / 2))
        return {
            "number": item,
            "drawn": rng.normal(),
            "field": rng.integers(0, 99, (4, 5)),
            "some": np.arange(item % 4),
        }

    items = list(range(ITEMS))
    if rank == 0:
        (folder / "mark").write_text(str(mark_of({"mpibatch": "", **identity_of(measure, items, 0)})))
    (folder / f"{rank}.pid").write_text(str(os.getpid()))
    batch = mb.map_items(
        measure,
        items,
        costs=lambda item: item % 3,
        journal=folder / "journal",
        output=[folder / "all.h5", folder / "numbers.csv"],
    )
    return 1 if batch.failed or batch.left else 0


if __name__ == "__main__":
    sys.exit(main())
