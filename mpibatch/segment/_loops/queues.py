"""Queues that loops keep in an array: a ring, whose size is a power of two. Compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["enlarged"]

Array = Any


@compiled
def enlarged(queue: Array, head: int) -> Array:
    """Return a full ring of twice the room, with the same entries, the one at `head` first. Local."""
    more = np.empty(2 * queue.size, queue.dtype)
    for k in range(queue.size):
        more[k] = queue[(head + k) & (queue.size - 1)]
    return more
