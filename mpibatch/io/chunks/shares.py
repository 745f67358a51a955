"""Chunks shared out to the ranks, in rounds of consecutive ones, and their cells moved from or to a field.

The order of rounds is that of chunks, so that they can go into a file in this order while no rank holds more than a
round's part. Who works on which chunk has nothing to do with who owns its cells, and does not change what comes out.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.domain import Blocks, Box
from mpibatch.mpi import MPI, Transfers, transfer
from mpibatch.mpi.transfers import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.io.chunks.grid import ChunkGrid

__all__ = ["ROUND_BYTES", "Round", "ShareWindow", "Sharing"]

# Of a rank's chunks in one round, and of all ranks' together. With several chunks on each, those that take longer to
# pack even out between ranks.
ROUND_BYTES, MOST_BYTES = 16 << 20, 512 << 20

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Round:
    """Consecutive chunks, and which rank works on which: also consecutive ones."""

    numbers: range
    shares: Blocks

    def weighed(self, speeds: Sequence[float]) -> Round:
        """Return the same chunks, shared out in proportion to the ranks' speeds. Local."""
        total, ends = sum(speeds), itertools.accumulate(speeds)
        bounds = [0, *(round(len(self.numbers) * end / total) for end in ends)]
        sizes = [high - low for low, high in itertools.pairwise(bounds)]
        return Round(self.numbers, Blocks.of_sizes(len(self.numbers), sizes))

    def part(self, rank: int) -> range:
        """Return the chunks that `rank` works on. Local."""
        low, high = self.shares.bounds(rank)
        return self.numbers[low:high]

    def owner(self, number: int) -> int:
        """Return the rank that works on a chunk. Local."""
        return self.shares.owner(number - self.numbers.start)

    def among(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return those of ascending chunks that are in this round. Local."""
        first, last = np.searchsorted(numbers, (self.numbers.start, self.numbers.stop))
        return numbers[first:last]


@dataclass(frozen=True)
class ShareWindow:
    """Of every rank's share of all chunks, even and consecutive, those from number `low` of the share to `high`."""

    shares: Blocks
    low: int
    high: int

    def part(self, rank: int) -> range:
        """Return the chunks that `rank` works on. Local."""
        first, end = self.shares.bounds(rank)
        return range(min(first + self.low, end), min(first + self.high, end))

    def owner(self, number: int) -> int:
        """Return the rank that works on a chunk. Local."""
        return self.shares.owner(number)

    def among(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return those of ascending chunks that are in this window. Local."""
        size, larger = divmod(self.shares.cells, self.shares.parts)
        wide = larger * (size + 1)
        places = np.where(numbers < wide, numbers % (size + 1), (numbers - wide) % max(1, size))
        return numbers[(self.low <= places) & (places < self.high)]


@dataclass(frozen=True)
class Sharing:
    """The chunks of a dataset, and the field of its shape whose cells they hold.

    Attributes
    ----------
    round_bytes : of a rank's chunks in one round; None: `ROUND_BYTES`.
    """

    comm: MPI.Intracomm
    chunks: ChunkGrid
    field: Field
    round_bytes: int | None = None

    @property
    def total_bytes(self) -> int:
        """Bytes of all chunks. Local."""
        return self.chunks.total * math.prod(self.chunks.size) * self.field.dtype.itemsize

    def rounds(self, most: int = MOST_BYTES) -> Iterator[Round]:
        """Yield the rounds, the same on all ranks, of `most` bytes together, with equal shares. Local."""
        size, nbytes = self.comm.size, math.prod(self.chunks.size) * self.field.dtype.itemsize
        nbytes = max(1, nbytes)
        share = ROUND_BYTES if self.round_bytes is None else self.round_bytes
        many = max(1, min(size * max(1, share // nbytes), most // nbytes))
        for low in range(0, self.chunks.total, many):
            numbers = range(low, min(low + many, self.chunks.total))
            yield Round(numbers, Blocks(len(numbers), size))

    def windows(self) -> Iterator[ShareWindow]:
        """Yield windows, the same on all ranks, where chunks need not reach a file in their order. Local.

        A rank then works on neighbors all the time, many of whose cells it owns.
        """
        nbytes = math.prod(self.chunks.size) * self.field.dtype.itemsize
        step = max(1, ROUND_BYTES // max(1, nbytes))
        for low in range(0, -(-self.chunks.total // self.comm.size), step):
            yield ShareWindow(Blocks(self.chunks.total, self.comm.size), low, low + step)

    def collect(
        self, turn: Round | ShareWindow, *, views: bool = False, spare: list[Array] | None = None
    ) -> dict[int, Array]:
        """Return this rank's chunks of a round, by number, with zeros beyond the dataset. Collective.

        With `views`, those that lie in this rank's block are not copied, and not contiguous. What is `spare`, chunks
        of earlier rounds, gives its memory: new memory costs as much as writing.
        """
        blocks, fetched = {}, {}
        for number in turn.part(self.comm.rank):
            box = self.chunks.box(number)
            full = box.shape == self.chunks.size
            if views and full and box.intersect(self._mine) == box:
                blocks[number] = self.field.owned[box.slices(self._mine.start)]
            else:
                block = spare.pop() if spare else np.empty(self.chunks.size, self.field.dtype)
                if not full:
                    block.fill(0)
                blocks[number] = fetched[number] = block
        self._move(turn, fetched, outwards=False)
        return blocks

    def deliver(self, turn: Round | ShareWindow, blocks: dict[int, Array]) -> None:
        """Put this rank's chunks of a round into the fields of all ranks. Collective."""
        self._move(turn, blocks, outwards=True)

    def _move(self, turn: Round | ShareWindow, blocks: dict[int, Array], outwards: bool) -> None:
        moves = Transfers()
        # Both sides go through the chunks in ascending order: so their lists of views correspond.
        for number, block in blocks.items():
            box = self.chunks.box(number)
            for rank in self.field.grid.decomposition.overlapping(self._cells(box)):
                part = box.intersect(self._extended(self.field.grid.decomposition.box(rank)))
                view = block[part.slices(box.start)]
                if rank == self.comm.rank:
                    own = self.field.owned[part.slices(self._mine.start)]
                    moves.copies.append((own, view) if outwards else (view, own))
                else:
                    _add(moves, rank, view, sends=outwards)
        for number in turn.among(self._met).tolist():
            rank = turn.owner(number)
            if rank != self.comm.rank:
                part = self.chunks.box(number).intersect(self._mine)
                _add(moves, rank, self.field.owned[part.slices(self._mine.start)], sends=not outwards)
        with phase("halo"):
            transfer(self.comm, moves)

    @cached_property
    def _mine(self) -> Box:
        return self._extended(self.field.box)

    @cached_property
    def _met(self) -> npt.NDArray[np.int64]:
        return self.chunks.meeting(self._mine)

    def _cells(self, box: Box) -> Box:
        axes = self.field.grid.ndim
        return Box(box.start[:axes], box.stop[:axes])

    def _extended(self, box: Box) -> Box:
        behind = self.field.components
        return Box((*box.start, *(0 for _ in behind)), (*box.stop, *behind))


def _add(moves: Transfers, rank: int, view: Array, sends: bool) -> None:
    if sends:
        moves.sends.setdefault(rank, []).append(view)
    else:
        moves.receives.setdefault(rank, []).append(Target(view, view.shape))
