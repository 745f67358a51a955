"""A time series in one HDF5 file: one dataset for each field, of shape (outputs, *cells, *components).

Datasets are chunked by whole times, so that they can be longer or shorter than was planned; a time of more than
`CHUNK_BYTES` is cut along its first axis, into parts that depend on the shape alone. Chunks are not compressed and
are allocated before they are written: rank 0 asks HDF5 where they lie, and all ranks write there by MPI-IO. The file
stays under its temporary name until the series is complete; the small datasets, such as the times, come last.

One that is encrypted is cut into parts of `SEALED_BYTES`, each of which one rank gets, encrypts and writes.

A series that is to survive its run can be taken up again from a `Snapshot` of it, see there.
"""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.domain import Box
from mpibatch.fields.field import Field, check_field
from mpibatch.io.base.names import PathLike, check_tree, normal_name, output_path
from mpibatch.io.base.room import ROOM, room_for
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.chunks.shares import Sharing
from mpibatch.io.seal.digests import extents_of_field
from mpibatch.io.vault.vault import begun
from mpibatch.io.write import shared_file
from mpibatch.io.write.commit import committed
from mpibatch.io.write.layout import Dataset, alignment, complete, create, slices
from mpibatch.io.write.provenance import VERSIONS, add_record, versions
from mpibatch.io.write.saver import OURS, Attributes, check_attributes, planned
from mpibatch.io.write.snapshot import Snapshot, bytes_outside, put_back
from mpibatch.io.write.storage.hints import hints, node_hints
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mpibatch.io.seal.extent import Extent
    from mpibatch.io.vault.vault import Vault

__all__ = ["CHUNK_BYTES", "Series", "series"]

# HDF5's usual chunk index holds sizes of 32 bits.
CHUNK_BYTES = 1 << 30
# Of a chunk that one rank is to encrypt as a whole.
SEALED_BYTES = 8 << 20

Values = npt.NDArray[Any]


