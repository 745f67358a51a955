"""Components of one block, by runs: neighboring cells of a row that belong together are taken as one.

Two passes with union-find (K. Wu, E. Otoo, K. Suzuki, "Optimizing two-pass connected-component labeling algorithms",
doi:10.1007/s10044-008-0109-y), of runs (L. He, Y. Chao, K. Suzuki, "A run-based two-scan labeling algorithm",
doi:10.1109/TIP.2008.919369). A set's name is the least label in it, and labels are given in raster order, so that sets
are named in raster order of their first cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["BINARY", "CELLS", "VALUES", "flatten", "fold", "relabel", "scan", "select", "tally"]

Array = Any
Int = Any
# Indices that are loaded are made unsigned: the compiler would else count negative ones from the end, at a price.

# What a run is: neighbors that are not zero, neighbors of one value, or a cell alone (where a structure does not join
# neighbors within a row).
BINARY, VALUES, CELLS = 0, 1, 2


@compiled
def find(parent: Array, label: Int) -> Int:
    """Return the name of a label's set, and shorten the way to it. Local."""
    at = np.uint64(label)
    above = np.uint64(parent[at])
    while above != at:
        parent[at] = parent[above]
        at = above
        above = np.uint64(parent[at])
    return np.int64(at)


@compiled
def unite(parent: Array, a: Int, b: Int) -> Int:
    """Unite the sets of two labels; return the name of the union. Local."""
    a = find(parent, a)
    b = find(parent, b)
    low, high = min(a, b), max(a, b)
    parent[np.uint64(high)] = low
    return low


@compiled
def cut(row: Array, kind: Int, edges: Array, turns: Array) -> Int:
    """Write where the runs of a row begin and end, in turn; return how many there are. Local.

    `turns` gets, for each cell and the end of the row, how many of these come before or with it: half of it, rounded
    down, is the run that a cell is in, or else the next one. Behind the last run is one that begins where none can.
    """
    n = row.shape[0]
    count: Int = 0
    if kind == BINARY:
        # Without branches: random cells would mislead the processor at every other one.
        before = False
        turn = np.uint64(0)
        for x in range(n):
            now = row[x] != 0
            edges[turn] = x
            turn += np.uint64(now != before)
            turns[x] = turn
            before = now
        edges[turn] = n
        count = np.int64(turn + np.uint64(1)) // 2
    else:
        for x in range(n):
            begins = row[x] != 0 and (x == 0 or kind == CELLS or row[x] != row[x - 1])
            if x > 0 and row[x - 1] != 0 and (begins or row[x] == 0):
                edges[2 * count - 1] = x
            if begins:
                edges[2 * count] = x
                count += 1
            turns[x] = 2 * count - 1 if row[x] != 0 else 2 * count
        if row[n - 1] != 0:
            edges[2 * count - 1] = n
    turns[n] = 2 * count
    edges[2 * count] = n + 2
    return count


@compiled
def join(
    edges: Array, labels: Array, count: Int, edges_there: Array, labels_there: Array, turns_there: Array,
    low: Int, high: Int, row: Array, row_there: Array, by_value: Int, parent: Array,
) -> None:  # fmt: skip
    """Unite the runs of a row with those of an earlier one of which a cell lies `low` to `high` beside theirs. Local.

    The label of a run that had none, 0, becomes that of the first which it meets.
    """
    for r in range(count):
        begin = np.int64(edges[2 * r])
        end = np.int64(edges[2 * r + 1]) + high
        label = np.int64(labels[r])
        t = np.uint64(turns_there[np.uint64(max(begin + low, 0))]) >> np.uint64(1)
        while edges_there[t << np.uint64(1)] < end:
            if by_value == 0 or row[np.uint64(begin)] == row_there[np.uint64(edges_there[t << np.uint64(1)])]:
                other = np.int64(labels_there[t])
                if label == 0:
                    label = other
                elif label != other:
                    label = unite(parent, label, other)
                    labels_there[t] = label
            t += np.uint64(1)
        labels[r] = label


