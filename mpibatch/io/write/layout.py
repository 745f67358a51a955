"""A new HDF5 file with its datasets in place and no values in them yet."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io import conventions
from mpibatch.io.base.closure import Outlet, closing, revised
from mpibatch.io.base.images import drafts
from mpibatch.io.base.marks import VERSION_ATTRIBUTE
from mpibatch.io.chunks.codec import hdf5_type, set_filters, visit_chunks
from mpibatch.io.chunks.compression import filters_of
from mpibatch.io.chunks.grid import ChunkGrid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "LAYOUT_VERSION", "ChunkIndex", "Dataset", "alignment", "annotate", "chunk_places", "complete", "create",
    "creation", "slices",
]  # fmt: skip

LAYOUT_VERSION = 1
# Values of a dataset that has more begin at a multiple of this many bytes, unless $MPIBATCH_ALIGNMENT says otherwise:
# a page of memory and a block of most file systems. Lustre likes its stripe size.
ALIGNMENT, ALIGNMENT_VARIABLE = 4096, "MPIBATCH_ALIGNMENT"


@dataclass(frozen=True)
class Dataset:
    """One dataset to be written: everything but its values.

    With `chunks` it is cut into these; if it then has no cell along axis 0, it can grow and shrink along it. Only what
    is in chunks, and does not grow, can have a `compression`. `group` are attributes of the group that it is in.
    Of what `is_elsewhere`, in subfiles, `parts` are their names and rows (first, end), on rank 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    attrs: Mapping[str, Any] = field(default_factory=dict, compare=False)
    chunks: tuple[int, ...] | None = None
    compression: str | None = None
    group: Mapping[str, Any] = field(default_factory=dict, compare=False)
    is_elsewhere: bool = False
    parts: tuple[tuple[str, int, int], ...] = field(default=(), compare=False)

    @property
    def grows(self) -> bool:
        """Whether its length along axis 0 may change. Local."""
        return self.chunks is not None and self.shape[0] == 0


def create(path: str, datasets: Sequence[Dataset], attrs: Mapping[str, Any], *, is_subfile: bool = False) -> list[int]:
    """Write a file without values and return, for each dataset, the byte at which its values begin. Local.

    Allocated at once: only then does HDF5 tell where values lie (those in chunks: see `slices`, `chunk_places` and
    `ChunkIndex`; -1 here). Not filled: their bytes come next. No times, so that equal fields give equal files. A
    subfile has values alone: other programs read the front.
    """
    with revised(path, _access(), _timeless(h5py.h5p.FILE_CREATE)) as file:
        _set(file, {VERSION_ATTRIBUTE: LAYOUT_VERSION, **attrs})
        places = [_create_one(file, dataset) for dataset in datasets]
        if not is_subfile:
            conventions.describe(file, [dataset.name for dataset in datasets])
        return places


def chunk_places(path: str, name: str) -> list[int]:
    """Return the bytes at which the chunks of an uncompressed dataset begin, in their order. Local."""
    if path in drafts:
        with revised(path, _access()) as file:
            return [offset for offset, _ in _where(file[name])]
    with closing(h5py.File(h5py.h5f.open(path.encode(), h5py.h5f.ACC_RDONLY, _access()))) as file:
        return [offset for offset, _ in _where(file[name])]


class ChunkIndex:
    """Rank 0's hand on a compressed dataset: gives packed chunks, in order, a place, at which others write them.

    Nodes of HDF5's index lie between the chunks, so that a page of 4 KiB may have bytes of rank 0 and of other nodes.
    Clients of NFS may write pages as a whole, and bytes of others may then be lost; `verify` finds that. Locks on
    ranges of bytes are no remedy: on NFS they would wait for that on the whole file, which rank 0 holds until its end.
    """

    def __init__(self, path: str, name: str) -> None:
        self._outlet = Outlet(path)
        self._blank = np.empty(0, np.uint8)
        with ExitStack() as resources:
            # Not aligned: chunks of a few kilobytes would take half as much again.
            self._file = resources.enter_context(self._outlet.opened(_access(aligned=1)))
            self._dataset = self._file[name]
            self._resources = resources.pop_all()

    def place(self, start: tuple[int, ...], mask: int, nbytes: int) -> int:
        """Return the first byte of a chunk of so many, which begins at index `start`. Local. Raises OSError."""
        if self._blank.size < nbytes:
            self._blank = np.zeros(2 * nbytes, np.uint8)
        blank = self._blank[:nbytes]
        with self._outlet.leaving_out(blank) as places:
            self._dataset.id.write_direct_chunk(start, blank, mask)
        self._outlet.check()
        return places[0]

    def finish(self) -> None:
        """Bring the index to the file. Local. Raises OSError."""
        self._file.flush()
        self._outlet.check()

    def close(self) -> None:
        """Close the file, also after a failure. Local."""
        # What `finish` has not brought to the file is not missed.
        with suppress(OSError, RuntimeError):
            self._resources.close()