class Series:
    """A file that fields are appended to; made by `series`.

    Attributes
    ----------
    length : how many times were appended.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        path: str,
        file: MPI.File,
        datasets: Sequence[Dataset],
        vault: Vault | None = None,
    ) -> None:
        self.length = 0
        self._comm, self._path, self._file, self._vault = comm, path, file, vault
        self._datasets = list(datasets)
        self._places: list[list[list[int]]] = [[] for _ in datasets]
        self._extents: list[Extent] = []  # on rank 0
        self._outside: tuple[int, bytes] | None = None  # on rank 0: what `bytes_outside` said, while it is true
        self._tables: dict[str, tuple[Values, Attributes]] = {}

    def append(self, fields: Mapping[str, Field]) -> None:
        """Write the fields of one time. Collective. Raises UsageError if they are not those of the first time."""
        with phase("io"):
            with agreed(self._comm, f"writing {self._path}"):
                ordered = _same(self._datasets, fields, self._comm)
            if self._places and self.length == len(self._places[0]):
                self.reserve(self.length + 1)
            for field, dataset, places in zip(ordered, self._datasets, self._places, strict=True):
                before = self.length * math.prod(field.shape)
                if self._vault is not None:
                    self._extents += self._sealed(self._vault, dataset, field, places[self.length])
                    continue
                for region, place in zip(_parts(dataset, field), places[self.length], strict=True):
                    self._extents += extents_of_field(self._comm, dataset.name, field, place, region, before)
                    shared_file.write_field(self._comm, self._file, self._path, field, place, region)
            self.length += 1

    def _sealed(self, vault: Vault, dataset: Dataset, field: Field, places: list[int]) -> list[Extent]:
        """Encrypt and write the field of this time, and return rank 0's extents. Collective."""
        assert dataset.chunks is not None
        extents = []
        for region, place in zip(_parts(dataset, field), places, strict=True):
            before = self.length * math.prod(field.shape)
            extents += extents_of_field(self._comm, dataset.name, field, place, region, before)
        sharing = Sharing(self._comm, ChunkGrid(field.shape, dataset.chunks[1:]), field)
        tags: list[tuple[int, bytes]] = []
        for turn in sharing.rounds():
            blocks, sealed = sharing.collect(turn), []
            with agreed(self._comm, f"encrypting {dataset.name}"):
                for part, block in sorted(blocks.items()):
                    # Cut along the first axis alone: what lies beyond the last cell comes last.
                    nbytes = math.prod(sharing.chunks.box(part).shape) * field.dtype.itemsize
                    number = vault.number_of(self.length * len(places) + part)
                    data, tag = vault.seal(dataset.name, number, block.reshape(-1).view("u1")[:nbytes])
                    sealed.append((vault.base + places[part], data))
                    tags.append((part, tag))
            shared_file.put(self._comm, self._file, self._path, sealed)
        known = dict(pair for pairs in self._comm.gather(tags) or () for pair in pairs)
        first = self.length * len(places)
        return [replace(e, block=vault.number_of(first + n), tags=known[n]) for n, e in enumerate(extents)]

    def reserve(self, length: int) -> None:
        """Make room for `length` times. Collective."""
        names, known = [dataset.name for dataset in self._datasets], len(self._places[0])
        offsets = shared_file.make(self._comm, self._path, lambda: slices(self._path, names, known, length))
        for places, more in zip(self._places, offsets, strict=True):
            places.extend(more)
        self._outside = None

    def snapshot(self) -> Snapshot | None:
        """Bring all values to disk, and return on rank 0 what is needed to go on from here. Collective."""
        shared_file.flush(self._comm, self._file, self._path)
        with agreed(self._comm, f"reading {self._path}"):
            if self._comm.rank == 0 and self._outside is None:
                self._outside = bytes_outside(self._path, self._datasets, self._places)
        if self._outside is None:
            return None
        size, outside = self._outside
        past = self._vault.past if self._vault is not None else None
        about = tuple((d.name, d.chunks or (), d.dtype) for d in self._datasets)
        return Snapshot(
            length=self.length,
            size=size,
            datasets=about,
            places=[*self._places],
            outside=outside,
            extents=tuple(self._extents),
            past=past,
        )

    def go_on(self, snapshot: Snapshot) -> None:
        """Take over what was written before. Local."""
        self.length = snapshot.length
        self._places = [[*times] for times in snapshot.places]
        if self._comm.rank == 0:
            self._extents = [*snapshot.extents]
            self._outside = snapshot.size, snapshot.outside

    def table(self, name: str, values: Values, attrs: Attributes | None = None) -> None:
        """Add a small dataset, the same on all ranks, when the series ends. Local."""
        self._tables[normal_name(name)] = (np.ascontiguousarray(values), attrs or {})

    def finish(self) -> list[Extent]:
        """Cut off what was reserved and not written, add the tables, and return rank 0's extents. Collective."""
        names = [dataset.name for dataset in self._datasets]
        with agreed(self._comm, f"writing {self._path}"):
            check_tree([*names, *self._tables])
            if self._comm.rank == 0:
                tables = [
                    (Dataset(name, values.shape, values.dtype.str, attrs), values)
                    for name, (values, attrs) in sorted(self._tables.items())
                ]
                size = sum(values.nbytes + alignment() for _, values in tables)
                with room_for(self._path, more=size + ROOM):
                    complete(self._path, names, self.length, tables)
        return self._extents


