"""How many rows of each plane a sweep takes together, and how it is compiled: found by timing sweeps made anyway.

A plane is swept in strips of rows, so that the planes that the next one reads are still in a cache. In which cache they
are best kept differs between processors: candidates follow from what the system tells of them, and the fastest stays,
for each kernel and block, also for later runs. Each rank chooses for itself, as neither bits nor messages depend on it.
Seconds are the processor's, not the clock's, so that what else runs on a shared machine does not choose; but the
clock's where threads share a sweep: it is over when the last one is.
"""

from __future__ import annotations

import functools
import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mpibatch.base.host import caches
from mpibatch.base.units import shape_text
from mpibatch.stencil.choices import Topic
from mpibatch.stencil.compiled.ways import way_text, ways_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.stencil.compiled.types import Typed

__all__ = ["LEAST_STRIP", "Strips", "SweepChoice", "strips_of"]

LEAST_STRIP = 16  # rows; shorter ones are over before the prefetchers are at speed
SAMPLES = 3  # of each candidate
WARM_UP = 2  # sweeps: the first compile, and use memory for the first time


class SweepChoice(NamedTuple):
    """How a sweep is made: rows that are taken together, and the number of the way in `ways.WAYS`."""

    rows: int
    way: int = 0


class Strips:
    """How sweeps of one kernel over one block are made: first the rows are chosen, and then the way, with these.

    Attributes
    ----------
    candidates : numbers of rows, the one to begin with first.
    topic : by which the fastest is remembered, None: not at all.
    threads : that share a sweep.
    ways : to be tried, the one to begin with first.
    """

    def __init__(
        self,
        candidates: tuple[int, ...],
        topic: Topic | None = None,
        threads: int = 1,
        ways: tuple[int, ...] = (0,),
    ) -> None:
        self.candidates, self.ways = candidates, ways
        possible = [SweepChoice(rows, way) for rows in candidates for way in ways]
        self._topic = topic if len(possible) > 1 else None
        self._threads = threads
        self._trials = [SweepChoice(rows, ways[0]) for rows in candidates]
        self._best = dict.fromkeys(self._trials, math.inf)
        self._sweeps, self._last = -WARM_UP, 0.0
        known = list(possible[0]) if len(possible) == 1 else self._topic.recall() if self._topic else None
        self._chosen = next((strip for strip in possible if list(strip) == known), None)

    @property
    def is_settled(self) -> bool:
        """Whether the trials are over. Local."""
        return self._chosen is not None

    @contextmanager
    def turn(self) -> Iterator[SweepChoice]:
        """Yield how to make a sweep over the whole block, and time it. Local."""
        if self._chosen is not None:
            yield self._chosen
            return
        # Two sweeps with each in turn: whoever tries every second call in another way sees all of them both ways, and
        # to another memory and back can take more and less time, as the two lie.
        strip = self._trials[max(0, self._sweeps) // 2 % len(self._trials)]
        now = time.process_time if self._threads == 1 else time.perf_counter
        begin = now()
        yield strip
        taken = now() - begin
        if self._sweeps > 0 and self._sweeps % 2:
            self._best[strip] = min(self._best[strip], (self._last + taken) / 2)
        self._last = taken
        self._sweeps += 1
        if self._sweeps >= 2 * SAMPLES * len(self._trials):
            self._go_on()

    def _go_on(self) -> None:
        """Choose what is the fastest so far, or try the other ways with it."""
        best = min(self._best, key=lambda strip: self._best[strip])
        others = [SweepChoice(best.rows, way) for way in self.ways[1:]]
        if best in self._trials and others and others[0] not in self._best:
            self._trials, self._sweeps = [best, *others], -WARM_UP  # the best once more, beside them
            self._best |= dict.fromkeys(self._trials, math.inf)
            return
        self._chosen = best
        if self._topic:
            seconds = {f"{strip.rows} rows{way_text(strip.way)}": taken for strip, taken in self._best.items()}
            self._topic.remember(list(best), seconds)

    def current(self) -> SweepChoice:
        """Return how to make a sweep over a part of the block. Local."""
        return self._chosen if self._chosen is not None else self._trials[0]


@functools.lru_cache(maxsize=256)
def strips_of(kernel: Typed, row_bytes: int, nbytes: int, shape: tuple[int, ...], threads: int) -> Strips:
    """Return the strips of a kernel on a block, the same object whenever it is asked for. Local.

    Parameters
    ----------
    row_bytes : of all rows that a row of results reads.
    nbytes : of all arrays.
    shape : of the block, with its halo.
    """
    planes, rows = shape[:2]
    private, share = caches()
    # What is in a cache as a whole needs no other way.
    ways = ways_for(len(shape)) if nbytes > share else (0,)
    # A share of L3 was best on Zen 5, and a third of L2 on Sapphire Rapids, by a quarter.
    lengths = [size // max(1, row_bytes) for size in (share // 4, 3 * private // 8, private)]
    candidates = [min(rows, max(LEAST_STRIP, length)) for length in lengths]
    topic = Topic("strips", f"{kernel.name} on {shape_text(shape)}", f"{kernel} {row_bytes} {threads}")
    is_cut = planes > 1 and len(shape) == 3
    return Strips(tuple(dict.fromkeys(candidates)) if is_cut else (rows,), topic, threads, ways)
