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
    """The basins of an image: first `flood`, then `labels`. Collective to create.

    Of the seeds and of what is allowed nothing is held: who does not need them any more has their room for the flood.

    Parameters
    ----------
    name, image : of whom words speak, and what is flooded.
    seeds : array of integers over the owned cells: labels of markers, elsewhere 0.
    allowed : array of bool over the owned cells, or True: what can be reached, all seeds among it.
    near : symmetric neighborhood; its order decides between neighbors that were reached alike.
    """

    __slots__ = ("_buckets", "_image", "_layers", "_levels", "_lines", "_name", "_near", "_roots", "_seeds", "_state")

    def __init__(self, name: str, image: Field, seeds: Array, allowed: Any, near: Neighborhood) -> None:
        from mpibatch.segment._loops.basins import CLOSED, OPEN, REACHED

        check_memory(image.grid, name, basin_bytes(image, near, seeds.dtype.itemsize))
        self._name, self._image, self._near = name, image, near
        # A step from a halo cell may leave the block: there, too, all is closed.
        shape = image.box.grow(near.reach).shape if seeds.size else image.box.shape
        size, margin = math.prod(shape), int(np.abs(near.flat(shape).every).max(initial=0))
        self._state = np.full(size + margin, CLOSED, _state_type(near))
        self._seeds = np.zeros(1, seeds.dtype)  # the label of what is not reached, then those of markers
        self._buckets: tuple[float, float, int] = 0.0, 0.0, 1
        if seeds.size:
            inner = tuple(slice(low, n - high) for n, (low, high) in zip(shape, near.reach, strict=True))
            state = self._state[:size].reshape(shape)[inner]
            np.copyto(state, OPEN, where=allowed)
            is_marker = seeds != 0
            state[is_marker] = REACHED
            self._seeds = np.concatenate([self._seeds, seeds[is_marker]])
            del is_marker
            self._buckets = _buckets(image.owned, state != CLOSED)

    def flood(self) -> None:
        """Find the level and layer of each cell. Collective."""
        from mpibatch.segment._loops import basins as loops

        grid, reach = self._image.grid, self._near.reach
        dtype, layer, index = _types(self._image, self._near)
        self._levels, self._layers = Field(grid, dtype, reach), Field(grid, layer, reach)
        self._levels.padded[...] = self._layers.padded[...] = 0
        self._lines = lines_of(self._levels)
        image = _padded(self._image, self._levels)
        del self._image
        lines, steps = self._lines, self._near.flat(self._levels.padded.shape).every
        levels, layers = self._levels.padded.reshape(-1), self._layers.padded.reshape(-1)
        rim = np.empty(levels.size - self._levels.owned.size, index)

        def solve(is_first: bool) -> bool:
            if is_first:
                sources = loops.begin(image, levels, layers, self._state, lines.bases, lines.length, steps, rim)
            else:
                count = loops.mend(
                    image, levels, layers, self._state, lines.bases, lines.length, lines.at_face, lines.low,
                    lines.high, steps, rim,
                )  # fmt: skip
                sources = rim[:count]
            if sources.size:
                loops.flood(image, levels, layers, self._state, sources, steps, *self._buckets, is_first)
            return is_first or bool(sources.size)

        relax(self._name, (self._levels, self._layers), solve, 0)

    def labels(self, ties: Array | None = None) -> tuple[Field, int]:
        """Return the labels, and how many cells had several neighbors to come from, which `ties` get. Collective.

        `ties` : array of bool over the owned cells, all False.
        """
        from mpibatch.segment._loops import basins as loops

        grid, lines, steps = self._levels.grid, self._lines, self._near.flat(self._levels.padded.shape).every
        marks = np.empty(0, np.bool_) if ties is None else ties.reshape(-1)
        with timed("compute"):
            tied = loops.choose(
                self._levels.padded.reshape(-1), self._layers.padded.reshape(-1), self._state, lines.bases,
                lines.length, steps, marks,
            )  # fmt: skip
        beyond = np.empty(self._levels.padded.size - self._levels.owned.size, np.int64)
        index = _types(self._levels, self._near)[2]
        del self._levels, self._layers  # before their room is needed
        self._roots = Field(grid, index, self._near.reach)
        self._roots.padded[...] = 0
        roots = self._roots.padded.reshape(-1)
        with timed("compute"):
            count = loops.follow(self._state, lines.bases, lines.length, steps, self._seeds.size - 1, roots, beyond)
        del self._state
        names = self._fetched(beyond[:count])
        out = Field(grid, names.dtype)
        with timed("compute"):
            kind = f"u{out.dtype.itemsize}"
            loops.paint(names.view(kind), roots, lines.bases, lines.length, out.owned.view(kind).reshape(-1))
        return out, summed(out, int(tied))

    def _fetched(self, rim: Array) -> Array:
        """Return the labels of all roots by their numbers, of which the last are these halo cells'. Collective."""
        first, grid = self._seeds.size, self._roots.grid
        goals = _places(self._roots, rim)
        names, is_known = np.append(self._seeds, np.zeros(len(rim), self._seeds.dtype)), np.zeros(len(rim), np.bool_)

        def answer(places: Ints) -> Ints:
            """Return whether each cell's label is known, the label, and else the cell that has it, too."""
            numbers = -1 - self._roots.padded.reshape(-1)[_cells(self._roots, places)]
            rows = np.column_stack([np.ones(len(places), np.int64), names[numbers].astype(np.int64), places])
            away = numbers >= first
            slots = numbers[away] - first
            rows[away, 0], rows[away, 2] = is_known[slots], goals[slots]
            return rows

        rounds = 0
        while total(self._roots, int(np.count_nonzero(~is_known))):
            to = np.flatnonzero(~is_known)
            with timed("halo"):
                known, label, goal = ask(grid.comm, owners(grid.decomposition, goals[to]), goals[to], answer).T
            is_known[to], names[first + to], goals[to] = known != 0, label.astype(names.dtype), goal
            rounds += 1
        logger("segment").debug("%s: %d rounds along the ways between ranks", self._name, rounds)
        return names


def _types(image: Field, near: Neighborhood) -> tuple[np.dtype[Any], np.dtype[Any], np.dtype[Any]]:
    """Return the types of levels, layers and cells of the padded block. Local."""
    # The same on all ranks, so from the largest block.
    index = np.dtype(np.int32 if padded_bytes(image, near.reach, 1) < (1 << 31) - 1 else np.int64)
    layer = index if math.prod(image.grid.shape) < 1 << 29 else np.dtype(np.int64)
    return np.dtype(WIDER.get(image.dtype.char, image.dtype)), layer, index


def _state_type(near: Neighborhood) -> type[np.uint8 | np.uint32]:
    """Return the type that holds the steps, beside what else a state is. Local."""
    from mpibatch.segment._loops.basins import STEPS

    return np.uint8 if STEPS + len(near.steps) <= 256 else np.uint32


def basin_bytes(image: Field, near: Neighborhood, label: int) -> int:
    """Return the bytes that `Basins` take at most, with labels of so many bytes; the same on all ranks. Local."""
    dtype, layer, index = _types(image, near)
    state = np.dtype(_state_type(near)).itemsize
    each = max(state + 2 * dtype.itemsize + layer.itemsize, index.itemsize + max(state, label))
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
