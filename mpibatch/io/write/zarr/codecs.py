"""Chunks and shards as Zarr 3 stores them: little endian, perhaps packed, many chunks in one file with an index.

What packs must give the same bytes in every process: gzip of Python's zlib, which writes no time; zstd and blosc of
numcodecs, which Zarr's own library packs with, in one thread, since blosc puts blocks where its threads finish them.
"""

from __future__ import annotations

import importlib
import itertools
import math
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.io.chunks.compression import normal_compression

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Codec", "codec_of", "crc32c", "shard"]

Array = npt.NDArray[Any]

ABSENT = (1 << 64) - 1  # in a shard's index: a chunk without a cell of the array
CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, its bits reversed (RFC 3720, appendix B.4)


@dataclass(frozen=True)
class Codec:
    """How chunks become bytes: what Zarr's metadata say of it behind the codec ``bytes``, and the packing."""

    described: tuple[dict[str, Any], ...]
    pack: Callable[[Array], Any]


def codec_of(compression: str | None, dtype: np.dtype[Any]) -> Codec:
    """Return the codec of a compression for values of `dtype`. Local. UsageError if it is unknown or not installed."""
    normal = normal_compression(compression, "Zarr")
    if normal is None:
        return Codec((), lambda chunk: chunk.reshape(-1).view(np.uint8))
    name, _, text = normal.partition(":")
    level = int(text)
    if name == "gzip":
        return Codec(({"name": "gzip", "configuration": {"level": level}},), lambda chunk: _gzipped(chunk, level))
    try:
        library = importlib.import_module(f"numcodecs.{name}")
    except ImportError:
        raise UsageError(
            f"compression {compression!r} of Zarr needs numcodecs, which is not installed: "
            "pip install 'mpibatch[formats]', or give gzip"
        ) from None
    if name == "zstd":
        about = {"name": "zstd", "configuration": {"level": level, "checksum": False}}
        return Codec((about,), lambda chunk: library.compress(chunk, level))
    settings = {"typesize": dtype.itemsize, "cname": "zstd", "clevel": level, "shuffle": "shuffle", "blocksize": 0}
    return Codec(({"name": "blosc", "configuration": settings},), lambda chunk: _blosc(library, chunk, level))


def _gzipped(chunk: Array, level: int) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, 31)
    return stream.compress(chunk.data) + stream.flush()


def _blosc(library: Any, chunk: Array, level: int) -> bytes:
    before, library.use_threads = library.use_threads, False
    try:
        packed: bytes = library.compress(chunk, b"zstd", level, library.SHUFFLE)
        return packed
    finally:
        library.use_threads = before


def shard(block: Array, chunk: Sequence[int], inside: Sequence[int], codec: Codec) -> Any:
    """Return the bytes of a shard: its chunks in C order, and the index of where they begin. Local.

    Of `block`, cut into `chunk`, those chunks are stored that have a cell of the first `inside` ones along each axis.
    """
    index = np.full((*(n // m for n, m in zip(block.shape, chunk, strict=True)), 2), ABSENT, "<u8")
    places = list(itertools.product(*(range(-(-n // m)) for n, m in zip(inside, chunk, strict=True))))
    cuts = [tuple(slice(i * m, (i + 1) * m) for i, m in zip(place, chunk, strict=True)) for place in places]
    if codec.described:
        packed = [codec.pack(np.ascontiguousarray(block[cut])) for cut in cuts]
        _fill(index, places, [len(data) for data in packed])
        return b"".join([*packed, _with_sum(index)])
    # Each straight to its place: copies are most of the work.
    size = math.prod(chunk) * block.itemsize
    _fill(index, places, [size] * len(cuts))
    data = np.empty(len(cuts) * size + index.nbytes + 4, np.uint8)
    chunks = data[: len(cuts) * size].view(block.dtype).reshape(-1, *chunk)
    for target, cut in zip(chunks, cuts, strict=True):
        target[...] = block[cut]
    data[len(cuts) * size :] = np.frombuffer(_with_sum(index), np.uint8)
    return data


def _fill(index: Array, places: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> None:
    for place, end, size in zip(places, itertools.accumulate(sizes), sizes, strict=True):
        index[place] = end - size, size


def _with_sum(index: Array) -> bytes:
    table = index.tobytes()
    return table + crc32c(table).to_bytes(4, "little")


@cache
def _table() -> tuple[int, ...]:
    values = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (CASTAGNOLI if crc & 1 else 0)
        values.append(crc)
    return tuple(values)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of a few bytes. Local."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
