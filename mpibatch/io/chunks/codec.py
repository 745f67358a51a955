"""Chunks through HDF5's filters, in memory: packed before they are written.

A file that is never written, of one dataset of one chunk, takes a chunk's values and gives its stored bytes. So any
filter that HDF5 knows gives the bytes that HDF5 itself would write; calling zlib here instead was not faster. The way
back is not open: filters write into their parameters when a dataset is made, and would do so a second time.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io.base.names import normal_name
from mpibatch.io.chunks.compression import SHUFFLE, Filter, filter_name, filters_of, normal_compression
from mpibatch.io.chunks.grid import ChunkGrid, chosen_chunks

__all__ = [
    "Packer",
    "by_dataset",
    "check_filters",
    "hdf5_type",
    "load_plugins",
    "set_filters",
    "stored_as",
    "visit_chunks",
]

Array = npt.NDArray[Any]

PLUGINS = 256  # codes from here on are not HDF5's own


def by_dataset(setting: str, given: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return a setting that was given for all datasets, or as a dict, by dataset. Local. UsageError on other names."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    settings = {normal_name(name): value for name, value in given.items()}
    if unknown := sorted(set(settings) - set(names)):
        raise UsageError(f"{setting} was given for {unknown}, but only {sorted(names)} are saved; use their names")
    return settings


def stored_as(
    name: str, shape: Sequence[int], dtype: np.dtype[Any], components: int, chunks: Any, compression: Any
) -> tuple[tuple[int, ...] | None, str | None]:
    """Return chunk shape and compression of a dataset from what was asked for, None for none. Local. UsageError."""
    packed = normal_compression(compression)
    if packed is not None:
        check_filters(f"cannot save {name!r}: it", filters_of(packed, dtype.itemsize))
    if (chunks is None and packed is None) or math.prod(shape) == 0:
        return None, None
    return chosen_chunks(name, "auto" if chunks is None else chunks, shape, dtype.itemsize, components), packed


def load_plugins() -> None:
    """Register the filters of the package hdf5plugin with HDF5, if it is installed. Local.

    To be called before a file is opened: HDF5 remembers which filters it has not found.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")


def check_filters(subject: str, filters: Sequence[Filter]) -> None:
    """Raise UsageError unless HDF5 has these filters, those of the package hdf5plugin included. Local."""
    for item in filters:
        if item.code >= PLUGINS:
            load_plugins()
        if not h5py.h5z.filter_avail(item.code):
            raise UsageError(
                f"{subject} needs the filter {filter_name(item.code)}, which is not installed: "
                "pip install 'mpibatch[compression]', or hdf5plugin alone"
            )


def set_filters(plan: Any, filters: Sequence[Filter]) -> None:
    """Add filters to a plan for creating a dataset. Local."""
    for item in filters:
        if item.code == SHUFFLE:
            plan.set_shuffle()  # HDF5 puts the size of values in
        else:
            # Optional: a chunk that a filter cannot make smaller is stored without it.
            plan.set_filter(item.code, h5py.h5z.FLAG_OPTIONAL, item.values)


def visit_chunks(dataset: Any, note: Callable[[Any], None]) -> None:
    """Call `note` with the place of every chunk that a dataset has stored. Local."""
    if hasattr(dataset.id, "chunk_iter"):
        dataset.id.chunk_iter(note)  # one walk over the index
        return
    # HDF5 1.10 can only be asked for one after the other, each a search.
    grid = ChunkGrid(dataset.shape, dataset.chunks)
    for number in range(grid.total):
        place = dataset.id.get_chunk_info_by_coord(grid.start(number))
        if place.byte_offset is not None:
            note(place._replace(chunk_offset=grid.start(number)))


def hdf5_type(dtype: npt.DTypeLike) -> Any:
    """Return the type of values in a file. Local. Bytes are texts in UTF-8."""
    made = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    if np.dtype(dtype).kind == "S":
        made.set_cset(h5py.h5t.CSET_UTF8)
    return made


class Packer:
    """Packs chunks of one shape and dtype, one at a time."""

    def __init__(self, dtype: npt.DTypeLike, chunk: Sequence[int], filters: Sequence[Filter]) -> None:
        self._dtype, self._chunk, self._filters = np.dtype(dtype), tuple(chunk), tuple(filters)
        check_filters("a chunk", filters)  # HDF5 would leave out what it does not have, without a word
        self._type = hdf5_type(dtype)
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fapl_core(1 << 20, False)
        access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
        self._file = h5py.h5f.create(b"chunk", h5py.h5f.ACC_TRUNC, fapl=access)
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk(self._chunk)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        set_filters(plan, self._filters)
        space = h5py.h5s.create_simple(self._chunk)
        # Else HDF5 copies a chunk before its filters, to keep it as it was.
        uncached = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
        uncached.set_chunk_cache(1, 0, 1.0)
        try:
            h5py.h5d.create(self._file, b"chunk", self._type, space, plan)
            self._dataset = h5py.h5d.open(self._file, b"chunk", uncached)
        except (OSError, RuntimeError, ValueError) as error:
            self.close()
            names = ", ".join(filter_name(item.code) for item in self._filters)
            raise RunError(f"chunks cannot be packed by {names} ({error})") from error

    def pack(self, block: Array) -> tuple[int, bytes]:
        """Return the stored bytes of a chunk, and the mask that tells which filters were left out. Local."""
        self._dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, block, mtype=self._type)
        mask, stored = self._dataset.read_direct_chunk((0,) * len(self._chunk))
        return int(mask), stored

    def close(self) -> None:
        """Free the memory. Local."""
        self._file.close()

    def __enter__(self) -> Packer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
