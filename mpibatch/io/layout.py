"""A new HDF5 file with its datasets in place and no values in them yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

__all__ = ["LAYOUT_VERSION", "Dataset", "complete", "create", "slices"]

LAYOUT_VERSION = 1
VERSION_ATTRIBUTE = "mpibatch_layout"
# Values of a dataset begin at a multiple of this many bytes, a page of memory and a block of most file systems.
ALIGNMENT = 4096


@dataclass(frozen=True)
class Dataset:
    """One dataset to be written: everything but its values. With `chunks` it can grow and shrink along axis 0."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    attrs: Mapping[str, Any] = field(default_factory=dict, compare=False)
    chunks: tuple[int, ...] | None = None


def create(path: str, datasets: Sequence[Dataset], attrs: Mapping[str, Any]) -> list[int]:
    """Write a file without values and return, for each dataset, the byte at which its values begin. Local.

    Allocated at once: only then does HDF5 tell where values lie (those in chunks: see `slices`). Not filled: their
    bytes come next. No times, so that equal fields give equal files.
    """
    identifier = h5py.h5f.create(path.encode(), h5py.h5f.ACC_TRUNC, _timeless(h5py.h5p.FILE_CREATE), _access())
    with h5py.File(identifier) as file:
        _set(file, {VERSION_ATTRIBUTE: LAYOUT_VERSION, **attrs})
        return [_create_one(file, dataset) for dataset in datasets]


def slices(path: str, names: Sequence[str], start: int, stop: int) -> list[list[list[int]]]:
    """Make chunked datasets at least `stop` long and tell where their slices lie. Local.

    Returns, for each dataset and each index from `start` on along its axis 0, the bytes at which the chunks begin.
    """
    with h5py.File(h5py.h5f.open(path.encode(), h5py.h5f.ACC_RDWR, _access())) as file:
        found = []
        for dataset in map(file.__getitem__, names):
            if dataset.shape[0] < stop:
                dataset.resize(stop, axis=0)
            corners = range(0, dataset.shape[1], dataset.chunks[1])
            rest = (0,) * (dataset.ndim - 2)
            where = dataset.id.get_chunk_info_by_coord
            found.append([[int(where((i, low, *rest)).byte_offset) for low in corners] for i in range(start, stop)])
        return found


def complete(path: str, names: Sequence[str], length: int, values: Sequence[tuple[Dataset, Any]]) -> None:
    """Cut chunked datasets to `length` and add small datasets with their values. Local."""
    with h5py.File(h5py.h5f.open(path.encode(), h5py.h5f.ACC_RDWR, _access())) as file:
        for dataset in map(file.__getitem__, names):
            if dataset.shape[0] != length:
                dataset.resize(length, axis=0)
        for dataset, array in values:
            _create_one(file, dataset)
            file[dataset.name][...] = array


def _access() -> Any:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_alignment(ALIGNMENT, ALIGNMENT)
    # The oldest format with attributes of more than 64 KiB; HDF5 1.8 and everything since reads it.
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V110)
    # Nobody else knows the file yet, and some parallel file systems have no locks.
    access.set_file_locking(False, True)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    return access


def _create_one(file: Any, dataset: Dataset) -> int:
    group = file.id
    *groups, name = dataset.name.encode().split(b"/")
    for part in groups:
        known = part in group
        group = (
            h5py.h5g.open(group, part) if known else h5py.h5g.create(group, part, gcpl=_timeless(h5py.h5p.GROUP_CREATE))
        )
    plan = _timeless(h5py.h5p.DATASET_CREATE)
    most = dataset.shape
    if dataset.chunks is None:
        plan.set_layout(h5py.h5d.CONTIGUOUS)
    else:
        plan.set_chunk(dataset.chunks)
        most = (h5py.h5s.UNLIMITED, *dataset.shape[1:])
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    dtype = h5py.h5t.py_create(np.dtype(dataset.dtype), logical=True)
    created = h5py.h5d.create(group, name, dtype, h5py.h5s.create_simple(dataset.shape, most), plan)
    _set(h5py.Dataset(created), dataset.attrs)
    return int(created.get_offset()) if dataset.chunks is None else -1


def _timeless(kind: Any) -> Any:
    plan = h5py.h5p.create(kind)
    plan.set_obj_track_times(False)
    return plan


def _set(owner: Any, attrs: Mapping[str, Any]) -> None:
    for name in sorted(attrs):
        owner.attrs[name] = attrs[name]
