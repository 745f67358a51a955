"""Rounds of what goes on until nothing changes, for whoever shows progress. Knows neither MPI nor fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Listener", "listening", "note"]

# listener(rounds, changes): so many rounds are done since it listens, and the last one changed so many cells or ranks,
# or left so much to do.
Listener = Callable[[int, int], None]

_listeners: list[Listener] = []
_counts: list[int] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called after each round within the block, in place of others. Local."""
    _listeners.append(listener)
    _counts.append(0)
    try:
        yield
    finally:
        _listeners.pop()
        _counts.pop()


def note(changes: int) -> None:
    """Note the end of a round. Local."""
    if _listeners:
        _counts[-1] += 1
        _listeners[-1](_counts[-1], changes)
