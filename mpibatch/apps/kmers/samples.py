"""What is kept of a genome's k-mers: all different ones, or those whose hashes are low; and how often each occurs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.kmers._loops import hashes, sets
from mpibatch.apps.kmers.letters import PIECE, KmerReader

__all__ = ["BINS", "Sample", "Settings", "hashes_of", "take"]

Codes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

LONGEST = 31  # bases, at most, of a k-mer
SEED = 42  # sourmash's
BINS = 1000  # of a spectrum; the last is of k-mers that occur so often, or more
ROOM = 1 << 25  # k-mers that are sorted at once


@dataclass(frozen=True)
class Settings:
    """What a set depends on, beside its genome."""

    k: int = 31
    scaled: int = 1000  # one of so many hashes is kept; 1: k-mers themselves, all of them
    mask: bool = False  # whether lower case is left out

    def __post_init__(self) -> None:
        if not 1 <= self.k <= LONGEST:
            raise mb.UsageError(f"k-mers of {self.k} bases were asked for; give 1 to {LONGEST}, which fit into 64 bits")
        if not 1 <= self.scaled < 1 << 63:
            raise mb.UsageError(f"scaled = {self.scaled} is not valid; give 1 (all k-mers), or more, such as 1000")

    @property
    def most(self) -> int:
        """The largest hash that is kept: as sourmash has it, in floating-point numbers, cut. Local."""
        return (1 << 64) - 1 if self.scaled == 1 else int(2.0**64 / self.scaled)

    @property
    def bits(self) -> int:
        """Of the numbers in a set. Local."""
        return 2 * self.k if self.scaled == 1 else self.most.bit_length()


@dataclass(frozen=True)
class Sample:
    """A genome's set.

    Attributes
    ----------
    values : ndarray
        K-mers, or hashes, in rising order.
    spectrum : ndarray
        How many of them occur once, twice ...; see `BINS`.
    bases, records : int
        Of the file.
    total, most : int
        How many k-mers these are, each as often as it occurs; how often the most frequent does.
    """

    values: Codes
    spectrum: Counts
    bases: int
    records: int
    total: int
    most: int


class _Collector:
    """Takes numbers in any order, and has them sorted and counted, a part of them at a time."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._room, self._other, self._used = np.empty(ROOM, np.uint64), np.empty(ROOM, np.uint64), 0
        self._ends, self._digits = np.empty(sets.SPACE[0], np.int64), np.empty(sets.SPACE[1:], np.int64)
        self.values, self.counts = np.empty(0, np.uint64), np.empty(0, np.int64)

    def space(self, size: int) -> Codes:
        """Return where so many numbers, or fewer, may be put next."""
        if self._used + size > ROOM:
            self.finish()
        return self._room[self._used : self._used + size]

    def add(self, count: int) -> None:
        """Take the first of those that were put there."""
        self._used += count

    def finish(self) -> None:
        """Bring all that was taken so far into `values` and `counts`."""
        some, other = self._room[: self._used], self._other[: self._used]
        sets.sort(some, other, self._bits, self._ends, self._digits)
        counts = other.view(np.int64)
        size = sets.collapse(some, counts)
        some, counts, self._used = some[:size], counts[:size], 0
        if not self.values.size:
            self.values, self.counts = some.copy(), counts.copy()
        elif size:
            values, both = (np.empty(self.values.size + size, dtype) for dtype in (np.uint64, np.int64))
            total = sets.join(self.values, self.counts, some, counts, values, both)
            self.values, self.counts = values[:total], both[:total]


def take(path: str, settings: Settings) -> Sample:
    """Return the set of a file. Local. RunError if the file is wrong."""
    reader = KmerReader(path, settings.k, mask=settings.mask)
    collector = _Collector(settings.bits)
    if settings.scaled == 1:
        for codes in reader.pieces(collector.space):
            collector.add(codes.size)
    else:
        keep, room = _Keeper(settings), np.empty(PIECE, np.uint64)
        for codes in reader.pieces(lambda size: room[:size]):
            collector.add(keep(codes, collector.space(codes.size)))
    collector.finish()
    counts = collector.counts
    spectrum = np.bincount(np.minimum(counts, BINS), minlength=BINS + 1)[1:]
    return Sample(
        collector.values, spectrum, reader.bases, reader.records, int(counts.sum()), int(counts.max(initial=0))
    )


class _Keeper:
    """Writes the hashes that are low enough, and says how many these are."""

    def __init__(self, settings: Settings) -> None:
        self._k, self._most = settings.k, np.uint64(settings.most)
        self._quads, self._words = hashes.quads(), np.empty(hashes.WORDS, np.uint64)

    def __call__(self, codes: Codes, out: Codes) -> int:
        return int(hashes.keep(codes, self._k, np.uint64(SEED), self._most, self._quads, self._words, out))


def hashes_of(values: Codes, settings: Settings) -> Codes:
    """Return the hashes that sourmash has for a set, in rising order. Local."""
    if settings.scaled > 1:
        return values
    out = np.empty_like(values)
    _Keeper(settings)(values, out)
    return np.sort(out)