def _where(dataset: Any) -> list[tuple[int, int]]:
    """(first byte, bytes) of every chunk, in order."""
    grid = ChunkGrid(dataset.shape, dataset.chunks)
    places = [(-1, 0)] * grid.total

    def note(info: Any) -> None:
        number = 0
        for low, size, count in zip(info.chunk_offset, grid.size, grid.counts, strict=True):
            number = number * count + low // size
        places[number] = int(info.byte_offset), int(info.size)

    visit_chunks(dataset, note)
    return places


def slices(path: str, names: Sequence[str], start: int, stop: int) -> list[list[list[int]]]:
    """Make chunked datasets at least `stop` long and tell where their slices lie. Local.

    Returns, for each dataset and each index from `start` on along its axis 0, the bytes at which the chunks begin.
    """
    with revised(path, _access()) as file:
        offsets = []
        for dataset in map(file.__getitem__, names):
            if dataset.shape[0] < stop:
                dataset.resize(stop, axis=0)
            corners = range(0, dataset.shape[1], dataset.chunks[1])
            rest = (0,) * (dataset.ndim - 2)
            where = dataset.id.get_chunk_info_by_coord
            offsets.append([[int(where((i, low, *rest)).byte_offset) for low in corners] for i in range(start, stop)])
        return offsets


def complete(path: str, names: Sequence[str], length: int, values: Sequence[tuple[Dataset, Any]]) -> None:
    """Cut chunked datasets to `length` and add small datasets with their values. Local."""
    with revised(path, _access()) as file:
        for dataset in map(file.__getitem__, names):
            if dataset.shape[0] != length:
                dataset.resize(length, axis=0)
        for dataset, array in values:
            _create_one(file, dataset)
            file[dataset.name][...] = array
        conventions.complete(file, names, [dataset.name for dataset, _ in values])


def annotate(path: str, attrs: Mapping[str, Any]) -> None:
    """Add attributes to the root group of a file that nobody has open. Local."""
    with revised(path, _access()) as file:
        _set(file, attrs)


def alignment() -> int:
    """Return the number of bytes at multiples of which values begin. Local. UsageError."""
    text = os.environ.get(ALIGNMENT_VARIABLE) or str(ALIGNMENT)
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 30:
        raise UsageError(f"${ALIGNMENT_VARIABLE} is {text!r}; give a number of bytes from 1 to {1 << 30}")
    return int(text)


def _access(aligned: int | None = None) -> Any:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_alignment(*(2 * (aligned or alignment(),)))
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
    if dataset.group:
        _set(h5py.Group(group), dataset.group)
    most = (h5py.h5s.UNLIMITED, *dataset.shape[1:]) if dataset.grows else dataset.shape
    space = h5py.h5s.create_simple(dataset.shape, most)
    created = h5py.h5d.create(group, name, hdf5_type(dataset.dtype), space, creation(dataset))
    _set(h5py.Dataset(created), dataset.attrs)
    is_in_one_piece = dataset.chunks is None and not dataset.is_elsewhere
    return int(created.get_offset() or 0) if is_in_one_piece else -1


def creation(dataset: Dataset) -> Any:
    """Return HDF5's plan for creating a dataset. Local."""
    plan = _timeless(h5py.h5p.DATASET_CREATE)
    if dataset.is_elsewhere:
        _map(plan, dataset)
        return plan
    if dataset.chunks is None:
        plan.set_layout(h5py.h5d.CONTIGUOUS)
    else:
        plan.set_chunk(dataset.chunks)
    set_filters(plan, filters_of(dataset.compression, np.dtype(dataset.dtype).itemsize))
    # What is packed finds its place when its size is known.
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_INCR if dataset.compression else h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return plan


def _map(plan: Any, dataset: Dataset) -> None:
    """Say in which subfiles the rows of a dataset lie."""
    rest, zeros = dataset.shape[1:], (0,) * (len(dataset.shape) - 1)
    for name, low, high in dataset.parts:
        inside, whole = (h5py.h5s.create_simple((n, *rest)) for n in (high - low, dataset.shape[0]))
        whole.select_hyperslab((low, *zeros), (high - low, *rest))
        plan.set_virtual(whole, name.encode(), dataset.name.encode(), inside)


def _timeless(kind: Any) -> Any:
    plan = h5py.h5p.create(kind)
    plan.set_obj_track_times(False)
    if hasattr(plan, "set_link_creation_order"):  # of groups, the root among them
        # Without it netCDF-4 does not append to the file.
        plan.set_link_creation_order(h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED)
    return plan


def _set(owner: Any, attrs: Mapping[str, Any]) -> None:
    for name in sorted(attrs):
        owner.attrs[name] = attrs[name]
