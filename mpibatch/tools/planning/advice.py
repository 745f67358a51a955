"""Which numbers of ranks to take instead of those asked for, and where more ranks gain nothing: by the model alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.job.plan import layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.tools.planning.prediction import Model

__all__ = ["Advice", "Limit", "counts", "limit_of", "traps"]

AROUND = 0.05  # of the number of ranks: neighbors that are looked at
MOST_TRIED, MOST_MODELED = 24, 3
AS_FAST = 1.005
WORTHWHILE = 1.05  # as fast, beyond what the number of ranks itself gives
HALF, GAIN = 0.5, 1.1  # efficiency, and what doubling the ranks gives at least, for more ranks to be worth it
MOST_RANKS = 1 << 22


@dataclass(frozen=True)
class Advice:
    """A number of ranks, one nearby that would do better, and how many times as fast that is."""

    ranks: int
    better: int
    gain: float

    def __str__(self) -> str:
        prime = " is a prime number" if self.ranks > 3 and _largest_factor(self.ranks) == self.ranks else " ranks"
        if self.gain < WORTHWHILE:
            return f"{self.ranks}{prime}: {self.better} would be as fast"
        return f"{self.ranks}{prime}: {self.better} would be {self.gain:.2f} × as fast"


@dataclass(frozen=True)
class Limit:
    """The most ranks with an efficiency of a half, and those from which on doubling them gains less than a tenth."""

    half: int | None
    useless: int | None

    def __str__(self) -> str:
        words = []
        if self.half is not None:
            words.append(f"efficiency falls below {HALF:g} above {self.half} ranks")
        if self.useless is not None:
            words.append(f"twice as many ranks as {self.useless} gain less than {100 * (GAIN - 1):.0f} %")
        return "; ".join(words)


def counts(text: str) -> list[int]:
    """Return the numbers of ranks in "1,2,4", "1..64" or "1,2,4,...,64", where dots double. Local. UsageError."""
    numbers: list[int] = []
    is_open = False
    for word in text.replace("…", "...").split(","):
        first, dots, last = word.strip().partition("..")
        if dots and not first and last in ("", "."):
            is_open = True
            continue
        if dots:
            low, high = _count(first, text), _count(last.lstrip("."), text)
            numbers += _doubled(low, high, text)
        else:
            number = _count(first, text)
            numbers += _doubled(numbers[-1], number, text)[1:] if is_open and numbers else [number]
        is_open = False
    if is_open:
        raise UsageError(f"--ranks {text}: the dots have no end; write 1,2,4,...,1024 or 1..1024")
    return sorted(set(numbers))


def _count(word: str, text: str) -> int:
    try:
        number = int(word)
    except ValueError:
        number = 0
    if not 1 <= number <= MOST_RANKS:
        raise UsageError(
            f"--ranks {text}: {word.strip()!r} is no number of ranks from 1 to {MOST_RANKS}; write 1,2,4 or 1..1024"
        )
    return number


def _doubled(low: int, high: int, text: str) -> list[int]:
    if high < low:
        raise UsageError(f"--ranks {text}: {low}..{high} goes down; write the smaller number first")
    numbers = [low]
    while numbers[-1] * 2 <= high:
        numbers.append(numbers[-1] * 2)
    return numbers if numbers[-1] == high else [*numbers, high]


def traps(model: Model, ranks: Sequence[int]) -> list[Advice]:
    """Return for each number of ranks that has a better one nearby what that is. Local."""
    return [advice for count in ranks if (advice := _better(model, count)) is not None]


def _better(model: Model, ranks: int) -> Advice | None:
    now = model.quick(ranks)
    tried = sorted(_nearby(ranks), key=lambda count: (_fullest(model, count) * max(1.0, count / ranks), -count))
    candidates: list[Advice] = []
    for count in tried[:MOST_MODELED]:
        if _fullest(model, count) == math.inf:
            continue
        gain = now / model.quick(count)
        is_better = gain >= WORTHWHILE * max(1.0, count / ranks)
        # Where messages are all that takes time, every number of ranks is as fast: that is the limit's to tell.
        is_as_fast = count < ranks and gain * AS_FAST >= 1 and _fullest(model, count) <= _fullest(model, ranks)
        if is_better or is_as_fast:
            candidates.append(Advice(ranks, count, gain))
    if not candidates:
        return None
    return max(candidates, key=lambda advice: (round(advice.gain, 2), -advice.better))


def _nearby(ranks: int) -> list[int]:
    """Neighbors, of which those without large prime factors come further away."""
    width = max(2, int(AROUND * ranks))
    every = [ranks + d for d in range(-width, width + 1) if d and ranks + d > 0]
    chosen = [n for n in every if abs(n - ranks) <= 2 or _largest_factor(n) <= 7]
    return sorted(chosen, key=lambda n: abs(n - ranks))[:MOST_TRIED]


def _fullest(model: Model, ranks: int) -> float:
    """The cells of the fullest rank; infinity where so many ranks do not fit."""
    if ranks > model.subject.cells:
        return math.inf
    try:
        return float(layout(model.subject.shape, ranks, model.subject.job.grid).cells)
    except UsageError:
        return math.inf


def _largest_factor(number: int) -> int:
    largest, factor = 1, 2
    while factor * factor <= number:
        while number % factor == 0:
            largest, number = factor, number // factor
        factor += 1
    return max(largest, number)


def limit_of(model: Model) -> Limit:
    """Return where more ranks gain little, for a job that was probed. Local."""
    half = useless = None
    ranks, before = 1, None
    while ranks <= min(MOST_RANKS, model.subject.cells):
        try:
            prediction = model.at(ranks)
        except UsageError:
            break  # the job fixes its process grid
        if prediction.seconds_per_step is None or prediction.efficiency is None:
            break
        if half is None and prediction.efficiency < HALF:
            half = ranks // 2
        if before is not None and before / prediction.seconds_per_step < GAIN:
            useless = ranks // 2
            break
        ranks, before = 2 * ranks, prediction.seconds_per_step
    return Limit(half, useless)
