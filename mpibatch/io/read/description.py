"""Looking into files without MPI: what they hold, the digest of a dataset, a slice of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.base.marks import VERSION_ATTRIBUTE, own, views
from mpibatch.io.base.names import PathLike, split_path
from mpibatch.io.formats import Array, Selection, Source, format_of, inspect, names, read
from mpibatch.io.formats.metadata import plain
from mpibatch.io.formats.source import numeric
from mpibatch.io.read.indices import chosen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["DatasetInfo", "describe", "digest", "file_attributes", "read_slice", "table_names", "tables_of"]

BLOCK_BYTES = 64 << 20  # read at once for a digest


@dataclass(frozen=True)
class DatasetInfo:
    """One dataset of a file; `describe` returns them.

    Parameters
    ----------
    name : str
        "" in formats that have one array and no name for it.
    shape : tuple of int
        () if it cannot be loaded.
    dtype : str
        The name of NumPy's dtype.
    nbytes : int
        Bytes of the values, uncompressed.
    attrs : mapping of str to object, default {}
        Its attributes, as JSON knows values; of long ones only the shape.
    chunks : tuple of int, optional
        The shape of its chunks; None if it lies in one piece, or its format has none.
    compression : str, optional
        HDF5's name of it; None for none.
    refused : str, default ""
        Why it cannot be loaded, "" if it can.

    Notes
    -----
    Local. All of them are attributes; it cannot be changed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("info.h5", heights=mb.Grid((4, 6)).zeros("f4"), chunks=(2, 6))
    >>> info, = mb.io.describe("info.h5")
    >>> info.name, info.shape, info.dtype, info.nbytes, info.chunks
    ('heights', (4, 6), 'float32', 96, (2, 6))
    """

    name: str  # "" in formats that have one array and no name for it
    shape: tuple[int, ...]
    dtype: str
    nbytes: int  # of the values, uncompressed
    attrs: Mapping[str, Any] = field(default_factory=dict)
    chunks: tuple[int, ...] | None = None
    compression: str | None = None
    refused: str = ""


def describe(path: PathLike) -> list[DatasetInfo]:
    """Return what datasets a file holds, by name.

    Parameters
    ----------
    path : str or path-like
        A file of any format that `load` reads; ``"file.h5::dataset"`` for this dataset alone, or a table's columns.

    Returns
    -------
    list of DatasetInfo
        In the order of names. Links that leave the file are not followed.

    Raises
    ------
    UsageError
        If there is no such dataset.
    RunError
        If the file is missing or damaged.

    Notes
    -----
    Local; needs no MPI. No values are read.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("described.h5", heights=mb.Grid((4, 6)).zeros(), mask=mb.Grid(3).zeros("?"))
    >>> [(info.name, info.shape, info.dtype) for info in mb.io.describe("described.h5")]
    [('heights', (4, 6), 'float64'), ('mask', (3,), 'bool')]
    """
    file, dataset = split_path(path)
    if format_of(file, dataset) != "hdf5":
        known = [dataset] if dataset else names(file)
        return [_of_source(file, name, is_listed=len(known) > 1) for name in known]
    from mpibatch.io.formats import hdf5

    with hdf5.opened(file) as opened:
        if dataset is None:
            selected = hdf5.datasets(opened)
        else:
            thing = hdf5.find(opened, file, dataset)
            columns = hdf5.columns_of(thing)
            selected = {f"{dataset}/{c}": hdf5.find(opened, file, f"{dataset}/{c}") for c in columns}
            selected = selected or {dataset: thing}
        return [_info(name, selected[name]) for name in sorted(selected)]


def table_names(path: PathLike) -> list[str]:
    """Return the names of a file's tables, sorted. Local. Raises RunError if it is missing or damaged."""
    file, dataset = split_path(path)
    if format_of(file, dataset) != "hdf5":
        return []
    from mpibatch.io.formats import hdf5

    with hdf5.opened(file) as opened:
        groups = {name.rpartition("/")[0] for name in hdf5.datasets(opened)} - {""}
        return [name for name in sorted(groups) if dataset in (None, name) and hdf5.columns_of(opened[name])]


def tables_of(path: PathLike) -> list[Source]:
    """Return what tables a file holds, by name. Local. Raises RunError if it is missing or damaged."""
    return [inspect(split_path(path)[0], name, tables=True) for name in table_names(path)]


