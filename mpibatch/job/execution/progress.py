"""One line of progress with the time that is left, from one rank."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from mpibatch.base.compiled import compile_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Report", "plain", "remaining", "reporter", "silent"]


class ReportCall(Protocol):
    """`done` of `total` units are done, and what `label` names begins now.

    `share` is the share of the time that is over, where another than done / total is known.
    """

    def __call__(self, done: int, total: int, label: str, share: float | None = None) -> None: ...


Report = ReportCall


PLAIN_INTERVAL = 2.0  # seconds between lines in a batch log
KNOWN_AFTER = 1.0  # seconds of work: in the first moments files are opened and memory is used for the first time


def silent(done: int, total: int, label: str, share: float | None = None) -> None:
    """Report nothing. Local."""


def remaining(elapsed: float, done: float, total: float) -> str:
    """Return how long the rest will take if it goes on as so far, in words; empty if unknown. Local."""
    if done <= 0 or done >= total:
        return ""
    left = round(elapsed * (total - done) / done)
    minutes, seconds = divmod(left, 60)
    hours, minutes = divmod(minutes, 60)
    words = f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
    return f"about {words} left"


class _TimeLeft:
    """How long the rest takes, from the first report on: what was done before a restart took none of this run's time.

    Compiling is not counted: the first step waits for it, and no other.
    """

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def left(self, now: float, done: float, total: float, share: float | None = None) -> str:
        """Return the time that is left at `now` in words; empty if unknown. Local."""
        if share is not None:
            done, total = share, 1.0
        working = now - compile_seconds()
        if self._first is None:
            self._first = working, done
        begin, before = self._first
        if working - begin < KNOWN_AFTER:
            return ""
        return remaining(working - begin, done - before, total - before)


def plain(stream: TextIO, interval: float = PLAIN_INTERVAL, clock: Callable[[], float] = time.monotonic) -> Report:
    """Return a report that writes whole lines: the first, the last, and others at intervals. Local."""
    begin = clock()
    latest = float("-inf")
    pace = _TimeLeft()

    def report(done: int, total: int, label: str, share: float | None = None) -> None:
        nonlocal latest
        now = clock()
        left = pace.left(now, done, total, share)
        if 0 < done < total and now - latest < interval:
            return
        latest = now
        parts = [f"[{done}/{total}] {label}", f"{now - begin:.1f} s", left]
        # A reader that has gone, or a full disk under the log, must not end the run of all ranks.
        with suppress(OSError):
            stream.write(", ".join(part for part in parts if part) + "\n")
            stream.flush()

    return report


@contextmanager
def reporter(rank: int = 0, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Report]:
    """Yield the report that fits: a live bar on a terminal with rich, else plain lines; silent but on rank 0. Local."""
    target = stream if stream is not None else sys.stderr
    if rank != 0 or quiet:
        yield silent
        return
    if not target.isatty():
        yield plain(target)
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ModuleNotFoundError:
        yield plain(target)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=Console(file=target), transient=True) as bar:
        task = bar.add_task("starting", total=None, left="")
        pace = _TimeLeft()

        def report(done: int, total: int, label: str, share: float | None = None) -> None:
            left = pace.left(time.monotonic(), done, total, share)
            bar.update(task, completed=done, total=total, description=label, left=left)

        yield report
