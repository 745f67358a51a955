"""Compiled copies between a buffer and rows of a few words (numba)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled, told_apart

__all__ = ["move", "pack", "unpack"]


# Unsigned indices, since numba would look at every signed one for wrap-around. Rows of 4 words, the halo of an
# 8th-order stencil, are written out: a loop over a few words costs more than the words.
@told_apart  # a buffer is nobody's field
@compiled
def _copy_rows(
    target: Any,
    source: Any,
    outer: int,
    target_outer: int,
    source_outer: int,
    inner: int,
    target_inner: int,
    source_inner: int,
    row: int,
) -> None:
    words = np.uint64(row)
    for i in range(np.uint64(outer)):
        first, begin = np.uint64(i) * np.uint64(target_outer), np.uint64(i) * np.uint64(source_outer)
        if words == np.uint64(4):
            for j in range(np.uint64(inner)):
                t = first + np.uint64(j) * np.uint64(target_inner)
                s = begin + np.uint64(j) * np.uint64(source_inner)
                target[t] = source[s]
                target[t + np.uint64(1)] = source[s + np.uint64(1)]
                target[t + np.uint64(2)] = source[s + np.uint64(2)]
                target[t + np.uint64(3)] = source[s + np.uint64(3)]
        else:
            for j in range(np.uint64(inner)):
                t = first + np.uint64(j) * np.uint64(target_inner)
                s = begin + np.uint64(j) * np.uint64(source_inner)
                for k in range(words):
                    target[t + np.uint64(k)] = source[s + np.uint64(k)]


@compiled
def pack(face: Any, buffer: Any, outer: int, outer_stride: int, inner: int, inner_stride: int, row: int) -> None:
    """Fill `buffer` from rows of `row` words of `face`. Local."""
    _copy_rows(buffer, face, outer, inner * row, outer_stride, inner, row, inner_stride, row)


@compiled
def unpack(face: Any, buffer: Any, outer: int, outer_stride: int, inner: int, inner_stride: int, row: int) -> None:
    """Fill rows of `row` words of `face` from `buffer`. Local."""
    _copy_rows(face, buffer, outer, outer_stride, inner * row, inner, inner_stride, row, row)


@compiled
def move(
    target: Any,
    source: Any,
    outer: int,
    target_outer: int,
    source_outer: int,
    inner: int,
    target_inner: int,
    source_inner: int,
    row: int,
    first: int,
    step: int,
) -> None:
    """Fill rows of `row` words from others, from their word `first` on by `step` (1, 0 or -1). Local."""
    words = np.uint64(row)
    for i in range(np.uint64(outer)):
        for j in range(np.uint64(inner)):
            t = np.uint64(i) * np.uint64(target_outer) + np.uint64(j) * np.uint64(target_inner)
            s = np.uint64(i) * np.uint64(source_outer) + np.uint64(j) * np.uint64(source_inner) + np.uint64(first)
            if words == np.uint64(4):
                # All read before any is written: the two may, for all the compiler knows, be the same memory.
                a, b = source[s], source[s + np.uint64(step)]
                c, d = source[s + np.uint64(2 * step)], source[s + np.uint64(3 * step)]
                target[t] = a
                target[t + np.uint64(1)] = b
                target[t + np.uint64(2)] = c
                target[t + np.uint64(3)] = d
            else:
                for k in range(words):
                    target[t + np.uint64(k)] = source[s + np.uint64(k) * np.uint64(step)]
