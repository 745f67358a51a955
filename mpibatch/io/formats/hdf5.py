"""HDF5: finding datasets without leaving the file, and reading boxes of them."""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mpibatch.base.errors import MpibatchError, RunError, UsageError, errno_of, nearest, reason_of
from mpibatch.io.base.closure import closing, revised
from mpibatch.io.base.geometry import from_attributes
from mpibatch.io.base.images import drafts
from mpibatch.io.base.marks import views
from mpibatch.io.base.names import PART, whole_name
from mpibatch.io.chunks.codec import check_filters
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.formats import raw_values
from mpibatch.io.formats.hazards import check_sources, check_still_there, gaps, hazards, subfiles_of
from mpibatch.io.formats.metadata import default_signal, from_coordinates, notes_of, plain
from mpibatch.io.formats.schemas import default_part, part_of
from mpibatch.io.formats.source import Array, Selection, Source, native, numeric
from mpibatch.io.formats.storage import filters_of, storage_of
from mpibatch.io.vault.images import image_of, is_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "COLUMNS", "PackedChunks", "chunks_of", "columns_of", "datasets", "dtype_text", "find", "inspect", "opened", "read",
    "refusal",
]  # fmt: skip

COLUMNS = "table_columns"  # the attribute of a group by which it is a table: the names of its columns, in their order

# Names of the two parts by which others write complex numbers; h5py knows its own, ("r", "i").
PAIRS = (("real", "imag"), ("re", "im"), ("r", "i"), ("real", "imaginary"))
SOFT_LINKS = 16  # followed at most for one name, so that a circle ends

