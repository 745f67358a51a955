"""Digests of values: sums that find every changed word, and do not depend on who computed which part.

A dataset is seen as words, its values cut into units of 1, 2, 4 or 8 bytes and numbered in C order. A digest of some
of them is the sum, modulo 2^64, of ``mix(word, number)``, where `mix` scatters a word over 64 bits and can be undone
for each number: one changed word changes the digest for certain, and several do but for a chance of about 2^-64.
Being a sum, it is the same for any blocks on any ranks in any order, and MPI adds the ranks' parts up: what travels is
a table of digests, never values. This finds accidents; it is no protection from somebody who wants to deceive.

A table has one digest for each region of so many consecutive words. The size of regions follows from the bytes alone:
64 KiB, more when that would give more than 4096 of them, but not above 16 MiB up to 16 TiB.

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

__all__ = [
    "extent_of_array", "extents_of_field", "granule", "of_array", "of_bytes", "of_field", "of_words", "per_digest",
    "word_bytes",
]  # fmt: skip

Array = npt.NDArray[Any]

SMALLEST, LARGEST = 64 << 10, 16 << 20  # bytes of a region
FEW, MANY = 1 << 12, 1 << 20  # regions: as many as no one minds, and as many as a table may have


def granule(nbytes: int) -> int:
    """Return the bytes of a region, a power of 2, for data of `nbytes` bytes. Local."""
    size = SMALLEST
    while nbytes > size * (FEW if size < LARGEST else MANY):
        size *= 2
    return size


def word_bytes(dtype: npt.DTypeLike) -> int:
    """Return the bytes of a word of values of `dtype`. Local."""
    return math.gcd(np.dtype(dtype).itemsize, 8)


def per_digest(nbytes: int, word: int) -> int:
    """Return for how many words of `word` bytes one digest stands, in data of `nbytes` bytes. Local."""
    return granule(nbytes) // word


def of_words(words: Array, first: int = 0) -> int:
    """Return the digest of a one-dimensional array of unsigned integers; `first` is the first one's number. Local."""
    from mpibatch.io.seal._loops.digests import mixed_sum

    return int(mixed_sum(words, np.uint64(first)))


def of_bytes(data: Any, word: int, first: int, per_digest: int) -> Digests:
    """Return the digests of bytes that begin with word number `first`, one for each `per_digest` words. Local."""
    words = np.frombuffer(data, f"u{word}")
    cuts = range(0, words.size, per_digest)
    return np.array([of_words(words[low : low + per_digest], first + low) for low in cuts], np.uint64)


def of_array(array: Array, before: int = 0) -> Digests:
    """Return the digests of all values of an array that lie in one piece of a file. Local.

    `before` is the number of values of the dataset that come before it.
    """
    word = word_bytes(array.dtype)
    words = np.ascontiguousarray(array).reshape(-1).view(f"u{word}")
    return of_bytes(words.data, word, before * (array.itemsize // word), per_digest(array.nbytes, word))


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
    word = word_bytes(field.dtype)
    row = math.prod(field.shape[1:]) * field.dtype.itemsize
    nbytes = len(rows) * row
    if not nbytes:
        return []
    digests = of_field(comm, field, region, before)
    if comm.rank != 0:
        return []
    first = (before * field.dtype.itemsize + rows.start * row) // word
    return [
        Extent(
            dataset=dataset,
            offset=offset,
            nbytes=nbytes,
            word=word,
            first=first,
            per_digest=per_digest(nbytes, word),
            digests=digests,
        )
    ]


def extent_of_array(dataset: str, array: Array, offset: int, before: int = 0) -> Extent:
    """Return the extent of an array's values, which lie at byte `offset` of a file, with their digests. Local."""
    word = word_bytes(array.dtype)
    first = before * (array.itemsize // word)
    return Extent(
        dataset=dataset,
        offset=offset,
        nbytes=array.nbytes,
        word=word,
        first=first,
        per_digest=per_digest(array.nbytes, word),
        digests=of_array(array, before),
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

    word, item = word_bytes(field.dtype), field.dtype.itemsize
    row = math.prod(field.shape[1:]) * item
    size = total or len(rows) * row
    per = per_digest(size, word)
    table = np.zeros(-(-size // word // per), np.uint64)
    start, stop = max(field.box.start[0], rows.start), min(field.box.stop[0], rows.stop)
    if not table.size or not field.owned.size or start >= stop:
        return table
    view = field.owned[start - field.box.start[0] : stop - field.box.start[0]]
    corner = (start, *field.box.start[1:], *(0 for _ in field.components))
    first = before + sum(i * math.prod(field.shape[axis + 1 :]) for axis, i in enumerate(corner))
    origin = 0 if total else before * item + rows.start * row
    # Seen where it lies, from its first value on, with the halo in between.
    at = (_address(view) - _address(field.padded)) // word
    flat = field.padded.reshape(-1).view(f"u{word}")[at:]
    lengths, strides, numbers = (np.array(part, np.int64) for part in _walk(view, field.shape, word))
    add_rows(flat, lengths, strides, numbers, first * item // word, origin // word, per, table)
    return table


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _walk(view: Array, shape: tuple[int, ...], word: int) -> tuple[list[int], list[int], list[int]]:
    """The words of a view of an array of global `shape`: (lengths, strides, steps in number), with few long axes."""
    axes = [(view.itemsize // word, 1, 1)]
    for axis in reversed(range(view.ndim)):
        length, stride = view.shape[axis], view.strides[axis] // word
        number = math.prod(shape[axis + 1 :]) * view.itemsize // word
        inner, inner_stride, inner_number = axes[-1]
        if length == 1:
            continue
        if stride == inner * inner_stride and number == inner * inner_number:
            axes[-1] = (inner * length, inner_stride, inner_number)
        else:
            axes.append((length, stride, number))
    lengths, strides, numbers = (list(part) for part in zip(*reversed(axes), strict=True))
    return lengths, strides, numbers
