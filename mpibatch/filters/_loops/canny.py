"""Compiled steps of Canny's detector: thin the gradient magnitude to ridges, and follow strong edges."""

from __future__ import annotations

from typing import Any

from mpibatch.base.compiled import compiled

__all__ = ["flood", "ridges"]


@compiled
def ridges(rows: Any, columns: Any, magnitude: Any, least: Any, begin: Any, end: Any, out: Any) -> None:
    """Keep the magnitude of cells that are not exceeded on either side along their gradient; 0 elsewhere.

    rows, columns: derivatives along axis 0 and 1, as `out`. magnitude: with one cell more on each side. least: lowest
    magnitude that counts. begin, end: the cells, two indices each, outside of which nothing is kept.

    Between two neighbors the magnitude is interpolated. Types and order of operations are scikit-image's: in f4 a
    weight is f4, but its complement, and with it the second product and the sum, are f8.
    """
    out[:] = 0
    for i in range(begin[0], end[0]):
        for j in range(begin[1], end[1]):
            m = magnitude[i + 1, j + 1]
            if not m >= least:
                continue
            down, across = rows[i, j], columns[i, j]
            alike = (down <= 0) == (across <= 0)
            steep, flat = abs(down), abs(across)
            side = 1 if alike else -1
            # The gradient lies between an axis neighbor and a diagonal one; on a tie, scikit-image takes the column
            # neighbor if the signs are alike, else the row neighbor. Both directions of the gradient are looked at.
            if steep > flat if alike else not steep < flat:
                w = flat / steep
                near, far = magnitude[i + 1 + side, j + 1], magnitude[i + 1 - side, j + 1]
            else:
                w = steep / flat
                near, far = magnitude[i + 1, j + 2], magnitude[i + 1, j]
            ahead, behind = magnitude[i + 1 + side, j + 2], magnitude[i + 1 - side, j]
            if ahead * w + near * (1.0 - w) <= m and behind * w + far * (1.0 - w) <= m:
                out[i, j] = m


@compiled
def flood(state: Any, stack: Any) -> int:
    """Turn weak cells (1) that touch strong ones (2), corners included, into strong ones; return how many.

    state: u1, with one cell of halo on each side, which is read but not changed. stack: room for one index per cell.
    """
    height, width = state.shape
    turned = 0
    for start in range(state.size):
        if state[start // width, start % width] != 2:
            continue
        stack[0] = start
        top = 1
        while top:
            top -= 1
            row, column = stack[top] // width, stack[top] % width
            for i in range(max(row - 1, 1), min(row + 2, height - 1)):
                for j in range(max(column - 1, 1), min(column + 2, width - 1)):
                    if state[i, j] == 1:
                        state[i, j] = 2
                        stack[top] = i * width + j
                        top += 1
                        turned += 1
    return turned
