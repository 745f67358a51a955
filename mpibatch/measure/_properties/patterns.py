"""Properties of regions that are sums over small windows: perimeters and the Euler number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.halo import padded_copy
from mpibatch.measure._engine.memory import signed
from mpibatch.measure._engine.rows import ROOM, sum_rows
from mpibatch.mpi import agreed
from mpibatch.mpi.routes import forward

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mpibatch.fields.field import Field
    from mpibatch.measure._engine.shares import Shares

__all__ = ["PATTERNS", "counted", "pattern_columns"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

PATTERNS = ("euler_number", "perimeter", "perimeter_crofton")
ROOT = math.sqrt(2)
STEPS = (1.0, ROOT, (1 + ROOT) / 2)
# Of the lengths of the projections along four directions.
WINDOWS = (
    math.pi / 4 * (1 + 1 / ROOT),
    math.pi / (4 * ROOT),
    math.pi / (2 * ROOT),
    math.pi / 4,
    math.pi / 2,
)


def apart(labels: Field, reach: int) -> Array:
    """Return labels with a halo; nothing lies outside the domain, also where that is periodic. Collective."""
    padded = padded_copy(labels, ((reach, reach),) * labels.grid.ndim, "constant", 0)
    around = [a for a, is_periodic in enumerate(labels.grid.periodic) if is_periodic]
    if around and padded is labels.padded:
        padded = padded.copy()
    for axis in around:
        low, n = labels.box.start[axis], labels.grid.shape[axis]
        padded[(slice(None),) * axis + (slice(0, reach - min(low, reach)),)] = 0
        padded[(slice(None),) * axis + (slice(reach + n - low, None),)] = 0
    return signed(padded)


def counted(labels: Field, shares: Shares, known: Ints) -> Ints:
    """Return the counts of these labels, which are this rank's share of all, a row each. Collective."""
    comm, reach = labels.grid.comm, 2 if labels.grid.ndim == 2 else 1
    cells = apart(labels, reach)
    with agreed(comm, "regionprops_table"), phase("compute"):
        rows = _rows(labels, cells)
    with phase("halo"):
        rows = sum_rows(forward(comm, shares.owners(rows[:, 0]), rows, sum_rows))
    return np.ascontiguousarray(rows[np.searchsorted(rows[:, 0], known), 1:])


def _rows(labels: Field, cells: Array) -> Ints:
    """Return what this rank's windows add to each label: a row of the label and counts. Local."""
    from mpibatch.measure._loops import patterns, regions

    is_plane = labels.grid.ndim == 2
    width = patterns.PLANE if is_plane else patterns.SPACE
    if not labels.box.size:
        return np.empty((0, 1 + width), np.int64)
    reach = 2 if is_plane else 1
    stops = np.array(
        [
            reach + high - low + (high == n)
            for low, high, n in zip(labels.box.start, labels.box.stop, labels.grid.shape, strict=True)
        ],
        np.int64,
    )
    begin = reach if is_plane else 0
    end = int(stops[0]) if is_plane else int((stops[0] - 1) * (stops[1] - 1))
    known, counts = np.empty(0, np.int64), np.empty((0, width), np.int64)
    count, more = 0, max(ROOM, 4 * cells.shape[-1])
    while begin < end:
        known = np.concatenate([known[:count], np.empty(more, np.int64)])
        counts = np.concatenate([counts[:count], np.zeros((more, width), np.int64)])
        keys, slots = np.zeros((2, 1 << (2 * len(known) - 1).bit_length()), np.int64)
        regions.rehash(known[:count], keys, slots)
        if is_plane:
            begin, count = patterns.plane(
                cells, begin, end, int(stops[1]), cells.shape[0] - 2, count, keys, slots, known, counts
            )
        else:
            begin, count = patterns.space(cells, begin, stops, count, keys, slots, known, counts)
        more = len(known)
    return np.column_stack([known[:count], counts[:count]])


def pattern_columns(names: Iterable[str], counts: Ints, spacing: tuple[float, ...]) -> dict[str, Array]:
    """Return the columns of these properties, each from whole numbers in one order of operations. Local."""
    result: dict[str, Array] = {}
    for name in names:
        if name == "euler_number":
            result[name] = counts[:, -1] // (1 << len(spacing))
        elif name == "perimeter":
            result[name] = _weighed(counts[:, :3], STEPS) * spacing[0]
        elif name == "perimeter_crofton":
            result[name] = _weighed(counts[:, 3:8], WINDOWS) * spacing[0]
    return result


def _weighed(counts: Ints, weights: tuple[float, ...]) -> Array:
    total = np.zeros(len(counts))
    for column, weight in zip(counts.T, weights, strict=True):
        total += column * weight
    return total
