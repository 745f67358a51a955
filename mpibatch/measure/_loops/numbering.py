"""Counts and numbers of first cells by row. They are in raster order: rows are walked along, not divided out."""

from __future__ import annotations

from typing import Any

from mpibatch.base.compiled import compiled

__all__ = ["count_rows", "number_rows", "rename"]

Array = Any
Int = Any


@compiled
def count_rows(first: Array, chosen: Array, n: Int, counts: Array) -> None:
    """Count the chosen cells of each row of `n`. Local."""
    row, end = 0, n
    for i in range(first.shape[0]):
        while first[i] >= end:
            row += 1
            end += n
        if chosen[i]:
            counts[row] += 1


@compiled
def number_rows(first: Array, chosen: Array, n: Int, before: Array, numbers: Array) -> None:
    """Number the chosen cells: one more than the last in their row, from those before the row on. Local."""
    row, end, last = 0, n, before[0] if before.shape[0] > 0 else 0
    for i in range(first.shape[0]):
        while first[i] >= end:
            row += 1
            end += n
            last = before[row]
        if chosen[i]:
            last += 1
            numbers[i] = last


@compiled
def rename(names: Array, table: Array) -> None:
    """Put what the table says in the place of each name. Local."""
    for i in range(names.shape[0]):
        names[i] = table[names[i]]
