"""What this rank has done so far: messages sent for halos, exchanges asked for, all-reduces, cells computed by kernels.

Counting costs a fraction of a microsecond, and is always on. What is counted between two calls of `lap` belongs to
the part of the run that the second one names. As `timing`, for the main thread only.

An exchange is counted twice over, for two readers: as the messages that this rank sends (`traffic`), and as a
`Need`, which tells what would have to come from neighbors on any number of ranks, also where there are none.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from mpibatch.base.timing import Clocked, phase

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "REDUCTION",
    "KernelWork",
    "Lap",
    "Need",
    "apart",
    "exchanges",
    "lap",
    "need",
    "needed",
    "reductions",
    "reset",
    "sent",
    "threads",
    "traffic",
    "work",
    "works",
]

Widths = tuple[tuple[int, int], ...]


# Compared by identity: `need` returns the same one for the same exchange, and to hash all this takes long.
@dataclass(frozen=True, slots=True, eq=False)
class Need:
    """An exchange of halos, as the algorithm needs it.

    Attributes
    ----------
    shape : cells of the grid.
    widths : cells below and above, along each axis.
    corners : whether cells off a block along two axes or more are needed.
    wraps : whether an axis has no walls.
    bytes_per_cell : of all fields that take part.
    steps : of a simulation, for which this one exchange is enough.
    """

    shape: tuple[int, ...]
    widths: Widths
    corners: bool
    wraps: tuple[bool, ...]
    bytes_per_cell: int
    steps: int = 1

    def to_json(self, times: int) -> dict[str, Any]:
        """Return this as JSON holds it, with how many times it was carried out. Local."""
        return {
            "shape": list(self.shape),
            "widths": [list(pair) for pair in self.widths],
            "corners": self.corners,
            "wraps": list(self.wraps),
            "bytes_per_cell": self.bytes_per_cell,
            "steps": self.steps,
            "times": times,
        }


@dataclass(frozen=True, slots=True)
class Lap:
    """A part of a run: the exchanges that it asked for, each with how many times, and its all-reduces."""

    name: str
    exchanges: dict[Need, int]
    reductions: int


class KernelWork(Clocked):
    """One kernel on fields of certain types; a context manager that times it, as phase "compute".

    Attributes
    ----------
    name, flops, bytes : of the kernel; flops and bytes to and from memory are per cell and step.
    threads : of this rank.
    calls, cells : how often it ran, and cells times steps; fused steps are one call.
    seconds : without those of compiling.
    """

    __slots__ = ("bytes", "calls", "cells", "flops", "name", "threads")

    def __init__(self, name: str, flops: int, nbytes: int, threads: int) -> None:
        super().__init__("compute")
        self.name, self.flops, self.bytes, self.threads = name, flops, nbytes, threads
        self.calls = self.cells = 0

    def ran(self, cells: int) -> None:
        """Count a call. Local."""
        self.calls += 1
        self.cells += cells


class _Reduction(phase):
    """An all-reduce: counted, and timed as phase "reduce"."""

    __slots__ = ()

    def __enter__(self) -> None:
        _count.reductions += 1
        super().__enter__()


class _Count:
    """The numbers so far; those of exchanges and all-reduces since the last lap."""

    __slots__ = ("bytes", "laps", "messages", "needs", "reductions")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.messages = self.bytes = self.reductions = 0
        self.needs: dict[Need, int] = {}
        self.laps: dict[str, Lap] = {}


REDUCTION = _Reduction("reduce")

_count = _Count()
_works: list[KernelWork] = []


@cache
def need(
    shape: tuple[int, ...], widths: Widths, corners: bool, wraps: tuple[bool, ...], bytes_per_cell: int, steps: int = 1
) -> Need:
    """Return the `Need` of these numbers, always the same one. Local."""
    return Need(shape, widths, corners, wraps, bytes_per_cell, steps)


@cache
def work(name: str, flops: int, nbytes: int, threads: int = 1) -> KernelWork:
    """Return the `KernelWork` of a kernel, always the same one. Local."""
    _works.append(KernelWork(name, flops, nbytes, threads))
    return _works[-1]


def needed(need: Need) -> None:
    """Count an exchange that is carried out. Local."""
    _count.needs[need] = _count.needs.get(need, 0) + 1


def sent(messages: int, nbytes: int) -> None:
    """Count messages to other ranks. Local."""
    _count.messages += messages
    _count.bytes += nbytes


@contextmanager
def apart() -> Iterator[dict[Need, int]]:
    """Yield the exchanges of a block as they are counted, which those of the run are without. Local."""
    outside, _count.needs = _count.needs, {}
    reductions = _count.reductions
    try:
        yield _count.needs
    finally:
        _count.needs, _count.reductions = outside, reductions


def lap(name: str) -> None:
    """End a part of the run; what has the name of an earlier one is added to that. Local."""
    part = _count.laps.setdefault(name, Lap(name, {}, 0))
    for need, times in _count.needs.items():
        part.exchanges[need] = part.exchanges.get(need, 0) + times
    _count.laps[name] = Lap(name, part.exchanges, part.reductions + _count.reductions)
    _count.needs, _count.reductions = {}, 0


def exchanges() -> list[Lap]:
    """Return the parts so far; the last one, without a name, holds what was counted since. Local."""
    return [*_count.laps.values(), Lap("", dict(_count.needs), _count.reductions)]


def reductions() -> int:
    """Return the number of all-reduces so far. Local."""
    return sum(part.reductions for part in exchanges())


def traffic() -> tuple[int, int]:
    """Return the messages and bytes that this rank has sent for halos. Local."""
    return _count.messages, _count.bytes


def works() -> list[KernelWork]:
    """Return the kernels that have run, in the order in which they were first met. Local."""
    return [kernel for kernel in _works if kernel.calls]


def threads() -> int:
    """Return the most threads that a kernel ran on. Local."""
    return max((kernel.threads for kernel in works()), default=1)


def reset() -> None:
    """Set everything back to zero. Local."""
    _count.clear()
    for kernel in _works:
        kernel.calls = kernel.cells = 0
        kernel.seconds = 0.0
