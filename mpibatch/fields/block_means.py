"""Fields at half, a quarter, … of their cells: means of blocks (of integers exact, rounded once), or first cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.fields.grid import Grid
from mpibatch.fields.parcels import fetch

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["coarsened", "thinned"]

Array = npt.NDArray[Any]

HALF = 32  # bits: integers of 64 bits are summed up in two halves, so that no sum overflows


def coarsened(u: Field, levels: int, axes: Collection[int]) -> list[Field]:
    """Return a field, and `levels` more of which each has half as many cells along `axes`. Collective.

    Each cell is the mean of the field's cells that it stands for. A block may have 2**30 cells at most.
    """
    result = [u]
    if not levels:
        return result
    sums = _as_sums(u)
    for level in range(1, levels + 1):
        grid = _coarser(result[-1].grid, axes)
        sums = _halved(sums, grid, axes)
        cells = _cells_of_blocks(u.grid, grid, level, axes)
        field = Field(grid, u.dtype, 0, u.components)
        with timed("compute"):
            field.owned[...] = _means(sums.owned, cells.reshape(cells.shape + (1,) * len(u.components)), u.dtype)
        result.append(field)
    return result


def thinned(u: Field, levels: int, axes: Collection[int]) -> list[Field]:
    """Return a field, and `levels` more of which each has every second cell along `axes`. Collective.

    For labels, of which there are no means.
    """
    result = [u]
    for _ in range(levels):
        fine = result[-1]
        field = Field(_coarser(fine.grid, axes), u.dtype, 0, u.components)
        start = fine.grid.box.start
        cut = (slice(start[n] % 2, None, 2) if n in axes else slice(None) for n in range(u.grid.ndim))
        field.owned[...] = fine.owned[tuple(cut)]
        result.append(field)
    return result


def _as_sums(u: Field) -> Field:
    """Return a field of cells as they are summed up. Local."""
    if u.dtype.kind not in "biu":
        return _filled(u, np.promote_types(u.dtype, np.float64), u.owned)
    if u.dtype.itemsize < 8:
        return _filled(u, np.dtype(np.int64), u.owned)
    low = (u.owned & u.dtype.type(2**HALF - 1)).astype(np.int64)
    return _filled(u, np.dtype(np.int64), np.stack([(u.owned >> u.dtype.type(HALF)).astype(np.int64), low], axis=-1))


def _filled(u: Field, dtype: np.dtype[Any], cells: Array) -> Field:
    field = Field(u.grid, dtype, 0, cells.shape[u.grid.ndim :])
    field.owned[...] = cells
    return field


def _coarser(grid: Grid, axes: Collection[int]) -> Grid:
    """Return a grid of half as many cells along `axes`, each with the rank of the first of its two. Collective."""
    steps = [2 if axis in axes else 1 for axis in range(grid.ndim)]
    sizes = []
    for blocks, step in zip(grid.decomposition.axes, steps, strict=True):
        ends = [-(-blocks.bounds(part)[1] // step) for part in range(blocks.parts)]
        sizes.append(np.diff([0, *ends]).tolist())
    return Grid(
        [-(-n // step) for n, step in zip(grid.shape, steps, strict=True)],
        comm=grid.comm,
        topology=grid.topology,
        sizes=sizes,
        periodic=grid.periodic,
        spacing=[step * space for step, space in zip(steps, grid.spacing, strict=True)],
        origin=[
            zero + 0.5 * (step - 1) * space for zero, space, step in zip(grid.origin, grid.spacing, steps, strict=True)
        ],
        units=grid.units,
        axes=grid.axes,
    )


def _halved(sums: Field, grid: Grid, axes: Collection[int]) -> Field:
    """Return the sums over pairs along `axes`. Collective."""
    steps = [2 if axis in axes else 1 for axis in range(grid.ndim)]
    needs = [
        [(step * low, min(step * high, n))] if grid.box.size else []
        for n, low, high, step in zip(sums.grid.shape, grid.box.start, grid.box.stop, steps, strict=True)
    ]
    cells = fetch(sums, needs)
    result = Field(grid, sums.dtype, 0, sums.components)
    if grid.box.size:
        with timed("compute"):
            for axis in sorted(axes):
                first, second = (
                    (slice(None),) * axis + (slice(0, None, 2),),
                    (slice(None),) * axis + (slice(1, None, 2),),
                )
                pairs = cells[first].copy()
                pairs[(slice(None),) * axis + (slice(0, cells[second].shape[axis]),)] += cells[second]
                cells = pairs
        result.owned[...] = cells
    return result


def _cells_of_blocks(fine: Grid, grid: Grid, level: int, axes: Collection[int]) -> Array:
    """Return how many cells the blocks that this rank's cells stand for have. Local."""
    sizes = [2**level if axis in axes else 1 for axis in range(grid.ndim)]
    lines = [
        np.minimum(size, n - size * np.arange(low, high))
        for n, low, high, size in zip(fine.shape, grid.box.start, grid.box.stop, sizes, strict=True)
    ]
    cells = np.ones((), np.int64)
    for axis, line in enumerate(lines):
        cells = cells[..., np.newaxis] * line.reshape((1,) * axis + (-1,))
    return cells


def _means(sums: Array, cells: Array, dtype: np.dtype[Any]) -> Array:
    """Return the means, rounded to the dtype. Local."""
    if dtype.kind not in "biu":
        return np.asarray(sums / cells, dtype)
    if dtype.itemsize < 8:
        high, rest = np.zeros((), np.int64), sums
    else:
        quotient = sums[..., 0] // cells
        high, rest = quotient << HALF, ((sums[..., 0] - quotient * cells) << HALF) + sums[..., 1]
    low = rest // cells
    remainder = 2 * (rest - low * cells)
    low += (remainder > cells) | ((remainder == cells) & (low & 1 == 1))
    return np.asarray(high + low).astype(dtype)
