"""The heartbeat of this process: what it does, in memory that a supervisor beside it looks at.

Who makes progress writes the time to ``RECORD[BEAT]``; phases and steps do. That costs a store, whether or not anybody
looks. A wait that may never end must not beat while it lasts.
"""

from __future__ import annotations

import mmap
import os
import time

__all__ = ["BEAT", "BYTES", "PHASE", "RECORD", "beat", "descriptor", "name_step", "step_of"]

BYTES = 512
BEAT, PHASE = 0, 1  # places in the record: when there was progress; the phase under way, counted from 1, or 0
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


def name_step(name: str) -> None:
    """Note that the step of this name begins. Local."""
    beat()
    text = name.encode()[: BYTES - _TEXT - 1] + b"\0"
    _memory[_TEXT : _TEXT + len(text)] = text


def step_of(memory: mmap.mmap) -> str:
    """Return the name of the step that a record tells, "" if none. Local."""
    return memory[_TEXT:].partition(b"\0")[0].decode(errors="replace")
