"""Copy strided faces to and from message buffers.

NumPy copies long rows and single columns at the speed of memory; faces that are a few cells thick along the
last axis cost it a loop per row, which a compiled loop does three to four times faster.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["copier"]

Array = npt.NDArray[Any]

# Rows of 2 to SHORT_ROW words are left to the compiled loop, once there are enough of them to matter.
SHORT_ROW = 32
FEW_ROWS = 512


def copier(copies: Sequence[tuple[Array, Array]]) -> Callable[[], None]:
    """Return a function that carries out these (target, source) copies, each time it is called. Local."""
    jobs = [_short_rows(t, s) or _face_to_face(t, s) or partial(np.copyto, t, s) for t, s in copies]
    if len(jobs) == 1:
        return jobs[0]

    def run() -> None:
        for job in jobs:
            job()

    return run


def _short_rows(target: Array, source: Array) -> Callable[[], None] | None:
    """Return a compiled copy between a buffer and a face of short rows, or None if that is not what this is."""
    if target.shape != source.shape or target.dtype != source.dtype:
        return None
    for face, buffer, packing in ((source, target, True), (target, source, False)):
        rows = _rows(face) if buffer.flags.c_contiguous else None
        if rows is None:
            continue
        from mpibatch.halo._loops import row_copies

        outer, outer_stride, inner, inner_stride, row = rows
        flat = _words(face, (outer - 1) * outer_stride + (inner - 1) * inner_stride + row)
        loop = row_copies.pack if packing else row_copies.unpack
        return partial(loop, flat, _words(buffer, outer * inner * row), outer, outer_stride, inner, inner_stride, row)
    return None


def _face_to_face(target: Array, source: Array) -> Callable[[], None] | None:
    """Return a compiled copy between short rows of two faces, the source's perhaps reversed or one word each."""
    size = target.itemsize
    if target.dtype != source.dtype or size > 8 or not 1 < target.ndim <= 3:
        return None
    source = np.broadcast_to(source, target.shape)
    row, rows = target.shape[-1], math.prod(target.shape[:-1])
    along = source.strides[-1]
    if target.strides[-1] != size or abs(along) not in (0, size) or not 2 <= row <= SHORT_ROW or rows < FEW_ROWS:
        return None
    axes = [(n, t // size, s // size) for n, t, s in zip(target.shape, target.strides, source.strides, strict=True)]
    (outer, target_outer, source_outer), (inner, target_inner, source_inner) = [(1, 0, 0), *axes[:-1]][-2:]
    if min(source_outer, source_inner) < 0:
        return None
    from mpibatch.halo._loops import row_copies

    begin = source[..., ::-1] if along < 0 else source
    to = _words(target, (outer - 1) * target_outer + (inner - 1) * target_inner + row)
    of = _words(begin, (outer - 1) * source_outer + (inner - 1) * source_inner + (row if along else 1))
    steps = (row, row - 1 if along < 0 else 0, along // size)
    strides = (outer, target_outer, source_outer, inner, target_inner, source_inner)
    return partial(row_copies.move, to, of, *strides, *steps)


def _rows(face: Array) -> tuple[int, int, int, int, int] | None:
    """Return (outer, stride, inner, stride, row), in words, of a face of many short rows, else None."""
    word = min(face.itemsize, 8)
    axes: list[tuple[int, int]] = [(face.itemsize // word, 1)]
    for n, stride in zip(reversed(face.shape), reversed(face.strides), strict=True):
        if n == 1:
            continue
        length, step = axes[-1]
        if stride == length * step * word:
            axes[-1] = (length * n, step)
        else:
            axes.append((n, stride // word))
    row = axes[0][0]
    if not 2 <= row <= SHORT_ROW or len(axes) > 3 or any(step < 0 for _, step in axes):
        return None
    (inner, inner_stride), (outer, outer_stride) = (*axes[1:], (1, 0), (1, 0))[:2]
    return (outer, outer_stride, inner, inner_stride, row) if outer * inner >= FEW_ROWS else None


def _words(array: Array, count: int) -> Array:
    """Return the memory from the first cell of `array` on as `count` unsigned words."""
    word = min(array.itemsize, 8)
    first = np.lib.stride_tricks.as_strided(array, shape=(1,), strides=(array.itemsize,)).view(f"u{word}")
    return np.lib.stride_tricks.as_strided(first, shape=(count,), strides=(word,))