def file_attributes(path: PathLike) -> dict[str, Any]:
    """Return the attributes of the root group of an HDF5 file, or of a Zarr store of mpibatch's.

    Parameters
    ----------
    path : str or path-like
        A file.

    Returns
    -------
    dict of str to object
        Texts, numbers, and lists of them; of what is long only the shape. {} for other formats.

    Raises
    ------
    RunError
        If the file is missing or damaged.

    Notes
    -----
    Local; needs no MPI.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("attributes.h5", heights=mb.Grid((4, 6)).zeros(), attrs={"sample": "A7"})
    >>> mb.io.file_attributes("attributes.h5")["sample"]
    'A7'
    """
    file, dataset = split_path(path)
    kind = format_of(file, dataset)
    if kind == "zarr":
        from mpibatch.io.formats.pieces import zarr_store

        attributes = zarr_store.root_attributes(file)
        return {name: attributes[name] for name in sorted(attributes)} if VERSION_ATTRIBUTE in attributes else {}
    if kind != "hdf5":
        return {}
    from mpibatch.io.formats import hdf5

    with hdf5.opened(file) as opened:
        return _attributes(opened.attrs, own(opened.attrs, root=bool(views(opened.attrs))))


def digest(path: PathLike, dataset: str | None = None) -> str:
    """Return the SHA-256 of dtype, shape and values in C order and little endian.

    Parameters
    ----------
    path : str or path-like
        A file, or ``"file.h5::dataset"``.
    dataset : str, optional
        Name within an HDF5 or FITS file or a Zarr store; may be left out if there is only one. Of TIFF, NIfTI and
        OME-Zarr: picks, as ``"series=1,channel=2"``.

    Returns
    -------
    str
        Hexadecimal text. It does not depend on how the file stores the values: chunks, compression, byte order.

    Raises
    ------
    UsageError
        If there is no such dataset.
    RunError
        If the file is missing or damaged.

    Notes
    -----
    Local; needs no MPI. All values are read, 64 MiB at a time; of pictures that can only be decoded as a whole, all at
    once.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((4, 6)).from_function(lambda y, x: y + x)
    >>> mb.save("plain.h5", u=u)
    >>> mb.save("packed.h5", u=u, compression="gzip")
    >>> mb.io.digest("plain.h5") == mb.io.digest("packed.h5")
    True
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
    """Return a part of a dataset in native byte order.

    Parameters
    ----------
    path : str or path-like
        A file, or ``"file.h5::dataset"``.
    dataset : str or None
        Name within an HDF5 or FITS file or a Zarr store; None: the only one. Of TIFF, NIfTI and OME-Zarr: picks, as
        ``"series=1,channel=2"``.
    selection : int, slice or tuple of them, default ()
        As in NumPy: integers, and slices with steps > 0, for the first axes; the rest is taken whole.

    Returns
    -------
    ndarray
        A new one; axes with an integer are dropped.

    Raises
    ------
    UsageError
        If there is no such dataset or part of it.
    RunError
        If the file is missing or damaged.

    Notes
    -----
    Local; needs no MPI. Only what is selected is read, where the format allows it.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("sliced.h5", u=mb.Grid((4, 6)).from_function(lambda y, x: 10 * y + x))
    >>> print(mb.io.read_slice("sliced.h5", "u", (2, slice(0, 6, 2))))
    [20. 22. 24.]
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


def _of_source(file: str, name: str, *, is_listed: bool) -> DatasetInfo:
    """What a file of another format than HDF5 holds under a name; one among several may be refused."""
    try:
        source = inspect(file, name or None)
    except UsageError as error:
        if not is_listed:
            raise
        return DatasetInfo(name, (), "?", 0, refused=str(error))
    dtype = np.dtype(source.dtype)
    attrs: dict[str, Any] = {f"grid_{key}": value for key, value in source.grid.items()}
    attrs |= {"note": " ".join(source.notes)} if source.notes else {}
    nbytes = math.prod(source.shape) * dtype.itemsize
    chunks: tuple[int, ...] = source.storage.chunks if source.storage is not None else ()
    if chunks and source.storage is not None and (view := source.storage.view) is not None:
        chunks = tuple(chunks[axis] for axis in view.order)
    return DatasetInfo(source.dataset, source.shape, dtype.name, nbytes, attrs, chunks or None)


def _info(name: str, dataset: Any) -> DatasetInfo:
    from mpibatch.io.formats import hdf5

    refused = hdf5.refusal(dataset)
    dtype = hdf5.dtype_text(dataset)
    shape = () if refused else tuple(dataset.shape)
    attrs = _attributes(dataset.attrs, own(dataset.attrs))
    known = numeric(dtype)
    if known is None:
        refused = refused or f"values of dtype {dtype} are not read"
    nbytes = math.prod(shape) * known.itemsize if known is not None and not refused else 0
    dtype = dtype if known is None else known.name
    return DatasetInfo(
        name=name,
        shape=shape,
        dtype=dtype,
        nbytes=nbytes,
        attrs=attrs,
        chunks=dataset.chunks,
        compression=dataset.compression,
        refused=refused,
    )


def _attributes(attributes: Any, names: Sequence[str]) -> dict[str, Any]:
    """Attributes as plain Python values; of what is large or strange, only what it is."""
    values: dict[str, Any] = {}
    for name in names:
        try:
            value = attributes[name]
        except (OSError, TypeError, ValueError) as error:
            values[name] = f"(unreadable: {error})"
            continue
        values[name] = plain(value)
    return values
