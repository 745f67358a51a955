"""Where the seconds of this rank go: a few named phases, each with its exclusive time.

``with phase("halo"): ...`` costs about a microsecond. A phase inside another takes its time away from the
outer one, so that the phases add up to what was measured and nothing is counted twice: an exchange inside a
filter is "halo", not "compute". The set of phases is fixed, so that the ranks' times can be gathered as one
small array without agreeing on names first. For the main thread only: other threads must not open phases.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeAlias, get_args

__all__ = ["PHASES", "Phase", "PhaseStat", "phase", "reset", "seconds", "summary", "table", "wall"]

Phase: TypeAlias = Literal["compute", "halo", "io", "reduce"]
PHASES: tuple[Phase, ...] = get_args(Phase)

# Rows of the summary after the named phases: time outside every phase, and the whole.
_OTHER, _TOTAL = "other", "total"

_seconds: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
_open: list[Phase] = []
_mark = time.perf_counter()  # when the innermost open phase last began or resumed
_start = _mark


class phase:
    """Attribute the time of a ``with`` block to one phase, less the phases opened inside it. Local.

    A class with a function's name, as in contextlib: a generator would cost three times as much.
    """

    __slots__ = ("_name",)

    def __init__(self, name: Phase) -> None:
        self._name = name

    def __enter__(self) -> None:
        global _mark
        now = time.perf_counter()
        if _open:
            _seconds[_open[-1]] += now - _mark
        _open.append(self._name)
        _mark = now

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        global _mark
        now = time.perf_counter()
        if _open:  # empty only if reset() was called inside the block
            _seconds[_open.pop()] += now - _mark
        _mark = now


def reset() -> None:
    """Set every phase, and the wall time, back to zero. Local."""
    global _start, _mark
    _open.clear()
    for name in PHASES:
        _seconds[name] = 0.0
    _start = _mark = time.perf_counter()


def seconds() -> dict[Phase, float]:
    """Return the exclusive seconds of each phase closed so far. Local."""
    return dict(_seconds)


def wall() -> float:
    """Return the seconds since the last reset. Local."""
    return time.perf_counter() - _start


@dataclass(frozen=True)
class PhaseStat:
    """One phase over all ranks: seconds of the slowest rank, which rank that was, and the mean."""

    name: str
    slowest: float
    slowest_rank: int
    mean: float

    @property
    def imbalance(self) -> float:
        """Slowest over mean: 1 is even, the number of ranks is one rank doing everything."""
        return self.slowest / self.mean if self.mean > 0 else 1.0


def summary(comm: Any) -> list[PhaseStat]:
    """Return the phases of all ranks of `comm`, on its rank 0, and an empty list elsewhere. Collective.

    One gather of a few floats per rank.
    """
    import numpy as np

    times = list(seconds().values())
    total = wall()
    mine = np.array([*times, max(0.0, total - sum(times)), total], dtype="f8")
    rows = np.empty((comm.size, mine.size), dtype="f8") if comm.rank == 0 else None
    comm.Gather(mine, rows, root=0)
    if rows is None:
        return []
    return [
        PhaseStat(name, float(column.max()), int(column.argmax()), float(column.mean()))
        for name, column in zip((*PHASES, _OTHER, _TOTAL), rows.T, strict=True)
    ]


def table(stats: list[PhaseStat], ranks: int) -> str:
    """Return the summary as text, one phase a line; phases that took no time are left out. Local."""
    total = stats[-1].slowest or 1.0
    lines = [f"{'phase':<9} {'slowest':>9} {'(rank)':>7} {'mean':>9} {'imbalance':>9} {'share':>6}"]
    for stat in stats:
        if stat.slowest == 0.0 and stat.name != _TOTAL:
            continue
        lines.append(
            f"{stat.name:<9} {stat.slowest:>7.3f} s {stat.slowest_rank:>7} {stat.mean:>7.3f} s "
            f"{stat.imbalance:>9.2f} {100 * stat.mean / total:>5.0f}%"
        )
    lines.append(f"{ranks} {'rank' if ranks == 1 else 'ranks'}; imbalance = slowest / mean, share = mean of the total")
    return "\n".join(lines)
