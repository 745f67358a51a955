"""The threads of a rank, and how they share out a loop each part of which is computed alone: the bits are the same."""

from __future__ import annotations

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from mpibatch.base.compiled import thread_count

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["pool", "share_out"]

FEWEST = 1 << 15  # cells of a share: fewer are done before another thread has begun


@functools.cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads that sweeps share. Local."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mpibatch")


def share_out(run: Callable[[int, int], object], count: int, cells: int, warmup: int = 0) -> None:
    """Call ``run(begin, end)`` for parts of `count` rows of `cells` cells in all, on the threads of this rank. Local.

    `run` is a loop that lets go of Python's lock. What it compiles is compiled once, before threads begin, by a call
    for the first `warmup` rows.
    """
    threads = thread_count()
    parts = min(threads, count, cells // FEWEST)
    if parts < 2:
        run(0, count)
        return
    run(0, warmup)
    cuts = itertools.pairwise(count * part // parts for part in range(parts + 1))
    first, *rest = cuts
    jobs = [pool(threads).submit(run, *cut) for cut in rest]
    try:
        run(*first)
    finally:
        wait(jobs)
    for job in jobs:
        job.result()
