"""The compiled loops of exact sums along lines, in slices where these hold the elements, else in tiles.

Imported late, since it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.slices import add_columns, add_rows
from mpibatch.reduce._loops.states import COLUMNS, COUNT, clear, collect, copy_columns
from mpibatch.reduce._loops.tiles import BLOCK, TILE, WIDTH, feed, load_tile

__all__ = ["add"]

Array = npt.NDArray[Any]
Int = Any

# Where lines are fewer than FEW, and have at least LONG neighbors, each is added in lanes, of LANE elements or more.
FEW, LONG, LANE = 64, 64, 16


@compiled
def _choose(row: Array, mask: Array, at: Int, step: Int, is_masked: bool, skips_nan: bool, count: Array) -> None:
    """Count the elements of a row that are chosen, and make the others -0.0, which adds nothing. Local."""
    for i in range(row.shape[0]):
        if (is_masked and not mask[at + i * step]) or (skips_nan and row[i] != row[i]):
            row[i] = -0.0
        else:
            count[i] += 1.0


@compiled
def add_lanes(
    shape: tuple[Int, Int], values: Array, starts: Array, step: Int, mask: Array, mask_starts: Array,
    mask_steps: tuple[Int, Int], options: tuple[bool, bool, bool], places: Array, state: Array,
) -> None:  # fmt: skip
    """Add planes of few lines of neighbors to their states, each line cut into lanes as if they were many. Local."""
    lines, length = shape
    mask_step, mask_step_along = mask_steps
    is_masked, skips_nan, has_squares = options
    local, work, tile = np.empty((COLUMNS, WIDTH)), np.empty((3, TILE, WIDTH)), np.empty((TILE, WIDTH))
    lanes = min(BLOCK, length // LANE)
    for number in range(starts.shape[0] * lines):
        p, line = number // lines, number % lines
        clear(local)
        for start in range(0, length, lanes * TILE):
            # The lanes are the columns of a plane whose rows follow one another.
            left = length - start
            whole = min(TILE, left // lanes)
            at = starts[p] + line * step + start
            load_tile(values, at, lanes, 1, whole, lanes, tile)
            ending = left - whole * lanes if whole < TILE else 0
            for i in range(ending):
                tile[whole, i] = values[at + whole * lanes + i]
            if is_masked or skips_nan:
                at = mask_starts[p] + line * mask_step + start * mask_step_along
                for k in range(TILE):
                    n = lanes if k < whole else ending if k == whole else 0
                    there = at + k * lanes * mask_step_along
                    _choose(tile[k, :n], mask, there, mask_step_along, is_masked, skips_nan, local[COUNT])
            feed(tile, lanes, has_squares, local, work)
        collect(local, lanes, state.shape[0], state[:, places[p]], line)


@compiled
def add_tiles(
    shape: tuple[Int, Int], values: Array, starts: Array, steps: tuple[Int, Int], mask: Array, mask_starts: Array,
    mask_steps: tuple[Int, Int], options: tuple[bool, bool, bool], places: Array, state: Array,
) -> None:  # fmt: skip
    """Add planes of lines that lie anyhow to their states, many lines side by side. Local."""
    lines, length = shape
    step, step_along = steps
    mask_step, mask_step_along = mask_steps
    is_masked, skips_nan, has_squares = options
    local, work, tile = np.empty((COLUMNS, WIDTH)), np.empty((3, TILE, WIDTH)), np.empty((TILE, WIDTH))
    rows = state.shape[0]
    for p in range(starts.shape[0]):
        plane = state[:, places[p]]
        for start in range(0, lines, BLOCK):
            n = min(BLOCK, lines - start)
            copy_columns(plane, start, local, 0, rows, n)
            for j in range(0, length, TILE):
                width = min(TILE, length - j)
                load_tile(values, starts[p] + start * step + j * step_along, n, step, width, step_along, tile)
                for k in range(width if is_masked or skips_nan else 0):
                    at = mask_starts[p] + start * mask_step + (j + k) * mask_step_along
                    _choose(tile[k, :n], mask, at, mask_step, is_masked, skips_nan, local[COUNT])
                feed(tile, n, has_squares, local, work)
            copy_columns(local, 0, plane, start, rows, n)


def add(
    shape: tuple[int, int], values: Array, starts: Array, steps: tuple[int, int], mask: Array, mask_starts: Array,
    mask_steps: tuple[int, int], options: tuple[bool, bool, bool], places: Array, state: Array,
) -> None:  # fmt: skip
    """Add planes of lines to the states of these. Local.

    For planes of a shape (lines, elements of each): element j of line i of plane p is ``values[starts[p] + i * steps[0]
    + j * steps[1]]``, and likewise in the mask. The options: whether there is a mask, whether NaN are left out, whether
    squares are added, too. ``state[:, places[p]]`` has a column for each line; its sums begin with -0.0.

    Each of the four loops is compiled when it is first needed.
    """
    lines, length = shape
    step, step_along = steps
    # As copies they are of one type, for which loops are compiled once.
    starts, mask_starts, places = (np.array(table, np.int64) for table in (starts, mask_starts, places))
    is_masked, skips_nan, has_squares = options
    is_plain = not (is_masked or skips_nan or has_squares)
    are_neighbors = step_along == 1 and length >= LONG
    if is_plain and are_neighbors:
        add_rows(shape, values, starts, step, places, state)
    elif is_plain and step == 1:
        add_columns(shape, values, starts, step_along, places, state)
    elif are_neighbors and lines < FEW:
        add_lanes(shape, values, starts, step, mask, mask_starts, mask_steps, options, places, state)
    else:
        add_tiles(shape, values, starts, steps, mask, mask_starts, mask_steps, options, places, state)
    if not (is_masked or skips_nan):
        np.add.at(state[COUNT], places, float(length))
