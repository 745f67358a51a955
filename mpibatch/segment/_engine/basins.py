"""Basins: which marker's label each cell gets when an image is flooded from markers, on any number of ranks.

A cell is reached along the way whose highest cell is lowest, and among those, on a plateau, by the fewest steps. This
is a shortest path in two whole-array quantities, level and layer, so that blocks may be solved in any order. Each
cell then has the neighbor for a parent that was reached first; ways lead from parent to parent to a marker, and
across ranks by pointer jumping, in a number of rounds that is the logarithm of how often they cross.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers
from mpibatch.base.log import logger
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.measure._engine.places import local_places, owners
from mpibatch.mpi.routes import ask
from mpibatch.segment._engine.relaxation import lines_of, relax, summed, total

if TYPE_CHECKING:
    from mpibatch.segment._engine.neighborhood import Neighborhood

__all__ = ["Basins", "basin_bytes"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

BUCKETS = 1 << 16
CELLS_OF_BUCKET = 16
# Loops are compiled for few types.
WIDER = {"?": "u1", "b": "i4", "h": "i4", "H": "i4", "I": "i8", "q": "i8", "Q": "u8"}


class Basins:
    """The basins of an image. Collective to create.

    Parameters
    ----------
    name, image : of whom words speak, and what is flooded.
    seeds : array of integers over the owned cells: labels of markers, elsewhere 0.
    allowed : array of bool over the owned cells, or True: what can be reached, all seeds among it.
    near : symmetric neighborhood; its order decides between neighbors that were reached alike.
    """

    __slots__ = ("_image", "_layers", "_levels", "_lines", "_name", "_near", "_parents", "_seeds", "_state")

    def __init__(self, name: str, image: Field, seeds: Array, allowed: Any, near: Neighborhood) -> None:
        from mpibatch.segment._loops.basins import CLOSED, MARKER, OPEN, REACHED

        grid, reach = image.grid, near.reach
        dtype, layer, index = _types(image, near)
        check_memory(grid, name, basin_bytes(image, near, seeds.dtype.itemsize))
        self._levels, self._layers = Field(grid, dtype, reach), Field(grid, layer, reach)
        self._name, self._near, self._lines, self._seeds = name, near, lines_of(self._levels), seeds
        self._levels.padded[...] = self._layers.padded[...] = 0
        # A step from a halo cell may leave the block: there, too, all is closed.
        size, margin = self._levels.padded.size, int(np.abs(near.flat(self._levels.padded.shape).every).max(initial=0))
        self._state = np.full(size + margin, CLOSED, np.uint8)
        inner = tuple(slice(low, n - high) for n, (low, high) in zip(self._levels.padded.shape, reach, strict=True))
        state = self._state[:size].reshape(self._levels.padded.shape)[inner if seeds.size else (slice(0, 0),)]
        if seeds.size:
            np.copyto(state, np.uint8(OPEN), where=allowed)
        is_marker = seeds != 0
        if seeds.size:
            state[is_marker] = REACHED
        self._levels.owned[is_marker] = image.owned[is_marker]
        self._layers.owned[is_marker] = MARKER
        del is_marker
        self._image = _padded(image, self._levels)
        self._parents = np.zeros(size, index)
        self._spread(*(_buckets(image.owned, state != CLOSED) if seeds.size else (0.0, 0.0, 1)))
        del self._image

    def _spread(self, low: float, scale: float, buckets: int) -> None:
        """Find the level and layer of each cell, with buckets as of `_buckets`. Collective."""
        from mpibatch.segment._loops import basins as loops

        lines, steps = self._lines, self._near.flat(self._levels.padded.shape).every
        levels, layers = self._levels.padded.reshape(-1), self._layers.padded.reshape(-1)
        rim = np.empty(levels.size - self._levels.owned.size, self._parents.dtype)

        def solve(is_first: bool) -> bool:
            if is_first:
                sources = np.flatnonzero(self._state == loops.REACHED).astype(rim.dtype)
            else:
                count = loops.mend(
                    self._image, levels, layers, self._state, self._parents, lines.bases, lines.length,
                    lines.at_face, lines.low, lines.high, steps, rim,
                )  # fmt: skip
                sources = rim[:count]
            if sources.size:
                loops.flood(
                    self._image, levels, layers, self._state, self._parents, sources, steps, low, scale, buckets,
                    is_first,
                )  # fmt: skip
            return is_first or bool(sources.size)

        relax(self._name, (self._levels, self._layers), solve, 0)

    def labels(self, ties: Array | None = None) -> tuple[Field, int]:
        """Return the labels, and how many cells had several neighbors to come from, which `ties` get. Collective.

        `ties` : array of bool over the owned cells, all False.
        """
        from mpibatch.segment._loops import basins as loops

        lines, shape = self._lines, self._levels.padded.shape
        marks = np.empty(0, np.bool_) if ties is None else ties.reshape(-1)
        beyond = np.empty(lines.bases.size * lines.length, self._parents.dtype)
        with timed("compute"):
            tied, count = loops.choose(
                self._levels.padded.reshape(-1), self._layers.padded.reshape(-1), self._state, lines.bases,
                lines.length, self._near.flat(shape).every, self._parents, marks, beyond,
            )  # fmt: skip
            loops.follow(self._parents, lines.bases, lines.length)
        rim = np.unique(beyond[:count])
        grid, reach = self._levels.grid, self._levels.halo
        del beyond, self._levels, self._layers  # before their room is needed for the labels
        seeds, out = Field(grid, self._seeds.dtype, reach), Field(grid, self._seeds.dtype)
        seeds.padded[...] = 0
        seeds.owned[...] = self._seeds
        self._fetch(rim, seeds)
        with timed("compute"):
            kind = f"u{out.dtype.itemsize}"
            flat = seeds.padded.reshape(-1).view(kind)
            loops.paint(flat, self._parents, lines.bases, lines.length, out.owned.view(kind).reshape(-1))
        return out, summed(out, int(tied))

    def _fetch(self, rim: Array, labeled: Field) -> None:
        """Write the labels of these halo cells into a field with those of markers. Collective."""
        from mpibatch.segment._loops.basins import CLOSED

        grid, seeds = labeled.grid, labeled.padded.reshape(-1)
        goals = _places(labeled, rim)
        labels, is_known = np.zeros(len(rim), np.int64), np.zeros(len(rim), np.bool_)

        def answer(places: Ints) -> Ints:
            """Return whether each cell's label is known, the label, and else the cell that has it, too."""
            roots = self._parents[_cells(labeled, places)]
            rows = np.column_stack([np.ones(len(places), np.int64), seeds[roots].astype(np.int64), places])
            away = self._state[roots] == CLOSED
            slots = np.searchsorted(rim, roots[away])
            rows[away] = np.column_stack([is_known[slots], labels[slots], goals[slots]])
            return rows

        rounds = 0
        while total(labeled, int(np.count_nonzero(~is_known))):
            to = np.flatnonzero(~is_known)
            with timed("halo"):
                known, label, goal = ask(grid.comm, owners(grid.decomposition, goals[to]), goals[to], answer).T
            is_known[to], labels[to], goals[to] = known != 0, label, goal
            rounds += 1
        seeds[rim] = labels.astype(seeds.dtype)
        logger("segment").debug("%s: %d rounds along the ways between ranks", self._name, rounds)


