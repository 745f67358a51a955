"""Image moments of regions up to the third power of each coordinate: exact sums, and what is rounded from them.

Of each label travel the sums about the grid's first cell, in limbs. About the corner of the region's box, or about its
centroid times the number of cells, they are whole numbers again: nothing cancels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.measure._engine.memory import flat_rows, outer_shape, signed, tiles, widened
from mpibatch.measure._engine.rows import merge_parts, sum_rows
from mpibatch.measure._engine.words import MASK, integers, ratios
from mpibatch.mpi import agreed
from mpibatch.mpi.routes import forward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mpibatch.domain import Box
    from mpibatch.fields.field import Field
    from mpibatch.measure._engine.shares import Shares
    from mpibatch.measure._engine.tallies import RowLayout

__all__ = ["MOMENTS", "WEIGHTED", "Moments", "summed_moments"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

MOMENTS = ("moments", "moments_central", "moments_hu", "moments_normalized")
WEIGHTED = tuple(name.replace("moments", "moments_weighted") for name in MOMENTS)
POWERS = 4  # 0 to 3
# Cells along each axis of what is counted at once: sums of products of third powers stay below 2**62, and those of all
# coordinates but the last below 2**30.
TILE = {1: 1 << 10, 2: 1 << 7, 3: 1 << 5, 4: 1 << 3}
TILE_LIMBS = 3


def _limbs_of(shape: tuple[int, ...]) -> int:
    """Return how many limbs the sum of products of third powers over all cells takes, and one for carries. Local."""
    return sum(POWERS * n.bit_length() for n in shape) // 32 + 2


def summed_moments(labels: Field, values: Field | None, layout: RowLayout, shares: Shares, known: Ints) -> Array:
    """Return the sums of these labels, this rank's share of all, about the grid's first cell. Collective.

    Python's integers, of the shape (labels, 4, ..., 4), or, weighted with values, in their unit.
    """
    comm, grid = labels.grid.comm, labels.grid
    words = _limbs_of(grid.shape) + (layout.total if values is not None else 0)
    with agreed(comm, "regionprops_table"), phase("compute"):
        parts = _parts(labels, values, layout, words)
        rows = merge_parts(parts, 1 + POWERS**grid.ndim * words, sum_rows)
    with phase("halo"):
        rows = sum_rows(forward(comm, shares.owners(rows[:, 0]), rows, sum_rows))
    chosen = rows[np.searchsorted(rows[:, 0], known), 1:]
    return integers(chosen.reshape((-1,) + (POWERS,) * grid.ndim + (words,))).astype(object)


def _parts(labels: Field, values: Field | None, layout: RowLayout, words: int) -> Iterator[Ints]:
    """Yield a row of limbs for each label of each tile. Local."""
    ndim = labels.grid.ndim
    for tile in tiles(labels.box, TILE[ndim]):
        names, sums = _tile_sums(labels, values, layout, tile)
        sums = transformed(sums, [1] * ndim, list(tile.start))
        limbs = _limbs(sums.reshape(len(names), POWERS**ndim), words)
        yield np.column_stack([names, limbs.reshape(len(names), POWERS**ndim * words)])


def _tile_sums(labels: Field, values: Field | None, layout: RowLayout, tile: Box) -> tuple[Ints, Array]:
    """Return the labels in a tile, and their sums about its first cell. Local."""
    from mpibatch.measure._loops import moments as loops
    from mpibatch.measure._loops import regions

    ndim, inside = len(tile.start), tile.slices(labels.box.start)
    cells = signed(labels.owned[inside])
    names = np.unique(cells[cells > 0]).astype(np.int64)
    keys, slots = np.zeros((2, 1 << (2 * len(names)).bit_length()), np.int64)
    regions.rehash(names, keys, slots)
    flat, strides = flat_rows(cells)
    outer, n = outer_shape(cells), cells.shape[-1]
    shape = (len(names),) + (POWERS,) * ndim
    if values is None:
        sums = np.zeros((len(names), POWERS**ndim), np.int64)
        loops.moments(flat, outer, strides, n, keys, slots, ndim, sums)
        return names, sums.reshape(shape).astype(object)
    seen = widened(values.owned[inside])
    limbs = np.zeros((len(names), POWERS**ndim, layout.total + TILE_LIMBS), np.int64)
    loops.weighted(
        flat, outer, strides, n, *flat_rows(seen), keys, slots, int(values.dtype.kind == "f"), layout.dropped,
        layout.least, ndim, limbs,
    )  # fmt: skip
    return names, integers(limbs).reshape(shape).astype(object)


def _limbs(values: Array, words: int) -> Ints:
    """Return whole numbers as limbs; the last has the sign. Local."""
    result = np.empty((*values.shape, words), np.int64)
    for word in range(words):
        result[..., word] = values & MASK if word < words - 1 else values
        values = values >> 32
    return result


def transformed(sums: Array, scales: list[Any], offsets: list[Any]) -> Array:
    """Return the sums for ``scale * coordinate + offset`` along each axis: numbers, or one per label. Local."""
    for axis, (scale, offset) in enumerate(zip(scales, offsets, strict=True)):
        old = np.moveaxis(sums, 1 + axis, -1)
        spread = (slice(None),) + (None,) * (old.ndim - 2)
        s, o = (v[spread] if isinstance(v, np.ndarray) else v for v in (scale, offset))
        new = np.empty_like(old)
        for p in range(POWERS):
            terms = [math.comb(p, k) * s**k * o ** (p - k) * old[..., k] for k in range(p + 1)]
            new[..., p] = sum(terms[1:], terms[0])
        sums = np.moveaxis(new, -1, 1 + axis)
    return np.ascontiguousarray(sums)


class Moments:
    """The moments of labels as scikit-image names them, from exact sums about the grid's first cell.

    Parameters
    ----------
    sums : array of Python's integers (labels, 4, ..., 4)
    corners : the first cell of each label's box
    spacing : distances between cells
    unit : sums are multiples of two to this power
    holed : which labels have cells without a finite value, and so no moments
    """

    def __init__(
        self, sums: Array, corners: Ints, spacing: tuple[float, ...], unit: int = 0, holed: Array | None = None
    ) -> None:
        self._ndim, self._spacing, self._unit, self._holed = len(spacing), spacing, unit, holed
        self._raw = transformed(sums, [1] * self._ndim, [-corner for corner in corners.T.astype(object)])

    def columns(self, names: Iterable[str], family: Iterable[str]) -> dict[str, Array]:
        """Return the columns of those of the names that are of the family: `MOMENTS` or `WEIGHTED`. Local."""
        makes = (self._moments, self._central, self._hu, self._normalized)
        return {name: make() for name, make in zip(family, makes, strict=True) if name in names}

    def _rounded(self, sums: Array, below: Array | None) -> Array:
        """Return sums, divided by a power of `below` as high as theirs, as floats, and scaled by the spacing."""
        result = np.empty(sums.shape)
        for powers in np.ndindex(*sums.shape[1:]):
            at = (slice(None), *powers)
            order = sum(powers)
            others = np.full(len(sums), 1, object) if below is None else below**order
            scale = math.prod(s**p for s, p in zip(self._spacing, powers, strict=True))
            result[at] = ratios(sums[at], others, self._unit) * scale
        if self._holed is not None:
            result[self._holed] = np.nan
        return result

    def _at(self, sums: Array, powers: tuple[int, ...]) -> Array:
        """Return the sums of these powers of the coordinates, a number of each label."""
        result: Array = sums.reshape(len(sums), POWERS**self._ndim)[:, np.ravel_multi_index(powers, sums.shape[1:])]
        return result

    def _moments(self) -> Array:
        return self._rounded(self._raw, None)

    def _central(self) -> Array:
        total = self._at(self._raw, (0,) * self._ndim)
        firsts = [self._at(self._raw, tuple(int(a == b) for b in range(self._ndim))) for a in range(self._ndim)]
        sums = transformed(self._raw, [total] * self._ndim, [-first for first in firsts])
        return self._rounded(sums, total)

    def _normalized(self) -> Array:
        central = self._central()
        result = np.full(central.shape, np.nan)
        total, scale = self._at(central, (0,) * self._ndim).tolist(), min(self._spacing)
        for powers in np.ndindex(*central.shape[1:]):
            order = sum(powers)
            if order > 1:
                # Python's power: NumPy's may depend on where in an array a number stands.
                below = [_power(value, order / self._ndim + 1) for value in total]
                with np.errstate(divide="ignore", invalid="ignore"):
                    result[(slice(None), *powers)] = self._at(central, powers) / scale**order / np.array(below)
        return result

    def _hu(self) -> Array:
        """Seven sums that neither moving, turning nor scaling changes (M. K. Hu, doi:10.1109/TIT.1962.1057692)."""
        nu = self._normalized()
        n20, n02, n11, n30, n03, n21, n12 = (
            nu[:, p, q] for p, q in ((2, 0), (0, 2), (1, 1), (3, 0), (0, 3), (2, 1), (1, 2))
        )
        a, b = n30 + n12, n21 + n03
        c, d = n30 - 3 * n12, 3 * n21 - n03
        e, f = a * (a * a - 3 * (b * b)), b * (3 * (a * a) - b * b)
        columns = [
            n20 + n02,
            (n20 - n02) * (n20 - n02) + 4 * (n11 * n11),
            c * c + d * d,
            a * a + b * b,
            c * e + d * f,
            (n20 - n02) * (a * a - b * b) + 4 * (n11 * (a * b)),
            d * e - c * f,
        ]
        return np.stack(columns, axis=1)


def _power(value: float, exponent: float) -> float:
    return value**exponent if value > 0 else math.nan
