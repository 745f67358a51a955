"""From the results of all items to one table and one file, in the order of items, with the same bytes on any ranks.

Numbers become columns of a table. Arrays of one shape become a dataset with the items along its first axis; if shapes
differ, or some items lack the array, a group with a dataset for each item. The names of items are texts beside them.
"""

from __future__ import annotations

import json
import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.batch.payloads import ITEM, TABLE, Array, layout_of
from mpibatch.io.base.images import drafts
from mpibatch.io.base.names import user_path
from mpibatch.io.formats.hdf5 import COLUMNS
from mpibatch.io.seal.digests import extent_of_array, granule, of_bytes
from mpibatch.io.seal.extent import Digests, Extent
from mpibatch.io.vault.vault import begun
from mpibatch.io.write import shared_file
from mpibatch.io.write.commit import committed
from mpibatch.io.write.layout import Dataset, create
from mpibatch.io.write.provenance import VERSIONS, versions
from mpibatch.io.write.tables.csv_text import quoted, write_text
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mpibatch.batch.rows import Kind, Numbers, ResultRows
    from mpibatch.io.vault.vault import Vault

__all__ = ["NAMES", "FusedFile", "check_output", "table_of", "write"]

NAMES = "batch_items"  # the attribute of the file that has the names of all items, as JSON
SUFFIXES = (".h5", ".hdf5", ".csv")

_log = logging.getLogger(__name__)


class FusedFile(NamedTuple):
    """A file for the results, and, if it is to be encrypted, the file of its recipients."""

    path: str
    encrypt: str | None = None


def check_output(path: str, encrypt: str | None = None) -> FusedFile:
    """Return a file that results can be written to. Local. UsageError."""
    target = user_path(path)
    if not target.endswith(SUFFIXES):
        raise UsageError(f"the output {target!r} has an ending that tells no format; name it .h5 (or .csv: numbers)")
    if encrypt is not None and target.endswith(".csv"):
        raise UsageError(f"{target!r} would keep in plain what encrypt is for; name the output .h5, which is encrypted")
    return FusedFile(target, encrypt)


def table_of(comm: MPI.Intracomm, rows: ResultRows, kinds: dict[str, Kind], numbers: Numbers) -> RegionTable:
    """Return the table of all numbers. Collective."""
    columns: dict[str, Array] = {ITEM: np.array(rows.items, np.int64)}
    with agreed(comm, "making the table of a batch"):
        for name, kind in kinds.items():
            if kind.is_number():
                lacking = np.nan if kind.count < rows.total else 0
                columns[name] = np.full(len(rows.items), lacking, kind.dtype(rows.total))
                for row, value in numbers.get(name, []):
                    columns[name][row - rows.first] = value
    return RegionTable(comm, columns)


def write(
    comm: MPI.Intracomm, output: FusedFile, rows: ResultRows, kinds: dict[str, Kind], table: RegionTable,
    names: Callable[[int], str], items: int,
) -> None:  # fmt: skip
    """Write the results to an HDF5 file, or the table to a CSV file. Collective. RunError.

    Of one that is encrypted the plain bytes are the same; the names of items go through rank 0.
    """
    path = output.path
    if path.endswith(".csv"):
        lacking = [name for name, kind in kinds.items() if not kind.is_number()]
        if lacking and comm.rank == 0:
            _log.warning("%s has the numbers only: a table has no place for %s (.h5 has)", path, ", ".join(lacking))
        named = np.array([quoted(names(item)) for item in rows.items.tolist()], object)
        columns = {ITEM: table[ITEM], "name": named, **{k: v for k, v in table.items() if k != ITEM}}
        write_text(comm, path, columns, table.first, overwrite=True)
        return
    with phase("io"):
        attributes = {VERSIONS: "", NAMES: ""}
        if comm.rank == 0:
            attributes = {VERSIONS: versions(), NAMES: json.dumps([names(item) for item in range(items)])}
        arrays = {name: kind for name, kind in kinds.items() if not kind.is_number()}
        stacked = {n: k for n, k in arrays.items() if len(k.shapes) == 1 and k.count == rows.total}
        datasets = [*_columns(table), *_stacks(stacked, rows.total)]
        single = _singles(comm, rows, {*arrays} - {*stacked})
        labels = _labels(comm, rows, names)
        texts = Dataset(ITEM, (rows.total,), labels.dtype.str)
        every = sorted([*datasets, *single, texts], key=lambda dataset: dataset.name)
        vault = None if output.encrypt is None else begun(comm, output.encrypt, every)
        with committed(comm, path, vault=vault) as part:
            layout = partial(create, part.path, every, attributes)
            offsets = shared_file.make(comm, part.path, layout, shared_file.plain_bytes(every))
            places = {dataset.name: offset for dataset, offset in zip(every, offsets, strict=True)}
            with shared_file.opened(comm, part.path) as file:
                put = partial(shared_file.put, comm, file, part.path)
                # Without digests of their own, as all that is no number: their bytes are hashed with the file's.
                if vault is None:
                    put([(places[ITEM] + rows.first * labels.itemsize, labels)])
                else:
                    _draft(comm, part.path, labels, places[ITEM])
                filling = _Filling(comm, rows, places, table, vault)
                part.extents = filling.write(datasets, {d.name for d in single}, put)
                part.sealed = filling.all_sealed()


