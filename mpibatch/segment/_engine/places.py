"""Global indices of few cells, brought together: on every rank the same, in one order."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import REDUCTION
from mpibatch.mpi.tables import Table, merge_tables

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["first_place", "own_places", "places_of", "ranked"]

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


def own_places(chosen: Field) -> Ints:
    """Return the global indices of this rank's set cells, one a row. Local."""
    # Of one axis: NumPy counts these in far less time than those of several.
    mine = np.unravel_index(np.flatnonzero(np.ascontiguousarray(chosen.owned)), chosen.owned.shape)
    return np.column_stack(mine).astype(np.int64) + np.asarray(chosen.box.start, np.int64)


def first_place(u: Field, where: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the global index of the first of this rank's cells at which `where` is True; there is one. Local."""
    place = np.unravel_index(int(where.argmax()), where.shape)
    return tuple(int(i) + low for i, low in zip(place, u.box.start, strict=True))


def places_of(chosen: Field) -> tuple[Ints, ...]:
    """Return the global indices of all set cells in raster order, an array for each axis. Collective."""
    mine = own_places(chosen)
    rows = ranked(chosen, mine, np.zeros(len(mine), np.int64))
    return tuple(np.ascontiguousarray(rows[:, axis]) for axis in range(chosen.grid.ndim))


def ranked(u: Field, places: Ints, keys: Array, most: int | None = None) -> Ints:
    """Return all ranks' places by ascending key, equal ones in raster order, and at most `most`. Collective.

    Two sorted lists at a time become one, and no rank ever holds more than twice what is returned.
    """
    limit = sys.maxsize if most is None else most

    def ordered(rows: Ints, by: Array) -> Table:
        order = np.lexsort((*reversed(rows.T), by))[:limit]
        return rows[order], by[order]

    def merged(mine: Table, other: Table) -> Table:
        return ordered(np.concatenate([mine[0], other[0]]), np.concatenate([mine[1], other[1]]))

    with REDUCTION:
        rows, _ = merge_tables(u.grid.comm, ordered(places, keys), merged)
    return rows
