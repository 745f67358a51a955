"""A file whose datasets are written some planes at a time: laid out as `save` would, filled, and sealed at the end."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import RunError
from mpibatch.base.files import read_at, write_at
from mpibatch.io.seal.digests import extents_of_field, granule, of_field
from mpibatch.io.seal.extent import Extent
from mpibatch.io.seal.manifest import build
from mpibatch.io.write import shared_file
from mpibatch.io.write.commit import committed
from mpibatch.io.write.layout import Dataset, create
from mpibatch.io.write.provenance import VERSIONS, add_record, versions
from mpibatch.io.write.saver import with_columns
from mpibatch.io.write.storage.hints import hints, node_hints
from mpibatch.job.slabs.page_cache import write_behind
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mpibatch.domain import Box
    from mpibatch.fields.field import Field
    from mpibatch.io.seal.extent import Digests
    from mpibatch.io.write.commit import PartFile
    from mpibatch.io.write.tables.region_table import RegionTable

__all__ = ["PlaneContents", "PlaneFile", "add_digests", "written"]

_PIECE = 8 << 20


@dataclass(frozen=True)
class PlaneContents:
    """What a file is to hold: datasets to be filled plane by plane; tables, and attributes of their groups."""

    fields: Sequence[Dataset]
    tables: Mapping[str, RegionTable]
    groups: Mapping[str, Mapping[str, Any]]


class PlaneFile:
    """A file under its temporary name, as `written` yields it.

    Attributes
    ----------
    offsets : by dataset, the byte at which its values begin.
    digests : of the values written so far, by dataset; on rank 0.
    """

    def __init__(self, comm: MPI.Intracomm, part: PartFile, plan: list[tuple[Dataset, Any]]) -> None:
        self._comm, self._part, self._plan = comm, part, plan
        self._stack = ExitStack()
        self._file: MPI.File | None = None
        self.offsets: dict[str, int] = {}
        self.digests: dict[str, Digests] = {}

    def put(self, name: str, u: Field, region: Box, plane: int) -> None:
        """Write the planes of a region of a field; the first of them is number `plane` of the whole. Collective."""
        dataset = next(dataset for dataset, _ in self._plan if dataset.name == name)
        if self._file is None:
            self._file = self._stack.enter_context(shared_file.opened(self._comm, self._part.path))
        plane_bytes = math.prod(dataset.shape[1:]) * u.dtype.itemsize
        before = (plane - region.start[0]) * math.prod(dataset.shape[1:])
        part = of_field(self._comm, u, region, before, dataset.shape[0] * plane_bytes)
        add_digests(self.digests, name, part)
        place = self.offsets[name] + plane * plane_bytes
        shared_file.write_field(self._comm, self._file, self._part.path, u, place, region)
        if self._comm.rank == 0:
            write_behind(self._part.path, place, place + region.shape[0] * plane_bytes)

    def flush(self) -> None:
        """Bring what was written to disk. Collective."""
        if self._file is not None:
            shared_file.flush(self._comm, self._file, self._part.path)

    def finish(self, attrs: Mapping[str, Any], *, record: bool) -> str:
        """Write what tables hold, and the file's attributes as they are known by now. Collective.

        Returns the content digest that the seal will tell, on rank 0.
        """
        extents = []
        with shared_file.opened(self._comm, self._part.path) as file:
            for dataset, block in self._plan:
                if block is not None:
                    offset = self.offsets[dataset.name]
                    extents += extents_of_field(self._comm, dataset.name, block, offset)
                    shared_file.write_field(self._comm, file, self._part.path, block, offset)
        self.close()
        with agreed(self._comm, f"writing {self._part.path}"):
            if self._comm.rank == 0:
                self._lay_out_anew(attrs)
                extents += [self._extent(dataset) for dataset, block in self._plan if block is None]
        self._part.extents = extents
        if record:
            add_record(self._comm, self._part.path, {}, "direct", hints(node_hints(self._comm, self._part.path)))
        if self._comm.rank != 0:
            return ""
        about = {dataset.name: (dataset.dtype, dataset.shape) for dataset, _ in self._plan}
        return build(0, about, extents, {}).content

    def close(self) -> None:
        """Close the file. Collective."""
        self._file = None
        self._stack.close()

    def _extent(self, dataset: Dataset) -> Extent:
        nbytes = math.prod(dataset.shape) * np.dtype(dataset.dtype).itemsize
        return Extent(
            dataset=dataset.name,
            offset=self.offsets[dataset.name],
            nbytes=nbytes,
            first=0,
            per_digest=granule(nbytes),
            digests=self.digests[dataset.name],
        )

    def _lay_out_anew(self, attrs: Mapping[str, Any]) -> None:
        """Put other attributes of the same lengths in the place of those that the file was laid out with. Local.

        What is no value is copied from a file laid out with them, in which values are holes.
        """
        other = Path(f"{self._part.path}.anew")
        try:
            places = create(str(other), [dataset for dataset, _ in self._plan], _attributes(attrs))
            values = sorted(
                (place, math.prod(dataset.shape) * np.dtype(dataset.dtype).itemsize)
                for (dataset, _), place in zip(self._plan, places, strict=True)
            )
            ours = [self.offsets[dataset.name] for dataset, _ in self._plan]
            if Path(self._part.path).stat().st_size > other.stat().st_size:
                # The seal of a run that ended before the file had its name.
                os.truncate(self._part.path, other.stat().st_size)
            if places != ours or other.stat().st_size != Path(self._part.path).stat().st_size:
                raise RunError(f"{self._part.path} is laid out otherwise than it began; start anew")
            _copy_between(str(other), self._part.path, values)
        finally:
            other.unlink(missing_ok=True)


def add_digests(known: dict[str, Digests], name: str, part: Digests) -> None:
    """Add a part's digests, rank 0's, to those known by name. Local."""
    known[name] = known[name] + part if name in known else part


@contextmanager
def written(
    comm: MPI.Intracomm,
    path: str,
    contents: PlaneContents,
    attrs: Mapping[str, Any],
    *,
    offsets: Mapping[str, int] | None = None,
    keep: Callable[[], bool] | None = None,
) -> Iterator[PlaneFile]:
    """Lay a file out, yield it, seal it, and give it its name, if `finish` was called in the block. Collective.

    Parameters
    ----------
    attrs : of the file; other values of the same length may be given to `finish`.
    offsets : go on with the temporary file of an earlier run, whose values begin there.
    keep : asked, if the block raises, whether the temporary file stays for another run.
    """
    with agreed(comm, f"writing {path}"):
        plan = with_columns([(dataset, None) for dataset in contents.fields], contents.tables, contents.groups, comm)
    datasets = [dataset for dataset, _ in plan]
    with committed(comm, path, adopt=offsets is not None, keep=keep) as part:
        file = PlaneFile(comm, part, plan)
        if offsets is None:
            least = shared_file.plain_bytes(datasets)
            places = shared_file.make(comm, part.path, lambda: create(part.path, datasets, _attributes(attrs)), least)
            offsets = {dataset.name: place for dataset, place in zip(datasets, places, strict=True)}
        file.offsets = dict(offsets)
        with file._stack:  # noqa: SLF001 - it is one of this module
            yield file


def _attributes(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {VERSIONS: versions(), **attrs}


def _copy_between(source: str, target: str, values: Sequence[tuple[int, int]]) -> None:
    """Copy all bytes of a file but those of values, given as (first byte, bytes) in order. Local."""
    with open(source, "rb") as giver, open(target, "rb+") as taker:
        low = 0
        for first, nbytes in [*values, (os.fstat(giver.fileno()).st_size, 0)]:
            for begin in range(low, first, _PIECE):
                data = read_at(giver.fileno(), min(_PIECE, first - begin), begin)
                write_at(taker.fileno(), data, begin)
            low = max(low, first + nbytes)
