"""Signals that ask a run to stop at the next good moment."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = ["ASKING", "Caught", "signal_name"]

# Batch systems send SIGUSR1 some time before a limit where told to, and SIGTERM when they end or preempt a job.
ASKING = (signal.SIGUSR1, signal.SIGTERM)


# A process has one handler for a signal, and so one note of it, shared by blocks within blocks.
_noted = 0
_depth = 0
_before: dict[int, Any] = {}


class Caught:
    """Notes, while its block lasts, the first of these signals instead of ending the process.

    Python runs a handler between two instructions of the main thread: not within a call of MPI, but soon after it.
    Handlers that are not Python's (faulthandler's) are left where they are.
    """

    @property
    def number(self) -> int:
        """The signal; 0 if none came. Local."""
        return _noted

    def redeliver(self) -> None:
        """Leave the block, and let a signal that came do what it does outside of it. Local."""
        number = _noted
        self.__exit__(None, None, None)
        if number:
            signal.raise_signal(number)

    def __enter__(self) -> Caught:
        global _depth
        _depth += 1
        if _depth == 1 and threading.current_thread() is threading.main_thread():
            for number in ASKING:
                if signal.getsignal(number) is not None:
                    _before[number] = signal.signal(number, _note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        global _depth, _noted
        _depth -= 1
        if _depth:
            return
        for number, handler in _before.items():
            signal.signal(number, handler)
        _before.clear()
        _noted = 0


def _note(number: int, frame: FrameType | None) -> None:
    global _noted
    _noted = _noted or number


def signal_name(number: int) -> str:
    """Return "SIGTERM" and the like. Local."""
    return signal.Signals(number).name
