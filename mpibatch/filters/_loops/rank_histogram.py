"""Compiled order statistics over large windows of any footprint: a histogram that moves with the window.

It runs forth and back over the rows; each move costs the footprint's edge. The answer is tracked from cell to cell, so
that the search is short. The order statistics are exact, of small unsigned codes: what a tile's border is does not
matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["sliding_histogram"]

Array = Any


@compiled
def _move(
    codes: Array, came: int, arriving: Array, left: int, leaving: Array, fine: Array, coarse: Array, shift: int, at: int
) -> Any:
    """Take cells into and out of the histogram; return by how much the number of codes below `at` changed. Local."""
    below: Any = 0
    for offset in arriving:
        code = np.int64(codes[came + offset])
        fine[code] += 1
        coarse[code >> shift] += 1
        below += code < at
    for offset in leaving:
        code = np.int64(codes[left + offset])
        fine[code] -= 1
        coarse[code >> shift] -= 1
        below -= code < at
    return below


@compiled
def _find(fine: Array, coarse: Array, shift: int, rank: int, at: Any, below: Any) -> tuple[int, int]:
    """Return the code of given rank and how many are below it, starting from code `at` with `below`. Local."""
    step, mask = 1 << shift, (1 << shift) - 1
    while below > rank:
        if at & mask == 0:
            group = (at >> shift) - 1
            while below - coarse[group] > rank:
                below -= np.int64(coarse[group])
                at -= step
                group -= 1
        at -= 1
        below -= np.int64(fine[at])
    while below + fine[at] <= rank:
        below += np.int64(fine[at])
        at += 1
        if at & mask == 0:
            group = at >> shift
            while below + coarse[group] <= rank:
                below += np.int64(coarse[group])
                at += step
                group += 1
    return at, below


@compiled
def sliding_histogram(
    codes: Array,
    planes: Array,
    stride: int,
    inside: Array,
    edges: tuple[Array, Array, Array, Array],
    rank: int,
    bins: int,
    out: Array,
) -> None:
    """Write the codes (less than `bins`) of given `rank` in windows of any footprint. Local.

    The window of ``out[p, y, x]`` is ``codes[planes[p] + y * stride + x + offset]`` for the offsets `inside`.
    `edges` are those of its offsets that have no neighbor in the footprint to the left, to the right, above and
    below: what the window loses or gains when it moves.
    """
    leftmost, rightmost, topmost, lowest = edges
    shift = 6
    fine = np.zeros(bins + 1, np.int32)
    coarse = np.zeros((bins >> shift) + 2, np.int32)
    nothing = inside[:0]
    rows, length = out.shape[1:]
    for p in range(planes.size):
        position, at = planes[p], 0
        below = _move(codes, position, inside, position, nothing, fine, coarse, shift, at)
        for y in range(rows):
            forth = y % 2 == 0
            if y:
                below += _move(codes, position + stride, lowest, position, topmost, fine, coarse, shift, at)
                position += stride
            x = 0 if forth else length - 1
            for i in range(length):
                if i and forth:
                    below += _move(codes, position + 1, rightmost, position, leftmost, fine, coarse, shift, at)
                    position += 1
                    x += 1
                elif i:
                    below += _move(codes, position - 1, leftmost, position, rightmost, fine, coarse, shift, at)
                    position -= 1
                    x -= 1
                at, below = _find(fine, coarse, shift, rank, at, below)
                out[p, y, x] = at
        _move(codes, position, nothing, position, inside, fine, coarse, shift, 0)