# What h5py raises, for one damaged file or another.
_DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, SystemError, MemoryError)


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a file for reading. Local."""
    if is_image(path):
        with _opened_image(path) as file:
            yield file
        return
    try:
        # Some parallel file systems have no locks; reading needs none. What is not complete is read by the run alone
        # that writes it, and holds its lock.
        locking: Any = False if path.endswith(PART) else "best-effort"
        with closing(h5py.File(path, "r", locking=locking)) as file:
            yield file
    except MpibatchError:
        raise
    except _DAMAGE as error:
        raise RunError(f"{path!r} cannot be read as HDF5: {_cause(path, error)}") from error


@contextmanager
def _opened_image(path: str) -> Iterator[Any]:
    """Open a file that HDF5 can only read as it is decrypted, or lies in memory. Local."""
    image: Any
    with image_of(path) as image:
        try:
            if path in drafts:
                # HDF5 sees it as it is written to, and in no other way.
                access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
                access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
                with revised(path, access) as file:
                    yield file
                return
            with closing(h5py.File(image, "r")) as file:
                yield file
        except MpibatchError:
            raise
        except _DAMAGE as error:
            cause = getattr(image, "error", None) or error
            raise RunError(f"{path!r} cannot be read: {cause}; restore it from a copy") from error
        if image.error is not None:
            raise RunError(f"{path!r} cannot be read: {image.error}; restore it from a copy")


def _cause(path: str, error: Exception) -> str:
    """What is wrong with a file, and what to do, from what HDF5 says of it."""
    text, number = str(error), errno_of(error)
    if number in (errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE):
        return reason_of(error)
    if isinstance(error, BlockingIOError) or "unable to lock file" in text:
        return (
            "another program has it open for writing and locked; wait until it has closed it (or set "
            "HDF5_USE_FILE_LOCKING=FALSE where no program has)"
        )
    if "already open for write" in text or "SWMR" in text:
        return (
            "it is marked as open for writing: a program still writes it (SWMR), or ended without closing it; wait, or "
            "clear the mark of a file that nobody writes any more with 'h5clear -s FILE'"
        )
    if "multi driver" in text:
        return "it is the first part of a file that was split (driver split or multi); join the parts with h5repack"
    if "truncated file" in text and (more := _next_member(path)):
        return (
            f"it is one of several files that make up one (driver family; the next is {more!r}); join them: h5repart "
            "FIRST%05d.h5 WHOLE.h5"
        )
    return f"it is damaged or incomplete, or packed in a way not known here ({error}); copy or write it anew"


def _next_member(path: str) -> str:
    """The name of the file that follows in a family, "" if there is none."""
    stem, suffix = Path(path).stem, Path(path).suffix
    match = re.search(r"\d+$", stem)
    if not match:
        return ""
    digits = match.group()
    name = f"{stem[: match.start()]}{int(digits) + 1:0{len(digits)}d}{suffix}"
    return name if (Path(path).parent / name).exists() else ""


def datasets(file: Any) -> dict[str, Any]:
    """Return all datasets by name, each once, without views, soft and external links. Local."""
    by_name: dict[str, Any] = {}
    hidden = views(file.attrs)

    def visit(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset) and isinstance(name, str):  # bytes: no text, and no name of ours
            by_name[name] = thing

    if not hidden:
        file.visititems(visit)
        return by_name
    # A view may come before the dataset that it is a link to, and be the name that HDF5 tells.
    for member in sorted(set(file) - hidden):
        if file.get(member, getlink=True, getclass=True) is h5py.HardLink:
            visit(member, file[member])
            if isinstance(file[member], h5py.Group):
                file[member].visititems(lambda name, thing, member=member: visit(f"{member}/{name}", thing))
    return by_name


def find(file: Any, path: str, name: str, allow: Sequence[str] = ()) -> Any:
    """Return a dataset, or a table's group. Local. Refuses names that lead out of the file, before opening them."""
    node, todo, hops = file["/"], _parts(name), 0
    while todo:
        part = todo.pop(0)
        links = node.id.links if isinstance(node, h5py.Group) else None
        if links is None or not links.exists(part.encode()):
            known = datasets(file)
            if hops:
                raise RunError(
                    f"cannot read {whole_name(path, name)}: it is a link to {part!r}, which does not exist; "
                    f"write it again, or name another dataset: {', '.join(known) or 'there is none'}"
                )
            raise UsageError(f"{path!r} has no dataset {name!r}{nearest(name, known)}")
        kind = links.get_info(part.encode()).type
        if kind == h5py.h5l.TYPE_HARD:
            node = node[part]
        elif kind == h5py.h5l.TYPE_SOFT and hops < SOFT_LINKS:
            hops += 1
            target = links.get_val(part.encode()).decode()
            node = file["/"] if target.startswith("/") else node
            todo = _parts(target) + todo
        elif kind == h5py.h5l.TYPE_EXTERNAL and "external links" in allow:
            try:
                node = node[part]
            except KeyError as error:
                file_name, inside = links.get_val(part.encode())
                raise RunError(
                    f"cannot read {whole_name(path, name)}: it is a link to {inside.decode()!r} of the file "
                    f"{file_name.decode()!r}, which cannot be opened ({error.args[0]}); bring it back, or name another"
                ) from error
        else:
            raise UsageError(
                f"cannot read {whole_name(path, name)}: {part!r} in it is a link that leaves the file or forms a "
                f"loop; such links are not followed: name the file that holds the data{_option('external links')}"
            )
    if not isinstance(node, h5py.Dataset) and not columns_of(node):
        inside = ", ".join(datasets(file)) or "none"
        raise UsageError(f"cannot read {whole_name(path, name)}: it is not a dataset; the datasets are: {inside}")
    return node


def columns_of(thing: Any) -> tuple[str, ...]:
    """Return the names of a table's columns, in their order; () of what is no table. Local."""
    if not isinstance(thing, h5py.Group) or COLUMNS not in thing.attrs:
        return ()
    names = np.atleast_1d(thing.attrs[COLUMNS])
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)


def refusal(dataset: Any) -> str:
    """Return why a dataset is not read, whatever its type; "" if it is. Local. Opens nothing outside the file."""
    return next((reason for _, reason in hazards(dataset)), "")


