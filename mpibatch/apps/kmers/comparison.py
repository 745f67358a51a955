"""What each pair of genomes has in common, block by block, and the matrix, or the table, of it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.kmers._loops import measures as loops
from mpibatch.apps.kmers._loops.sets import count_shared
from mpibatch.apps.kmers.genomes import Genome
from mpibatch.apps.kmers.samples import BINS, Sample, Settings, take
from mpibatch.apps.kmers.scratch import Scratch, name_of
from mpibatch.base.units import plural
from mpibatch.fields.field import Field
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.job.execution.progress import Report
from mpibatch.mpi import MPI, agreed

__all__ = ["Collection", "collect"]

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

WORK = 1 << 27  # numbers that are looked at in a block, about: a quarter of a second
ROOM = 1 << 25  # numbers of sets that are held at a time, beside the last and that of a row
GROUPS = 256  # of genomes, at most, unless blocks would have more work: so few files
MATRICES = {"jaccard": loops.JACCARD, "containment": loops.CONTAINMENT, "distance": loops.DISTANCE}
COLUMNS = ("bases", "records", "kmers", "distinct", "singletons", "most")


@dataclass(frozen=True)
class Collection:
    """Genomes whose sets are in files. Methods are collective, unless they say so.

    Attributes
    ----------
    genomes : sequence of Genome
    names : sequence of str
        What their sets are called in `scratch`.
    table : RegionTable
        What is known of each.
    sizes : ndarray
        Of their sets.
    """

    comm: MPI.Intracomm
    scratch: Scratch
    settings: Settings
    genomes: Sequence[Genome]
    names: Sequence[str]
    table: RegionTable
    sizes: Ints

    @functools.cached_property
    def group(self) -> int:
        """How many genomes make a group: a block is of the pairs of two of them. Local."""
        most = max(int(self.sizes.max(initial=0)), 1)
        return max(math.isqrt(WORK // (2 * most)), -(-len(self.genomes) // GROUPS), 1)

    def compare(self, report: Report | None = None) -> None:
        """Count what all pairs share; each block is in a file when this returns."""
        groups = -(-len(self.genomes) // self.group)
        blocks = [(row, column) for row in range(groups) for column in range(row, groups)]
        names = [f"block {row}, {column}" for row, column in blocks]
        batch = mb.map_items(self._compare_block, blocks, comm=self.comm, names=names, progress=report)
        if batch.failed:
            raise mb.RunError(f"{plural(len(batch.failed), 'block')} of pairs failed: {batch.failed[0].error}")

    def _compare_block(self, block: tuple[int, int]) -> None:
        rows, columns = map(self._members, block)
        name, shape = self._block_name(block), (len(rows), len(columns))
        if self.scratch.shared(name, shape) is not None:
            return
        shared = np.zeros(shape, np.int64)
        for some in self._portions(columns):
            others = {number: self.sample(number).values for number in some}
            for row in rows:
                if row > some[-1]:
                    break  # the pairs are of the other triangle
                values = others[row] if row in others else self.sample(row).values
                for column, other in others.items():
                    if column >= row:
                        shared[row - rows[0], column - columns[0]] = (
                            count_shared(values, other) if column > row else values.size
                        )
        self.scratch.put_shared(name, shared)

    def _portions(self, numbers: range) -> list[range]:
        """Return the genomes whose sets are held at a time. Local."""
        ends = np.cumsum(self.sizes[numbers.start : numbers.stop]) // ROOM
        starts = [*np.flatnonzero(np.diff(ends, prepend=-1)).tolist(), len(numbers)]
        return [numbers[low:high] for low, high in itertools.pairwise(starts)]

    def _members(self, group: int) -> range:
        return range(group * self.group, min((group + 1) * self.group, len(self.genomes)))

    def _block_name(self, block: tuple[int, int]) -> str:
        return name_of("block", *([self.names[n] for n in self._members(group)] for group in block))

    def sample(self, number: int) -> Sample:
        """Return the set of a genome. Local."""
        sample = self.scratch.sample(self.names[number])
        if sample is None:
            raise mb.RunError(
                f"the set of {self.genomes[number].name} is no longer whole in {self.scratch.folder}; run the command "
                "again"
            )
        return sample

    def _shared(self, block: tuple[int, int]) -> Ints:
        """Return what the pairs of a block share, which lies on either side of the diagonal. Local."""
        row, column = block
        if row > column:
            return self._shared((column, row)).T
        shape = (len(self._members(row)), len(self._members(column)))
        shared = self.scratch.shared(self._block_name(block), shape)
        if shared is None:
            raise mb.RunError(f"a block of pairs is no longer whole in {self.scratch.folder}; run the command again")
        return shared + np.triu(shared, 1).T if row == column else shared

    def matrices(self) -> dict[str, Field]:
        """Return all measures of all pairs, each a field of genomes by genomes."""
        grid = mb.Grid((len(self.genomes),) * 2, comm=self.comm, axes=("i", "j"))
        shared = grid.zeros("i8")
        (top, left), (bottom, right) = grid.box.start, grid.box.stop
        with agreed(self.comm, "reading blocks of pairs"):
            for row in _touched(top, bottom, self.group):
                for column in _touched(left, right, self.group):
                    down, across = self._members(row), self._members(column)
                    part = (
                        np.s_[max(down.start, top) : min(down.stop, bottom)],
                        np.s_[max(across.start, left) : min(across.stop, right)],
                    )
                    values = self._shared((row, column))
                    shared.owned[_moved(part, top, left)] = values[_moved(part, down.start, across.start)]
        fields = {"shared": shared, **{name: grid.zeros("f8") for name in MATRICES}}
        columns = self.sizes[left:right]
        for n, size in enumerate(self.sizes[top:bottom]):  # row by row, which takes little room
            out = self._measures(shared.owned[n], np.full_like(columns, size), columns)
            for name, place in MATRICES.items():
                fields[name].owned[n] = out[place]
        return fields

    def pairs(self, least: float) -> RegionTable:
        """Return the measures of pairs whose Jaccard index is `least` or more, in their order."""
        groups = -(-len(self.genomes) // self.group)
        low, high = (groups * rank // self.comm.size for rank in (self.comm.rank, self.comm.rank + 1))
        kept: list[tuple[Ints, Values]] = [(np.empty((3, 0), np.int64), np.empty((loops.MEASURES, 0)))]
        with agreed(self.comm, "reading blocks of pairs"):
            for row in range(low, high):
                strip = [self._similar((row, column), least) for column in range(row, groups)]
                numbers = np.concatenate([numbers for numbers, _ in strip], axis=1)
                order = np.lexsort((numbers[1], numbers[0]))
                kept.append((numbers[:, order], np.concatenate([out for _, out in strip], axis=1)[:, order]))
        numbers = np.concatenate([numbers for numbers, _ in kept], axis=1)
        out = np.concatenate([out for _, out in kept], axis=1)
        columns = dict(zip(("i", "j", "shared"), numbers, strict=True))
        columns |= {"jaccard": out[loops.JACCARD], "containment": out[loops.CONTAINMENT]}
        columns |= {"contained": out[loops.CONTAINED], "distance": out[loops.DISTANCE]}
        return RegionTable(self.comm, columns, {"min_similarity": least})

    def _similar(self, block: tuple[int, int], least: float) -> tuple[Ints, Values]:
        """Return numbers of genomes and measures of a block's pairs that are similar enough. Local."""
        shared = self._shared(block)
        i, j = (place.ravel() for place in np.indices(shared.shape))
        i, j = i + block[0] * self.group, j + block[1] * self.group
        is_pair = i < j
        i, j, shared = i[is_pair], j[is_pair], shared.ravel()[is_pair]
        out = self._measures(shared, self.sizes[i], self.sizes[j])
        is_similar = out[loops.JACCARD] >= least
        return np.stack([i, j, shared])[:, is_similar], out[:, is_similar]

    def _measures(self, shared: Ints, first: Ints, second: Ints) -> Values:
        out = np.empty((loops.MEASURES, shared.size))
        loops.measure(shared, first, second, self.settings.k, out)
        return out

    def spectra(self) -> Field:
        """Return, for each genome, how many k-mers occur once, twice ...; see `BINS`."""
        field = mb.Grid((len(self.genomes), BINS), comm=self.comm, axes=("genome", "times"), origin=(0, 1)).zeros("i8")
        with agreed(self.comm, "reading spectra"):
            (top, left), (bottom, right) = field.grid.box.start, field.grid.box.stop
            for row in range(top, bottom):
                field.owned[row - top] = self.sample(row).spectrum[left:right]
        return field


