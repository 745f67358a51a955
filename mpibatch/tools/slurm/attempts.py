"""The attempts of a run: what each amounted to, and whether there shall be another.

A run has one attempt in most jobs. In a chain it ends before its job's time limit and goes on in the next attempt: the
same job requeued, by itself or by Slurm after a preemption or a lost node, or a successor. The folder of a run holds

- ``attempts.jsonl``: a line for the begin of each attempt, and one for its end if it got that far,
- ``record.json``: the completion record of the newest attempt,
- ``cancelled``: if it is there, no attempt shall follow.

Progress is a newer checkpoint. One attempt without it is forgiven (a node may be lost early); after two in a row the
next would not fare better.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.batch.records import items_ended
from mpibatch.checkpoint.folder import steps_in
from mpibatch.tools.slurm.completion import attempt_of, read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AGAIN", "CANCELLED", "RECORD", "Verdict", "begin", "end", "follow", "judge", "newest_step", "read_attempts"]

AGAIN = 75  # EX_TEMPFAIL: what a run says that saved a checkpoint and would go on
RECORD, ATTEMPTS, CANCELLED = "record.json", "attempts.jsonl", "cancelled"
IDLE_ATTEMPTS = 2


@dataclass(frozen=True)
class Verdict:
    """What an attempt amounted to: the exit code of its job (0: done, AGAIN: go on) and the words for the log."""

    code: int
    words: str


def newest_step(folder: str | None) -> str:
    """Return the step of the newest checkpoint, or a pipeline's newest result, in a folder; "" if none. Local.

    Of a batch's journal the number of items that are done.
    """
    if not folder:
        return ""
    if (count := items_ended(Path(folder))) is not None:
        return f"{count} items"
    steps = steps_in(folder)
    return str(steps[0]) if steps else max((path.name for path in Path(folder).glob("step-*-*.h5")), default="")


def read_attempts(state: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's attempts. Local."""
    try:
        text = (state / ATTEMPTS).read_text(encoding="utf-8")
    except OSError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # the last line of a node that was lost while it wrote
    return lines


def _write(state: Path, **line: Any) -> None:
    with (state / ATTEMPTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "time": round(time.time(), 3)}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def begin(state: Path, environment: Mapping[str, str], step: str) -> Verdict:
    """Note the begin of an attempt, unless the run has come to a standstill. Local."""
    state.mkdir(parents=True, exist_ok=True)
    attempt = attempt_of(environment)
    attempts = read_attempts(state)
    if _is_strange(attempts, attempt):
        for name in (ATTEMPTS, RECORD, CANCELLED):
            (state / name).unlink(missing_ok=True)
        attempts = []
    (state / RECORD).unlink(missing_ok=True)
    if (state / CANCELLED).exists():
        return Verdict(1, "it was cancelled; no attempt follows")
    if len(attempts) and _idle(attempts, step) >= IDLE_ATTEMPTS:
        return Verdict(1, f"{IDLE_ATTEMPTS} attempts in a row made no progress; stopping. {_HELP}")
    _write(state, event="begin", **attempt, step=step)
    number = sum(line.get("event") == "begin" for line in attempts) + 1
    return Verdict(0, f"attempt {number} begins" if attempts else "the run begins")


_HELP = "Is the time limit, or the signal's margin before it, long enough for one checkpoint?"


def _is_strange(attempts: Sequence[Mapping[str, Any]], attempt: Mapping[str, str]) -> bool:
    """Whether these are attempts of another run: of a cluster that counts its jobs from 1 again."""
    same = [line for line in attempts if line.get("job") == attempt["job"]]
    return any(line.get("event") == "begin" and line.get("restart") == attempt["restart"] for line in same)


def _idle(attempts: Sequence[Mapping[str, Any]], step: str) -> int:
    """Return how many attempts in a row, up to now, made no progress; `step` is the newest checkpoint now."""
    count = 0
    for line in reversed(attempts):
        if line.get("event") == "begin":
            if line.get("step") != step:
                break
            count += 1
    return count


def end(
    state: Path,
    environment: Mapping[str, str],
    code: int,
    *,
    chain: bool = False,
    step: str = "",
    record: Path | None = None,
    stopping: int | None = None,
) -> Verdict:
    """Judge the attempt that ends now and note it. Local.

    `stopping` is how many seconds passed between the signal that asked for the end, if one came, and the end.
    """
    outcome = read(record or state / RECORD)
    attempt = attempt_of(environment)
    if outcome is not None and any(outcome.get(key) != value for key, value in attempt.items()):
        outcome = None
    idle = _idle(read_attempts(state), step)
    verdict = judge(code, outcome, chain, idle, (state / CANCELLED).exists())
    measured = {} if stopping is None else {"stopping": stopping}
    _write(state, event="end", **attempt, step=step, code=code, verdict=verdict.code, **measured)
    return verdict


def follow(state: Path, job: str) -> None:
    """Note that the run goes on as another job. Local."""
    _write(state, event="successor", job=job)


def judge(code: int, record: Mapping[str, Any] | None, chain: bool, idle: int, cancelled: bool = False) -> Verdict:
    """Return what an attempt amounted to, from the launcher's code and the run's own record, if any. Local.

    `idle` is the number of attempts without progress up to this one, itself included.
    """
    own = None if record is None else int(record["code"])
    if own == 0:
        odd = f", though the launcher ended with exit code {code}" if code else ""
        output = f": {record['output']}" if record and "output" in record else ""
        return Verdict(0, f"done{output}{odd}")
    if own == AGAIN or (own is None and code == AGAIN):
        words, final = "not done; a checkpoint was saved", AGAIN
    elif own is not None:
        return Verdict(own if own > 0 else 1, f"failed with exit code {own}")
    elif code == 0:
        words, final = "the launcher says 0, but the run left no completion record: a node may have been lost", 1
    elif code > 128:
        words, final = f"the launcher was ended by signal {code - 128}, or a rank was", code
    else:
        return Verdict(code, f"failed with exit code {code}, without a completion record")
    if cancelled:
        return Verdict(1, f"{words}; it was cancelled")
    if not chain:
        advice = "; go on with: mpibatch submit --chain, or mpibatch run --resume" if final == AGAIN else ""
        return Verdict(final, words + advice)
    if idle >= IDLE_ATTEMPTS:
        return Verdict(1, f"{words}; but {idle} attempts in a row made no progress: stopping. {_HELP}")
    return Verdict(AGAIN, f"{words}; going on")
