"""What is known of each label, a row of whole numbers each: counted block by block, added up, and shared out by label.

Sums add up and extremes are compared, in whole numbers, so that no order matters. Rows of a label that many ranks have
are merged on their way to the rank whose label it is.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.measure._engine.memory import flat_rows, outer_shape, signed, tiles, widened
from mpibatch.measure._engine.rows import ROOM, fold_rows, merge_parts
from mpibatch.measure._engine.words import add_product, carried
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.routes import forward
from mpibatch.reduce.order.keys import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.fields.field import Field
    from mpibatch.measure._engine.shares import Shares

__all__ = ["RowLayout", "layout_from", "layout_of", "pairs_of", "spans_of", "tallied"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# Cells along each axis of what is counted at once, by the number of axes: sums of squares of coordinates stay far below
# 2**62, and copies of a type that loops know take little room.
TILE = {1: 2**20, 2: 2**10, 3: 2**7, 4: 2**5}
# Where the sum of a coordinate's squares over all cells may be larger than this, sums have several limbs.
LARGEST = 2**62
WORDS = 5
MAGNITUDE = (1 << 63) - 1
FRACTION_BITS = 52


def pairs_of(ndim: int) -> list[tuple[int, int]]:
    """Return the pairs of axes whose products are summed up, in order. Local."""
    return list(itertools.combinations_with_replacement(range(ndim), 2))


@dataclass(frozen=True, slots=True)
class RowLayout:
    """The columns of a row.

    Attributes
    ----------
    ndim, order : axes, and whether sums are of coordinates (1) or also of their products (2).
    words : limbs of such a sum.
    has_values : whether there are extremes of values.
    total, moment, square : limbs of sums of values, of values times each coordinate, and of squares; 0: not needed.
    dropped, least : binary places of the values' significands that are zero, and their least biased exponent.
    """

    ndim: int
    order: int = 1
    words: int = 1
    has_values: bool = False
    total: int = 0
    moment: int = 0
    square: int = 0
    dropped: int = 0
    least: int = 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """Columns of: label, count, coordinates, products, totals, moments, squares; box, extremes and marks."""
        products = len(pairs_of(self.ndim)) * self.words if self.order == 2 else 0
        sums = (1, 1, self.ndim * self.words, products, self.total, self.ndim * self.moment, self.square)
        return (*sums, 2 * self.ndim, 5 if self.has_values else 0)

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(self.sizes)

    @property
    def unit(self) -> int:
        """Values are whole multiples of two to this power."""
        return self.least - 1 - 1074 + self.dropped if self.dropped >= 0 else 0

    def parts(self, rows: Ints) -> list[Ints]:
        """Return the columns of each kind, as views. Local."""
        ends = list(itertools.accumulate(self.sizes, initial=0))
        return [rows[:, low:high] for low, high in itertools.pairwise(ends)]

    def merge(self, rows: Ints) -> Ints:
        """Return a row for each label, in order; columns behind are compared as extremes are. Local."""
        sums = sum(self.sizes[:-2])
        return fold_rows(rows, (np.add, slice(1, sums)), (np.maximum, slice(sums, None)))


def layout_of(labels: Field, values: Field | None, order: int, kinds: set[str]) -> tuple[RowLayout, int]:
    """Return how rows look like, for all ranks, and the greatest label. Collective: one all-reduce."""
    mine = spans_of(labels, values)
    with REDUCTION:
        labels.grid.comm.Allreduce(MPI.IN_PLACE, mine, op=MPI.MAX)
    return layout_from(labels.grid.shape, values.dtype if values is not None else None, order, kinds, mine)


def spans_of(labels: Field | None, values: Field | None) -> Ints:
    """Return this rank's greatest label, and how far its values' exponents go down (negative) and up. Local."""
    owned = labels.owned if labels is not None else np.empty(0, np.int64)
    mine = np.array([max(int(owned.max(initial=0)), 0), -2047, 0], np.int64)
    if values is not None and values.dtype.kind == "f" and values.owned.size:
        from mpibatch.measure._loops import regions

        for part in tiles(values.box, TILE[values.grid.ndim]):
            cells = widened(values.owned[part.slices(values.box.start)])
            least, greatest = regions.span(*flat_rows(cells), outer_shape(cells), cells.shape[-1])
            mine[1:] = max(mine[1], -least), max(mine[2], greatest)
    return mine


def layout_from(
    shape: tuple[int, ...], dtype: np.dtype[Any] | None, order: int, kinds: set[str], spans: Ints
) -> tuple[RowLayout, int]:
    """Return how rows look like for an array of a shape with values of a dtype, and the greatest label. Local.

    `spans`: the greatest of what `spans_of` returned on all ranks.
    """
    words = 1 if math.prod(shape) * max(shape) ** 2 < LARGEST else WORDS
    top, least, greatest = int(spans[0]), -int(spans[1]), int(spans[2])
    if dtype is None:
        return RowLayout(len(shape), order, words), top
    is_float = dtype.kind == "f"
    # The significand of f4 ends 29 places before that of f8.
    dropped = (0 if dtype.itemsize == 8 else 29) if is_float else -1
    bits = FRACTION_BITS + 1 - dropped if is_float else 8 * dtype.itemsize
    places = max(greatest - least, 0) if is_float else 0
    least = min(least, greatest) if is_float and greatest else 1
    last = 62 if bits == 64 else 31  # how far above its own place a value's last part is added
    count = 64  # bits of the number of cells
    total = max((places + last) // 32 + 3, (places + bits + count) // 32 + 2)
    moment = total + 2 if "moment" in kinds else 0
    square = max((2 * places + 2 * last) // 32 + 3, (2 * places + 2 * bits + count) // 32 + 2)
    layout = RowLayout(
        ndim=len(shape),
        order=order,
        words=words,
        has_values=True,
        total=total if kinds else 0,
        moment=moment,
        square=square if "square" in kinds else 0,
        dropped=dropped,
        least=least,
    )
    return layout, top


def tallied(labels: Field, values: Field | None, layout: RowLayout, shares: Shares, plane: int = 0) -> Ints:
    """Return this rank's share of all labels' rows, in order of label. Collective.

    `plane`: the index along axis 0 that the first cell of the fields has in the whole, if they are a slab of it.
    """
    comm = labels.grid.comm
    with agreed(comm, "regionprops_table"), phase("compute"):
        rows = merge_parts(_parts(labels, values, layout, plane), layout.width, layout.merge)
    with phase("halo"):
        return layout.merge(forward(comm, shares.owners(rows[:, 0]), rows, layout.merge))


def _parts(labels: Field, values: Field | None, layout: RowLayout, plane: int) -> Iterator[Ints]:
    """Yield the rows of each part of the block that is counted at once. Local."""
    for part in tiles(labels.box, TILE[layout.ndim]):
        inside = part.slices(labels.box.start)
        seen = None if values is None else widened(values.owned[inside])
        yield _rows(signed(labels.owned[inside]), seen, (part.start[0] + plane, *part.start[1:]), layout)


def _rows(tile: Array, values: Array | None, start: tuple[int, ...], layout: RowLayout) -> Ints:
    """Return the rows of the labels in a part of a block. Local."""
    from mpibatch.measure._loops import regions

    ndim, n = layout.ndim, tile.shape[-1]
    flat, strides = flat_rows(tile)
    outer = outer_shape(tile)
    width = 1 + ndim + (len(pairs_of(ndim)) if layout.order == 2 else 0)
    known, sums = np.empty(0, np.int64), np.empty((0, width), np.int64)
    ends = np.empty((0, 2 * ndim), np.int64)
    begin, count, more = 0, 0, max(ROOM, n)
    while begin < outer.prod():
        known = np.concatenate([known[:count], np.empty(more, np.int64)])
        sums = np.concatenate([sums[:count], np.zeros((more, width), np.int64)])
        ends = np.concatenate([ends[:count], np.full((more, 2 * ndim), -MAGNITUDE)])
        keys, slots = np.zeros((2, 1 << (2 * len(known) - 1).bit_length()), np.int64)
        regions.rehash(known[:count], keys, slots)
        begin, count = regions.geometry(
            flat, outer, strides, n, begin, count, keys, slots, known, sums, ends, ndim, layout.order
        )
        more = len(known)
    rows = np.zeros((count, layout.width), np.int64)
    parts = layout.parts(rows)
    parts[0][:, 0] = known[:count]
    _put_geometry(parts, sums[:count], ends[:count], start, layout)
    if values is not None:
        totals = np.zeros((count if layout.total else 0, layout.total or 1), np.int64)
        moments = np.zeros((count if layout.moment else 0, ndim, layout.moment or 1), np.int64)
        squares = np.zeros((count if layout.square else 0, layout.square or 1), np.int64)
        extremes = np.tile([np.inf, -np.inf], (count, 1))
        marks = np.zeros((count, 3), np.int64)
        value_flat, value_strides = flat_rows(values)
        regions.intensity(
            flat, outer, strides, n, value_flat, value_strides, keys, slots, int(values.dtype.kind == "f"),
            layout.dropped, layout.least, ndim, totals, moments, squares, extremes, marks,
        )  # fmt: skip
        _put_values(parts, totals, moments, squares, extremes, marks, start)
    return rows


def _put_geometry(parts: list[Ints], sums: Ints, ends: Ints, start: tuple[int, ...], layout: RowLayout) -> None:
    """Write counts, coordinates and boxes of a part that begins at `start` to columns, in global indices. Local."""
    ndim, count = layout.ndim, sums[:, 0]
    parts[1][:, 0] = count
    firsts = parts[2].reshape(-1, ndim, layout.words)
    for a, low in enumerate(start):
        _add(firsts[:, a], sums[:, 1 + a], 1)
        _add(firsts[:, a], count, low)
    if layout.order == 2:
        pairs = pairs_of(ndim)
        products = parts[3].reshape(-1, len(pairs), layout.words)
        for p, (a, b) in enumerate(pairs):
            _add(products[:, p], sums[:, 1 + ndim + p], 1)
            _add(products[:, p], sums[:, 1 + b], start[a])
            _add(products[:, p], sums[:, 1 + a], start[b])
            _add(products[:, p], count, start[a] * start[b])
    parts[7][:, :ndim] = ends[:, :ndim] - np.array(start)
    parts[7][:, ndim:] = ends[:, ndim:] + np.array(start)


def _add(target: Ints, values: Ints, factor: int) -> None:
    """Add whole numbers from 0 to 2**62, times a factor, to sums of one or several limbs. Local."""
    if target.shape[-1] == 1:
        target[..., 0] += values * factor
    else:
        limbs = np.stack([values & 0xFFFFFFFF, values >> 32, np.zeros_like(values)], axis=-1)
        add_product(target, limbs, factor)


def _put_values(
    parts: list[Ints],
    totals: Ints,
    moments: Ints,
    squares: Ints,
    extremes: npt.NDArray[np.float64],
    marks: Ints,
    start: tuple[int, ...],
) -> None:
    """Write sums and extremes of values to columns, in global indices. Local."""
    if len(totals):
        parts[4][...] = totals
    if len(moments):
        target = parts[5].reshape(moments.shape)
        target += moments
        for a, low in enumerate(start):
            add_product(target[:, a], totals, low)
            target[:, a] = carried(target[:, a])
    if len(squares):
        parts[6][...] = squares
    parts[8][:, 0], parts[8][:, 1] = keys_of(-extremes[:, 0] + 0.0), keys_of(extremes[:, 1] + 0.0)
    parts[8][:, 2:] = marks