def _touched(start: int, stop: int, size: int) -> range:
    """Return the groups that some of these genomes are in. Local."""
    return range(start // size, -(-stop // size)) if start < stop else range(0)


def _moved(part: tuple[slice, slice], top: int, left: int) -> tuple[slice, slice]:
    rows, columns = part
    return slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)


def collect(
    comm: MPI.Intracomm,
    scratch: Scratch,
    genomes: Sequence[Genome],
    settings: Settings,
    report: Report | None = None,
) -> Collection:
    """Make the sets of all genomes that are not there, each on one rank. Collective. RunError if a file is wrong."""
    names = [name_of("set", genome.path, genome.size, genome.modified, settings) for genome in genomes]
    batch = mb.map_items(
        functools.partial(_collected, scratch, settings),
        [*zip(names, (genome.path for genome in genomes), strict=True)],
        comm=comm,
        names=[genome.path for genome in genomes],
        costs=[genome.size for genome in genomes],
        progress=report,
    )
    if batch.failed:
        words = "; ".join(failure.error for failure in batch.failed[:3])
        more = f"; and {len(batch.failed) - 3} more" if len(batch.failed) > 3 else ""
        raise mb.RunError(f"{words}{more}")
    columns = {name: batch.table[name] for name in COLUMNS}
    table = RegionTable(comm, columns, {"names": [genome.name for genome in genomes]})
    return Collection(
        comm=comm,
        scratch=scratch,
        settings=settings,
        genomes=genomes,
        names=names,
        table=table,
        sizes=table.gather()["distinct"],
    )


def _collected(scratch: Scratch, settings: Settings, item: tuple[str, str]) -> dict[str, int]:
    name, path = item
    sample = scratch.sample(name)
    if sample is None:
        sample = take(path, settings)
        scratch.put_sample(name, sample)
    return {
        "bases": sample.bases,
        "records": sample.records,
        "kmers": sample.total,
        "distinct": sample.values.size,
        "singletons": int(sample.spectrum[0]),
        "most": sample.most,
    }