@contextmanager
def series(
    path: PathLike,
    fields: Mapping[str, Field],
    *,
    outputs: int = 0,
    attrs: Attributes | None = None,
    dataset_attrs: Mapping[str, Attributes] | None = None,
    overwrite: bool = True,
    resume: Snapshot | None = None,
    keep: Callable[[], bool] | None = None,
    record: bool = False,
    encrypt: PathLike | None = None,
) -> Iterator[Series]:
    """Open a time series of fields such as these; at the end of the block it gets its name. Collective.

    Parameters
    ----------
    path : the file; its folder must exist and be shared by all nodes.
    fields : by the names of their datasets; what `Series.append` takes must have the same names, grids and dtypes.
    outputs : how many times room is set aside for, so that a full disk shows at once; there may be more or fewer.
    attrs, dataset_attrs, overwrite, record, encrypt : as in `mpibatch.save`.
    resume : go on with the series that another run left under its temporary name, as it was then; its values must be
        whole (see `damaged`). The attributes are those of then.
    keep : asked, if the block raises, whether the file is to stay under its temporary name.

    Raises UsageError or RunError, the same on every rank. If the block raises, which it must do on all ranks or on
    none, what was there under `path` stays.
    """
    first = next((f for f in fields.values() if isinstance(f, Field)), None)
    if first is None:
        for name, given in fields.items():
            check_field(f"saving {name!r}", given)
        raise UsageError(f"cannot write {os.fspath(path)!r} without any field; give at least one: name=field")
    comm = first.grid.comm
    with agreed(comm, f"writing {path}"):
        place = output_path(path)
        check_attributes(attrs or {}, OURS)
        most = CHUNK_BYTES if encrypt is None else SEALED_BYTES
        datasets = [_timed(dataset, u, most) for dataset, u in planned(fields, dataset_attrs or {}, comm)]
        if resume is not None and (resume.past is None) != (encrypt is None):
            begun_as = "encrypted" if resume.past is not None else "plain"
            raise UsageError(f"{os.fspath(path)!r} was begun {begun_as}, and is not to be so now; start anew")
        if resume is not None and [(d.name, d.chunks or (), d.dtype) for d in datasets] != [*resume.datasets]:
            raise UsageError(f"{os.fspath(path)!r} was begun with other fields than {sorted(fields)}; start anew")
    vault = None
    if encrypt is not None:
        earlier = resume.past.secrets if resume is not None and resume.past is not None else ()
        vault = begun(comm, encrypt, datasets, earlier=earlier)
    with committed(comm, place, overwrite, adopt=resume is not None, keep=keep, vault=vault) as whole:
        part = whole.path
        with phase("io"):
            if resume is None:
                shared_file.make(comm, part, lambda: create(part, datasets, {VERSIONS: versions(), **(attrs or {})}))
            else:
                shared_file.make(comm, part, lambda: put_back(part, resume))
        with shared_file.opened(comm, part) as file:
            target = Series(comm, part, file, datasets, vault)
            with phase("io"):
                if resume is None:
                    target.reserve(outputs)
                else:
                    target.go_on(resume)
            yield target
        with phase("io"):
            whole.extents = target.finish()
        if record:
            add_record(comm, part, fields, "direct", hints(node_hints(comm, part)))


def _timed(dataset: Dataset, u: Field, most: int) -> Dataset:
    """The dataset of a field at all times, none yet."""
    if math.prod(u.shape) == 0:
        raise UsageError(f"cannot save {dataset.name!r} of shape {u.shape} as a time series: it has no values")
    grid = u.grid
    row = math.prod(u.shape[1:]) * u.dtype.itemsize
    cuts = -(-u.shape[0] // max(1, most // row))
    time = "t" if "t" not in grid.axes else "time"
    attrs = {
        **dataset.attrs,
        "grid_axes": [time, *grid.axes],
        "grid_origin": np.array([0.0, *grid.origin]),
        "grid_periodic": np.array([False, *grid.periodic], "i1"),
        "grid_spacing": np.array([1.0, *grid.spacing]),
    }
    chunks = (1, -(-u.shape[0] // cuts), *u.shape[1:])
    return Dataset(dataset.name, (0, *u.shape), dataset.dtype, attrs, chunks)


def _parts(dataset: Dataset, u: Field) -> Iterator[Box]:
    """The cells of each chunk of one time, those beyond the last cell included."""
    assert dataset.chunks is not None
    rows = dataset.chunks[1]
    for low in range(0, u.grid.shape[0], rows):
        yield Box((low, *(0 for _ in u.grid.shape[1:])), (low + rows, *u.grid.shape[1:]))


def _same(datasets: Sequence[Dataset], fields: Mapping[str, Field], comm: MPI.Intracomm) -> list[Field]:
    """Return the fields in the order of their datasets, checked."""
    by_name = {dataset.name: (u, dataset) for dataset, u in planned(fields, {}, comm)}
    for dataset in datasets:
        u, now = by_name.get(dataset.name, (None, None))
        if u is None or now is None or (now.shape, now.dtype) != (dataset.shape[1:], dataset.dtype):
            form = f"{now.shape} of {now.dtype}" if now is not None else "no such field"
            raise UsageError(
                f"{dataset.name!r} began as {dataset.shape[1:]} of {dataset.dtype} and is now {form}; keep it the same"
            )
    if len(by_name) != len(datasets):
        raise UsageError(f"cannot append {sorted(by_name)} to a series of {[d.name for d in datasets]}; give the same")
    return [by_name[dataset.name][0] for dataset in datasets]
