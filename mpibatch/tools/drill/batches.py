"""Batches that are killed at moments drawn by chance, and taken up again.

Every run is killed by SIGKILL: one rank, all ranks or the launcher. Then it is taken up again, on as many ranks or on
one. The outputs must have the bytes of a run that nobody interrupted, and no item whose result was in the journal may
run again.

Only processes that were started here are ever killed, by their numbers: of ranks on other hosts, none.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.tools.drill.launch import end_late, processes_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

__all__ = ["kill_and_resume", "live", "reference"]

MODULE = "mpibatch.tools.drill.batches"
ITEMS, SECONDS = 60, 0.02
TARGETS = ("rank", "all", "launcher")
LIMIT, PATIENCE = 120.0, 30.0  # seconds for a run, and for the processes of a killed one to be gone
ATTEMPTS = 6  # until a kill comes before the end of its run


def reference(place: Path) -> list[bytes]:
    """Run on one rank, without interruption; return the outputs' bytes. Local."""
    place.mkdir()
    _finish(place, [])
    return _outputs(place)


def kill_and_resume(
    place: Path, start: Sequence[str], ranks: int, expected: Sequence[bytes], draw: random.Random
) -> None:
    """Kill one run, and take it up. Local. AssertionError if something was lost, or done again."""
    for attempt in range(ATTEMPTS):
        folder, target = place / str(attempt), draw.choice(TARGETS)
        folder.mkdir()
        # From the first item on to some time after the last, when results are put together; then ever earlier.
        delay = draw.uniform(0.0, 1.4 * ITEMS * SECONDS / ranks / (1 + attempt))
        if _kill(folder, start, target, draw.randrange(ranks), delay):
            break
    else:
        raise AssertionError(f"{ATTEMPTS} runs had ended before they were killed")
    before, begun = _journalled(folder), _begun(folder)
    _finish(folder, start if draw.random() < 0.5 else [])
    after = _begun(folder)
    if again := [item for item in before if after.count(item) > begun.count(item)]:
        raise AssertionError(f"killed ({target}, after {delay:.3f} s), items {again} were done again")
    if _outputs(folder) != [*expected]:
        raise AssertionError(f"killed ({target}, after {delay:.3f} s), the bytes are not those of a whole run")


@contextmanager
def _started(folder: Path, start: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run; end it if the block leaves it behind."""
    quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
    command = [*start, sys.executable, "-m", MODULE, str(folder)]
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=pipe) as running:
        try:
            yield running
        finally:
            end_late(running, folder)


def _finish(folder: Path, start: Sequence[str]) -> None:
    with _started(folder, start) as running:
        _, error = running.communicate(timeout=LIMIT)
    if running.returncode:
        words = error.decode(errors="replace").strip()[-300:]
        raise AssertionError(f"the run ended with exit code {running.returncode}: {words}")


def _kill(folder: Path, start: Sequence[str], target: str, victim: int, delay: float) -> bool:
    """Run, and kill; return whether there was still something to kill."""
    with _started(folder, start) as running:
        until = time.monotonic() + PATIENCE
        while not _begun(folder) and running.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(delay)
        is_running = running.poll() is None
        ranks = [*_pids(folder).values()]
        chosen = ranks[victim % max(1, len(ranks)) :][:1]
        victims = {"launcher": [running.pid], "all": ranks, "rank": chosen}
        for pid in victims[target] if is_running else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.communicate(timeout=PATIENCE)
    while processes_of(folder) and time.monotonic() < until + PATIENCE:
        time.sleep(0.01)
    for path in folder.glob("*.pid"):
        path.unlink()
    return is_running and running.returncode != 0


def _pids(folder: Path) -> dict[int, int]:
    """The ranks' processes on this host, as far as they have written them down."""
    known = {*processes_of(folder)}
    texts = {int(path.stem): path.read_text() for path in sorted(folder.glob("*.pid"))}
    # Empty while it is written; and process 0 would be this drill itself.
    return {rank: int(text) for rank, text in texts.items() if text and int(text) in known}


def _journalled(folder: Path) -> list[int]:
    """The items whose results are in the journal."""
    from mpibatch.batch.records import DONE, scan

    mark = folder / "mark"
    if not mark.exists():
        return []
    texts = [path.read_bytes() for path in folder.glob("journal/*.journal")]
    return [record.item for text in texts for record in scan(text, int(mark.read_text())) if record.kind == DONE]


def _begun(folder: Path) -> list[int]:
    """All items that were begun, as often as they were."""
    return [int(line) for path in folder.glob("*.ran") for line in path.read_text().split()]


def _outputs(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("all.h5", "numbers.csv")]


def live(folder: Path) -> int:
    """Be one rank of a run that may be killed. Collective."""
    import numpy as np

    import mpibatch as mb
    from mpibatch.batch.items import identity_of
    from mpibatch.batch.records import mark_of

    rank = mb.mpi.world().rank
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
    sys.exit(live(Path(os.fsdecode(sys.argv[1]))))