def dtype_text(dataset: Any) -> str:
    """Return the dtype in native byte order, or a name for one that no field can have. Local."""
    try:
        dtype = value_type(dataset)
    except TypeError as error:  # HDF5 has types that NumPy has not
        return str(error)
    if dtype.kind == "O":
        return "object (strings, references or lists)"
    return f"compound {dtype.names}" if dtype.names else native(dtype)


def value_type(dataset: Any) -> np.dtype[Any]:
    """Return the dtype of the values: of arrays in each cell that of their entries, and complex for pairs. Local."""
    dtype: np.dtype[Any] = dataset.dtype
    dtype = dtype.base
    if dtype.names is not None and tuple(name.lower() for name in dtype.names) in PAIRS:
        parts = [dtype[number] for number in range(2)]
        if parts[0] == parts[1] and parts[0].kind == "f" and parts[0].itemsize in (4, 8):
            return np.dtype(f"{parts[0].byteorder}c{2 * parts[0].itemsize}")
    return dtype


def shape_of(dataset: Any) -> tuple[int, ...]:
    """Return the shape, with the axes of arrays that are in each cell behind. Local."""
    return (*dataset.shape, *dataset.dtype.shape)


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what a dataset holds; without a name, the only one, or the one that NeXus shows. Local."""
    with opened(path) as file:
        check_sources(file)
        part = default_part(file, path) if dataset is None else part_of(file, path, dataset)
        if part is None and dataset is None:
            dataset = _only_one(file, path)
        dataset = (dataset or "") if part is None else part.name
        thing = find(file, path, dataset, allow)
        if columns := columns_of(thing):
            return _table(thing, path, dataset, columns, allow)
        dangers = [*hazards(thing)]
        if thing.file != file and subfiles_of(thing):  # of a front that nobody has looked at
            dangers.append(("virtual datasets", "it is a link to a file whose values lie in others (subfiles)"))
        for kind, reason in dangers:
            if kind not in allow:
                raise UsageError(
                    f"cannot read {whole_name(path, dataset)}: {reason}; copy the values into one plain "
                    f"file{_option(kind)}"
                )
        if "missing" not in allow and (gap := next(gaps(thing), "")):
            raise RunError(
                f"cannot read {whole_name(path, dataset)}: {gap}; bring it back, or give "
                'allow=("missing",) to have fill values in its place'
            )
        text = dtype_text(thing)
        shape = shape_of(thing) if numeric(text) else thing.shape
        # Of another file, whatever its links say, HDF5 alone knows.
        storage = storage_of(thing, path) if thing.file == file else None
        grid = from_attributes(thing.attrs, thing.ndim) or from_coordinates(thing)
        components = len(shape) - len(grid["axes"]) if grid else len(shape) - thing.ndim
        notes = notes_of(thing)
        source = Source(
            path, "hdf5", dataset, shape, text, components, grid=grid, storage=storage, allow=tuple(allow),
            notes=notes,
        )  # fmt: skip
        if part is None:
            return source
        # Where only a part of what is stored counts, HDF5 itself is to find it.
        source = replace(source, grid=part.grid or grid, components=0)
        return source if part.shape is None else replace(source, shape=part.shape, runs=part.runs, storage=None)


def _table(group: Any, path: str, name: str, columns: Sequence[str], allow: Sequence[str]) -> Source:
    """What a table holds; RunError if its columns are not such."""
    dtypes, lengths = {}, set()
    for column in columns:
        dataset = find(group.file, path, f"{name}/{column}", allow)
        lengths.add(dataset.shape if isinstance(dataset, h5py.Dataset) else None)
        dtypes[column] = dtype_text(dataset) if isinstance(dataset, h5py.Dataset) else "?"
    shape = lengths.pop()
    if lengths or shape is None or len(shape) != 1 or any(numeric(dtype) is None for dtype in dtypes.values()):
        raise RunError(
            f"cannot read {whole_name(path, name)}: its columns {', '.join(columns)} are not numbers of one "
            "axis and of one length; name a dataset in it, or write it anew"
        )
    attrs = {key: plain(group.attrs[key], is_whole=True) for key in sorted(group.attrs) if key != COLUMNS}
    return Source(path, "hdf5", name, shape, "table", columns=dtypes, attrs=attrs, allow=tuple(allow))


def _only_one(file: Any, path: str) -> str:
    known = datasets(file)
    groups = {name.rpartition("/")[0] for name in known}
    if len(groups) == 1 and columns_of(file[next(iter(groups)) or "/"]):
        return next(iter(groups))  # a table, though it be one of one column
    if len(known) == 1:
        return next(iter(known))
    signal = default_signal(file)
    if signal is None:
        names = f"{len(known)} datasets: {', '.join(known)}; name one" if known else "no dataset to read"
        raise UsageError(f"{path!r} has {names}")
    return signal


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Where only HDF5 knows the values' places, it reads them and converts their dtype."""
    if source.storage is not None and source.storage.is_plain:
        raw_values.read(source, selection, out, at)
        return
    if source.runs:
        _read_runs(source, selection, out, at)
        return
    with _dataset(source) as dataset:
        values = dataset.dtype
        if values.subdtype is None and values.names is None:
            dataset.read_direct(out, np.s_[selection], np.s_[at])
        else:
            out[at] = _unfolded(dataset, selection)
        if dataset.is_virtual and "missing" not in source.allow:
            check_still_there(dataset, selection)


