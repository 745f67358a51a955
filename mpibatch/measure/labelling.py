"""Connected components of a Field, numbered as scipy numbers them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.domain import Box
from mpibatch.fields.field import Field, check_field
from mpibatch.fields.grid import Grid
from mpibatch.measure._engine.memory import flat_rows, outer_shape
from mpibatch.measure._engine.merging import merged
from mpibatch.measure._engine.numbering import numbers
from mpibatch.measure._engine.places import local_places, owners, places, wide
from mpibatch.measure._engine.rim import NOTHING, Look, contacts
from mpibatch.measure._engine.structure import Offset, backward, joins_rows, mask_of, steps_of
from mpibatch.mpi import agreed, same
from mpibatch.mpi.routes import ask

__all__ = ["label"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


def label(u: Field, structure: npt.ArrayLike | None = None, label_values: bool = False) -> tuple[Field, int]:
    """Number the connected components of the cells that are not zero, as scipy.ndimage.label.

    Parameters
    ----------
    u : Field
        Bool, integers or floats, without components. NaN is not zero.
    structure : array_like, optional
        Which of the cells around one are its neighbours: an array of shape (3, 3, ...) that is symmetric about its
        centre. By default those that share a face.
    label_values : bool, optional
        Whether neighbours must have the same value to be one component, as in skimage.measure.label with
        ``background=0``. For bool and integers.

    Returns
    -------
    labels : Field
        0 where `u` is 0, else the number of the cell's component. Numbers count from 1, in the raster order of the
        components' first cells: as scipy's of the whole array, on any ranks. int32; int64 on grids of 2**31 - 2 cells
        or more.
    n : int
        The number of components, on every rank.

    Raises
    ------
    UsageError
        On all ranks, for a structure that is not symmetric, complex fields, fields with components, and
        ``label_values=True`` with floats.

    Notes
    -----
    Collective. Axes on which the grid is periodic have no edges: what leaves on one side goes on at the other.

    A rank holds its block of the labels, at most 6 (typically 1) bytes per cell for its own components, and tables as
    large as its faces; it sends its faces once, and then, in a number of rounds that is about the logarithm of how many
    blocks an object winds through, what it knows of components that reach across faces. Methods: see
    `mpibatch.measure._loops.runs` and `mpibatch.measure._engine.merging` (doi:10.1109/TIP.2008.919369,
    doi:10.1007/978-3-642-14390-8_20).

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((4, 6))
    >>> u = grid.from_function(lambda y, x: (x % 3 < 2) & (y != 2))
    >>> labels, n = mb.label(u)
    >>> n, labels.dtype.name, int(mb.max(labels))
    (4, 'int32', 4)
    """
    offsets = _checked(u, structure, label_values)
    grid = u.grid
    with agreed(grid.comm, "label"), phase("compute"):
        block = _Block(u, offsets, bool(label_values))
    if grid.size == 1 and not any(grid.periodic):
        table, n = None, block.count
    else:
        pairs, mine = contacts(grid, offsets, block.looks())
        table, n = _numbered(grid, block, pairs, mine)
    with phase("compute"):
        block.number(table)
    return block.labels, n


def _checked(u: Field, structure: Any, label_values: Any) -> list[Offset]:
    """Return the offsets to earlier neighbours; raise on all ranks if an argument is wrong, or differs. Collective."""
    check_field("label", u)
    with agreed(u.grid.comm, "label"):
        if u.components or u.dtype.kind == "c" or not u.dtype.isnative:
            raise UsageError(
                f"label: the field has dtype {u.dtype} and components {u.components or 'none'}; give bool, integers or "
                "floats without components, such as u > 0.5"
            )
        if label_values and u.dtype.kind == "f":
            raise UsageError(
                f"label: label_values=True with a field of dtype {u.dtype}; equal values are objects only if they are "
                "integers: convert it with u.astype, or compare it first"
            )
        mask = mask_of("label", structure, u.grid.ndim)
    same(u.grid.comm, f"label of a field of dtype {u.dtype}, {mask.tolist()}, label_values={bool(label_values)}")
    return backward(mask)


class _Block:
    """The components of this rank's cells alone.

    Attributes
    ----------
    labels : provisional, then final ones.
    parent : the component of each provisional label.
    count : of components, which are numbered from 1, in the raster order of their first cells.
    first : the raster index in the block of each component's first cell; behind an unused entry.
    """

    def __init__(self, u: Field, offsets: list[Offset], by_value: bool) -> None:
        from mpibatch.measure._loops import runs

        self._u, self._box = u, u.box
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


def _numbered(grid: Grid, block: _Block, pairs: Ints, mine: Ints) -> tuple[Ints, int]:
    """Return the number of each component of this rank's block, and how many there are in all. Collective.

    `mine` are the places of those that reach across a face, `pairs` the contacts there.
    """
    least = merged(grid, mine, pairs)
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
