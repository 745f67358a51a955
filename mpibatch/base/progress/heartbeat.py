"""The heartbeat of this process: what it does, in memory that a supervisor beside it looks at.

Who makes progress writes the time to ``RECORD[BEAT]``; phases and steps do. That costs a store, whether or not anybody
looks. A wait that may never end must not beat while it lasts. Who has nothing left to do until others are done, however
long they take, is `idle`: then it is theirs to make progress.
"""

from __future__ import annotations

import mmap
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BEAT", "BYTES", "IDLE", "PHASE", "RECORD", "beat", "descriptor", "idle", "name_step", "step_of"]

BYTES = 512
# Places in the record: when there was progress; the phase under way, counted from 1, or 0; 1 while it is idle.
BEAT, PHASE, IDLE = 0, 1, 2
_TEXT = 64  # where the name of the step begins, in bytes


def _shared() -> int:
    """Memory that can be handed to another process; -1 where the system has none."""
    try:
        number = os.memfd_create("mpibatch heartbeat")
        os.ftruncate(number, BYTES)
    except (AttributeError, OSError):
        return -1
    return number


_descriptor = _shared()
_memory = mmap.mmap(_descriptor, BYTES)
RECORD = memoryview(_memory).cast("d")


def descriptor() -> int:
    """Return the file descriptor of the record, -1 if nobody else can look at it. Local."""
    return _descriptor


def beat() -> None:
    """Note that there is progress. Local."""
    RECORD[BEAT] = time.perf_counter()


@contextmanager
def idle() -> Iterator[None]:
    """Note that this rank has nothing to do within the block but to wait for those that have. Local."""
    RECORD[IDLE] = 1.0
    try:
        yield
    finally:
        RECORD[IDLE] = 0.0
        beat()


def name_step(name: str) -> None:
    """Note that the step of this name begins. Local."""
    beat()
    text = name.encode()[: BYTES - _TEXT - 1] + b"\0"
    _memory[_TEXT : _TEXT + len(text)] = text


def step_of(memory: mmap.mmap) -> str:
    """Return the name of the step that a record tells, "" if none. Local."""
    return memory[_TEXT:].partition(b"\0")[0].decode(errors="replace")