def _labels(comm: MPI.Intracomm, rows: ResultRows, names: Callable[[int], str]) -> Array:
    """Return the names of this rank's items as texts of one length. Collective."""
    texts = [names(item).encode() for item in rows.items.tolist()]
    width = np.array([max(map(len, texts), default=0)], np.int64)
    comm.Allreduce(MPI.IN_PLACE, width, op=MPI.MAX)
    return np.array(texts, f"S{max(1, int(width[0]))}")


def _draft(comm: MPI.Intracomm, path: str, labels: Array, offset: int) -> None:
    """Hand the names of all items to the draft of an encrypted file, which rank 0 holds. Collective."""
    every = comm.gather(labels.tobytes(), root=0)
    if every is not None:
        drafts[path].write(b"".join(every), offset)


def _columns(table: RegionTable) -> list[Dataset]:
    group: dict[str, Any] = {COLUMNS: list(table)}
    first = min(table)
    return [
        Dataset(f"{TABLE}/{name}", (table.rows,), values.dtype.str, group=group if name == first else {})
        for name, values in table.items()
    ]


def _stacks(stacked: dict[str, Kind], total: int) -> list[Dataset]:
    return [
        Dataset(name, (total, *next(iter(kind.shapes))), kind.dtype(total).str)
        for name, kind in stacked.items()
    ]  # fmt: skip


def _singles(comm: MPI.Intracomm, rows: ResultRows, names: set[str]) -> list[Dataset]:
    """The datasets of arrays that cannot be stacked: of all items, on all ranks."""
    mine: list[Dataset] = []
    if names:
        with agreed(comm, "reading the results of a batch"):
            for item in rows.items.tolist():
                mine += [
                    Dataset(f"{name}/{item:06d}", shape or (1,), dtype)
                    for name, dtype, shape in layout_of(rows.payload(item))
                    if name in names
                ]
    every: list[Dataset] = comm.allreduce(mine, op=MPI.SUM)
    return every


