"""How many rows of each plane a sweep takes together: found by timing the sweeps that are made anyway.

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
from typing import TYPE_CHECKING

from mpibatch.base.host import caches
from mpibatch.base.units import shape_text
from mpibatch.stencil.choices import Topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.stencil.compiled.types import Typed

__all__ = ["LEAST_STRIP", "Strips", "strips_of"]

LEAST_STRIP = 16  # rows; shorter ones are over before the prefetchers are at speed
SAMPLES = 3  # of each candidate
WARM_UP = 2  # sweeps: the first compile, and use memory for the first time


class Strips:
    """The rows that sweeps of one kernel over one block take together.

    Attributes
    ----------
    candidates : numbers of rows, the one to begin with first.
    topic : by which the fastest is remembered, None: not at all.
    threads : that share a sweep.
    """

    def __init__(self, candidates: tuple[int, ...], topic: Topic | None = None, threads: int = 1) -> None:
        self.candidates = candidates
        self._topic = topic if len(candidates) > 1 else None
        self._threads = threads
        self._best = [math.inf] * len(candidates)
        self._sweeps = 0
        known = candidates[0] if len(candidates) == 1 else self._topic.recall() if self._topic else None
        self._chosen: int | None = next((rows for rows in candidates if rows == known), None)

    @property
    def is_settled(self) -> bool:
        """Whether the trials are over. Local."""
        return self._chosen is not None

    @contextmanager
    def turn(self) -> Iterator[int]:
        """Yield the rows for a sweep over the whole block, and time it. Local."""
        if self._chosen is not None:
            yield self._chosen
            return
        # Two sweeps with each in turn: whoever tries every second call in another way sees all of them both ways.
        number = self._sweeps // 2 % len(self.candidates)
        now = time.process_time if self._threads == 1 else time.perf_counter
        begin = now()
        yield self.candidates[number]
        if self._sweeps >= WARM_UP:
            self._best[number] = min(self._best[number], now() - begin)
        self._sweeps += 1
        if self._sweeps >= WARM_UP + 2 * SAMPLES * len(self.candidates):
            self._chosen = self.candidates[self._best.index(min(self._best))]
            if self._topic:
                seconds = zip(self.candidates, self._best, strict=True)
                self._topic.remember(self._chosen, {f"{rows} rows": taken for rows, taken in seconds})

    def rows(self) -> int:
        """Return the rows for a sweep over a part of the block. Local."""
        return self._chosen if self._chosen is not None else self.candidates[0]


@functools.lru_cache(maxsize=256)
def strips_of(kernel: Typed, row_bytes: int, shape: tuple[int, ...], threads: int) -> Strips:
    """Return the strips of a kernel on a block, the same object whenever it is asked for. Local.

    Parameters
    ----------
    row_bytes : of all rows that a row of results reads.
    shape : of the block, with its halo.
    """
    planes, rows = shape[:2]
    private, share = caches()
    # A share of L3 was best on Zen 5, and a third of L2 on Sapphire Rapids, by a quarter.
    lengths = [size // max(1, row_bytes) for size in (share // 4, 3 * private // 8, private)]
    candidates = [min(rows, max(LEAST_STRIP, length)) for length in lengths]
    topic = Topic("strips", f"{kernel.name} on {shape_text(shape)}", f"{kernel} {row_bytes} {threads}")
    return Strips(tuple(dict.fromkeys(candidates)) if planes > 1 else (rows,), topic, threads)
