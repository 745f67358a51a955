"""The components of one rank's cells, what they are among those of all ranks, and their numbers: what `label` is of.

Of the grid only its cuts and its communicator are asked for, and of the field its cells, so that the same code runs on
ranks that are only modeled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.measure._components.numbering import numbers
from mpibatch.measure._components.rim import NOTHING, Look, contacts
from mpibatch.measure._components.unions import merged
from mpibatch.measure._engine.memory import flat_rows, outer_shape
from mpibatch.measure._engine.places import local_places, owners, places
from mpibatch.measure._engine.structure import Offset, joins_rows, steps_of
from mpibatch.measure._engine.totals import totals
from mpibatch.mpi.routes import ask

if TYPE_CHECKING:
    from mpibatch.domain import Box
    from mpibatch.fields.grid import Grid

__all__ = ["BlockComponents", "Joint", "numbered"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


class BlockComponents:
    """The components of this rank's cells alone.

    Parameters
    ----------
    shape : of the whole array.
    box : where this rank's cells lie in it.
    cells : bool, integers or floats; read.
    labels : int32 or int64, of the same shape; written, to numbers that are provisional until `number` is called.
    offsets : to the neighbors that come before a cell.
    by_value : whether neighbors must have the same value to belong together.

    Attributes
    ----------
    parent : the component of each provisional label.
    count : of components, which are numbered from 1, in the raster order of their first cells.
    first : the raster index in the block of each component's first cell; behind an unused entry.
    """

    def __init__(
        self, shape: tuple[int, ...], box: Box, cells: Array, labels: Array, *, offsets: list[Offset], by_value: bool
    ) -> None:
        from mpibatch.measure._loops import runs

        self._shape, self._box, self._cells, self._labels, self._by_value = shape, box, cells, labels, by_value
        self.parent, self.first = np.zeros(1, labels.dtype), np.zeros(1, np.int64)
        self.count = 0
        if not cells.size:
            return
        n = cells.shape[-1]
        kind = (runs.VALUES if by_value else runs.BINARY) if joins_rows(offsets) else runs.CELLS
        most = (n + 1) // 2 if kind == runs.BINARY else n
        # Undefined memory takes no room until it is written to: a label for each run is the most there can be.
        self.parent = np.empty(cells.size // n * most + 1, labels.dtype)
        self.parent[0] = 0
        self.first = np.empty(self.parent.size, np.int64)
        outer = outer_shape(cells)
        steps = steps_of(offsets)
        window = 1 + int(max((-steps[:, :3] @ [outer[1] * outer[2], outer[2], 1]), default=0))
        flat, strides = flat_rows(_comparable(cells))
        edges, turns = np.empty((window, 2 * most + 2), labels.dtype), np.empty((window, n + 1), labels.dtype)
        row, line = np.empty((window, most + 1), labels.dtype), np.empty(n + 4, labels.dtype)
        provisional = runs.scan(
            flat, outer, strides, n, steps, kind, int(by_value), labels.reshape(-1, n),
            self.parent, self.first, edges, turns, row, line,
        )  # fmt: skip
        self.count = int(runs.flatten(self.parent, self.first, provisional))
        self.parent = self.parent[: provisional + 1]
        self.first = self.first[: self.count + 1]

    def components(self, place: Ints) -> Ints:
        """Return which components have their first cells at these places. Local."""
        return 1 + np.searchsorted(self.first[1:], local_places(self._shape, self._box, place))

    def looks(self) -> tuple[Look, ...]:
        """Return what a box of cells looks like from other ranks: places of components, and values if they matter."""
        box = self._box

        def see_components(part: Box) -> Ints:
            components = self.parent[self._labels[part.slices(box.start)]]
            is_in = components != 0
            result = np.full(components.shape, NOTHING, np.int64)
            result[is_in] = places(self._shape, box, self.first[components[is_in]])
            return result

        def see_values(part: Box) -> Ints:
            return self._cells[part.slices(box.start)].astype(np.int64)

        return (see_components, see_values) if self._by_value else (see_components,)

    def counts(self) -> Ints:
        """Return how many cells each component has, from number 1 on; in front those of none. Local."""
        from mpibatch.measure._loops import runs

        result = np.zeros(len(self.parent), np.int64)
        if self._labels.size:
            runs.tally(self._labels.reshape(-1), result)
        return self._folded(result)

    def marked(self, part: tuple[slice, ...], where: npt.NDArray[np.bool_] | None = None) -> Ints:
        """Return how many cells each component has in a part of the block, or in those of them `where` it is True."""
        labels = self._labels[part]
        chosen = labels if where is None else labels[where]
        return self._folded(np.bincount(chosen.ravel(), minlength=len(self.parent)))

    def _folded(self, values: Ints) -> Ints:
        """Return the sums, for each component, of what is known of provisional labels. Local."""
        from mpibatch.measure._loops import runs

        result = np.zeros(self.count + 1, np.int64)
        runs.fold(self.parent, values, result)
        return result

    def select(self, chosen: npt.NDArray[np.bool_], out: Array) -> None:
        """Write to a contiguous array which cells are of a component that is chosen. Local."""
        from mpibatch.measure._loops import runs

        if out.size:
            runs.select(self._labels.reshape(-1), chosen[self.parent], out.reshape(-1))

    def number(self, table: Ints | None) -> None:
        """Give each cell the number that `table` has for its component in the block, or the component's own."""
        from mpibatch.measure._loops import numbering, runs

        if table is not None:
            numbering.rename(self.parent, table)
        if self._labels.size:
            runs.relabel(self._labels.reshape(-1), self.parent)


