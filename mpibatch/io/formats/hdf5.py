"""HDF5: finding datasets without leaving the file, and reading boxes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from mpibatch.errors import MpibatchError, RunError, UsageError, nearest
from mpibatch.io.chunking import ChunkGrid
from mpibatch.io.closing import closing
from mpibatch.io.formats import stored
from mpibatch.io.formats.hazards import hazards
from mpibatch.io.formats.source import Array, Selection, Source, native
from mpibatch.io.formats.storage import storage_of
from mpibatch.io.geometry import from_attributes
from mpibatch.io.marks import views
from mpibatch.io.naming import whole_name
from mpibatch.io.packing import check_filters, load_plugins

__all__ = ["Chunks", "chunks_of", "datasets", "dtype_text", "find", "inspect", "opened", "read", "refusal"]

SOFT_LINKS = 16  # followed at most for one name, so that a circle ends

# What h5py raises, for one damaged file or another.
_DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, SystemError, MemoryError)


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a file for reading. Local."""
    load_plugins()
    try:
        # Some parallel file systems have no locks; reading needs none.
        with closing(h5py.File(path, "r", locking="best-effort")) as file:
            yield file
    except MpibatchError:
        raise
    except _DAMAGE as error:
        raise RunError(
            f"{path!r} cannot be read as HDF5 ({error}); it is damaged or incomplete, or packed in a way not known here"
        ) from error


def datasets(file: Any) -> dict[str, Any]:
    """Return all datasets by name, each once, without views, soft and external links. Local."""
    found: dict[str, Any] = {}
    hidden = views(file.attrs)

    def visit(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset) and isinstance(name, str):  # bytes: no text, and no name of ours
            found[name] = thing

    if not hidden:
        file.visititems(visit)
        return found
    # A view may come before the dataset that it is a link to, and be the name that HDF5 tells.
    for member in sorted(set(file) - hidden):
        if file.get(member, getlink=True, getclass=True) is h5py.HardLink:
            visit(member, file[member])
            if isinstance(file[member], h5py.Group):
                file[member].visititems(lambda name, thing, member=member: visit(f"{member}/{name}", thing))
    return found


def find(file: Any, path: str, name: str, allow: Sequence[str] = ()) -> Any:
    """Return a dataset by name. Local. Refuses names that lead out of the file, unless allowed, before opening them."""
    here, todo, hops = file["/"], _parts(name), 0
    while todo:
        part = todo.pop(0)
        links = here.id.links if isinstance(here, h5py.Group) else None
        if links is None or not links.exists(part.encode()):
            known = datasets(file)
            raise UsageError(
                f"dataset {name!r} was asked for, but {path!r} has none of this name{nearest(name, known)}"
            )
        kind = links.get_info(part.encode()).type
        if kind == h5py.h5l.TYPE_HARD:
            here = here[part]
        elif kind == h5py.h5l.TYPE_SOFT and hops < SOFT_LINKS:
            hops += 1
            target = links.get_val(part.encode()).decode()
            here = file["/"] if target.startswith("/") else here
            todo = _parts(target) + todo
        elif kind == h5py.h5l.TYPE_EXTERNAL and "external links" in allow:
            here = here[part]
        else:
            raise UsageError(
                f"{whole_name(path, name)} was asked for, but {part!r} in it is a link that leaves the file or runs in "
                f"a circle; such links are not followed: name the file that holds the data{_option('external links')}"
            )
    if not isinstance(here, h5py.Dataset):
        inside = ", ".join(datasets(file)) or "none"
        raise UsageError(f"{whole_name(path, name)} was asked for, but it is not a dataset; datasets here: {inside}")
    return here


def refusal(dataset: Any) -> str:
    """Return why a dataset is not read, whatever its type; "" if it is. Local. Opens nothing outside the file."""
    return next((reason for _, reason in hazards(dataset)), "")


def dtype_text(dataset: Any) -> str:
    """Return the dtype in native byte order, or a name for one that no field can have. Local."""
    try:
        dtype = dataset.dtype
    except TypeError as error:  # HDF5 has types that NumPy has not
        return str(error)
    if dtype.kind == "O":
        return "object (strings, references or lists)"
    return f"compound {dtype.names}" if dtype.names else native(dtype)


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what a dataset holds; without a name, the only one. Local."""
    with opened(path) as file:
        if dataset is None:
            found = datasets(file)
            if len(found) != 1:
                names = f"it has {len(found)}: {', '.join(found)}; name one" if found else "it has none"
                raise UsageError(f"the only dataset of {path!r} was asked for, but {names}")
            dataset = next(iter(found))
        thing = find(file, path, dataset, allow)
        for kind, reason in hazards(thing):
            if kind not in allow:
                raise UsageError(
                    f"{whole_name(path, dataset)} was to be read, but {reason}; copy the values into one plain "
                    f"file{_option(kind)}"
                )
        grid = from_attributes(thing.attrs, thing.ndim)
        components = thing.ndim - len(grid["axes"]) if grid else 0
        # Of another file, whatever its links say, HDF5 alone knows.
        storage = storage_of(thing, path) if thing.file == file else None
        about = (thing.shape, dtype_text(thing), components)
        return Source(path, "hdf5", dataset, *about, grid=grid, storage=storage, allow=tuple(allow))


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Where only HDF5 knows the values' places, it reads them and converts their dtype."""
    if source.storage is not None and source.storage.is_plain:
        stored.read(source, selection, out, at)
        return
    with _dataset(source) as dataset:
        dataset.read_direct(out, np.s_[selection], np.s_[at])


class Chunks:
    """The chunks of a source that HDF5 unpacks, one at a time; made by `chunks_of`."""

    def __init__(self, dataset: Any) -> None:
        self.grid = ChunkGrid(dataset.shape, dataset.chunks)
        self._dataset = dataset

    def values(self, number: int) -> Array:
        """Return the values of a chunk, those within the dataset. Local. Not to be written to."""
        values: Array = self._dataset[self.grid.box(number).slices()]
        return values


@contextmanager
def chunks_of(source: Source) -> Iterator[Chunks | stored.Chunks]:
    """Open a source that lies in chunks. Local."""
    if source.storage is not None and source.storage.is_plain:
        with stored.chunks_of(source) as plain:
            yield plain
    else:
        with _dataset(source) as dataset:
            yield Chunks(dataset)


@contextmanager
def _dataset(source: Source) -> Iterator[Any]:
    with opened(source.path) as file:
        dataset = find(file, source.path, source.dataset, source.allow)
        if source.storage is not None:
            check_filters(source.name, source.storage.filters)
        yield dataset


def _option(kind: str) -> str:
    return f', or give allow=("{kind}",) if you trust it' if kind else ""


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]
