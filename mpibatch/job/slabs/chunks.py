"""An output in chunks, written slab by slab: its values wait in files of their own until all are known.

Chunks reach a file dataset by dataset, and packed ones lie one behind the other: neither is the order of slabs. So the
last pass leaves plain values, of which whole rows of chunks are read again, packed and written as `save` would.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.chunks.shares import Round, Sharing
from mpibatch.io.seal.digests import of_field
from mpibatch.io.seal.manifest import build
from mpibatch.io.write import shared_file
from mpibatch.io.write.commit import committed
from mpibatch.io.write.provenance import VERSIONS, add_record, versions
from mpibatch.io.write.saver import with_columns
from mpibatch.io.write.storage.hints import hints, node_hints
from mpibatch.job.slabs import intermediates
from mpibatch.job.slabs.intermediates import Intermediate
from mpibatch.job.slabs.planes import add_digests
from mpibatch.job.slabs.slab import Slab
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mpibatch.domain import Box
    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.io.seal.extent import Digests
    from mpibatch.io.write.commit import PartFile
    from mpibatch.io.write.layout import Dataset
    from mpibatch.job.slabs.planes import PlaneContents
    from mpibatch.mpi import MPI

__all__ = ["PackedFile", "packed"]


class PackedFile:
    """As `mpibatch.job.slabs.planes.PlaneFile`: takes planes, and makes a file of them at the end.

    Attributes
    ----------
    offsets : none: what has been written before lies in files of their own.
    digests : of the values, by dataset, as far as they were read again; on rank 0.
    pause : called by all ranks between rows of chunks; may raise what all leave by.
    """

    def __init__(
        self, comm: MPI.Intracomm, part: PartFile, plan: list[tuple[Dataset, Any]], kept: Mapping[str, Intermediate],
        base: Grid, pause: Callable[[], None],
    ) -> None:  # fmt: skip
        self._comm, self._part, self._plan, self._kept, self._base = comm, part, plan, kept, base
        self.pause = pause
        self._stack = ExitStack()
        self._writers: dict[str, intermediates.Writer] = {}
        self.offsets: dict[str, int] = {}
        self.digests: dict[str, Digests] = {}

    def open(self, *, is_new: bool) -> None:
        """Open the files of values. Collective."""
        for name, values in self._kept.items():
            self._writers[name] = self._stack.enter_context(intermediates.opened(self._comm, values, is_new=is_new))

    def put(self, name: str, u: Field, region: Box, plane: int) -> None:
        """Write the planes of a region of a field; the first of them is number `plane` of the whole. Collective."""
        low = plane - region.start[0]
        self._writers[name].put(u, Slab(plane, plane + region.shape[0], low, low + u.grid.shape[0]))

    def flush(self) -> None:
        """Bring what was written to disk. Collective."""
        for writer in self._writers.values():
            writer.flush()

    def finish(self, attrs: Mapping[str, Any], *, record: bool) -> str:
        """Write the file; return the content digest that its seal will tell, on rank 0. Collective."""
        self.close()
        self.digests = {}
        comm, part = self._comm, self._part
        blocks = [_ChunkRows(self, dataset) if block is None else block for dataset, block in self._plan]
        datasets = [dataset for dataset, _ in self._plan]
        part.extents = shared_file.write(comm, part.path, datasets, blocks, {VERSIONS: versions(), **attrs})
        part.values = {name: self.digests[name] for name in self._kept} if comm.rank == 0 else {}
        if record:
            add_record(comm, part.path, {}, "direct", hints(node_hints(comm, part.path)))
        about = {dataset.name: (dataset.dtype, dataset.shape) for dataset in datasets}
        return build(0, about, part.extents, part.values).content if comm.rank == 0 else ""

    def close(self) -> None:
        """Close the files of values. Collective."""
        self._writers = {}
        self._stack.close()

    def load(self, dataset: Dataset, low: int, high: int) -> Field:
        """Read planes of a dataset, and add their digests. Collective."""
        u = self._kept[dataset.name].load(low, high, Slab(low, high, low, high).grid(self._base))
        cells = math.prod(dataset.shape[1:])
        total = dataset.shape[0] * cells * u.dtype.itemsize
        add_digests(self.digests, dataset.name, of_field(self._comm, u, None, low * cells, total))
        return u


class _ChunkRows:
    """What shares out the chunks of a dataset whose values are read a few rows of chunks at a time, as `Sharing`."""

    def __init__(self, file: PackedFile, dataset: Dataset) -> None:
        assert dataset.chunks is not None
        self.chunks = ChunkGrid(dataset.shape, dataset.chunks)
        self._file, self._dataset = file, dataset
        self._sharing: Sharing | None = None
        self._before = 0  # chunks of earlier rows

    def rounds(self) -> Iterator[Round]:
        """Yield the rounds, the same on all ranks. Collective: the values of each are read before."""
        size, planes = self.chunks.size[0], self.chunks.shape[0]
        # As many planes at a time as the largest slab has, in whole rows of chunks.
        step = max(size, self._file._base.shape[0] // size * size)  # noqa: SLF001 - of this module
        for low in range(0, planes, step):
            self._file.pause()
            self._sharing = None  # there may be no room for the planes before and these
            self._sharing = self._sharing_of(low, min(low + step, planes))
            self._before = low // size * math.prod(self.chunks.counts[1:])
            for turn in self._sharing.rounds():
                yield Round(_moved(turn.numbers, self._before), turn.shares)

    def _sharing_of(self, low: int, high: int) -> Sharing:
        u = self._file.load(self._dataset, low, high)
        return Sharing(u.grid.comm, ChunkGrid(u.shape, self.chunks.size), u)

    def collect(self, turn: Round, *, spare: list[Any] | None = None) -> dict[int, Any]:
        """Return this rank's chunks of a round, by number. Collective."""
        assert self._sharing is not None
        blocks = self._sharing.collect(Round(_moved(turn.numbers, -self._before), turn.shares), spare=spare)
        return {number + self._before: block for number, block in blocks.items()}


def _moved(numbers: range, by: int) -> range:
    return range(numbers.start + by, numbers.stop + by)


@contextmanager
def packed(
    comm: MPI.Intracomm, path: str, contents: PlaneContents, paths: Sequence[str], base: Grid,
    pause: Callable[[], None], *, is_new: bool,
) -> Iterator[PackedFile]:  # fmt: skip
    """Yield a file in chunks; seal it, and give it its name, if `finish` was called in the block. Collective.

    `paths`: where values wait, for each dataset; `is_new`: whether none are there yet. `base`: the grid of a slab.
    `pause`: as of `PackedFile`.
    """
    with agreed(comm, f"writing {path}"):
        plan = with_columns([(dataset, None) for dataset in contents.fields], contents.tables, contents.groups, comm)
        kept = {
            dataset.name: Intermediate(place, dataset.shape, dataset.dtype)
            for dataset, place in zip(contents.fields, paths, strict=True)
        }
    with committed(comm, path) as part:
        file = PackedFile(comm, part, plan, kept, base, pause)
        with file._stack:  # noqa: SLF001 - it is one of this module
            file.open(is_new=is_new)
            yield file
