"""What a sealed file says of itself: a digest for every byte of it, and the names of what lies there.

As bytes: the length of a header (8 bytes, little endian), the header as JSON, then for each dataset its table of
extents, the boxes of stored chunks, and digests, and last a SHA-256 for each piece of the file outside of all extents.
All integers have 8 bytes, little endian. `parse` takes nothing on trust: a manifest may come from anybody.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.io.base.subfiles import is_subfile
from mpibatch.io.seal.digests import granule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mpibatch.io.seal.extent import Digests, Extent

__all__ = ["VERSION", "Manifest", "Sealed", "VersionError", "build", "header_of", "pack", "parse", "pieces_outside"]

VERSION = 2
HASH_BYTES = 32
HEADER_BYTES = 64 << 20
AXES = 32

Table = npt.NDArray[np.int64]


class VersionError(ValueError):
    """A manifest is that of another version, whose digests may be others."""


@dataclass(frozen=True)
class Sealed:
    """One dataset: what it is, and its extents as arrays.

    Attributes
    ----------
    table : a row for each extent: offset, nbytes, first, per_digest, as in `Extent`.
    boxes : (start, stop) of the values in each stored chunk; None for plain values.
    digests : those of all extents, one after the other.
    values : the digests of the values of a dataset that is stored in chunks; None where `digests` are those.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    table: Table
    boxes: Table | None
    digests: Digests
    values: Digests | None


@dataclass(frozen=True)
class Manifest:
    """All of a file but the manifest itself: `size` bytes.

    Attributes
    ----------
    content : SHA-256 of names, dtypes, shapes and digests of all datasets: equal for equal content, wherever in
        the file and however it is stored, and whatever else, such as attributes, is in the file. (That of a time
        series is another than that of the same array saved at once.)
    hashes : SHA-256 of each piece outside of all extents, see `pieces_outside`.
    subfiles : where the values of a front lie: names relative to its folder, in order.
    """

    size: int
    content: str
    datasets: tuple[Sealed, ...]
    hashes: tuple[bytes, ...]
    subfiles: tuple[str, ...] = ()


def build(
    size: int,
    about: Mapping[str, tuple[str, tuple[int, ...]]],
    extents: Sequence[Extent],
    values: Mapping[str, Digests],
) -> Manifest:
    """Return the manifest, still without hashes, of datasets of these (dtype, shape). Local."""
    by_name: dict[str, list[Extent]] = {name: [] for name in sorted(about)}
    for extent in extents:
        by_name[extent.dataset].append(extent)
    datasets = tuple(_sealed(name, *about[name], parts, values.get(name)) for name, parts in by_name.items())
    return Manifest(size, _content(datasets), datasets, ())


def _sealed(name: str, dtype: str, shape: tuple[int, ...], extents: list[Extent], values: Digests | None) -> Sealed:
    ordered = sorted(extents, key=lambda e: (e.cells, e.first, e.offset))
    table = np.array([(e.offset, e.nbytes, e.first, e.per_digest) for e in ordered], np.int64).reshape(-1, 4)
    boxes = np.array([e.cells for e in ordered], np.int64) if any(e.cells for e in ordered) else None
    digests = np.concatenate([np.empty(0, np.uint64), *(e.digests for e in ordered)])
    return Sealed(name=name, dtype=dtype, shape=shape, table=table, boxes=boxes, digests=digests, values=values)


def pieces_outside(manifest: Manifest) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the pieces of a file that no extent covers, in order. Local.

    Raises ValueError if extents overlap or leave the file.
    """
    tables = [np.empty((0, 4), np.int64), *(d.table for d in manifest.datasets)]
    ranges = np.concatenate(tables)[:, :2]
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    low = 0
    for offset, nbytes in [*ranges.tolist(), [manifest.size, 0]]:
        if offset < low:
            raise ValueError(f"two extents overlap at byte {offset}, or one leaves the file")
        step = granule(offset - low)
        yield from ((at, min(at + step, offset)) for at in range(low, offset, step))
        low = offset + nbytes


def _content(datasets: Sequence[Sealed]) -> str:
    total = hashlib.sha256()
    for d in datasets:
        total.update(json.dumps([d.name, d.dtype, d.shape]).encode() + b"\n")
        total.update((d.digests if d.values is None else d.values).astype("<u8").tobytes())
    return total.hexdigest()


def pack(manifest: Manifest) -> bytes:
    """Return a manifest as bytes. Local."""
    datasets = [
        {
            "name": d.name,
            "dtype": d.dtype,
            "shape": d.shape,
            "extents": len(d.table),
            "in_chunks": d.boxes is not None,
            "digests": d.digests.size,
            "values": None if d.values is None else d.values.size,
        }
        for d in manifest.datasets
    ]
    header: dict[str, Any] = {
        "version": VERSION,
        "size": manifest.size,
        "content": manifest.content,
        "datasets": datasets,
    }
    if manifest.subfiles:
        header["subfiles"] = manifest.subfiles
    text = json.dumps(header, separators=(",", ":")).encode()
    parts = [len(text).to_bytes(8, "little"), text]
    for d in manifest.datasets:
        parts += [array.astype("<i8").tobytes() for array in (d.table, d.boxes) if array is not None]
        parts += [array.astype("<u8").tobytes() for array in (d.digests, d.values) if array is not None]
    return b"".join([*parts, *manifest.hashes])


def header_of(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the header of a packed manifest, and how many bytes it took. Local. Raises ValueError, VersionError."""
    length = int.from_bytes(data[:8], "little")
    _check(8 <= 8 + length <= min(len(data), HEADER_BYTES), "a header of a strange length")
    try:
        header = json.loads(data[8 : 8 + length])
    except RecursionError:
        header = None
    _check(isinstance(header, dict), "a header of another kind")
    version = header.get("version")
    if version != VERSION and version in range(1, 1000):
        raise VersionError(f"it was sealed by another version of mpibatch (seals {version:d}, this has {VERSION})")
    _check(version == VERSION, f"version {str(version)[:20]}, where this mpibatch knows only {VERSION}")
    content = header.get("content")
    is_hash = isinstance(content, str) and len(content) == 2 * HASH_BYTES and set(content) <= set("0123456789abcdef")
    _check(is_hash, "no content digest")
    return header, 8 + length


