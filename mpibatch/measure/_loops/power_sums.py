"""The compiled loop of the moments of rows: sums of values times powers of a coordinate. Imported late: loads numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.expansions import two_product
from mpibatch.reduce._loops.states import LEVELS, SPECIAL, SQUARES, SUMS, WIDE, clear, copy_columns
from mpibatch.reduce._loops.tiles import BLOCK, TILE, WIDTH, add_tile, are_usual, load_tile, set_aside

__all__ = ["add_rows"]

Array = npt.NDArray[Any]
Int = Any


@compiled
def multiply(tile: Array, powers: Array, at: Int, high: Array, low: Array, n: Int) -> None:
    """Write the products of a tile's rows with one number each, and their errors. Local."""
    for k in range(TILE):
        factor = powers[at + k]
        for i in range(n):
            high[k, i], low[k, i] = two_product(tile[k, i], factor)


@compiled
def add_rows(values: Array, powers: Array, limits: tuple[Int, Int], state: Array) -> None:
    """Add rows, and their products with powers of the coordinate, to states, a column for each row. Local.

    `powers` has a row for each order from 1 on, with zeros at its end, at least `lines.TILE` of them. The sum of an
    order's products follows those of the orders before, as that of squares follows that of the values (see `states`).
    """
    rows, length = values.shape
    flat = values.reshape(-1)
    bottom, top = limits
    local, work, tile = np.empty((state.shape[0], WIDTH)), np.empty((3, TILE, WIDTH)), np.empty((TILE, WIDTH))
    rest, high, low = work[0], work[1], work[2]
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        clear(local)
        for j in range(0, length, TILE):
            load_tile(flat, start * length + j, n, length, min(TILE, length - j), 1, tile)
            if not are_usual(tile, n, bottom, top):
                set_aside(tile, n, bottom, top, local)
            for order in range(powers.shape[0]):
                first = SQUARES + LEVELS * order
                multiply(tile, powers[order], j, high, low, n)
                # Errors of products are far smaller: they begin two levels below.
                for products, level in ((high, first), (low, first + 2)):
                    add_tile(products, n, first, level, local, rest)
            add_tile(tile, n, SUMS, SUMS, local, rest)
        for i in range(n):
            if local[SPECIAL, i] != 0.0:
                local[WIDE, i] = 1.0
        copy_columns(local, 0, state, start, state.shape[0], n)
