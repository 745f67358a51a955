"""Components of one block, by runs: neighbouring cells of a row that belong together are taken as one.

Two passes with union-find (K. Wu, E. Otoo, K. Suzuki, "Optimizing two-pass connected-component labeling algorithms",
doi:10.1007/s10044-008-0109-y), of runs (L. He, Y. Chao, K. Suzuki, "A run-based two-scan labeling algorithm",
doi:10.1109/TIP.2008.919369). A set's name is the least label in it, and labels are given in raster order, so that sets
are named in raster order of their first cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["BINARY", "CELLS", "VALUES", "flatten", "relabel", "scan"]

Array = Any
Int = Any

# What a run is: neighbours that are not zero, neighbours of one value, or a cell alone (where a structure does not join
# neighbours within a row).
BINARY, VALUES, CELLS = 0, 1, 2


@compiled
def find(parent: Array, label: Int) -> Int:
    """Return the name of a label's set, and shorten the way to it. Local."""
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return label


@compiled
def unite(parent: Array, a: Int, b: Int) -> Int:
    """Unite the sets of two labels; return the name of the union. Local."""
    a = find(parent, a)
    b = find(parent, b)
    if a < b:
        parent[b] = a
        return a
    parent[a] = b
    return b


@compiled
def cut(row: Array, kind: Int, begins: Array, ends: Array) -> Int:
    """Write where the runs of a row begin and end; return how many there are. Local."""
    n = row.shape[0]
    count = 0
    if kind == BINARY:
        # Without branches: random cells would mislead the processor at every other one.
        before = False
        closed = 0
        for x in range(n):
            now = row[x] != 0
            begins[count] = x
            count += now and not before
            ends[closed] = x
            closed += before and not now
            before = now
        if before:
            ends[closed] = n
    elif kind == VALUES:
        for x in range(n):
            if row[x] != 0:
                if x > 0 and row[x] == row[x - 1]:
                    ends[count - 1] = x + 1
                else:
                    begins[count] = x
                    ends[count] = x + 1
                    count += 1
    else:
        for x in range(n):
            if row[x] != 0:
                begins[count] = x
                ends[count] = x + 1
                count += 1
    return count


@compiled
def join(
    begins: Array, ends: Array, labels: Array, count: Int,
    begins_there: Array, ends_there: Array, labels_there: Array, count_there: Int,
    low: Int, high: Int, row: Array, row_there: Array, by_value: Int, parent: Array,
) -> None:  # fmt: skip
    """Unite the runs of a row with those of an earlier one of which a cell lies `low` to `high` beside theirs. Local.

    The label of a run that had none, 0, becomes that of the first which it meets.
    """
    q = 0
    for r in range(count):
        begin = begins[r] + low
        end = ends[r] + high
        while q < count_there and ends_there[q] <= begin:
            q += 1
        t = q
        while t < count_there and begins_there[t] < end:
            if by_value == 0 or row[begins[r]] == row_there[begins_there[t]]:
                label = labels[r]
                other = labels_there[t]
                if label == 0:
                    labels[r] = other
                elif label != other:
                    labels[r] = unite(parent, label, other)
            t += 1


@compiled
def fill(out: Array, begins: Array, ends: Array, labels: Array, count: Int) -> None:
    """Write the labels of a row's runs to its cells. Local."""
    n = out.shape[0]
    x = 0
    for r in range(count):
        while x < begins[r]:
            out[x] = 0
            x += 1
        label = labels[r]
        while x < ends[r]:
            out[x] = label
            x += 1
    while x < n:
        out[x] = 0
        x += 1


@compiled
def scan(
    flat: Array, outer: Array, strides: Array, n: Int, steps: Array, kind: Int, by_value: Int, out: Array,
    parent: Array, first: Array, begins: Array, ends: Array, labels: Array, counts: Array, bases: Array,
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
    begins, ends, labels, counts, bases : for the last rows, as many as steps reach back, what is known of their runs.
    """
    window = begins.shape[0]
    last = np.int64(0)
    row = 0
    for i in range(outer[0]):
        for j in range(outer[1]):
            for k in range(outer[2]):
                slot = row % window
                base = i * strides[0] + j * strides[1] + k * strides[2]
                cells = flat[base : base + n]
                count = cut(cells, kind, begins[slot], ends[slot])
                counts[slot] = count
                bases[slot] = base
                labels[slot, :count] = 0
                for s in range(steps.shape[0]):
                    there_i, there_j, there_k = i + steps[s, 0], j + steps[s, 1], k + steps[s, 2]
                    if there_i < 0 or there_j < 0 or there_j >= outer[1] or there_k < 0 or there_k >= outer[2]:
                        continue
                    there = ((there_i * outer[1] + there_j) * outer[2] + there_k) % window
                    base = bases[there]
                    join(
                        begins[slot], ends[slot], labels[slot], count,
                        begins[there], ends[there], labels[there], counts[there],
                        steps[s, 3], steps[s, 4], cells, flat[base : base + n], by_value, parent,
                    )  # fmt: skip
                for r in range(count):
                    if labels[slot, r] == 0:
                        last += 1
                        parent[last] = last
                        first[last] = np.int64(row) * n + begins[slot, r]
                        labels[slot, r] = last
                fill(out[row], begins[slot], ends[slot], labels[slot], count)
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
            parent[label] = parent[parent[label]]
    return sets


@compiled
def relabel(out: Array, table: Array) -> None:
    """Put what the table says in the place of each label. Local."""
    for i in range(out.shape[0]):
        out[i] = table[out[i]]