class _Filling:
    """Writes all values, some rows of each rank at a time, and notes where they lie with their digests."""

    def __init__(
        self, comm: MPI.Intracomm, rows: ResultRows, places: dict[str, int], table: RegionTable,
        vault: Vault | None = None,
    ) -> None:  # fmt: skip
        self._comm, self._rows, self._places, self._table = comm, rows, places, table
        self._vault, self._sealed = vault, list[Extent]()
        self._digests: dict[str, Digests] = {}
        self._extents: list[Extent] = []

    def write(
        self, datasets: Sequence[Dataset], singles: set[str], put: Callable[[list[tuple[int, Any]]], None]
    ) -> list[Extent]:
        """Write them; return, on rank 0, all extents. Collective."""
        self._digests = {d.name: np.zeros(_regions(d), np.uint64) for d in datasets}
        parts: list[tuple[int, Any]] = []
        with agreed(self._comm, "writing the table of a batch"):
            for dataset in datasets:
                if dataset.name.startswith(f"{TABLE}/"):
                    values = self._table[dataset.name.partition("/")[2]]
                    parts.append(self._part(dataset, self._table.first, values))
        put(parts)
        stacks = [d for d in datasets if not d.name.startswith(f"{TABLE}/")]
        pieces = self._rows.rounds() if stacks or singles else []
        most = np.array([len(pieces)], np.int64)
        self._comm.Allreduce(MPI.IN_PLACE, most, op=MPI.MAX)
        for number in range(int(most[0])):
            parts = []
            with agreed(self._comm, "writing the results of a batch"):
                if number < len(pieces):
                    parts = self._read(pieces[number], stacks, singles)
            put(parts)
        return self._all(datasets)

    def _read(self, piece: range, stacks: Sequence[Dataset], singles: set[str]) -> list[tuple[int, Any]]:
        parts = []
        columns: dict[str, list[Array]] = {dataset.name: [] for dataset in stacks}
        for row, values in self._rows.values(piece):
            for name, array in values.items():
                single = f"{name}/{self._rows.items[row - self._rows.first]:06d}"
                if name in columns:
                    columns[name].append(array)
                elif single in singles and array.nbytes:
                    extent = extent_of_array(single, array, self._places[single])
                    parts.append(self._stored(single, 0, self._places[single], array))
                    self._extents.append(extent)
        first = self._rows.first + piece.start
        return parts + [self._part(d, first, np.array(columns[d.name], d.dtype)) for d in stacks]

    def _part(self, dataset: Dataset, first: int, values: Array) -> tuple[int, Array]:
        """Where some rows of a dataset are to be written; their digests are added up."""
        values = np.ascontiguousarray(values, dataset.dtype)
        row = math.prod(dataset.shape[1:]) * values.itemsize
        flat = values.reshape(-1).view(np.uint8)
        per = granule(dataset.shape[0] * row)
        number, table = first * row, self._digests[dataset.name]
        low = 0
        while low < flat.size:
            size = min(per - (number + low) % per, flat.size - low)
            k = (number + low) // per
            # As arrays: NumPy warns of scalars that are added modulo 2^64.
            table[k : k + 1] += of_bytes(flat[low : low + size], number + low, size)
            low += size
        return self._stored(dataset.name, first, self._places[dataset.name] + first * row, values)

    def _stored(self, name: str, block: int, offset: int, values: Array) -> tuple[int, Array]:
        """Where in the file some values go, and as what bytes: encrypted, as a block of this number, if all is.

        A block begins at a row of its own, which is its number: none comes twice.
        """
        if self._vault is None or not values.nbytes:
            return offset, values
        flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        sealed, tags = self._vault.seal(name, self._vault.number_of(block), flat)
        self._sealed.append(Extent(name, offset, flat.size, 0, 0, np.empty(0, np.uint64), block=block, tags=tags))
        return self._vault.base + offset, sealed

    def all_sealed(self) -> list[Extent]:
        """Return, on rank 0, all blocks that were encrypted. Collective."""
        every = self._comm.gather(self._sealed, root=0)
        return [extent for some in every or [] for extent in some]

    def _all(self, datasets: Sequence[Dataset]) -> list[Extent]:
        comm = self._comm
        extents: list[Extent] = []
        for dataset in datasets:
            own = self._digests[dataset.name]
            total = np.zeros_like(own) if comm.rank == 0 else None
            comm.Reduce(own, total)  # unsigned integers are added modulo 2^64
            nbytes = math.prod(dataset.shape) * np.dtype(dataset.dtype).itemsize
            if total is not None and nbytes:
                extents.append(Extent(dataset.name, self._places[dataset.name], nbytes, 0, granule(nbytes), total))
        singles: list[Extent] | None = comm.reduce(self._extents, op=MPI.SUM, root=0)
        return extents + (singles or []) if comm.rank == 0 else []


def _regions(dataset: Dataset) -> int:
    nbytes = math.prod(dataset.shape) * np.dtype(dataset.dtype).itemsize
    return -(-nbytes // granule(nbytes))
