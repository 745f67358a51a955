"""Tridiagonal systems, one for each line, by elimination without pivots (L. H. Thomas, 1949)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["solve_lines"]

Array = Any


@compiled
def solve_lines(
    lower: Array, diagonal: Array, upper: Array, shifts: Array, widths: Array, is_singular: bool, values: Array
) -> None:
    """Solve the systems of lines along the second of three axes in place, with a shift of the diagonal for each. Local.

    If it is singular where the shift is 0, the mean by widths of that right-hand side is left out, and that of the
    solution is 0.
    """
    rows, cells, columns = values.shape
    kept = np.empty((cells, columns))
    for row in range(rows):
        if is_singular:
            for column in range(columns):
                if shifts[row, column] == 0.0:
                    _center(widths, values[row, :, column])
        for column in range(columns):
            shift = shifts[row, column]
            if is_singular and shift == 0.0:
                # The first value is free, and so 0 for now.
                kept[0, column] = 0.0
                values[row, 0, column] = 0.0
            else:
                pivot = diagonal[0] + shift
                kept[0, column] = upper[0] / pivot
                values[row, 0, column] /= pivot
        for i in range(1, cells):
            for column in range(columns):
                pivot = diagonal[i] + shifts[row, column] - lower[i] * kept[i - 1, column]
                kept[i, column] = upper[i] / pivot
                values[row, i, column] = (values[row, i, column] - lower[i] * values[row, i - 1, column]) / pivot
        for i in range(cells - 2, -1, -1):
            for column in range(columns):
                values[row, i, column] -= kept[i, column] * values[row, i + 1, column]
        if is_singular:
            for column in range(columns):
                if shifts[row, column] == 0.0:
                    _center(widths, values[row, :, column])


@compiled
def _center(widths: Array, line: Array) -> None:
    total, length = 0.0, 0.0
    for i in range(line.size):
        total += widths[i] * line[i]
        length += widths[i]
    for i in range(line.size):
        line[i] -= total / length
