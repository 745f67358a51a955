"""A dataset cut into chunks: which chunk holds which cells, in pure integers."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.domain import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CHUNK_BYTES", "ChunkGrid", "chosen_chunks", "shard_of", "usual_chunks"]

# Of a chunk whose shape nobody gave. Larger ones pack no better and make a small box dear to read; a chunk of 1 MiB is
# also what HDF5 1.x keeps in its cache unless told otherwise.
CHUNK_BYTES = 1 << 20
# Of a shard, a file of many chunks: few files for a large array, and enough of them for many ranks.
SHARD_BYTES = 32 << 20
# HDF5's usual chunk index holds sizes of 32 bits.
MOST_BYTES = (1 << 32) - 1


@dataclass(frozen=True)
class ChunkGrid:
    """`shape` cut into chunks of shape `size`, numbered in C order; the last ones along an axis reach beyond it."""

    shape: tuple[int, ...]
    size: tuple[int, ...]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each axis. Local."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.size, strict=True))

    @property
    def total(self) -> int:
        """Number of chunks. Local."""
        return math.prod(self.counts)

    def start(self, number: int) -> tuple[int, ...]:
        """Return the first index of a chunk. Local."""
        place = []
        for count, size in zip(reversed(self.counts), reversed(self.size), strict=True):
            number, at = divmod(number, count)
            place.append(at * size)
        return tuple(reversed(place))

    def box(self, number: int) -> Box:
        """Return the cells of the dataset that a chunk holds. Local."""
        start = self.start(number)
        return Box(start, tuple(min(a + c, n) for a, c, n in zip(start, self.size, self.shape, strict=True)))

    def meeting(self, box: Box) -> npt.NDArray[np.int64]:
        """Return the numbers of the chunks that hold a cell of `box`, in order. Local."""
        if not box.size:
            return np.empty(0, np.int64)
        numbers: npt.NDArray[np.int64] = np.zeros(1, np.int64)
        for low, high, size, count in zip(box.start, box.stop, self.size, self.counts, strict=True):
            along = np.arange(low // size, -(-high // size), dtype=np.int64)
            numbers = (numbers[:, None] * count + along).reshape(-1)
        return numbers

    def repeats(self, cuts: Sequence[Sequence[tuple[int, int]]]) -> float:
        """Return how many blocks a chunk has cells in, on the mean; `cuts` has the blocks' bounds by axis. Local."""
        share = 1.0
        for size, count, bounds in zip(self.size, self.counts, cuts, strict=True):
            share *= sum(-(-high // size) - low // size for low, high in bounds if low < high) / count
        return share


def usual_chunks(shape: Sequence[int], itemsize: int, components: int = 0) -> tuple[int, ...]:
    """Return a chunk shape of about `CHUNK_BYTES`, as near to a cube as `shape` allows. Local.

    The last `components` axes stay whole. The chunks of an axis are about equal, so that the last one is not nearly
    empty. It depends on nothing but its arguments.
    """
    cells, behind = tuple(shape[: len(shape) - components]), tuple(shape[len(shape) - components :])
    room = max(1.0, CHUNK_BYTES / max(1, itemsize * math.prod(behind)))
    edges = [1] * len(cells)
    # Short axes first: what they cannot use goes to the longer ones.
    for left, axis in zip(itertools.count(len(cells), -1), sorted(range(len(cells)), key=lambda a: cells[a])):
        edge = min(max(1, round(room ** (1 / left))), cells[axis])
        edges[axis] = -(-cells[axis] // -(-cells[axis] // edge))
        room = max(1.0, room / edges[axis])
    return (*edges, *(max(1, n) for n in behind))


def chosen_chunks(name: str, given: Any, shape: Sequence[int], itemsize: int, components: int) -> tuple[int, ...]:
    """Return the chunk shape that was asked for, clipped to `shape`. Local. UsageError if it cannot be one.

    `given` is "auto", or a length for each axis, with or without the components' axes.
    """
    if isinstance(given, str) and given == "auto":
        return usual_chunks(shape, itemsize, components)
    grid_axes = len(shape) - components
    try:
        lengths = tuple(int(n) for n in given)
        whole = all(n == m for n, m in zip(lengths, given, strict=True))
    except (TypeError, ValueError):
        lengths, whole = (), False
    if not whole or len(lengths) not in (grid_axes, len(shape)) or any(n < 1 for n in lengths):
        raise UsageError(
            f"cannot save {name!r} of shape {tuple(shape)} with chunks={given!r}; give 'auto', or "
            f"{grid_axes} whole numbers of cells"
        )
    lengths += tuple(max(1, n) for n in shape[len(lengths) :])
    chunks = tuple(min(n, max(1, m)) for n, m in zip(lengths, shape, strict=True))
    if math.prod(chunks) * itemsize > MOST_BYTES:
        raise UsageError(
            f"cannot save {name!r} with chunks={given!r}, which are {math.prod(chunks) * itemsize} bytes each; "
            "a chunk has less than 4 GiB: give smaller ones"
        )
    return chunks


def shard_of(shape: Sequence[int], chunk: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return the shape of a shard of whole chunks, of about `SHARD_BYTES`, as near to a cube as may be. Local.

    It depends on nothing but its arguments.
    """
    counts = [-(-n // m) for n, m in zip(shape, chunk, strict=True)]
    many, room = [1] * len(counts), SHARD_BYTES // max(1, math.prod(chunk) * itemsize)
    while True:
        longer = [min(2 * n, count) for n, count in zip(many, counts, strict=True)]
        axes = [a for a, n in enumerate(many) if n < longer[a] and math.prod(many) // n * longer[a] <= room]
        if not axes:
            break
        axis = min(axes, key=lambda a: many[a] * chunk[a])
        many[axis] = longer[axis]
    # About equal along an axis, so that the last one is not nearly empty.
    return tuple(-(-max(1, k) // -(-max(1, k) // n)) * m for k, n, m in zip(counts, many, chunk, strict=True))
