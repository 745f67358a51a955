"""How long a run took, and how long it would have taken on quiet cores.

Virtual machines share their cores: the same Python loop may take twice as long a minute later. A time can be held
against a limit, or against that of another run, only together with how fast the cores were meanwhile.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERY = 5.0  # seconds between two looks at the cores
TURNS = 500_000  # of the loop: some hundredths of a second
SHORT = 300.0  # seconds: of shorter runs nothing is said
FEW = 20  # looks, of which the least is hardly that of a quiet core


class Pace:
    """Looks at the cores now and then, from when it is made until `lines`."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._looks: list[float] = []
        self._has_ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._has_ended.wait(EVERY):
            self._looks.append(loop_seconds())

    def lines(self) -> list[str]:
        """Return what the summary says of the whole run; nothing of a short one."""
        self._has_ended.set()
        times = os.times()
        cpu = times.children_user + times.children_system
        return sentence(time.monotonic() - self._begin, cpu, self._looks)


def loop_seconds() -> float:
    """Seconds that a core spends on a loop, less those in which others had the core."""
    begin = time.thread_time()
    total = 0
    for number in range(TURNS):
        total += number
    return time.thread_time() - begin


def sentence(seconds: float, cpu: float, looks: Sequence[float]) -> list[str]:
    """Return the line of a run of so many seconds, and of CPU, during which the loop took so long."""
    if seconds < SHORT:
        return []
    text = f"whole run: {seconds:.0f} s, {cpu:.0f} s of CPU"
    if len(looks) < FEW:
        return [text]
    least = min(looks)
    speed = statistics.fmean(least / look for look in looks)
    return [
        f"{text}; the cores ran at {100 * speed:.0f} % of their best speed on average (a loop that takes "
        f"{1000 * least:.0f} ms took {1000 * statistics.median(looks):.0f} in the median), so on quiet ones about "
        f"{seconds * speed:.0f} s"
    ]