def _read_runs(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]`` from a source that has runs of the stored rows."""
    rows = np.concatenate([np.arange(*run) for run in source.runs])[selection[0]]
    target = out[at]
    whole = tuple(slice(0, n) for n in target.shape)
    for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        stored = slice(int(rows[part[0]]), int(rows[part[-1]]) + 1)
        plain_source = replace(source, runs=())
        read(plain_source, (stored, *selection[1:]), target, (slice(int(part[0]), int(part[-1]) + 1), *whole[1:]))


def _unfolded(dataset: Any, selection: Selection) -> Array:
    """Values of cells that hold arrays, or pairs that mean complex numbers."""
    values: Array = np.ascontiguousarray(dataset[selection[: dataset.ndim]])
    if values.dtype.names is not None:
        first, second = values.dtype.names
        pairs = np.empty(values.shape, value_type(dataset))
        pairs.real, pairs.imag = values[first], values[second]
        return pairs
    whole = tuple(slice(None) for _ in range(dataset.ndim))
    return values[whole + selection[dataset.ndim :]]


class PackedChunks:
    """The chunks of a source that HDF5 unpacks, one at a time; made by `chunks_of`."""

    def __init__(self, dataset: Any) -> None:
        self.grid = ChunkGrid(dataset.shape, dataset.chunks)
        self._dataset = dataset

    def values(self, number: int) -> Array:
        """Return the values of a chunk, those within the dataset. Local. Not to be written to."""
        values: Array = self._dataset[self.grid.box(number).slices()]
        return values


@contextmanager
def chunks_of(source: Source) -> Iterator[PackedChunks | raw_values.Chunks]:
    """Open a source that lies in chunks. Local."""
    if source.storage is not None and source.storage.is_plain:
        with raw_values.chunks_of(source) as plain:
            yield plain
    else:
        with _dataset(source) as dataset:
            yield PackedChunks(dataset)


@contextmanager
def _dataset(source: Source) -> Iterator[Any]:
    with opened(source.path) as file:
        dataset = find(file, source.path, source.dataset, source.allow)
        # Before the first read, and only where they are needed: plugins take some 60 MB of memory.
        check_filters(source.name, filters_of(dataset))
        yield dataset


def _option(kind: str) -> str:
    return f', or give allow=("{kind}",) if you trust it' if kind else ""


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]
