"""Values read from where they lie in a file, once it is known: no library parses the file again."""

from __future__ import annotations

import itertools
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import RunError
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.chunks.inflation import inflate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mpibatch.io.formats.orientation import View
    from mpibatch.io.formats.source import Array, Scaling, Selection, Source, Storage

__all__ = ["BLOCK", "Chunks", "chunks_of", "fill_from", "read", "take"]

BLOCK = 8 << 20  # bytes read at once that do not go straight to their place
NARROW = 32 << 10  # bytes of a row from which on its parts are read one by one


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]`` with ``source[selection]``. Local. `source` has a storage."""
    storage, target = _storage(source), out[at]
    if storage.chunks:
        with chunks_of(source) as chunks:
            fill_from(chunks, selection, target)
        return
    shape = source.shape
    view, scaling, decoded = storage.view, storage.scaling, _Decoding()
    if view is not None:
        shape, selection, target = view.stored, view.selection(selection), view.stored_view(target)
    if scaling is not None or (view is not None and view.is_coded):
        decoded = _Decoding(view, scaling)
    with _opened(source) as file:
        _fill(file, storage.offset, shape, np.dtype(storage.dtype), _ascending(selection), target, decoded)


def take(source: Source, stored: Array, selection: Selection, target: Array) -> None:
    """Fill `target` with a selection of a source whose whole stored array is in memory. Local."""
    storage = _storage(source)
    decoded = _Decoding(storage.view, storage.scaling)
    if storage.view is not None:
        selection, target = storage.view.selection(selection), storage.view.stored_view(target)
    target[...] = decoded(stored[_ascending(selection)])


@dataclass(frozen=True)
class _Decoding:
    """From stored numbers to values."""

    view: View | None = None
    scaling: Scaling | None = None

    def __bool__(self) -> bool:
        return self.view is not None or self.scaling is not None

    def __call__(self, stored: Array) -> Array:
        values = stored if self.scaling is None else self.scaling.applied(stored)
        return values if self.view is None else self.view.decoded(values)


class Chunks:
    """The chunks of a source, one at a time; made by `chunks_of`."""

    def __init__(self, source: Source, file: _Bytes) -> None:
        self._source, self._file, self._storage = source, file, _storage(source)
        self.grid = ChunkGrid(source.shape, self._storage.chunks)

    def values(self, number: int) -> Array:
        """Return the values of a chunk, also those beyond the dataset. Local. Not to be written to."""
        offset, nbytes, mask = map(int, self._storage.table[number])
        if offset < 0:
            fill = np.frombuffer(self._storage.fill, self._storage.dtype)
            return np.broadcast_to(fill.reshape((1,) * len(self.grid.size)), self.grid.size)
        try:
            stored = self._file.bytes_at(offset, nbytes)
            return inflate(np.dtype(self._storage.dtype), self.grid.size, self._storage.filters, mask, stored)
        except RunError as error:
            raise RunError(
                f"{self._source.name}, chunk from {self.grid.start(number)} on: {error}; copy the file anew"
            ) from error


@contextmanager
def chunks_of(source: Source) -> Iterator[Chunks]:
    """Open a source that lies in plain chunks. Local."""
    with _opened(source) as file:
        yield Chunks(source, file)


class _Bytes:
    """Reads at given bytes, all or nothing."""

    def __init__(self, handle: int, name: str) -> None:
        self._handle, self._name = handle, name

    def into(self, array: Array, offset: int) -> None:
        """Fill a contiguous array."""
        todo = memoryview(array.reshape(-1).view(np.uint8).data)
        while todo:
            # Not mapped into memory: a disk that fails must end in an error, not in a signal.
            count = os.preadv(self._handle, [todo], offset)
            if count == 0:
                raise RunError(f"{self._name} is shorter than its values; it is incomplete: copy it again")
            todo, offset = todo[count:], offset + count

    def bytes_at(self, offset: int, nbytes: int) -> Any:
        buffer = np.empty(nbytes, np.uint8)
        self.into(buffer, offset)
        return buffer.data


@contextmanager
def _opened(source: Source) -> Iterator[_Bytes]:
    handle = os.open(_storage(source).path or source.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield _Bytes(handle, source.name)
    finally:
        os.close(handle)


def _storage(source: Source) -> Storage:
    assert source.storage is not None
    return source.storage


def _ascending(selection: Selection) -> Selection:
    return tuple(slice(s.start, s.stop, s.step or 1) for s in selection)


def _fill(
    file: _Bytes,
    base: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    sel: Selection,
    out: Array,
    decoded: _Decoding,
) -> None:
    """Fill `out` with a selection of an array of `shape` that begins at byte `base`."""
    if not out.size:
        return
    first, deeper = sel[0], sel[1:]
    row = math.prod(shape[1:]) * dtype.itemsize
    whole = all(s == slice(0, n, 1) for s, n in zip(deeper, shape[1:], strict=True))
    if whole and first.step == 1 and out.flags.c_contiguous and out.dtype == dtype and not decoded:
        file.into(out, base + first.start * row)
        return
    if row > NARROW and (not whole or first.step > 1 or row > BLOCK) and len(shape) > 1:
        for number, index in enumerate(range(first.start, first.stop, first.step)):
            _fill(file, base + index * row, shape[1:], dtype, deeper, out[number], decoded)
        return
    indices = range(first.start, first.stop, first.step)
    # Short rows: those in between are read too, which costs less than a call for each part.
    many = max(1, BLOCK // (row * first.step))
    for low in range(0, len(indices), many):
        part = indices[low : low + many]
        buffer = np.empty((part[-1] - part[0] + 1, *shape[1:]), dtype)
        file.into(buffer, base + part[0] * row)
        chosen = buffer[(slice(None, None, first.step), *deeper)]
        out[low : low + len(part)] = decoded(chosen) if decoded else chosen


def fill_from(chunks: Any, selection: Selection, target: Array) -> None:
    """Fill `target` with a selection of an array that lies in chunks: a `grid`, and `values` by number. Local."""
    grid = chunks.grid
    ranges = [range(*s.indices(n)) for s, n in zip(selection, grid.shape, strict=True)]
    if not all(ranges):
        return
    strides = [math.prod(grid.counts[axis + 1 :]) for axis in range(len(ranges))]
    # Along each axis, the chunks that the selection meets, each with its part of it: most of the work, once.
    along = [
        [(place * stride, *_cut(place * size, min((place + 1) * size, n), indices)) for place in _met(indices, size)]
        for indices, size, n, stride in zip(ranges, grid.size, grid.shape, strides, strict=True)
    ]
    for parts in itertools.product(*along):
        number, inside, there = zip(*parts, strict=True)
        target[there] = chunks.values(sum(number))[inside]


def _met(indices: range, size: int) -> Iterable[int]:
    """The chunks of an axis that have some of the indices; with steps, one may lie between two of them."""
    first, last = indices[0] // size, indices[-1] // size
    return range(first, last + 1) if indices.step <= size else sorted({index // size for index in indices})


def _cut(low: int, high: int, indices: range) -> tuple[slice, slice]:
    """Which cells of a chunk from `low` to `high` are selected, and where they go."""
    first = max(0, -(-(low - indices.start) // indices.step))
    last = min(len(indices), -(-(high - indices.start) // indices.step))
    begin = indices.start + first * indices.step - low
    return slice(begin, begin + (last - first - 1) * indices.step + 1, indices.step), slice(first, last)