def parse(data: bytes, size: int) -> Manifest:
    """Return the manifest of a file of `size` bytes. Local. Raises ValueError if it is not consistent in itself."""
    header, done = header_of(data)
    _check(header.get("size") == size, f"{str(header.get('size'))[:20]} bytes, but there are {size}")
    entries = header.get("datasets")
    _check(isinstance(entries, list), "no list of datasets")
    datasets = []
    for entry in entries or ():
        dataset, done = _parse_dataset(entry, data, done, size)
        datasets.append(dataset)
    names = [d.name for d in datasets]
    _check(names == sorted(set(names)), "datasets twice, or out of order")
    _check((len(data) - done) % HASH_BYTES == 0, "a part of a hash")
    hashes = tuple(data[at : at + HASH_BYTES] for at in range(done, len(data), HASH_BYTES))
    subfiles = header.get("subfiles", [])
    is_list = isinstance(subfiles, list) and all(isinstance(name, str) and is_subfile(name) for name in subfiles)
    _check(is_list, "subfiles of another kind")
    manifest = Manifest(
        size=size,
        content=header["content"],
        datasets=tuple(datasets),
        hashes=hashes,
        subfiles=tuple(subfiles),
    )
    # Not counted any further than that: a file may have holes of any size.
    pieces = itertools.islice(pieces_outside(manifest), len(hashes) + 1)
    _check(sum(1 for _ in pieces) == len(hashes), "hashes for other pieces")
    _check(_content(datasets) == manifest.content, "another content digest than that of its digests")
    return manifest


def _parse_dataset(entry: Any, data: bytes, done: int, size: int) -> tuple[Sealed, int]:
    _check(isinstance(entry, dict), "a dataset of another kind")
    name, dtype, shape = entry.get("name"), entry.get("dtype"), entry.get("shape")
    _check(isinstance(name, str) and isinstance(dtype, str) and isinstance(shape, list), "a dataset without a shape")
    item = np.dtype(_plain(dtype)).itemsize
    _check(len(shape) <= AXES and all(map(_is_count, shape)) and _is_count(math.prod(shape) * item), "an absurd shape")
    counts = entry.get("extents"), entry.get("digests"), entry.get("values")
    _check(_is_count(counts[0]) and _is_count(counts[1]), "no counts")
    _check(counts[2] is None or _is_count(counts[2]), "no counts")

    def take(kind: str, *lengths: int) -> npt.NDArray[Any]:
        nonlocal done
        low, done = done, done + 8 * math.prod(lengths)
        _check(done <= len(data), "more digests than it has bytes")
        return np.frombuffer(data[low:done], kind).reshape(lengths).astype(kind[1:])

    table = take("<i8", counts[0], 4)
    boxes = take("<i8", counts[0], 2, len(shape)) if entry.get("in_chunks") is True else None
    digests = take("<u8", counts[1])
    values = None if counts[2] is None else take("<u8", counts[2])
    dataset = Sealed(
        name=name, dtype=dtype, shape=tuple(shape), table=table, boxes=boxes, digests=digests, values=values
    )
    _check_table(dataset, item, size)
    return dataset, done


def _check_table(dataset: Sealed, item: int, size: int) -> None:
    """Extents that lie in the file and in the dataset, each with as many digests as it must have."""
    offset, nbytes, first, per_digest = dataset.table.T
    # One after the other, so that no product or sum overflows.
    _check(bool(((offset >= 0) & (nbytes > 0) & (offset < size) & (nbytes <= size - offset)).all()), "absurd extents")
    _check(bool(((per_digest > 0) & (first >= 0)).all()), "absurd digests")
    counts = -(-nbytes // per_digest)
    _check(bool((counts <= dataset.digests.size).all()) and counts.sum() == dataset.digests.size, "other digests")
    if dataset.boxes is None:
        most = math.prod(dataset.shape) * item
        _check(bool((first <= most - nbytes).all()), "extents beyond the dataset")
    else:
        _check(bool((first == 0).all()), "chunks that do not begin")
        start, stop = dataset.boxes[:, 0], dataset.boxes[:, 1]
        _check(bool(((start >= 0) & (start < stop) & (stop <= dataset.shape)).all()), "boxes beyond the dataset")


def _plain(dtype: str) -> str:
    # NumPy's own parser takes more than we ever write, such as records.
    _check(re.fullmatch("[<>|][biufc][0-9]{1,2}", dtype) is not None, "a strange dtype")
    try:
        return np.dtype(dtype).str
    except TypeError:
        raise ValueError("a strange dtype") from None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _check(is_so: bool, mistake: str) -> None:
    if not is_so:
        raise ValueError(f"its manifest tells of {mistake}")