def _comparable(cells: Array) -> Array:
    """Return cells as unsigned integers, or as floats that compiled code knows. Local."""
    if cells.dtype.kind != "f":
        return cells.view(f"u{cells.dtype.itemsize}")
    return cells if cells.dtype.itemsize in (4, 8) else (cells != 0).view("u1")


class Joint:
    """What the components of a block are a part of, over all ranks. Collective to create.

    Attributes
    ----------
    mine : places of the block's components that reach across a face.
    least : for each of these the place that names the whole.
    """

    def __init__(self, grid: Grid, block: BlockComponents, offsets: list[Offset]) -> None:
        self._grid, self._block = grid, block
        self.mine = self.least = np.empty(0, np.int64)
        self._is_alone = grid.size == 1 and not any(grid.periodic)
        if not self._is_alone:
            pairs, self.mine = contacts(grid, offsets, block.looks())
            self.least = merged(grid, self.mine, pairs)

    def total(self, values: Ints, fold: np.ufunc = np.add) -> None:
        """Replace what is known of each of the block's components by that of the whole. Collective.

        `fold` makes one of two numbers, in any order: np.add, np.maximum.
        """
        if self._is_alone:
            return
        components = self._block.components(self.mine)
        with phase("halo"):
            to = owners(self._grid.decomposition, self.least)
            values[components] = totals(self._grid.comm, to, self.least, values[components], fold)


def numbered(grid: Grid, block: BlockComponents, offsets: list[Offset]) -> tuple[Ints, int]:
    """Return the number of each component of this rank's block, and how many there are in all. Collective."""
    joint = Joint(grid, block, offsets)
    mine, least = joint.mine, joint.least
    joins = least != mine  # a component whose first cell lies on another rank, or elsewhere on this one
    components = block.components(mine)
    is_first = np.ones(block.count + 1, np.bool_)
    is_first[0] = is_first[components[joins]] = False
    table = np.zeros(block.count + 1, np.int64)
    table[1:], n = numbers(grid, block.first[1:], is_first[1:])
    with phase("halo"):
        table[components[joins]] = ask(
            grid.comm,
            owners(grid.decomposition, least[joins]),
            least[joins],
            lambda known: table[block.components(known)].reshape(-1, 1),
        )[:, 0]
    return table, n
