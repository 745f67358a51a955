"""Connected components of a volume of which a slab at a time is in memory, numbered as those of the whole.

A slab is labeled together with the last plane before it. What has cells in that plane goes on there; what has not is
new, and gets the next number: that of its first cell, in raster order, among those seen so far. Where one component of
a slab joins several earlier ones, the least of their numbers stands for all, and the others are noted. Numbers without
gaps are those of the least ones less the noted ones below. So memory goes with what meets in a plane, and with how much
has been joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.job.slabs.slab import Slab, converted, cropped
from mpibatch.measure._engine.census import Census
from mpibatch.measure.connected_components import label
from mpibatch.mpi.tables import Table, merge_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.fields.field import Field
    from mpibatch.job.slabs.intermediates import HeldResult, Intermediate
    from mpibatch.job.slabs.scans import Arrays

__all__ = ["Components", "Renumbering"]

Ints = npt.NDArray[np.int64]
DENSE = 1 << 22  # numbers that a table has for each of them


class Renumbering:
    """From provisional numbers to those of the whole.

    Attributes
    ----------
    count : of components so far.
    """

    def __init__(self, known: Arrays) -> None:
        self.provisional = int(known["provisional"]) if "provisional" in known else 0
        # Sorted numbers that were joined to lesser ones, and to which.
        self._joined: Ints = known.get("joined", np.empty(0, np.int64))
        self._into: Ints = known.get("into", np.empty(0, np.int64))
        self._table: Ints | None = None

    @property
    def count(self) -> int:
        """Number of components. Local."""
        return self.provisional - len(self._joined)

    def arrays(self) -> Arrays:
        """Return what another run goes on from. Local."""
        return {"provisional": np.array(self.provisional), "joined": self._joined, "into": self._into}

    def least(self, numbers: Ints) -> Ints:
        """Return the number that stands for the component of each. Local."""
        result = numbers
        while len(self._joined):
            place = np.searchsorted(self._joined, result)
            place[place == len(self._joined)] = 0
            is_joined = self._joined[place] == result
            if not is_joined.any():
                break
            result = np.where(is_joined, self._into[place], result)
        return result

    def join(self, parts: Ints, numbers: Ints) -> Ints:
        """Join the numbers that meet in the same part, from 1 on; return the number of each part. Local."""
        from scipy import sparse

        roots = self.least(numbers)
        names, place = np.unique(roots, return_inverse=True)
        top = int(parts.max(initial=0))
        size = top + len(names)
        graph = sparse.coo_matrix((np.ones(len(parts), np.bool_), (parts - 1, top + place)), shape=(size, size))
        count, group = sparse.csgraph.connected_components(graph, directed=False)
        lowest = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(lowest, group[top:], names)
        into = lowest[group[top:]]
        is_joined = into != names
        if is_joined.any():
            order = np.argsort(joined := np.concatenate([self._joined, names[is_joined]]))
            self._joined, self._into = joined[order], np.concatenate([self._into, into[is_joined]])[order]
        numbers_of_parts: Ints = lowest[group[:top]]
        return numbers_of_parts

    def finish(self) -> None:
        """Prepare for `apply`: nothing is joined any more. Local."""
        self._into = self.least(self._into)
        self._table = self._final(np.arange(self.provisional + 1)) if self.provisional < DENSE else None

    def _final(self, numbers: Ints) -> Ints:
        roots = self.least(numbers)
        return roots - np.searchsorted(self._joined, roots)

    def apply(self, u: Field) -> Field:
        """Return the numbers of the whole, put in the place of provisional ones. Local."""
        if self._table is not None:
            _put(u, self._table)
        else:
            census = Census(u.owned)
            census.put(self._final(census.values), u.owned)
        return u


class Components(Renumbering):
    """The components of what has been seen so far; `add` gives provisional numbers."""

    def __init__(self, parameters: Mapping[str, Any], dtype: str, known: Arrays) -> None:
        super().__init__(known)
        self._parameters, self._dtype = dict(parameters), dtype

    def add(self, u: Field, slab: Slab, before: HeldResult | Intermediate) -> tuple[Field, Slab]:
        """Return the provisional numbers of a slab's cells, perhaps with the plane before; and of which. Collective.

        `before`: where those of earlier slabs lie. `u` has one plane before the slab, or more, but at the start.
        """
        extra = 1 if slab.start else 0
        inside = Slab(slab.start, slab.stop, slab.start - extra, slab.stop)
        # Of the type for the whole, whose provisional numbers a slab's own might not hold.
        labels, count = label(cropped(u, inside.low - slab.low, inside.high - slab.low), **self._parameters)
        labels = converted(labels, self._dtype)
        names = np.empty(0, np.int64)
        if extra:
            plane = cropped(labels, 0, 1)
            earlier = before.load(slab.start - 1, slab.start, plane.grid)
            names = self._met(plane, earlier)
        if extra or self.provisional:
            _put(labels, np.concatenate([[0], names, self.provisional + 1 + np.arange(count - len(names))]))
        self.provisional += count - len(names)
        return labels, inside

    def _met(self, plane: Field, earlier: Field) -> Ints:
        """Return, for the slab's components in the plane before it, the numbers that they have there. Collective."""
        is_in = plane.owned > 0
        pairs = np.stack([plane.owned[is_in], earlier.owned[is_in]], axis=1).astype(np.int64)
        (pairs,) = merge_tables(plane.grid.comm, (np.unique(pairs, axis=0),), _union)
        return self.join(pairs[:, 0], pairs[:, 1])


def _union(mine: Table, other: Table) -> Table:
    return (np.unique(np.concatenate([mine[0], other[0]]), axis=0),)


def _put(labels: Field, table: Ints) -> None:
    """Put what the table has in the place of labels, of a field without halo. Local."""
    from mpibatch.measure._loops import runs

    if labels.owned.size:
        runs.relabel(labels.owned.reshape(-1), table.astype(labels.dtype))
