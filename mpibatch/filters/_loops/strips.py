"""Lines of cells, loaded as f64 into a small buffer and stored back: what the one-dimensional loops share.

A line is ``lo`` (cells before the block), the block, ``hi`` (cells after it). It is taken in tiles: rows along the
filtered axis, each of some adjacent *lanes*, cells of lines that lie side by side. In the buffer a neighbor k rows
away is ``k * width`` places away, whatever the axis.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mpibatch.base.compiled import compiled, is_interpreted, loaded_numba

__all__ = ["F8", "Strip", "aligned", "cast", "load_line", "store_rows"]

F8 = Any  # a one-dimensional array of f64


class Strip(NamedTuple):
    """Cells in a flat array: lane c of row r of plane o is at start + o * outer + r * row + c * lane."""

    cells: Any
    start: int
    outer: int
    row: int
    lane: int
    rows: int


def cast(value: float, like: Any) -> Any:
    """Return the f64 `value` as the type of the array `like`, rounded toward zero, wrapped as C does on x86. Local.

    Compiled code has its own; this one is for rehearsals, which keep no values.
    """
    with np.errstate(all="ignore"):
        return np.float64(value).astype(like.dtype)


def _cast(value: Any, like: Any) -> Any:
    from numba import types

    kind = like.dtype
    if not isinstance(kind, types.Integer):
        return lambda value, like: like.dtype.type(value)
    if kind == types.uint64:
        return _to_uint64
    # C converts to the next signed type that the processor knows, then drops bits; so negatives wrap.
    via = np.int64 if kind.bitwidth == 64 or kind == types.uint32 else np.int32
    return lambda value, like: like.dtype.type(via(value))


def _to_uint64(value: Any, like: Any) -> Any:
    high = value >= 9223372036854775808.0
    low = np.uint64(np.int64(value - 9223372036854775808.0 if high else value))
    return low ^ (np.uint64(high) << np.uint64(63))


if not is_interpreted():
    loaded_numba()[0].extending.overload(cast, strict=False)(_cast)


@compiled
def aligned(count: int) -> F8:
    """Return undefined f64 from the start of a cache line on: else every vector of 64 bytes lies in two. Local."""
    memory = np.empty(count + 8, np.float64)
    skip = (64 - memory.ctypes.data % 64) % 64 // 8
    return memory[skip : skip + count]


@compiled
def _load(buf: F8, at: int, strip: Strip, outer: int, lane: int, first: int, rows: int, width: int) -> None:
    """Copy `width` lanes of `rows` rows from row `first` of a strip to buf[at:], as f64."""
    start = strip.start + outer * strip.outer + first * strip.row + lane * strip.lane
    row, step, cells = strip.row, strip.lane, strip.cells
    if step == 1 and row == width:
        rows, width = 1, rows * width
    for _ in range(rows):
        target = buf[at : at + width]
        if step == 1:
            source = cells[start : start + width]
            for p in range(width):
                target[p] = source[p]
        else:
            for p in range(width):
                target[p] = cells[start + p * step]
        start += row
        at += width


@compiled
def store_rows(acc: F8, strip: Strip, outer: int, lane: int, first: int, rows: int, width: int) -> None:
    """Copy `width` lanes of `rows` rows from `acc` to a strip from its row `first` on, cast as C does."""
    start = strip.start + outer * strip.outer + first * strip.row + lane * strip.lane
    row, step, cells = strip.row, strip.lane, strip.cells
    at = 0
    if step == 1 and row == width:
        rows, width = 1, rows * width
    for _ in range(rows):
        source = acc[at : at + width]
        if step == 1:
            target = cells[start : start + width]
            for p in range(width):
                target[p] = cast(source[p], cells)
        else:
            for p in range(width):
                cells[start + p * step] = cast(source[p], cells)
        start += row
        at += width


@compiled
def load_line(buf: F8, at: int, first: int, last: int, line: Any, outer: int, lane: int, width: int) -> None:
    """Load the rows first … last - 1 of the line lo + block + hi (row 0 is lo's first) to buf[at:]."""
    lo, block, hi = line
    before, through = lo.rows, lo.rows + block.rows
    stop = min(last, before)
    if first < stop:
        _load(buf, at, lo, outer, lane, first, stop - first, width)
        at += (stop - first) * width
        first = stop
    stop = min(last, through)
    if first < stop:
        _load(buf, at, block, outer, lane, first - before, stop - first, width)
        at += (stop - first) * width
        first = stop
    if first < last:
        _load(buf, at, hi, outer, lane, first - through, last - first, width)
