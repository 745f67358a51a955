"""Zarr stores of fields, written by all ranks: each packs and writes its own shards, whole ones, as files of their own.

How an array is cut into chunks, and these into shards, follows from its shape alone, and so do all bytes. Ranks take
equal shares of the shards and fetch the cells of them that others own, as for HDF5's chunks; two never write one file.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.files import flush_folder, write_at
from mpibatch.base.timing import phase
from mpibatch.fields.block_means import coarsened, thinned
from mpibatch.fields.field import Field
from mpibatch.io.base.marks import VERSION_ATTRIBUTE
from mpibatch.io.base.names import check_tree, foreign_format, is_labels
from mpibatch.io.base.room import room_for
from mpibatch.io.chunks.codec import by_dataset
from mpibatch.io.chunks.shares import Sharing
from mpibatch.io.seal import folders, manifest
from mpibatch.io.seal.digests import granule, of_bytes, of_field
from mpibatch.io.seal.extent import Extent
from mpibatch.io.write.options import Options, check_levels
from mpibatch.io.write.provenance import VERSIONS, versions
from mpibatch.io.write.zarr import layout, metadata
from mpibatch.io.write.zarr.codecs import codec_of, shard
from mpibatch.io.write.zarr.folder import committed
from mpibatch.mpi import agreed
from mpibatch.mpi.agreement import same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.io.seal.extent import Digests
    from mpibatch.io.write.zarr.codecs import Codec
    from mpibatch.io.write.zarr.layout import StoredArray, StorePlan
    from mpibatch.mpi import MPI

__all__ = ["save"]

LAYOUT_VERSION = 1
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
UNDER_WAY = 4  # files of a rank that are written and not on disk yet

Shard = tuple[str, Extent]  # the name of its file, and what the seal is to know of it


def save(
    comm: MPI.Intracomm,
    path: str,
    fields: Mapping[str, Any],
    attrs: Mapping[str, Any],
    about: Mapping[str, Mapping[str, Any]],
    *,
    options: Options,
    overwrite: bool,
) -> None:
    """Write fields of `comm` to a store; `about` has attributes of fields. Collective. UsageError, RunError."""
    is_ome = foreign_format(path) == "OME-Zarr"
    with agreed(comm, f"writing {path}"):
        pyramid = check_levels(path, options.pyramid, is_possible=is_ome)
        codecs, cut = _codecs(path, fields, options.compression), by_dataset("chunks", options.chunks, fields)
        axes = {name: metadata.ome_axes(name, u) for name, u in fields.items()} if is_ome else {}
        if is_ome:
            _check_attributes(path, attrs, about, is_alone=len(fields) == 1)
    levels = {name: _levels(name, u, axes[name], pyramid) for name, u in fields.items()} if is_ome else {}
    with agreed(comm, f"writing {path}"):
        root = {VERSION_ATTRIBUTE: LAYOUT_VERSION, VERSIONS: versions(), **attrs}
        if is_ome:
            store = layout.images(levels, axes, codecs, cut, root, about)
        else:
            store = layout.named_arrays(fields, codecs, cut, root, about)
        nodes = store.nodes()
    same(comm, f"the Zarr store of {[array.signature for array in store.arrays]}")
    with committed(comm, path, 0 if store.is_packed else _bytes(store), overwrite=overwrite) as part:
        with agreed(comm, f"writing {path}"):
            if comm.rank == 0:
                _write_files(part, nodes)
        values = {array.path: of_field(comm, array.field) for array in store.arrays}
        shards = [entry for array in store.arrays for entry in _write(comm, part, array)]
        with agreed(comm, f"writing {path}"):
            if comm.rank == 0:
                _write_files(part, _seal(store, nodes, shards, values))


def _check_attributes(
    path: str, attrs: Mapping[str, Any], about: Mapping[str, Mapping[str, Any]], *, is_alone: bool
) -> None:
    """Refuse attributes that others would take the place of. Local. UsageError."""
    for values in (attrs, *about.values()):
        if "ome" in values:
            raise UsageError(f"cannot write {path!r} with an attribute 'ome': OME-Zarr has its own there; rename it")
    if is_alone and (twice := sorted(name for values in about.values() for name in values if name in attrs)):
        raise UsageError(
            f"cannot write {path!r} with the attributes {', '.join(twice)} of the file and of its one image, which are "
            "the same; give each once"
        )


def _codecs(path: str, fields: Mapping[str, Any], compression: Any) -> dict[str, Codec]:
    packed = by_dataset("compression", compression, fields)
    for name, u in fields.items():
        if not isinstance(u, Field):
            raise UsageError(f"cannot save {name!r} to {path!r}: it is a table; save it as .h5, .csv or .fits")
        if any(part.startswith("__") or part in ("zarr.json", folders.NAME) for part in name.split("/")):
            raise UsageError(f"cannot save {name!r} to {path!r}: Zarr keeps such names for itself; rename it")
    check_tree(fields)
    return {name: codec_of(packed.get(name), u.dtype) for name, u in fields.items()}


def _levels(name: str, u: Field, axes: layout.Axes, pyramid: int) -> list[Field]:
    """The levels of an image, coarser along the axes of space. Collective."""
    of_space = [axis for letter, axis in zip(*axes, strict=True) if letter in metadata.SPACE]
    return (thinned if is_labels(name) else coarsened)(u, pyramid, of_space)


def _bytes(store: StorePlan) -> int:
    return sum(math.prod(array.field.shape) * array.field.dtype.itemsize for array in store.arrays)


def _write(comm: MPI.Intracomm, part: str, array: StoredArray) -> list[Shard]:
    """Write an array, and return its shards, in order, on rank 0. Collective."""
    sharing, mine = Sharing(comm, array.cut, array.field), list[Shard]()
    files = _Files(part)
    try:
        for window in sharing.windows():
            blocks = sharing.collect(window, views=True)
            with agreed(comm, f"writing {part}"):
                for number, block in blocks.items():
                    data = _packed(array, number, block)
                    mine.append((array.file(number), _extent(array, number, data)))
                    files.write(mine[-1][0], data)
        with agreed(comm, f"writing {part}"):
            files.flush()
    finally:
        files.close()
    # Shares are consecutive: those of all ranks one after the other are in the order of shards.
    return [entry for entries in comm.gather(mine) or () for entry in entries]


def _packed(array: StoredArray, number: int, block: npt.NDArray[Any]) -> Any:
    """The bytes of a shard."""
    with phase("pack"):
        turned = block.astype(block.dtype.newbyteorder("<"), copy=False).transpose(array.axes[1])
        if array.chunk == array.shard:
            return array.codec.pack(np.ascontiguousarray(turned))
        inside = array.turned(array.cut.box(number).shape)
        return shard(turned, array.turned(array.chunk), inside, array.codec)


def _extent(array: StoredArray, number: int, data: Any) -> Extent:
    box, nbytes = array.cut.box(number), len(data)
    return Extent(
        dataset=array.path,
        offset=0,  # until it is known how many bytes come before it
        nbytes=nbytes,
        first=0,
        per_digest=granule(nbytes),
        digests=of_bytes(data),
        cells=(box.start, box.stop),
    )


def _write_files(part: str, contents: Mapping[str, bytes]) -> None:
    files = _Files(part)
    try:
        for name, data in contents.items():
            files.write(name, data)
        files.flush()
    finally:
        files.close()


def _seal(
    store: StorePlan, nodes: Mapping[str, bytes], shards: Sequence[Shard], values: Mapping[str, Digests]
) -> dict[str, bytes]:
    """The seal of a store, by the name of its file."""
    head = b"".join(nodes.values())
    sizes = [(name, len(text)) for name, text in nodes.items()]
    extents, at = [], len(head)
    for name, extent in shards:
        extents.append(replace(extent, offset=at))
        sizes.append((name, extent.nbytes))
        at += extent.nbytes
    about = {array.path: (array.field.dtype.str, array.field.shape) for array in store.arrays}
    in_chunks = {extent.dataset for extent in extents}
    draft = manifest.build(at, about, extents, {name: values[name] for name in in_chunks})
    hashes = tuple(hashlib.sha256(head[start:stop]).digest() for start, stop in manifest.pieces_outside(draft))
    first = min((array.path for array in store.arrays), key=lambda path: (path.count("/"), path))
    return {f"{first}/{folders.NAME}": folders.pack(sizes, manifest.pack(replace(draft, hashes=hashes)))}


class _Files:
    """New files of a folder, of which a few are on their way to the disk while the next is made."""

    def __init__(self, folder: str) -> None:
        self._root = Path(folder)
        self._handles: deque[int] = deque()
        self._folders: set[Path] = set()

    def write(self, name: str, data: Any) -> None:
        """Write a file. Local. OSError, RunError."""
        path = self._root / name
        with room_for(str(self._root), more=len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handles.append(os.open(path, _NEW, 0o666))
            write_at(self._handles[-1], data, 0)
            if len(self._handles) > UNDER_WAY:
                self._finish()
        self._folders.update(self._root / above for above in Path(name).parents)

    def flush(self) -> None:
        """Bring all files, and their names, to the disk. Local. RunError."""
        with room_for(str(self._root)):
            while self._handles:
                self._finish()
            for folder in self._folders:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    flush_folder(handle)
                finally:
                    os.close(handle)

    def close(self) -> None:
        """Close what is open, also after a failure. Local."""
        while self._handles:
            os.close(self._handles.popleft())

    def _finish(self) -> None:
        os.fsync(self._handles[0])
        os.close(self._handles.popleft())
