"""Looking into files without MPI: what they hold, the digest of a dataset, a slice of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.base.marks import own, views
from mpibatch.io.base.names import PathLike, split_path
from mpibatch.io.formats import Array, Selection, Source, format_of, inspect, read
from mpibatch.io.formats.source import numeric
from mpibatch.io.read.indices import chosen

__all__ = ["DatasetInfo", "describe", "digest", "file_attributes", "read_slice"]

BLOCK_BYTES = 64 << 20  # read at once for a digest
ATTRIBUTE_VALUES = 64  # of longer ones only the shape is told


@dataclass(frozen=True)
class DatasetInfo:
    """One dataset of a file; `refused` says why it cannot be loaded, "" if it can."""

    name: str  # "" in formats that have one array and no name for it
    shape: tuple[int, ...]
    dtype: str
    nbytes: int  # of the values, uncompressed
    attrs: Mapping[str, Any] = field(default_factory=dict)
    chunks: tuple[int, ...] | None = None
    compression: str | None = None
    refused: str = ""


def describe(path: PathLike) -> list[DatasetInfo]:
    """Return all datasets of a file, by name. Local. Links that leave the file are not followed."""
    file, dataset = split_path(path)
    if format_of(file) != "hdf5":
        source = inspect(file, dataset)
        dtype = np.dtype(source.dtype)
        return [DatasetInfo(source.dataset, source.shape, dtype.name, math.prod(source.shape) * dtype.itemsize)]
    from mpibatch.io.formats import hdf5

    with hdf5.opened(file) as opened:
        found = hdf5.datasets(opened) if dataset is None else {dataset: hdf5.find(opened, file, dataset)}
        return [_info(name, found[name]) for name in sorted(found)]


def file_attributes(path: PathLike) -> dict[str, Any]:
    """Return the attributes of an HDF5 file's root group; {} for other formats. Local."""
    file, _ = split_path(path)
    if format_of(file) != "hdf5":
        return {}
    from mpibatch.io.formats import hdf5

    with hdf5.opened(file) as opened:
        return _attributes(opened.attrs, own(opened.attrs, root=bool(views(opened.attrs))))


def digest(path: PathLike, dataset: str | None = None) -> str:
    """Return the SHA-256 of dtype, shape and values in C order and little endian, as hexadecimal text. Local.

    It does not depend on how the file stores them: chunks, compression, byte order. Memory is bounded.
    """
    source = inspect(*split_path(path, dataset))
    little = np.dtype(source.dtype).newbyteorder("<")
    total = hashlib.sha256(f"{little.str} {source.shape}\n".encode())
    # What is decoded as a whole anyway is also read as a whole.
    most = max(1, BLOCK_BYTES // little.itemsize) if source.boxwise else math.prod(source.shape)
    for block in _blocks(source.shape, most):
        total.update(_read(source, block).astype(little, copy=False).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def read_slice(path: PathLike, dataset: str | None, selection: tuple[int | slice, ...] | int | slice = ()) -> Array:
    """Return a part of a dataset in native byte order. Local.

    Parameters
    ----------
    path, dataset : as in `load`.
    selection : as in NumPy: integers, and slices with steps > 0, for the first axes; the rest is taken whole.
    """
    source = inspect(*split_path(path, dataset))
    part = chosen(source.name, source.shape, selection)
    if part.flipped:
        raise UsageError(f"a step below 0 was given for {source.name}; give steps >= 1")
    return part.of(_read(source, part.selection))


def _read(source: Source, selection: Selection) -> Array:
    shape = tuple(len(range(s.start, s.stop, s.step or 1)) for s in selection)
    values: Array = np.empty(shape, source.dtype)
    if values.size:
        read(source, selection, values, tuple(slice(0, n) for n in shape))
    return values


def _blocks(shape: tuple[int, ...], most: int) -> Iterator[Selection]:
    """Yield slices that cut an array into parts of at most `most` values, in C order."""
    if not shape:
        yield ()
        return
    inner = math.prod(shape[1:])
    if inner > most:
        for index in range(shape[0]):
            for rest in _blocks(shape[1:], most):
                yield (slice(index, index + 1), *rest)
        return
    rows = most // inner
    for low in range(0, shape[0], rows):
        yield (slice(low, min(low + rows, shape[0])), *(slice(0, n) for n in shape[1:]))


def _info(name: str, dataset: Any) -> DatasetInfo:
    from mpibatch.io.formats import hdf5

    refused = hdf5.refusal(dataset)
    dtype = hdf5.dtype_text(dataset)
    shape = () if refused else tuple(dataset.shape)
    attrs = _attributes(dataset.attrs, own(dataset.attrs))
    plain = numeric(dtype)
    if plain is None:
        refused = refused or f"values of dtype {dtype} are not read"
    nbytes = math.prod(shape) * plain.itemsize if plain is not None and not refused else 0
    dtype = dtype if plain is None else plain.name
    return DatasetInfo(name, shape, dtype, nbytes, attrs, dataset.chunks, dataset.compression, refused)


def _attributes(attributes: Any, names: Sequence[str]) -> dict[str, Any]:
    """Attributes as plain Python values; of what is large or strange, only what it is."""
    values: dict[str, Any] = {}
    for name in names:
        try:
            value = attributes[name]
        except (OSError, TypeError, ValueError) as error:
            values[name] = f"(unreadable: {error})"
            continue
        values[name] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    """A value of HDF5 or NumPy as JSON knows it: texts, numbers, and lists of them."""
    if isinstance(value, np.ndarray) and value.size > ATTRIBUTE_VALUES:
        return f"(array of shape {value.shape})"
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()  # bytes, str and complex are NumPy's scalars, too
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such number
    return value if isinstance(value, str | int | float | bool) else str(value)
