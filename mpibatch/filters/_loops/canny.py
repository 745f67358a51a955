"""Compiled steps of Canny's detector: magnitudes, thin them to ridges, and follow strong edges."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled, compiled_lean, told_apart

__all__ = ["flood", "magnitudes", "ridges"]


@told_apart
@compiled_lean
def _root(rows: Any, columns: Any, out: Any) -> None:
    for j in range(rows.size):
        out[j] = np.sqrt(rows[j] * rows[j] + columns[j] * columns[j])


@compiled_lean
def magnitudes(rows: Any, columns: Any, out: Any) -> None:
    """Write the lengths of vectors to `out`, which has one cell more on each side. Local."""
    for i in range(rows.shape[0]):
        _root(rows[i], columns[i], out[i + 1, 1:])


@told_apart
@compiled_lean
def _thin(rows: Any, columns: Any, above: Any, amid: Any, below: Any, least: Any, strong: Any, out: Any) -> None:
    """Write a row of `ridges`. Without branches: where the gradient points is anybody's guess. Local."""
    left, center, right = amid, amid[1:], amid[2:]
    above_left, above_center, above_right = above, above[1:], above[2:]
    below_left, below_center, below_right = below, below[1:], below[2:]
    for j in range(out.size):
        m, down, across = center[j], rows[j], columns[j]
        alike = (down <= 0) == (across <= 0)
        steep, flat = abs(down), abs(across)
        # The gradient lies between an axis neighbor and a diagonal one; on a tie, scikit-image takes the column
        # neighbor if the signs are alike, else the row neighbor. Both directions of the gradient are looked at.
        is_steep = (steep > flat) | ((steep == flat) & (not alike))
        w = (flat if is_steep else steep) / (steep if is_steep else flat)
        before, after = above_center[j], below_center[j]
        near = (after if alike else before) if is_steep else right[j]
        far = (before if alike else after) if is_steep else left[j]
        ahead = below_right[j] if alike else above_right[j]
        behind = above_left[j] if alike else below_left[j]
        rest = 1.0 - w
        is_ridge = (m >= least) & (ahead * w + near * rest <= m) & (behind * w + far * rest <= m)
        out[j] = (1 + (m >= strong)) if is_ridge else 0


@compiled_lean
def ridges(
    rows: Any, columns: Any, magnitude: Any, least: float, strong: float, begin: Any, end: Any, out: Any
) -> None:
    """Write 1 for cells that are not exceeded on either side along their gradient, 2 for strong ones, 0 elsewhere.

    rows, columns: derivatives along axis 0 and 1. magnitude, out: with one cell more on each side; of `out`, u1, it is
    not written. least: lowest magnitude that counts; strong: lowest of a strong cell. begin, end: the cells, two
    indices each, outside of which nothing is kept.

    Between two neighbors the magnitude is interpolated. Types and order of operations are scikit-image's: in f4 a
    weight is f4, but its complement, and with it the second product and the sum, are f8.
    """
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            out[i + 1, j + 1] = 0
    first, last = begin[1], end[1]
    for i in range(begin[0], end[0]):
        above, amid, below = magnitude[i, first:], magnitude[i + 1, first:], magnitude[i + 2, first:]
        target = out[i + 1, first + 1 : last + 1]
        _thin(rows[i, first:], columns[i, first:], above, amid, below, least, strong, target)


@compiled
def _spread(cells: Any, top: int, stack: Any, width: int) -> int:
    """Turn weak cells connected to the first `top` of the stack, none of them at the edge; return how many. Local."""
    turned = 0
    while top:
        top -= 1
        center = stack[top]
        for row in (center - width, center, center + width):
            for at in (row - 1, row, row + 1):
                if cells[at] == 1:
                    cells[at] = 2
                    stack[top] = at
                    top += 1
                    turned += 1
    return turned


@compiled
def _enter(cells: Any, row: int, column: int, height: int, width: int, stack: Any) -> int:
    """Turn weak cells connected to a cell of the halo, if that is strong; return how many. Local."""
    if cells[row * width + column] != 2:
        return 0
    top = 0
    for i in range(max(row - 1, 1), min(row + 2, height - 1)):
        for j in range(max(column - 1, 1), min(column + 2, width - 1)):
            if cells[i * width + j] == 1:
                cells[i * width + j] = 2
                stack[top] = i * width + j
                top += 1
    return top + _spread(cells, top, stack, width)


@compiled
def flood(state: Any, stack: Any, is_new: bool) -> int:
    """Turn weak cells (1) that touch strong ones (2), corners included, into strong ones; return how many.

    state: u1, with one cell of halo on each side, in which weak cells are forgotten. stack: room for one index per
    cell. is_new: whether cells may touch others than those of the halo.
    """
    height, width = state.shape
    cells = state.reshape(-1)
    turned = 0
    for column in range(width):
        for edge in (column, (height - 1) * width + column):
            cells[edge] = 0 if cells[edge] == 1 else cells[edge]
    for row in range(height):
        for edge in (row * width, (row + 1) * width - 1):
            cells[edge] = 0 if cells[edge] == 1 else cells[edge]
    for column in range(width):
        turned += _enter(cells, 0, column, height, width, stack)
        turned += _enter(cells, height - 1, column, height, width, stack)
    for row in range(1, height - 1):
        turned += _enter(cells, row, 0, height, width, stack)
        turned += _enter(cells, row, width - 1, height, width, stack)
    if is_new:
        for row in range(1, height - 1):
            for at in range(row * width + 1, (row + 1) * width - 1):
                if cells[at] == 2:
                    stack[0] = at
                    turned += _spread(cells, 1, stack, width)
    return turned
