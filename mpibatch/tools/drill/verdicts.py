"""All drills on a machine, and what each shows."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.tools.drill import batches, damages, hangs, kills, losses
from mpibatch.tools.drill.launch import ranks_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence

__all__ = ["FAULTS", "Trial", "drill", "usual"]

RESUMED = "all files verify; taken up again, it ends with the same bytes"
FAULTS = {
    "kill-rank": RESUMED,
    "kill-all": RESUMED,
    "kill-launcher": RESUMED,
    "kill-batch": "taken up again, a batch ends with the same bytes; no item that was done is done again",
    "full-disk": "exit code 1 with file, reason and remedy; the old file stays",
    "bit-flips": "verify sees every flipped bit",
    "encrypted-damage": "of an encrypted file every change is refused, and no other value is read",
    "stopped-rank": "ended with exit code 70; the page names rank 1",
    "endless-loop": "ended with exit code 70; the page names rank 1",
    "skipped-collective": "ended with exit code 70; the page names rank 1",
    "exception": "ended with exit code 1, and the traceback of rank 1",
    "early-exit": "ended with the exit code of rank 1",
    "slow-rank": "the same bytes, and no false alarm",
}
_HANGS = {
    "stopped-rank": "stop", "endless-loop": "loop", "skipped-collective": "skipped", "exception": "raise",
    "early-exit": "exit",
}  # fmt: skip
FLIPS, DAMAGES = 20, 40  # a trial
PATIENCE = 60.0


@dataclass(frozen=True)
class Trial:
    """What one fault came to: how often it was tried, seconds of the slowest trial, and in words what was wrong."""

    fault: str
    expected: str
    times: int
    seconds: float
    problems: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether every trial ended as it must."""
        return not self.problems


def usual() -> list[str]:
    """Return the faults that can be tried here: of encrypted files with the extra `seal` alone. Local."""
    return [name for name in FAULTS if name != "encrypted-damage" or find_spec("cryptography") is not None]


def drill(
    start: Sequence[str], names: Sequence[str], *, times: int, seconds: float, folder: Path | None, seed: int = 1
) -> Iterator[Trial]:
    """Try each fault some times, with ranks that `start` starts; yield what it came to. Local. RunError, UsageError.

    `seconds` are those of the supervisor. Files go to a new folder in `folder`.
    """
    ranks = ranks_of(start, PATIENCE)
    with tempfile.TemporaryDirectory(prefix="mpibatch-drill-", dir=folder) as name:
        where = Path(name).resolve()
        trials = _TrialSeries(start, ranks, seconds, where, random.Random(seed))
        for fault in names:
            if ranks < 2 and fault in (*_HANGS, "slow-rank"):
                words = f"needs 2 ranks or more, and the launcher starts {ranks}"
                yield Trial(fault, FAULTS[fault], 0, 0.0, (words,))
            else:
                yield _tried(fault, trials, where, times)


class _TrialSeries:
    """One trial of any fault after the other."""

    def __init__(self, start: Sequence[str], ranks: int, seconds: float, where: Path, draw: random.Random) -> None:
        self._start, self._ranks, self._seconds, self._where, self._draw = start, ranks, seconds, where, draw
        self._batch: list[bytes] = []
        self._reference: tuple[Counter[str], tuple[bytes, bytes]] | None = None

    def __call__(self, fault: str, place: Path) -> list[str]:
        """Make a fault; return in words what was wrong with its end. Local."""
        if fault == "kill-batch":
            whole_batch = self._batch = self._batch or batches.reference(self._where / "batch")
            batches.kill_and_resume(place, self._start, self._ranks, whole_batch, self._draw)
            return []
        if fault.startswith("kill"):
            if self._reference is None:
                self._reference = kills.reference(self._where / "reference")
            points, whole = self._reference
            moment = kills.drawn(self._draw, points, self._ranks, fault.removeprefix("kill-"))
            kills.kill_and_resume(place, moment, 0, whole, self._start)
            return []
        if fault in _HANGS:
            outcome = hangs.run(_HANGS[fault], self._seconds, place, start=self._start)
            return hangs.problems_of(_HANGS[fault], outcome, self._seconds)
        if fault == "bit-flips":
            return losses.flip_bits(place, self._start, FLIPS, self._draw)
        if fault == "encrypted-damage":
            return damages.damage_encrypted(place, self._start, DAMAGES, self._draw)
        return {"full-disk": losses.full_disk, "slow-rank": losses.slow_rank}[fault](place, self._start)


def _tried(fault: str, trials: _TrialSeries, where: Path, times: int) -> Trial:
    slowest, problems = 0.0, []
    for number in range(times):
        place, begin = where / f"{fault}-{number}", time.monotonic()
        place.mkdir()
        try:
            problems += trials(fault, place)
        except Exception as error:  # whatever it is, the verdict is on this machine
            problems.append(f"{type(error).__name__}: {error}")
        slowest = max(slowest, time.monotonic() - begin)
        shutil.rmtree(place, ignore_errors=True)
    return Trial(fault, FAULTS[fault], times, round(slowest, 1), tuple(problems))
