"""Where the seconds of this rank go: a few named phases, each with its exclusive time.

``with phase("halo"): ...`` costs about a microsecond. A phase inside another takes its time away from the
outer one, so that the phases add up to what was measured and nothing is counted twice: an exchange inside a
filter is "halo", not "compute". The set of phases is fixed, so that the ranks' times can be gathered as one
small array without agreeing on names first. For the main thread only: other threads must not open phases.

- compute: kernels and filters,
- compile: compiling their loops, or loading what was compiled, and waiting for another rank that does,
- pack: copies between fields and messages, and within a rank, and cells outside walls, for exchanges,
- halo: starting messages, and waiting for them,
- reduce: all-reduces of what each rank has found, waiting for the others included,
- io: reading and writing files.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from mpibatch.base.progress.heartbeat import BEAT, PHASE, RECORD
from mpibatch.base.units import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

__all__ = [
    "PHASES",
    "Clocked",
    "Phase",
    "PhaseStat",
    "gathered",
    "phase",
    "reset",
    "seconds",
    "spent",
    "summary",
    "table",
    "turn",
    "wall",
]

Phase: TypeAlias = Literal["compute", "compile", "pack", "halo", "reduce", "io"]
PHASES: tuple[Phase, ...] = get_args(Phase)

# Rows of the summary after the named phases: time outside every phase, and the whole.
_OTHER, _TOTAL = "other", "total"

_seconds: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
_codes = {name: float(code) for code, name in enumerate(PHASES, 1)}  # for the heartbeat; 0: in no phase
_open: list[Phase] = []
_mark = time.perf_counter()  # when the innermost open phase last began or resumed
_start = _mark


class phase:
    """Attribute the time of a ``with`` block to one phase, less the phases opened inside it. Local.

    A class with a function's name, as in contextlib: a generator would cost three times as much.
    """

    __slots__ = ("_code", "_name")

    def __init__(self, name: Phase) -> None:
        self._name, self._code = name, _codes[name]

    def __enter__(self) -> None:
        global _mark
        now = time.perf_counter()
        if _open:
            _seconds[_open[-1]] += now - _mark
        _open.append(self._name)
        _mark = now
        RECORD[BEAT] = now
        RECORD[PHASE] = self._code

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        global _mark
        now = time.perf_counter()
        if _open:  # empty only if reset() was called inside the block
            _seconds[_open.pop()] += now - _mark
        _mark = now
        RECORD[PHASE] = _codes[_open[-1]] if _open else 0.0


class Clocked(phase):
    """A phase whose ``with`` blocks are also added up here: `seconds`, as exclusive as the phase's own."""

    __slots__ = ("_before", "seconds")

    def __init__(self, name: Phase) -> None:
        super().__init__(name)
        self.seconds = self._before = 0.0

    def __enter__(self) -> None:
        phase.__enter__(self)
        self._before = _seconds[self._name]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        phase.__exit__(self, kind, error, at)
        self.seconds += _seconds[self._name] - self._before


def turn(name: Phase) -> None:
    """Attribute what the innermost open phase does from now on to another one. Local. A tenth of a phase's cost."""
    global _mark
    if _open:
        now = time.perf_counter()
        _seconds[_open[-1]] += now - _mark
        _open[-1] = name
        _mark = now
        RECORD[PHASE] = _codes[name]


def reset() -> None:
    """Set every phase, and the wall time, back to zero. Local."""
    global _start, _mark
    _open.clear()
    for name in _seconds:
        _seconds[name] = 0.0
    _start = _mark = time.perf_counter()


def seconds() -> dict[Phase, float]:
    """Return the exclusive seconds of each phase closed so far. Local."""
    return {name: _seconds[name] for name in PHASES}


def spent(name: Phase) -> float:
    """Return the exclusive seconds of one phase so far. Local."""
    return _seconds[name]


def wall() -> float:
    """Return the seconds since the last reset. Local."""
    return time.perf_counter() - _start


@dataclass(frozen=True, eq=False)
class PhaseStat:
    """One phase over all ranks: the seconds of each."""

    name: str
    by_rank: npt.NDArray[np.float64]

    @property
    def least(self) -> float:
        """Seconds of the quickest rank. Local."""
        return float(self.by_rank.min())

    @property
    def median(self) -> float:
        """Median of the ranks' seconds. Local."""
        import numpy as np

        return float(np.median(self.by_rank))

    @property
    def mean(self) -> float:
        """Mean of the ranks' seconds. Local."""
        return float(self.by_rank.mean())

    @property
    def slowest(self) -> float:
        """Seconds of the slowest rank. Local."""
        return float(self.by_rank.max())

    @property
    def slowest_rank(self) -> int:
        """Which rank that is. Local."""
        return int(self.by_rank.argmax())

    @property
    def imbalance(self) -> float:
        """Slowest over mean: 1 is even, the number of ranks is one rank doing everything. Local."""
        return self.slowest / self.mean if self.mean > 0 else 1.0


def gathered(comm: Any, mine: Sequence[float]) -> npt.NDArray[np.float64] | None:
    """Return a row of numbers for each rank of `comm`, on its rank 0, None elsewhere. Collective: one gather."""
    import numpy as np

    row = np.array(mine, dtype="f8")
    rows = np.empty((comm.size, row.size), dtype="f8") if comm.rank == 0 else None
    comm.Gather(row, rows, root=0)
    return rows


def summary(comm: Any) -> list[PhaseStat]:
    """Return the phases of all ranks of `comm`, on its rank 0, and an empty list elsewhere. Collective.

    One gather of a few floats per rank. Behind the phases come "other", what was in none, and "total".
    """
    times = list(seconds().values())
    total = wall()
    rows = gathered(comm, [*times, max(0.0, total - sum(times)), total])
    if rows is None:
        return []
    return [PhaseStat(name, column) for name, column in zip((*PHASES, _OTHER, _TOTAL), rows.T, strict=True)]


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
    lines.append(f"{plural(ranks, 'rank')}; imbalance = slowest / mean, share = mean of the total")
    return "\n".join(lines)
