"""Fields at half, a quarter, … of their cells, for viewers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field, check_field
from mpibatch.fields.grid import Grid
from mpibatch.filters._engine import arguments as ask
from mpibatch.resample._engine.parcels import fetch

__all__ = ["pyramid"]

Array = npt.NDArray[Any]

HALF = 32  # bits: integers of 64 bits are summed up in two halves, so that no sum overflows
MOST = 2**30  # cells of a block


def pyramid(u: Field, levels: int) -> list[Field]:
    """Return a field at full resolution, and as means of blocks of 2, 4, … cells along each axis. Collective.

    Parameters
    ----------
    u : Field
        Of any dtype. Of components each is averaged alone.
    levels : int
        How many coarser fields.

    Returns
    -------
    list of Field
        The first is `u` itself; of level k each cell is the mean of a block of 2**k cells along each axis, or of what
        is left of one at the end of an axis. Each on a grid of its own, with spacing and origin to match, of the dtype
        of `u`.

    Raises
    ------
    UsageError
        On all ranks alike, if `levels` is no such number, or blocks would be too large to be summed up exactly.

    Notes
    -----
    Collective. The same bits on any decomposition. Means of integers are exact, and rounded once, half to even. Floats
    are added in float64, neighbors first, along the first axis, then along the next, and level by level; the sum is
    divided by the number of cells, and rounded to the dtype. A rank receives at most one face of cells along each axis
    and level; it needs the memory of its block in 8 bytes a cell (16 for integers of 64 bits).

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(5).from_function(lambda x: 10 * x, "i4")
    >>> for v in mb.pyramid(u, 2):
    ...     print(mb.gather_all(v), v.grid.spacing, v.grid.origin)
    [ 0 10 20 30 40] (1.0,) (0.0,)
    [ 5 25 40] (2.0,) (0.5,)
    [15 40] (4.0,) (1.5,)
    """
    check_field("pyramid", u)
    many = ask.whole("pyramid", "levels", levels)
    if many < 0 or 2 ** (many * u.grid.ndim) > MOST:
        raise UsageError(
            f"pyramid: levels = {many} of a field of {u.grid.ndim} axes; give a number from 0 to {30 // u.grid.ndim}"
        )
    result = [u]
    sums = _as_sums(u)
    for level in range(1, many + 1):
        grid = _coarser(result[-1].grid)
        sums = _halved(sums, grid)
        cells = _cells_of_blocks(u.grid, grid, level)
        field = Field(grid, u.dtype, 0, u.components)
        with timed("compute"):
            field.owned[...] = _means(sums.owned, cells.reshape(cells.shape + (1,) * len(u.components)), u.dtype)
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


def _coarser(grid: Grid) -> Grid:
    """Return a grid of half as many cells, each with the rank of the first of its two. Collective."""
    sizes = []
    for blocks in grid.decomposition.axes:
        ends = [-(-blocks.bounds(part)[1] // 2) for part in range(blocks.parts)]
        sizes.append(np.diff([0, *ends]).tolist())
    return Grid(
        [-(-n // 2) for n in grid.shape],
        comm=grid.comm,
        topology=grid.topology,
        sizes=sizes,
        periodic=grid.periodic,
        spacing=[2 * space for space in grid.spacing],
        origin=[zero + 0.5 * space for zero, space in zip(grid.origin, grid.spacing, strict=True)],
        units=grid.units,
        axes=grid.axes,
    )


def _halved(sums: Field, grid: Grid) -> Field:
    """Return the sums over pairs along all axes. Collective."""
    needs = [
        [(2 * low, min(2 * high, n))] if grid.box.size else []
        for n, low, high in zip(sums.grid.shape, grid.box.start, grid.box.stop, strict=True)
    ]
    cells = fetch(sums, needs)
    result = Field(grid, sums.dtype, 0, sums.components)
    if grid.box.size:
        with timed("compute"):
            for axis in range(grid.ndim):
                first, second = (
                    (slice(None),) * axis + (slice(0, None, 2),),
                    (slice(None),) * axis + (slice(1, None, 2),),
                )
                pairs = cells[first].copy()
                pairs[(slice(None),) * axis + (slice(0, cells[second].shape[axis]),)] += cells[second]
                cells = pairs
        result.owned[...] = cells
    return result


def _cells_of_blocks(fine: Grid, grid: Grid, level: int) -> Array:
    """Return how many cells the blocks that this rank's cells stand for have. Local."""
    size = 2**level
    lines = [
        np.minimum(size, n - size * np.arange(low, high))
        for n, low, high in zip(fine.shape, grid.box.start, grid.box.stop, strict=True)
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
