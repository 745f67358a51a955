"""Refuse a kernel whose halo would not fit into memory, before anything of its size is made."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.host import LIMIT_VARIABLE, allowed_memory, available_memory
from mpibatch.base.units import bytes_text
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid

__all__ = ["LIMIT_VARIABLE", "check_memory", "largest_block", "padded_bytes", "slab_bytes"]

# Bytes below which nothing is asked, and below which only a limit that the user set counts.
_SMALL, _ORDINARY = 2**20, 2**26


def largest_block(grid: Grid) -> list[int]:
    """Return the largest extent of any rank's block along each axis; the same on all ranks, without a message."""
    axes = grid.decomposition.axes
    return [max(stop - start for start, stop in map(axis.bounds, range(axis.parts))) for axis in axes]


def slab_bytes(u: Field, axis: int, reach: tuple[int, int]) -> int:
    """Return the bytes of the slabs around the largest block: as received and as f64, and of the weights. Local."""
    block = largest_block(u.grid)
    face = math.prod(n for a, n in enumerate(block) if a != axis) * math.prod(u.components)
    return sum(reach) * (face * (u.dtype.itemsize + 8) + 8)


def padded_bytes(u: Field, reach: Sequence[tuple[int, int]], itemsize: int) -> int:
    """Return the bytes of the largest block padded by `reach` = (low, high) per grid axis. Local."""
    extents = (n + low + high for n, (low, high) in zip(largest_block(u.grid), reach, strict=True))
    return math.prod(extents) * math.prod(u.components) * itemsize


def check_memory(
    grid: Grid,
    operation: str,
    needed: int,
    purpose: str = "what surrounds its block",
    remedy: str = "take a smaller kernel or more ranks",
) -> None:
    """Raise if `needed` bytes per rank, for an `operation`, exceed what a rank may take. Collective.

    UsageError if $MPIBATCH_MEMORY_LIMIT is set, else RunError: then the limit is the host's free memory divided by
    the ranks on it. `needed` must be the same on all ranks. Nothing is communicated below 1 MiB. Memory that waits for
    the next fields makes room where there is too little without it; else it stays, and need not be made again.
    """
    if needed <= _SMALL:
        return
    neighbors = _make_room(grid, needed) if needed > _ORDINARY else 1
    with agreed(grid.comm, operation):
        limit = allowed_memory()
        if limit is not None:
            if needed > limit:
                allowance = f"{LIMIT_VARIABLE} allows {bytes_text(limit)}"
                raise UsageError(_message(operation, needed, purpose, allowance, remedy))
            if needed + grid.memories.together.waiting > limit:
                grid.memories.together.release()
            return
        free = available_memory() if needed > _ORDINARY else 0
        if free and needed * neighbors > free:
            allowance = f"the host has {bytes_text(free)} free for its {neighbors} ranks"
            raise RunError(_message(operation, needed, purpose, allowance, remedy))


def _make_room(grid: Grid, needed: int) -> int:
    """Return how many ranks there are on this host; let go what waits if they have too little without. Collective."""
    host = grid.comm.Split_type(MPI.COMM_TYPE_SHARED)
    neighbors, free = host.size, available_memory()
    # What waits is in use of this process, and no part of what is free.
    if host.allreduce(bool(free and needed * neighbors > free), op=MPI.LOR):
        grid.memories.together.release()
        host.Barrier()  # before anybody looks at what is free
    host.Free()
    return neighbors


def _message(operation: str, needed: int, purpose: str, allowance: str, remedy: str) -> str:
    return f"{operation} needs {bytes_text(needed)} per rank for {purpose}, but {allowance}; {remedy}"
