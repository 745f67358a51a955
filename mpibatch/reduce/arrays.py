"""Walk through all elements of an array in C order, without a copy of the whole of it.

The owned cells of a Field are a view with gaps (the halo), which NumPy's flattening functions copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHUNK", "FlatRows", "chunks", "pairs", "rows", "together"]

Array = npt.NDArray[Any]

# Elements: 64 Ki of 8 bytes is 512 KiB, which stays in a core's L2 cache.
CHUNK = 65536


def chunks(array: Array) -> Iterator[tuple[int, Array]]:
    """Yield (flat index of its first element, one-dimensional part) in C order, at most `CHUNK` elements each. Local.

    A part is contiguous: a view where the elements lie side by side, else a buffer that the next step overwrites.
    """
    start = 0
    # NumPy's own annotations lack "contig".
    how: Any = {"flags": ["external_loop", "buffered", "zerosize_ok"], "op_flags": [["readonly", "contig"]]}
    parts: Any
    with np.nditer(array, order="C", buffersize=CHUNK, **how) as parts:
        for part in parts:
            if part.size:
                yield start, part
                start += part.size


@dataclass(frozen=True, slots=True)
class FlatRows:
    """An array as equally long runs of neighboring elements of one flat, read-only view of its memory.

    Run (i, j, ...) of ``outer`` starts at element ``i * strides[0] + j * strides[1] + ...`` of ``flat``.
    """

    flat: Array
    outer: npt.NDArray[np.int64]
    strides: npt.NDArray[np.int64]
    inner: int


def rows(array: Array) -> FlatRows:
    """Return `array` as runs, as long as they can be made. Local.

    Copies only an array with negative strides or strides that are no multiple of its item size.
    """
    item = array.itemsize
    if array.size == 0 or any(s < 0 or s % item for s in array.strides) or not array.flags.aligned:
        array = np.ascontiguousarray(array).reshape(-1)
    axes: list[list[int]] = [[1, 1]]
    for n, stride in zip(reversed(array.shape), (s // item for s in reversed(array.strides)), strict=True):
        if n == 1:
            continue
        length, step = axes[-1]
        if stride == length * step:
            axes[-1][0] *= n
        else:
            axes.append([n, stride])
    inner, outer = axes[0][0], axes[:0:-1]
    span = 1 + sum((n - 1) * stride for n, stride in axes) if array.size else 0
    flat = np.lib.stride_tricks.as_strided(array, (span,), (item,), writeable=False)
    return FlatRows(flat, np.array([n for n, _ in outer], np.int64), np.array([s for _, s in outer], np.int64), inner)


def pairs(array: Array, other: Array) -> Iterator[tuple[int, Array, Array]]:
    """Yield what `chunks` does, of two arrays at once; `other` is broadcast to the shape of `array`. Local."""
    start = 0
    for part, beside in together(array, other):
        yield start, part, beside
        start += part.size


def together(array: Array, *others: Array) -> Iterator[tuple[Array, ...]]:
    """Yield parts of several arrays, each of the same elements; `others` are broadcast to the shape of `array`. Local.

    Where `chunks` cuts an array depends on where its elements lie in memory, so that two walks do not stay in step.
    """
    operands = [array, *(np.broadcast_to(other, array.shape) for other in others)]
    how: Any = {
        "flags": ["external_loop", "buffered", "zerosize_ok"],
        "op_flags": [["readonly", "contig"]] * len(operands),
    }
    walk: Any
    with np.nditer(operands, order="C", buffersize=CHUNK, **how) as walk:
        for parts in walk:
            if parts[0].size:
                yield parts
