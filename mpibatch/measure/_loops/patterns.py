"""Compiled counts of how the cells of each label lie in windows of 2 x 2 (x 2) cells, and of steps along its border.

Cells of other labels are as good as none: each label is a picture of its own. A window belongs to its last cell, so
that on all ranks together each is counted once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.measure._loops.regions import place_of

__all__ = ["PLANE", "SPACE", "plane", "space"]

Array = Any
Int = Any
# Columns of counts: border cells of each weight, windows of each weight, and four (eight) times the Euler number.
STEPS, WINDOWS, EULER = 0, 3, 8
PLANE, SPACE = 9, 1
# Which weight a window counts with, by its cells: the last 1, above it 2, before it 4, above that 8. -1: none.
KINDS = np.array([-1, 0, 1, 2, -1, 0, -1, 1, 3, 4, 1, 1, 3, 4, -1, -1], np.int64)


@compiled
def _slot_of(keys: Array, slots: Array, labels: Array, label: Int, count: Int) -> Int:
    """Return which label this is; a new one becomes number `count`. Local."""
    place = place_of(keys, np.int64(label))
    if keys[place] == 0:
        keys[place] = label
        slots[place] = count
        labels[count] = label
    return slots[place]


@compiled
def _is_border(cells: Array, i: Int, j: Int) -> bool:
    """Whether a neighbor across a side is of another label. Local."""
    label = cells[i, j]
    return bool(
        cells[i - 1, j] != label or cells[i + 1, j] != label or cells[i, j - 1] != label or cells[i, j + 1] != label
    )


@compiled
def _step_of(cells: Array, i: Int, j: Int) -> Int:
    """Return which weight a border cell counts with, by the border cells of its label around it; -1: none. Local."""
    label = cells[i, j]
    near, far = 0, 0
    for y in range(i - 1, i + 2):
        for x in range(j - 1, j + 2):
            if cells[y, x] == label and (y != i or x != j) and _is_border(cells, y, x):
                if y == i or x == j:
                    near += 1
                else:
                    far += 1
    if (near == 2 or near == 3) and far <= 2:
        return 0
    if (near == 0 and far == 2) or (near == 1 and far == 3):
        return 1
    return 2 if near == 1 and (far == 1 or far == 2) else -1


@compiled
def plane(
    cells: Array, begin: Int, stop: Int, right: Int, bottom: Int, count: Int, keys: Array, slots: Array, labels: Array,
    counts: Array,
) -> tuple[Int, Int]:  # fmt: skip
    """Count rows from `begin` on, as long as there is room for new labels. Local.

    Returns the row that is next, and how many labels there are. `cells` have a halo of 2; owned ones end at row
    `bottom`, and windows at `stop` and `right`, one further at the end of the domain.
    """
    four = np.empty(4, np.int64)
    last = cells.shape[1] - 2
    for i in range(begin, stop):
        if count + 2 * cells.shape[1] > labels.shape[0]:
            return i, count
        for j in range(2, right):
            a, b, c, d = cells[i - 1, j - 1], cells[i - 1, j], cells[i, j - 1], cells[i, j]
            is_full = a == b and b == c and c == d
            if is_full and (d <= 0 or i >= bottom or j >= last or (cells[i + 1, j] == d and cells[i, j + 1] == d)):
                continue
            four[0], four[1], four[2], four[3] = d, b, c, a
            for k in range(4):
                label = four[k]
                if label <= 0:
                    continue
                is_again = False
                bits = 0
                for m in range(4):
                    if four[m] == label:
                        is_again |= m < k
                        bits |= 1 << m
                if is_again or bits == 15:
                    continue
                slot = _slot_of(keys, slots, labels, label, count)
                count += slot == count
                if KINDS[bits] >= 0:
                    counts[slot, WINDOWS + KINDS[bits]] += 1
                edges = ((bits & 10) != 0) + ((bits & 5) != 0) + ((bits & 12) != 0) + ((bits & 3) != 0)
                corners = (bits & 1) + (bits >> 1 & 1) + (bits >> 2 & 1) + (bits >> 3 & 1)
                counts[slot, EULER] += 4 - 2 * edges + corners
            if d > 0 and i < bottom and j < last and _is_border(cells, i, j):
                slot = _slot_of(keys, slots, labels, d, count)
                count += slot == count
                step = _step_of(cells, i, j)
                if step >= 0:
                    counts[slot, STEPS + step] += 1
    return stop, count


@compiled
def space(
    cells: Array, begin: Int, stops: Array, count: Int, keys: Array, slots: Array, labels: Array, counts: Array
) -> tuple[Int, Int]:
    """Count rows of windows from `begin` on, as `plane` does; `cells` have a halo of 1, windows end at `stops`. Local.

    Of the union of closed cubes: corners less edges plus sides less cubes, each shared by as many windows.
    """
    eight = np.empty(8, np.int64)
    rows = stops[1] - 1
    for row in range(begin, (stops[0] - 1) * rows):
        if count + 4 * cells.shape[2] > labels.shape[0]:
            return row, count
        z, y = 1 + row // rows, 1 + row % rows
        for x in range(1, stops[2]):
            differs = False
            for k in range(8):
                eight[k] = cells[z - (k >> 2), y - (k >> 1 & 1), x - (k & 1)]
                differs |= eight[k] != eight[0]
            if not differs:
                continue
            for k in range(8):
                label = eight[k]
                is_again = label <= 0
                for m in range(k):
                    is_again |= eight[m] == label
                if is_again:
                    continue
                slot = _slot_of(keys, slots, labels, label, count)
                count += slot == count
                amount = 8
                for axis in range(3):
                    bit = 1 << axis
                    for side in range(2):  # the edge on either side of the corner: four cubes around it
                        is_edge = False
                        for m in range(8):
                            is_edge |= (m & bit) == side * bit and eight[m] == label
                        amount -= 4 * is_edge
                    for m in range(8):  # sides between two cubes along the axis
                        if m & bit == 0:
                            amount += 2 * (eight[m] == label or eight[m | bit] == label)
                for m in range(8):
                    amount -= eight[m] == label
                counts[slot, 0] += amount
    return (stops[0] - 1) * rows, count
