"""Values at points all over a field: points go to the ranks that own the cells around them, and values come back.

Where a rank's points are near one another, it fetches the cells around them. Where they are not, that would be most of
the field; then the points travel, in rounds, and a rank reads no cells but its own and some around its block.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase as timed
from mpibatch.domain import Box
from mpibatch.measure._engine.places import owners
from mpibatch.mpi import MPI
from mpibatch.mpi.routes import forward
from mpibatch.resample._engine.requests import Points
from mpibatch.resample._engine.samples import Coefficients, converted, fill, mapped, resample

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["sample_points"]

Array = npt.NDArray[Any]
MOST = 1 << 17  # points that a rank sends in a round
MOST_ALL = 1 << 22  # that all ranks send, and one of them may get
FAR = 2.0**40  # cells, beyond which it does not matter who reads


def sample_points(name: str, c: Coefficients, points: Array, result: Field) -> Field:
    """Fill a field without halo with the values at points, coordinates along their first axis. Collective."""
    request = Points(Box((0,) * result.grid.ndim, result.box.shape), points)
    with timed("compute"):
        is_far = _is_scattered(c, request)
    with timed("halo"):
        is_far = c.field.grid.comm.allreduce(is_far, op=MPI.LOR)
    if not is_far:
        return resample(name, c, request, result)
    _by_owners(name, c, points.reshape(len(points), -1), result.owned.reshape(-1))
    return result


def _is_scattered(c: Coefficients, request: Points) -> bool:
    """Whether more cells would be fetched than there are cells and results here. Local."""
    if not request.box.size:
        return False
    counts = [int(c.read_by(axis, firsts).sum()) for axis, firsts in enumerate(request.firsts(c))]
    return math.prod(counts) > c.field.box.size + request.box.size


def _by_owners(name: str, c: Coefficients, points: Array, out: Array) -> None:
    """Write the values at points, which others have read. Collective."""
    grid, count = c.field.grid, points.shape[1]
    with timed("halo"):
        most = max(1, min(MOST, MOST_ALL // grid.comm.size))
        rounds = grid.comm.allreduce(-(-count // most), op=MPI.MAX)
    for turn in range(rounds):
        low, high = min(turn * most, count), min((turn + 1) * most, count)
        part = np.ascontiguousarray(points[:, low:high].T)
        with timed("halo"):
            rows = np.column_stack([np.full(high - low, grid.rank), np.arange(low, high), part.view(np.int64)])
            mine = forward(grid.comm, _owners(c, part), rows)
        at = np.ascontiguousarray(mine[:, 2:].T).view(np.float64)
        values = np.empty(len(mine))
        fill(name, c, Points(Box((0,), values.shape), at), values)
        with timed("halo"):
            answers = np.column_stack([mine[:, 1], values.view(np.int64)])
            places, bits = forward(grid.comm, mine[:, 0], answers).T
        out[places] = converted(np.ascontiguousarray(bits).view(np.float64), out.dtype)


def _owners(c: Coefficients, points: Array) -> npt.NDArray[np.int64]:
    """Return for each row of coordinates a rank that owns a cell that is read, or one near it. Local."""
    place = np.zeros(len(points), np.int64)
    for axis, (n, pad, mode) in enumerate(zip(c.lengths, c.pads, c.modes, strict=True)):
        low = np.nan_to_num(np.floor(points[:, axis]), nan=0.0, posinf=FAR, neginf=-FAR)
        index = np.clip(low, -FAR, FAR).astype(np.int64) + pad
        place = place * n + np.maximum(mapped(index, n, mode), 0)
    return owners(c.field.grid.decomposition, place)
