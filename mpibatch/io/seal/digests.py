"""Digests of values: sums that find every changed value, and do not depend on who computed which part.

The bytes of a dataset are numbered in C order, and seen as little-endian words of 32 bits. A digest of some of them is
the sum, modulo 2^64, of each word times a random odd weight of 64 bits that is that of its place alone: of its place in
a page of 4 KiB, times that of the page. One changed word changes the digest for certain, and several do but for a
chance of about 2^-64, and of 2^-27 at most, for patterns that repeat in pages (multilinear hashing:
doi:10.1093/comjnl/bxt070). A word may be cut: the sum is that of its bytes, each at its place. So it is the same for
any blocks on any ranks in any order, of values of any size, and MPI adds the ranks' parts up: what travels is a table
of digests, never values. The number of bytes is not in it: zeros at the end add nothing, and who reads looks for them.
This finds accidents; it is no protection from somebody who wants to deceive.

A table has one digest for each region of so many consecutive bytes. The size of regions follows from their number
alone: 64 KiB, more when that would give more than 4096 of them, but not above 16 MiB up to 16 TiB.

Nothing here needs MPI but `of_field` and `extents_of_field`, which take a communicator.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.io.base.block import whole_box
from mpibatch.io.seal.extent import Digests, Extent

if TYPE_CHECKING:
    from mpibatch.domain import Box
    from mpibatch.io.base.block import Block
    from mpibatch.mpi import MPI

__all__ = ["extent_of_array", "extents_of_field", "granule", "of_array", "of_bytes", "of_field"]

Array = npt.NDArray[Any]

SMALLEST, LARGEST = 64 << 10, 16 << 20  # bytes of a region
FEW, MANY = 1 << 12, 1 << 20  # regions: as many as no one minds, and as many as a table may have


def granule(nbytes: int) -> int:
    """Return the bytes of a region, a power of 2, for data of `nbytes` bytes. Local."""
    size = SMALLEST
    while nbytes > size * (FEW if size < LARGEST else MANY):
        size *= 2
    return size


def of_bytes(data: Any, first: int = 0, per_digest: int = 0) -> Digests:
    """Return the digests of bytes that begin with number `first`, one for each `per_digest` (0: a granule). Local."""
    from mpibatch.io.seal._loops.digests import digest

    flat = _flat(np.frombuffer(data, np.uint8))
    per = per_digest or granule(flat.size)
    table = np.empty(-(-flat.size // per), np.uint64)
    digest(flat, first, per, table)
    return table


def of_array(array: Array, before: int = 0) -> Digests:
    """Return the digests of all values of an array that lie in one piece of a file. Local.

    `before` is the number of values of the dataset that come before it.
    """
    return of_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8), before * array.itemsize)


def _flat(array: Array) -> npt.NDArray[np.uint8]:
    """The bytes of a contiguous array, not to be written to: then loops are compiled for one type of arrays."""
    flat = array.reshape(-1).view(np.uint8)
    flat.flags.writeable = False
    return flat


def of_field(comm: MPI.Intracomm, field: Block, region: Box | None = None, before: int = 0, total: int = 0) -> Digests:
    """Return the digests of a field's values on rank 0, an empty array elsewhere. Collective: one MPI reduction.

    Parameters
    ----------
    region : the cells to take, all along every axis but the first; default: all cells. What lies beyond the grid is
        left out.
    before : the number of values of the dataset that come before the field's, such as those of earlier times.
    total : bytes of the dataset, if its digests are wanted to which these cells are a part: the others' are added.
    """
    from mpibatch.mpi import agreed

    with agreed(comm, "computing digests"):
        table = _own_part(field, _rows_of(field, region), before, total)
    summed = np.zeros_like(table) if comm.rank == 0 else None
    comm.Reduce(table, summed)  # unsigned integers are added modulo 2^64
    return np.empty(0, np.uint64) if summed is None else summed


def extents_of_field(
    comm: MPI.Intracomm, dataset: str, field: Block, offset: int, region: Box | None = None, before: int = 0
) -> list[Extent]:
    """Return the extent of a field's values, which lie at byte `offset` of a file, with their digests. Collective.

    Rank 0 gets a list of one, or of none if there are no values; others get an empty list. Parameters as `of_field`.
    """
    rows = _rows_of(field, region)
    row = math.prod(field.shape[1:]) * field.dtype.itemsize
    nbytes = len(rows) * row
    if not nbytes:
        return []
    digests = of_field(comm, field, region, before)
    if comm.rank != 0:
        return []
    first = before * field.dtype.itemsize + rows.start * row
    return [Extent(dataset, offset, nbytes, first, granule(nbytes), digests)]


def extent_of_array(dataset: str, array: Array, offset: int, before: int = 0) -> Extent:
    """Return the extent of an array's values, which lie at byte `offset` of a file, with their digests. Local."""
    return Extent(
        dataset, offset, array.nbytes, before * array.itemsize, granule(array.nbytes), of_array(array, before)
    )


def _rows_of(field: Block, region: Box | None) -> range:
    """The indices along the first axis that a region takes."""
    whole = whole_box(field)
    box = whole if region is None else whole.intersect(region)
    if box.size and box.shape[1:] != whole.shape[1:]:
        raise ValueError(f"{region} cuts rows of {whole.shape}; only whole ones are consecutive words")
    return range(box.start[0], box.stop[0]) if box.size else range(0)


def _own_part(field: Block, rows: range, before: int, total: int) -> Digests:
    """What this rank's cells add to the table of digests: of the rows' values, or of all of a dataset's."""
    from mpibatch.io.seal._loops.digests import add_rows

    item = field.dtype.itemsize
    row = math.prod(field.shape[1:]) * item
    size = total or len(rows) * row
    per = granule(size)
    table = np.zeros(-(-size // per), np.uint64)
    start, stop = max(field.box.start[0], rows.start), min(field.box.stop[0], rows.stop)
    if not table.size or not field.owned.size or start >= stop:
        return table
    view = field.owned[start - field.box.start[0] : stop - field.box.start[0]]
    corner = (start, *field.box.start[1:], *(0 for _ in field.components))
    first = before + sum(i * math.prod(field.shape[axis + 1 :]) for axis, i in enumerate(corner))
    origin = 0 if total else before * item + rows.start * row
    # Seen where it lies, from its first value on, with the halo in between.
    flat = _flat(field.padded)[_address(view) - _address(field.padded) :]
    lengths, strides, numbers = (np.array(part, np.int64) for part in _walk(view, field.shape))
    add_rows(flat, lengths, strides, numbers, first * item, origin, per, table)
    return table


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _walk(view: Array, shape: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
    """The bytes of a view of an array of global `shape`: (lengths, strides, steps in number), with few long axes."""
    axes = [(view.itemsize, 1, 1)]
    for axis in reversed(range(view.ndim)):
        length, stride = view.shape[axis], view.strides[axis]
        number = math.prod(shape[axis + 1 :]) * view.itemsize
        inner, inner_stride, inner_number = axes[-1]
        if length == 1:
            continue
        if stride == inner * inner_stride and number == inner * inner_number:
            axes[-1] = (inner * length, inner_stride, inner_number)
        else:
            axes.append((length, stride, number))
    lengths, strides, numbers = (list(part) for part in zip(*reversed(axes), strict=True))
    return lengths, strides, numbers
