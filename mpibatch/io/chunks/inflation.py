"""Chunks that no library needs to unpack: stored as they are, or by gzip, with HDF5's shuffle before it or not.

Unpacked here, they give no memory to a bomb, and take bytes at known places only. All else is left to HDF5, since what
a filter makes of a chunk depends on more than the parameters that a file tells.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import RunError
from mpibatch.io.chunks.compression import GZIP, SHUFFLE, Filter

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["can_inflate", "inflate"]

Array = npt.NDArray[Any]


def can_inflate(filters: Sequence[Filter], itemsize: int) -> bool:
    """Whether chunks behind these filters can be unpacked here. Local."""
    codes = [item.code for item in filters]
    return codes in ([], [GZIP], [SHUFFLE, GZIP]) and (SHUFFLE not in codes or filters[0].values == (itemsize,))


def inflate(dtype: np.dtype[Any], chunk: Sequence[int], filters: Sequence[Filter], mask: int, stored: bytes) -> Array:
    """Return the values of a stored chunk. Local. RunError if the bytes are damaged.

    Parameters
    ----------
    dtype : as stored.
    chunk : its shape.
    filters : those of the dataset, for which `can_inflate` holds.
    mask : bit k tells that filter k was left out.
    stored : the chunk's bytes in the file.
    """
    nbytes = math.prod(chunk) * dtype.itemsize
    used = {item.code for number, item in enumerate(filters) if not mask >> number & 1}
    raw: Any = _inflated(stored, nbytes) if GZIP in used else stored
    if len(raw) != nbytes:
        raise RunError(f"a chunk has {len(raw)} bytes instead of {nbytes}; it is damaged")
    return np.frombuffer(_unshuffled(raw, dtype.itemsize) if SHUFFLE in used else raw, dtype).reshape(chunk)


def _inflated(stored: bytes, nbytes: int) -> bytes:
    """What zlib makes of `stored`: at most one byte more than expected, whatever it would unfold to."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(stored, nbytes + 1)
    except zlib.error as error:
        raise RunError(f"a chunk cannot be decompressed ({error}); it is damaged") from error
    if not stream.eof:
        raise RunError(f"a chunk does not decompress to {nbytes} bytes; it is damaged")
    return raw


def _unshuffled(raw: bytes, size: int) -> Array:
    planes = np.frombuffer(raw, np.uint8).reshape(size, -1)
    values = np.empty((planes.shape[1], size), np.uint8)
    for number, plane in enumerate(planes):
        values[:, number] = plane
    return values.reshape(-1)
