"""OME-TIFF files of fields, written by all ranks: each packs its share of the tiles, and writes them where they belong.

Tiles lie in their order, level by level. How long packed ones are is added up over the ranks, a round at a time, and so
the file does not depend on ranks.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.fields.block_means import coarsened, thinned
from mpibatch.fields.field import Field
from mpibatch.io.base.names import is_labels
from mpibatch.io.chunks.compression import normal_compression
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.chunks.shares import Sharing
from mpibatch.io.write import shared_file
from mpibatch.io.write.commit import committed
from mpibatch.io.write.options import Options, check_levels
from mpibatch.io.write.tiff import pages
from mpibatch.mpi import agreed
from mpibatch.mpi.prefix import sums_before

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.mpi import MPI

__all__ = ["save"]

TILE = 256  # rows and columns; fewer of smaller images
_PLAIN, _DEFLATE = 1, 8  # TIFF's numbers


@dataclass(frozen=True)
class _Page:
    """What is to be written: one field, levels below it, and the level of gzip, or None."""

    name: str
    field: Field
    levels: int
    packed: int | None


def save(
    comm: MPI.Intracomm,
    path: str,
    fields: Mapping[str, Any],
    attrs: Mapping[str, Any],
    *,
    options: Options,
    overwrite: bool,
) -> None:
    """Write a field of `comm` to a file. Collective. UsageError, RunError."""
    with agreed(comm, f"writing {path}"):
        page = _planned(path, fields, attrs, options)
        description = pages.xml(page.name, page.field)
    u = page.field
    coarser = thinned if is_labels(page.name) else coarsened
    levels = coarser(u, page.levels, (u.grid.ndim - 2, u.grid.ndim - 1))
    cuts = [_tiles(field) for field in levels]
    nbytes = [cut.total * math.prod(cut.size) * u.dtype.itemsize for cut in cuts]
    least = pages.HEADER_BYTES + (sum(nbytes) if page.packed is None else 0)

    def layout(part: str) -> None:
        with Path(part).open("r+b") as file:
            file.truncate(least)

    with committed(comm, path, overwrite, sealed=False) as part:
        shared_file.make(comm, part.path, lambda: layout(part.path), least)
        with shared_file.opened(comm, part.path) as file:
            at, tables = pages.HEADER_BYTES, []
            for field, cut in zip(levels, cuts, strict=True):
                sizes = _write_tiles(comm, file, part.path, Sharing(comm, cut, field), at, page.packed)
                if comm.rank == 0:
                    tables.append(_table(field, cut, at, sizes))
                at = comm.bcast(at + int(sizes.sum()))
            at += -at % 8
            ends: list[tuple[int, Any]] = []
            with agreed(comm, f"writing {path}"):
                if comm.rank == 0:
                    kind = _PLAIN if page.packed is None else _DEFLATE
                    texts = pages.header(at), pages.directories(at, u.dtype, kind, description, tables)
                    ends = [(place, np.frombuffer(text, "u1")) for place, text in zip((0, at), texts, strict=True)]
            shared_file.put(comm, file, part.path, ends)


def _planned(path: str, fields: Mapping[str, Any], attrs: Mapping[str, Any], options: Options) -> _Page:
    if len(fields) != 1:
        raise UsageError(
            f"cannot save {sorted(fields)} to {path!r}: OME-TIFF files hold one field; save each to a file of its own"
        )
    if attrs:
        raise UsageError(f"cannot save the attributes {sorted(attrs)} to {path!r}: OME-TIFF has no place for them")
    ((name, u),) = fields.items()
    if not isinstance(u, Field):
        raise UsageError(f"cannot save {name!r} to {path!r}: OME-TIFF has no tables; use .h5, .csv or .fits")
    if u.dtype.str[1:] not in pages.TYPES:
        raise UsageError(f"cannot save {name!r} to {path!r}: OME-TIFF has no {u.dtype}; convert it with u.astype")
    is_timed = "t" in u.grid.axes
    if not 2 <= u.grid.ndim - is_timed <= 3 or "t" in u.grid.axes[1:] or len(u.components) > 1 or 0 in u.shape:
        raise UsageError(
            f"cannot save {name!r} of shape {u.shape} with axes {u.grid.axes} to {path!r}: OME-TIFF has a time first, "
            "if any, z, y and x, and channels; save it as .h5"
        )
    if max(u.shape) >= 1 << 31:
        raise UsageError(f"cannot save {name!r} of shape {u.shape} to {path!r}: an axis is too long; save it as .h5")
    text = normal_compression(options.compression, "TIFF")
    packed = None if text is None else int(text.partition(":")[2])
    return _Page(name, u, check_levels(path, options.pyramid, is_possible=True), packed)


def _tiles(u: Field) -> ChunkGrid:
    """The tiles of a field: rows and columns in multiples of 16, as TIFF wants, of one plane and channel."""
    ndim = u.grid.ndim
    edges = [min(TILE, n + -n % 16) for n in u.shape[ndim - 2 : ndim]]
    return ChunkGrid(u.shape, (*(1,) * (ndim - 2), *edges, *(1 for _ in u.components)))


def _write_tiles(
    comm: MPI.Intracomm, file: MPI.File, path: str, sharing: Sharing, at: int, packed: int | None
) -> npt.NDArray[np.int64]:
    """Write tiles one after the other from byte `at` on; return their bytes on rank 0, none elsewhere. Collective."""
    counts = [np.empty(0, np.int64)]
    for turn in sharing.rounds(most=sharing.total_bytes):
        blocks = sharing.collect(turn)
        with agreed(comm, f"writing {path}"), phase("pack"):
            tiles = [_packed(block, packed) for block in blocks.values()]
            sizes = np.array([len(tile) for tile in tiles], np.int64)
            data = np.frombuffer(b"".join(tiles), "u1")
        before, total = sums_before(comm, range(comm.size), np.array([data.size], np.int64))
        shared_file.put(comm, file, path, [(at + int(before[0]), data)] if data.size else [])
        at += int(total[0])
        counts += comm.gather(sizes) or []
    return np.concatenate(counts)


def _packed(block: npt.NDArray[Any], level: int | None) -> Any:
    little = block.astype(block.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)
    return little if level is None else zlib.compress(little.data, level)


def _table(u: Field, cut: ChunkGrid, at: int, sizes: npt.NDArray[np.int64]) -> pages.PageLevel:
    """Where the tiles of each page are: tiles are counted with the channels fastest, pages have channels apart."""
    ndim = u.grid.ndim
    planes, tiles = math.prod(cut.counts[: ndim - 2]), math.prod(cut.counts[ndim - 2 : ndim])
    offsets = at + np.cumsum(sizes) - sizes
    by_page = [table.reshape(planes, tiles, -1).transpose(0, 2, 1).reshape(-1, tiles) for table in (offsets, sizes)]
    (rows, columns), (high, wide) = u.shape[ndim - 2 : ndim], cut.size[ndim - 2 : ndim]
    return pages.PageLevel((rows, columns), (high, wide), *by_page)
