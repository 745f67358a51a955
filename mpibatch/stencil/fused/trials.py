"""How many steps to fuse, and in tiles of what size: found by timing the steps that are computed anyway.

Candidates are tried on the run's own steps, each as often as a sample needs, and the best stays, also for later runs.
Bits do not depend on the choice, so nothing is computed twice. The times are those of the slowest rank, agreed on
by all, and so every rank chooses alike; rank 0 reads and writes what is remembered.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING

from mpibatch.base.host import caches
from mpibatch.base.units import bytes_text
from mpibatch.stencil.compiled.ways import way_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.stencil.choices import Topic

__all__ = ["BUDGETS", "LEAST_SAMPLE", "STEPS", "Choice", "Tuning", "candidates"]

_CACHES = caches()
# Bytes that the rings of a tile may take: a part of a core's share of L3, a few L2 caches, less than one, all of the
# share. On Zen 5 the first was best, or as good (heat 256³ f8): short tiles compute more lines twice, and are over
# before the prefetchers are at speed.
BUDGETS = tuple(dict.fromkeys((3 * _CACHES.share // 8, 2 * _CACHES.private, 3 * _CACHES.private // 4, _CACHES.share)))
STEPS = (1, 2, 3, 4, 6, 8)
LEAST_SAMPLE = 8  # steps, or about as many
SAMPLES = 3  # of which the first only warms up
# Compiling fused steps takes a second or two: not for runs that one step at a time ends sooner (seconds).
WORTHWHILE = 0.5
CLEARLY = 1.1  # single steps stay unless fused ones are this much faster: among many, one is the fastest by luck
WORSE = 1.15  # fusing more and more steps is given up when it is this much slower than the best
CLOSE = 1.5  # so much slower than single steps, and fused ones may still win with rings of another size


@dataclass(frozen=True, slots=True, order=True)
class Choice:
    """Steps to fuse, the bytes that rings may take, and the way that their loops are compiled, by `ways.WAYS`."""

    steps: int
    budget: int
    way: int = 0


def candidates(limit: int) -> list[int]:
    """Return the numbers of steps to try, where at most `limit` can be fused. Local."""
    return [k for k in STEPS if k <= max(1, limit)]


@dataclass
class Tuning:
    """Times per step by choice. The same on all ranks, as long as budgets are, and `add` is given the same times."""

    limit: int
    least: int  # steps that fused sweeps have at least
    budgets: tuple[int, ...] = BUDGETS  # those of rank 0's host
    ways: tuple[int, ...] = (0,)  # those of rank 0's processor
    times: dict[Choice, list[float]] = field(default_factory=dict)
    made: int = 0  # steps so far, in all calls: as many may be expected to come
    settled: Choice | None = None  # by a run before, or once nothing was left to try

    @property
    def most(self) -> int:
        """The most steps that may still be asked for. Local."""
        return self.best().steps if self._next() is None else max(candidates(self.limit))

    def best(self) -> Choice:
        """Return the fastest choice so far. Local."""
        if self.settled is not None:
            return self.settled
        single = Choice(1, self.budgets[0])
        known = {choice: min(times[1:]) for choice, times in self.times.items() if len(times) > 1}
        if not known:
            return single
        fastest = min(known, key=lambda choice: (known[choice], choice))
        return single if known.get(single, math.inf) <= CLEARLY * known[fastest] else fastest

    def add(self, choice: Choice, seconds: float) -> None:
        """Note the seconds per step of a sweep. Local."""
        self.times.setdefault(choice, []).append(seconds)

    def trial(self, remaining: int) -> Choice | None:
        """Return what to time next, None if nothing is left to try within `remaining` steps. Local."""
        choice = self._next()
        if choice is None or choice.steps > remaining:
            return None
        expected = self.made + remaining
        if choice.steps > 1 and choice not in self.times and self._seconds(self.best()) * expected < WORTHWHILE:
            return None
        return choice

    def recall(self, topic: Topic) -> None:
        """Take what was found before, if it is possible here. Local."""
        known = topic.recall()
        possible = itertools.starmap(Choice, itertools.product(self._steps, self.budgets, self.ways))
        self.settled = next((choice for choice in possible if list(astuple(choice)) == known), None)

    def remember(self, topic: Topic) -> None:
        """Keep what was found, once nothing is left to try; others get it when they next ask. Local, on rank 0."""
        if self.limit > 1 and self.settled is None and self._next() is None:
            best = self.settled = self.best()
            seconds = {
                f"{c.steps} steps in {bytes_text(c.budget)}{way_text(c.way)}": self._seconds(c)
                for c in sorted(self.times)
            }
            topic.remember(list(astuple(best)), seconds)

    @property
    def _steps(self) -> list[int]:
        return [k for k in candidates(self.limit) if k == 1 or k >= self.least]

    def _seconds(self, choice: Choice) -> float:
        return min(self.times[choice][1:])

    def _is_timed(self, choice: Choice) -> bool:
        return len(self.times.get(choice, ())) >= SAMPLES

    def _next(self) -> Choice | None:
        if self.settled is not None:
            return None
        tried: list[float] = []
        for k in self._steps:
            choice = Choice(k, self.budgets[0])
            if not self._is_timed(choice):
                return choice
            tried.append(self._seconds(choice))
            if _is_hopeless(tried):
                break
        fused = [c for c in self.times if c.steps > 1 and c.way == self.ways[0] and self._is_timed(c)]
        if not fused or min(map(self._seconds, fused)) > CLOSE * tried[0]:
            return None
        # Other rings, for the fused steps that were fastest in the first; and then a little more or less of them.
        first = min((c for c in fused if c.budget == self.budgets[0]), key=self._seconds)
        best = min(fused, key=lambda choice: (self._seconds(choice), choice))
        nearby = [Choice(first.steps, budget) for budget in self.budgets[1:]]
        if best.budget != self.budgets[0]:
            at = self._steps.index(best.steps)
            nearby += [Choice(k, best.budget) for k in self._steps[max(1, at - 1) : at + 2]]
        # And the fastest of all these in the other ways.
        nearby += [replace(best, way=way) for way in self.ways[1:]]
        return next((choice for choice in nearby if not self._is_timed(choice)), None)


def _is_hopeless(tried: Sequence[float]) -> bool:
    """Whether the last two were both clearly slower than the best."""
    return len(tried) > 2 and min(tried[-2:]) > WORSE * min(tried)
