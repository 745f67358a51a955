"""Compiled passes of exact squared distances, in whole numbers, along one axis of a block in C order.

Blocks are seen as (outer, cells along the axis, inner): a *column* is one line along the axis. All arithmetic is exact,
so that any algorithm gives the same numbers; which is the fastest depends on how far the nearest background is.

- Near: a row of 64 neighboring columns takes the least of its own cells and of those 1, 2, 3, … away plus the square
  of that, until the square exceeds all that it has: a few vector operations for each step of distance.
- Far: each column alone by its lower envelope of parabolas (Maurer, Qi and Raghavan 2003,
  doi:10.1109/TPAMI.2003.1177156), in time proportional to the cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled, compiled_lean

__all__ = ["envelopes", "first_and_last", "nearest_on_line", "roots", "squares"]

Array = Any
WIDE = 64  # columns of a tile
NEAR = 64  # steps after which a tile counts as far


@compiled
def first_and_last(inside: Array, start: int, first: Array, last: Array) -> None:
    """Write the global places of the first and the last background cell of each column; negative: none. Local."""
    outer, length, inner = inside.shape
    for o in range(outer):
        for i in range(length):
            row = inside[o, i]
            for x in range(inner):
                last[o, x] = last[o, x] if row[x] else start + i
        for i in range(length - 1, -1, -1):
            row = inside[o, i]
            for x in range(inner):
                first[o, x] = first[o, x] if row[x] else start + i


@compiled
def _nearest_in_row(inside: Array, start: int, before: int, after: int, out: Array) -> None:
    """`nearest_on_line` for columns whose cells lie behind one another. Local."""
    latest: Any = np.int64(before)
    for i in range(inside.size):
        latest = latest if inside[i] else start + i
        out[i] = latest
    latest = np.int64(after)
    for i in range(inside.size - 1, -1, -1):
        place, lower = start + i, np.int64(out[i])
        latest = latest if inside[i] else place
        if latest >= 0 and (lower < 0 or latest - place < place - lower):
            out[i] = latest


@compiled
def nearest_on_line(inside: Array, start: int, before: Array, after: Array, out: Array) -> None:
    """Write the global place of the nearest background cell of the column, the lower of two; negative: none. Local.

    `before` and `after` are the nearest ones outside the block, negative where there is none.
    """
    outer, length, inner = inside.shape
    if inner == 1:
        for o in range(outer):
            _nearest_in_row(inside[o, :, 0], start, before[o, 0], after[o, 0], out[o, :, 0])
        return
    latest = np.empty(inner, out.dtype)
    for o in range(outer):
        for x in range(inner):
            latest[x] = before[o, x]
        for i in range(length):
            cells, row = inside[o, i], out[o, i]
            for x in range(inner):
                if not cells[x]:
                    latest[x] = start + i
                row[x] = latest[x]
        for x in range(inner):
            latest[x] = after[o, x]
        for i in range(length - 1, -1, -1):
            cells, row = inside[o, i], out[o, i]
            place = start + i
            for x in range(inner):
                if not cells[x]:
                    latest[x] = place
                lower, upper = np.int64(row[x]), np.int64(latest[x])
                if upper >= 0 and (lower < 0 or upper - place < place - lower):
                    row[x] = upper


@compiled
def squares(places: Array, start: int, far: int) -> None:
    """Replace places on the column by the square of the distance to them, and negative ones by `far`. Local."""
    outer, length, inner = places.shape
    for o in range(outer):
        for i in range(length):
            row = places[o, i]
            for x in range(inner):
                away = np.int64(row[x]) - (start + i)
                row[x] = far if row[x] < 0 else away * away


@compiled
def _fetch(flat: Array, bases: Array, stride: int, length: int, tile: Array) -> None:
    """Copy columns that begin at `bases` into the tile, whose rows are cells of equal place. Local."""
    count = bases.size
    if bases[count - 1] - bases[0] == count - 1:
        for i in range(length):
            source, row = flat[bases[0] + i * stride : bases[0] + i * stride + count], tile[NEAR + i]
            for c in range(count):
                row[c] = source[c]
    else:
        for c in range(count):
            column = flat[bases[c] : bases[c] + (length - 1) * stride + 1 : stride]
            for i in range(length):
                tile[NEAR + i, c] = column[i]


@compiled
def _is_near(cells: Array, at: int, stride: int, length: int, best: Array) -> bool:
    """Write the least of each cell's neighbors on the column plus squares; False if one has them too far off. Local.

    The cells are those from `at` on, as many as `best` has, and the next ones on their columns a `stride` away.
    """
    count = best.size
    most = cells[at]
    for c in range(count):
        best[c] = cells[at + c]
        most = max(most, best[c])
    step = 1
    while np.int64(step) * step < most and step < length:
        if step + 1 >= NEAR:
            return False
        near, more = step * step, (step + 1) * (step + 1)
        away, further = step * stride, (step + 1) * stride
        low, high = cells[at - away : at - away + count], cells[at + away : at + away + count]
        lower, higher = cells[at - further : at - further + count], cells[at + further : at + further + count]
        most = best[0]
        for c in range(count):
            a, b = low[c], high[c]
            a = b if b < a else a
            d, e = lower[c], higher[c]
            d = e if e < d else d
            value = best.dtype.type(a + near)
            other = best.dtype.type(d + more)
            value = other if other < value else value
            value = best[c] if best[c] < value else value
            best[c] = value
            most = value if value > most else most
        step += 2
    return True


@compiled
def _are_near(tile: Array, flat: Array, bases: Array, stride: int, length: int, best: Array) -> bool:
    """`_is_near` for the columns of a tile. Local."""
    count = bases.size
    joined = bases[count - 1] - bases[0] == count - 1
    cells = tile.reshape(-1)
    for i in range(length):
        if not _is_near(cells, (NEAR + i) * WIDE, WIDE, length, best):
            return False
        if joined:
            row = flat[bases[0] + i * stride : bases[0] + i * stride + count]
            for c in range(count):
                row[c] = best[c]
        else:
            for c in range(count):
                flat[bases[c] + i * stride] = best[c]
    return True


@compiled
def _envelope(line: Array, stack: Array, far: int) -> int:
    """Put the places of the parabolas that are lowest somewhere on the line onto the stack; return how many. Local."""
    top = -1
    for i in range(line.size):
        if line[i] >= far:
            continue
        while top >= 1:
            middle, low = stack[top], stack[top - 1]
            a, b = middle - low, i - middle
            # Nowhere lowest, if it is above the crossing of its neighbors.
            if (a + b) * line[middle] - b * line[low] - a * line[i] - a * b * (a + b) <= 0:
                break
            top -= 1
        top += 1
        stack[top] = i
    return top + 1


@compiled
def _lower(line: Array, stack: Array, far: int, out: Array) -> None:
    """Write the lower envelope of the parabolas of a column. Local."""
    count = _envelope(line, stack, far)
    if not count:
        return
    at, site = 0, stack[0]
    for i in range(line.size):
        value = line[site] + (i - site) * (i - site)
        while at + 1 < count:
            following = stack[at + 1]
            other = line[following] + (i - following) * (i - following)
            if value <= other:
                break
            at += 1
            site, value = following, other
        out[i] = value


@compiled
def _rows(cells: Array, far: int) -> None:
    """`envelopes` of columns whose cells lie behind one another, (columns, cells). Local."""
    rows, length = cells.shape
    padded = np.full(length + 2 * NEAR, far, cells.dtype)
    best = np.empty(min(WIDE, length), cells.dtype)
    line, stack = np.empty(length, np.int64), np.empty(length, np.int64)
    for r in range(rows):
        row = cells[r]
        for i in range(length):
            padded[NEAR + i] = row[i]
        for begin in range(0, length, WIDE):
            first = min(begin, length - best.size)
            if not _is_near(padded, NEAR + first, 1, length, best):
                for i in range(length):
                    line[i] = padded[NEAR + i]
                _lower(line, stack, far, row)
                break
            for i in range(best.size):
                row[first + i] = best[i]


@compiled
def envelopes(cells: Array, far: int) -> None:
    """Replace each cell by the least, over its column, of a cell plus the square of the distance to it. Local.

    `far` stands for infinity: `far` plus the square of the column's length is a number of the cells' type.
    """
    outer, length, inner = cells.shape
    if inner == 1:
        _rows(cells[:, :, 0], far)
        return
    flat = cells.reshape(-1)
    tile = np.full((length + 2 * NEAR, WIDE), far, cells.dtype)
    best = np.empty(WIDE, cells.dtype)
    bases = np.empty(WIDE, np.int64)
    line, stack = np.empty(length, np.int64), np.empty(length, np.int64)
    # Many columns behind one another in memory, if there are; else those of several planes.
    columns = outer * inner
    column = 0
    while column < columns:
        room = inner - column % inner if inner >= WIDE else columns - column
        count = min(WIDE, room)
        for c in range(count):
            bases[c] = (column + c) // inner * length * inner + (column + c) % inner
        if count < WIDE:
            tile[NEAR : NEAR + length, count:] = 0
        _fetch(flat, bases[:count], inner, length, tile)
        if not _are_near(tile, flat, bases[:count], inner, length, best):
            for c in range(count):
                for i in range(length):
                    line[i] = tile[NEAR + i, c]
                _lower(line, stack, far, flat[bases[c] : bases[c] + (length - 1) * inner + 1 : inner])
        column += count


@compiled_lean
def roots(squared: Array, far: int, out: Array) -> None:
    """Write the square roots of `squared`, of one dimension; infinity for `far`. Local."""
    for i in range(out.size):
        out[i] = np.sqrt(np.float64(squared[i])) if squared[i] < far else np.inf
