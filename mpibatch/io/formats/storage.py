"""Where the values of an HDF5 dataset lie in its file, in so far as plain reading of bytes gets at them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpibatch.base.errors import RunError
from mpibatch.io.chunks.codec import hdf5_type, visit_chunks
from mpibatch.io.chunks.compression import Filter
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.chunks.inflation import can_inflate
from mpibatch.io.formats import raw_values
from mpibatch.io.formats.source import Source, Storage, native

__all__ = ["filters_of", "storage_of"]

# Chunks in a table that all ranks get; of more, HDF5 itself is to tell each.
MOST_CHUNKS = 1 << 22


def storage_of(dataset: Any, path: str) -> Storage | None:
    """Return where the values of a dataset lie in the file `path`, None if it takes HDF5 to read them. Local.

    RunError if they do not all lie within the file.
    """
    file = dataset.file
    if file.userblock_size or file.driver != "sec2" or not dataset.shape or 0 in dataset.shape:
        return None  # versions of HDF5 disagree on whether a byte's number counts a user block
    try:
        dtype = dataset.dtype
        plain = dtype.kind in "biufc" and hdf5_type(dtype) == dataset.id.get_type()
    except TypeError:  # a type that NumPy has not
        return None
    if not plain:
        return None  # such as 12 bits in 16, which HDF5 converts
    plan = dataset.id.get_create_plist()
    layout, size = plan.get_layout(), Path(path).stat().st_size
    if layout == h5py.h5d.CONTIGUOUS and not dataset.external and dataset.id.get_offset() is not None:
        _check(dataset, dataset.id.get_offset(), dataset.nbytes, size)
        return Storage(dtype.str, int(dataset.id.get_offset()))
    if layout != h5py.h5d.CHUNKED or ChunkGrid(dataset.shape, dataset.chunks).total > MOST_CHUNKS:
        return None
    filters = filters_of(dataset)
    left_to_hdf5 = Storage(dtype.str, -1, dataset.chunks, filters)
    if not can_inflate(filters, dtype.itemsize):
        return left_to_hdf5
    fill = np.asarray(dataset.fillvalue, dtype).tobytes()
    storage = replace(left_to_hdf5, table=_table(dataset, size), fill=fill)
    return storage if _agrees(dataset, storage, path) else left_to_hdf5


def _agrees(dataset: Any, storage: Storage, path: str) -> bool:
    """Whether one chunk of each kind is here what it is to HDF5.

    A file may have settings that h5py does not tell, as that chunks at the edge are stored without filters.
    """
    grid = ChunkGrid(dataset.shape, dataset.chunks)
    source = Source(path, "hdf5", dataset.name, dataset.shape, native(dataset.dtype), storage=storage)
    try:
        with raw_values.chunks_of(source) as chunks:
            for number in _samples(grid, storage.table):
                box = grid.box(number)
                values = dataset[box.slices()]
                if chunks.values(number)[box.slices(box.start)].astype(values.dtype).tobytes() != values.tobytes():
                    return False
    except (OSError, RuntimeError, ValueError):  # damaged: whoever reads it is told
        return False
    return True


def _samples(grid: ChunkGrid, table: Any) -> list[int]:
    """Return the first chunk of each kind: written or not, with or without all filters, whole or cut by the edge."""
    cut = np.zeros(grid.counts, bool)
    for axis, (length, size) in enumerate(zip(grid.shape, grid.size, strict=True)):
        if length % size:
            np.moveaxis(cut, axis, 0)[-1] = True
    kinds = table[:, 2] << 2 | cut.reshape(-1) << 1 | (table[:, 0] < 0)
    return [int(number) for number in np.unique(kinds, return_index=True)[1]]


def filters_of(dataset: Any) -> tuple[Filter, ...]:
    """Return the filters that the chunks of a dataset go through. Local."""
    plan = dataset.id.get_create_plist()
    entries = map(plan.get_filter, range(plan.get_nfilters()))
    return tuple(Filter(int(entry[0]), tuple(map(int, entry[2]))) for entry in entries)


def _table(dataset: Any, size: int) -> Any:
    grid = ChunkGrid(dataset.shape, dataset.chunks)
    rows = np.full((grid.total, 3), (-1, 0, 0), np.int64)

    def note(info: Any) -> None:
        number = 0
        for low, chunk, count in zip(info.chunk_offset, grid.size, grid.counts, strict=True):
            if low >= chunk * count:
                return  # left from when the dataset was longer
            number = number * count + low // chunk
        _check(dataset, info.byte_offset, info.size, size)
        rows[number] = info.byte_offset, info.size, info.filter_mask

    visit_chunks(dataset, note)
    return rows


def _check(dataset: Any, offset: int, nbytes: int, size: int) -> None:
    if not 0 <= offset <= offset + nbytes <= size:
        raise RunError(
            f"{dataset.file.filename}::{dataset.name.strip('/')} has values up to byte {offset + nbytes}, but the file "
            f"ends at {size}; it is damaged or incomplete: copy it anew"
        )