def _types(image: Field, near: Neighborhood) -> tuple[np.dtype[Any], np.dtype[Any], np.dtype[Any]]:
    """Return the types of levels, layers and cells of the padded block. Local."""
    layer = np.dtype(np.int32 if math.prod(image.grid.shape) < 1 << 29 else np.int64)
    # The same on all ranks, so from the largest block.
    index = np.dtype(np.int32 if padded_bytes(image, near.reach, 1) < 1 << 31 else np.int64)
    return np.dtype(WIDER.get(image.dtype.char, image.dtype)), layer, index


def basin_bytes(image: Field, near: Neighborhood, label: int) -> int:
    """Return the bytes that `Basins` take at most, with labels of so many bytes; the same on all ranks. Local."""
    dtype, layer, index = _types(image, near)
    each = index.itemsize + 1 + max(2 * dtype.itemsize + layer.itemsize, 2 * label)
    return padded_bytes(image, near.reach, each)


def _places(field: Field, cells: Array) -> Ints:
    """Return the global raster indices of cells of the padded block. Local."""
    shape = field.grid.shape
    index = np.unravel_index(cells.astype(np.int64), field.padded.shape)
    place = np.zeros(len(cells), np.int64)
    for axis, n in enumerate(shape):
        place = place * n + (index[axis] + field.origin[axis]) % n
    return place


def _cells(field: Field, places: Ints) -> Ints:
    """Return owned cells with these global raster indices, in the padded block. Local."""
    return local_places(field.grid.shape, field.box.grow(field.halo), places)


def _padded(image: Field, like: Field) -> Array:
    """Return the heights of all cells in the layout of a field; of halo cells nobody reads them. Local.

    They are not copied if the image has that layout: one in f8 is the largest of all that is needed.
    """
    if image.halo == like.halo and image.dtype == like.dtype and image.padded.flags.writeable:
        return image.padded.reshape(-1)
    cells = like.like()
    cells.padded[...] = 0
    np.copyto(cells.owned, image.owned, casting="unsafe")
    return cells.padded.reshape(-1)


def _buckets(levels: Array, is_open: Array) -> tuple[float, float, int]:
    """Return the level of the first bucket, buckets for a unit, and their number, for the cells that are open. Local.

    `is_open` is written over. Nothing of the size of the levels is made.
    """
    size, is_float = int(np.count_nonzero(is_open)), levels.dtype.kind == "f"
    levels = as_numbers(levels)
    if is_float:
        is_open &= np.isfinite(levels)
    if not is_open.any():
        return 0.0, 0.0, 1
    most, least = (np.inf, -np.inf) if is_float else (np.iinfo(levels.dtype).max, np.iinfo(levels.dtype).min)
    low = float(np.min(levels, where=is_open, initial=most))
    high = float(np.max(levels, where=is_open, initial=least))
    buckets = max(1, min(BUCKETS, size // CELLS_OF_BUCKET))
    if not is_float and high - low < BUCKETS:
        return low, 1.0, int(high - low) + 1
    with np.errstate(over="ignore"):
        span = high - low
    return low, buckets / span if 0 < span < math.inf else 0.0, buckets
