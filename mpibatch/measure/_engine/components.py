"""Connected components of a Field that nobody has numbered yet: those of each block, and what they are over all ranks.

What is to be known of each component (its size, whether a cell of it does something) is counted block by block; only
those that reach across a face are asked about, where their first cell lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.domain import Box
from mpibatch.fields.field import Field
from mpibatch.measure._engine.memory import flat_rows, outer_shape
from mpibatch.measure._engine.merging import merged
from mpibatch.measure._engine.places import local_places, owners, places, wide
from mpibatch.measure._engine.rim import NOTHING, Look, contacts
from mpibatch.measure._engine.structure import Offset, joins_rows, steps_of
from mpibatch.measure._engine.totals import totals

__all__ = ["Components", "Joint"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


class Components:
    """The components of this rank's cells alone. Local.

    `offsets` lead to earlier neighbours; `by_value` says whether only cells of equal value belong together.

    Attributes
    ----------
    grid, offsets : of the field, and as given.
    labels : provisional, then final ones.
    parent : the component of each provisional label.
    count : of components, which are numbered from 1, in the raster order of their first cells.
    first : the raster index in the block of each component's first cell; behind an unused entry.
    """

    def __init__(self, u: Field, offsets: list[Offset], by_value: bool) -> None:
        from mpibatch.measure._loops import runs

        self._u, self._box = u, u.box
        self.grid, self.offsets = u.grid, offsets
        dtype = np.int64 if wide(u.grid.shape) else np.int32
        self.labels = Field(u.grid, dtype)
        self._by_value = by_value
        self.parent, self.first = np.zeros(1, dtype), np.zeros(1, np.int64)
        self.count = 0
        owned = u.owned
        if not owned.size:
            return
        n = owned.shape[-1]
        kind = (runs.VALUES if by_value else runs.BINARY) if joins_rows(offsets) else runs.CELLS
        most = (n + 1) // 2 if kind == runs.BINARY else n
        # Undefined memory takes no room until it is written to: a label for each run is the most there can be.
        self.parent = np.empty(owned.size // n * most + 1, dtype)
        self.parent[0] = 0
        self.first = np.empty(self.parent.size, np.int64)
        outer = outer_shape(owned)
        steps = steps_of(offsets)
        window = 1 + int(max((-steps[:, :3] @ [outer[1] * outer[2], outer[2], 1]), default=0))
        flat, strides = flat_rows(_comparable(owned))
        edges, turns = np.empty((window, 2 * most + 2), dtype), np.empty((window, n + 1), dtype)
        labels, line = np.empty((window, most + 1), dtype), np.empty(n + 4, dtype)
        provisional = runs.scan(
            flat, outer, strides, n, steps, kind, int(by_value), self.labels.owned.reshape(-1, n),
            self.parent, self.first, edges, turns, labels, line,
        )  # fmt: skip
        self.count = int(runs.flatten(self.parent, self.first, provisional))
        self.parent = self.parent[: provisional + 1]
        self.first = self.first[: self.count + 1]

    def components(self, place: Ints) -> Ints:
        """Return which components have their first cells at these places. Local."""
        return 1 + np.searchsorted(self.first[1:], local_places(self._u.grid.shape, self._box, place))

    def looks(self) -> tuple[Look, ...]:
        """Return what a box of cells looks like from other ranks: places of components, and values if they matter."""
        shape, box = self._u.grid.shape, self._box

        def see_components(part: Box) -> Ints:
            components = self.parent[self.labels.owned[part.slices(box.start)]]
            is_in = components != 0
            result = np.full(components.shape, NOTHING, np.int64)
            result[is_in] = places(shape, box, self.first[components[is_in]])
            return result

        def see_values(part: Box) -> Ints:
            return self._u.owned[part.slices(box.start)].astype(np.int64)

        return (see_components, see_values) if self._by_value else (see_components,)

    def counts(self) -> Ints:
        """Return how many cells each component has, from number 1 on; in front those of none. Local."""
        from mpibatch.measure._loops import runs

        result = np.zeros(len(self.parent), np.int64)
        if self.labels.owned.size:
            runs.tally(self.labels.owned.reshape(-1), result)
        return self.folded(result)

    def folded(self, values: Ints) -> Ints:
        """Return the sums, for each component, of what is known of provisional labels. Local."""
        from mpibatch.measure._loops import runs

        result = np.zeros(self.count + 1, np.int64)
        runs.fold(self.parent, values, result)
        return result

    def marked(self, part: tuple[slice, ...], where: npt.NDArray[np.bool_] | None = None) -> Ints:
        """Return in how many of the cells of a part of the block, or those of them `where` True, each component is."""
        labels = self.labels.owned[part]
        chosen = labels if where is None else labels[where]
        return self.folded(np.bincount(chosen.ravel(), minlength=len(self.parent)))

    def select(self, chosen: npt.NDArray[np.bool_], out: Array) -> None:
        """Write to a contiguous array which cells are of a component that is chosen. Local."""
        from mpibatch.measure._loops import runs

        if out.size:
            runs.select(self.labels.owned.reshape(-1), chosen[self.parent], out.reshape(-1))

    def number(self, table: Ints | None) -> None:
        """Give each cell the number that `table` has for its component in the block, or the component's own."""
        from mpibatch.measure._loops import numbering, runs

        if table is not None:
            numbering.rename(self.parent, table)
        if self.labels.owned.size:
            runs.relabel(self.labels.owned.reshape(-1), self.parent)


def _comparable(owned: Array) -> Array:
    """Return cells as unsigned integers, or as floats that compiled code knows. Local."""
    if owned.dtype.kind != "f":
        return owned.view(f"u{owned.dtype.itemsize}")
    return owned if owned.dtype.itemsize in (4, 8) else (owned != 0).view("u1")


class Joint:
    """What the components of a block are a part of, over all ranks. Collective to create.

    Attributes
    ----------
    mine : places of the block's components that reach across a face.
    least : for each of these the place that names the whole.
    """

    def __init__(self, block: Components) -> None:
        self._block, grid = block, block.grid
        self.mine = self.least = np.empty(0, np.int64)
        self.is_alone = grid.size == 1 and not any(grid.periodic)
        if not self.is_alone:
            pairs, self.mine = contacts(grid, block.offsets, block.looks())
            self.least = merged(grid, self.mine, pairs)

    def total(self, values: Ints, fold: np.ufunc = np.add) -> None:
        """Replace what is known of each of the block's components by that of the whole. Collective.

        `fold` makes one of two numbers, in any order: np.add, np.maximum.
        """
        if self.is_alone:
            return
        grid, components = self._block.grid, self._block.components(self.mine)
        with phase("halo"):
            to = owners(grid.decomposition, self.least)
            values[components] = totals(grid.comm, to, self.least, values[components], fold)