@compiled
def fill(out: Array, edges: Array, labels: Array, count: Int, line: Array) -> None:
    """Write the labels of a row's runs to its cells, by way of a line with room for some more. Local."""
    n = out.shape[0]
    line[:] = 0
    for r in range(count):
        begin, end, label = np.uint64(edges[2 * r]), np.uint64(edges[2 * r + 1]), labels[r]
        # Most runs of noise are short: always four cells, and what was too much is taken back.
        for x in range(4):
            line[begin + np.uint64(x)] = label
        if end > begin + np.uint64(4):
            line[np.int64(begin) + 4 : np.int64(end)] = label
        for x in range(4):
            line[end + np.uint64(x)] = 0
    for x in range(n):
        out[x] = line[x]


@compiled
def scan(
    flat: Array, outer: Array, strides: Array, n: Int, steps: Array, kind: Int, by_value: Int, out: Array,
    parent: Array, first: Array, edges: Array, turns: Array, labels: Array, line: Array,
) -> Int:  # fmt: skip
    """Write provisional labels of the cells that are not zero to `out`; return how many there are. Local.

    Parameters
    ----------
    flat, outer, strides, n : rows of `n` cells; row (i, j, k) begins at their product with `strides` in `flat`.
    steps : for each earlier row that the structure reaches its three offsets, and the least and the greatest offset
        within it.
    kind, by_value : what a run is, and whether runs are only joined if their values are equal.
    out : labels, a row each.
    parent, first : for each label, from 1, a lesser one of the same set, and the number of its first cell in the block.
    edges, turns, labels : for the last rows, as many as steps reach back, what is known of their runs (see `cut`).
    line : room for a row, and four cells more.
    """
    window = edges.shape[0]
    last = np.int64(0)
    row = 0
    for i in range(outer[0]):
        for j in range(outer[1]):
            for k in range(outer[2]):
                slot = row % window
                base = i * strides[0] + j * strides[1] + k * strides[2]
                cells = flat[base : base + n]
                count = cut(cells, kind, edges[slot], turns[slot])
                labels[slot, :count] = 0
                for s in range(steps.shape[0]):
                    there_i, there_j, there_k = i + steps[s, 0], j + steps[s, 1], k + steps[s, 2]
                    if there_i < 0 or there_j < 0 or there_j >= outer[1] or there_k < 0 or there_k >= outer[2]:
                        continue
                    there = ((there_i * outer[1] + there_j) * outer[2] + there_k) % window
                    base = there_i * strides[0] + there_j * strides[1] + there_k * strides[2]
                    join(
                        edges[slot], labels[slot], count, edges[there], labels[there], turns[there],
                        steps[s, 3], steps[s, 4], cells, flat[base : base + n], by_value, parent,
                    )  # fmt: skip
                for r in range(count):
                    if labels[slot, r] == 0:
                        last += 1
                        parent[last] = last
                        first[last] = np.int64(row) * n + edges[slot, 2 * r]
                        labels[slot, r] = last
                fill(out[row], edges[slot], labels[slot], count, line)
                row += 1
    return last


@compiled
def flatten(parent: Array, first: Array, count: Int) -> Int:
    """Number the sets from 1 in raster order: `parent` gets each label's, `first` each set's first cell. Local."""
    sets = np.int64(0)
    for label in range(1, count + 1):
        if parent[label] == label:
            sets += 1
            first[sets] = first[label]
            parent[label] = sets
        else:
            parent[label] = parent[np.uint64(parent[label])]
    return sets


@compiled
def relabel(out: Array, table: Array) -> None:
    """Put what the table says in the place of each label. Local."""
    for i in range(out.shape[0]):
        out[i] = table[np.uint64(out[i])]


@compiled
def tally(labels: Array, counts: Array) -> None:
    """Count the cells of each label. Local."""
    for i in range(labels.shape[0]):
        counts[np.uint64(labels[i])] += 1


@compiled
def fold(parent: Array, values: Array, sums: Array) -> None:
    """Add up what is known of labels for the sets that they are in. Local."""
    for label in range(parent.shape[0]):
        sums[np.uint64(parent[label])] += values[label]


@compiled
def select(labels: Array, chosen: Array, out: Array) -> None:
    """Write whether each cell's label is chosen. Local."""
    for i in range(labels.shape[0]):
        out[i] = chosen[np.uint64(labels[i])]
