"""Files of sets, and of blocks of pairs, from which another run, on other ranks, goes on.

Each is complete or absent. Its name tells what it was made from, so that nothing has to be noted elsewhere: a genome
that has changed, or other settings, make another name. Its first word is a digest of its name and of all others: what
a disk has changed, or somebody, is made anew.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.kmers.samples import BINS, Sample
from mpibatch.base.errors import reason_of
from mpibatch.base.files import replacing
from mpibatch.base.log import logger
from mpibatch.io.seal.digests import of_bytes
from mpibatch.mpi import MPI, agreed

__all__ = ["Scratch", "name_of", "opened"]

Ints = npt.NDArray[np.int64]

FORMAT = "mpibatch kmers 2"
MARK = 0x6B6D657273000001  # of a set's file; behind it:
HEAD = 6
SIZE, BASES, RECORDS, TOTAL, MOST = range(1, HEAD)


def name_of(*parts: object) -> str:
    """Return a name that stands for these. Local."""
    return hashlib.blake2b(repr((FORMAT, *parts)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


@contextmanager
def opened(comm: MPI.Intracomm, folder: str | None, output: str) -> Iterator[Scratch]:
    """Yield the folder to work in: this one, or one beside the output that is removed in the end. Collective."""
    place = ""
    with agreed(comm, f"making a folder to work in, for {output}"):
        if comm.rank == 0:
            if folder is None:
                place = tempfile.mkdtemp(prefix=f".{Path(output).name}.", dir=Path(output).absolute().parent)
            else:
                Path(folder).mkdir(exist_ok=True)
                place = folder
    place = comm.bcast(place, root=0)
    try:
        yield Scratch(Path(place), is_kept=folder is not None)
    finally:
        if folder is None and comm.rank == 0:
            shutil.rmtree(place, ignore_errors=True)


class Scratch:
    """A folder that all ranks see. All methods are local."""

    def __init__(self, folder: Path, *, is_kept: bool) -> None:
        self.folder, self._is_kept = folder, is_kept
        self._checked: set[str] = set()  # files that this rank has read in full

    def put_sample(self, name: str, sample: Sample) -> None:
        """Write a set."""
        head = np.array([MARK, sample.values.size, sample.bases, sample.records, sample.total, sample.most], np.int64)
        self._put(f"{name}.set", head, sample.spectrum, sample.values)

    def sample(self, name: str) -> Sample | None:
        """Return a set; None if it is not there, or damaged."""
        words = self._words(f"{name}.set")
        if words is None or words.size < HEAD + BINS or words[0] != MARK or words.size != HEAD + BINS + words[SIZE]:
            return None
        bases, records, total, most = (int(words[n]) for n in (BASES, RECORDS, TOTAL, MOST))
        values = words[HEAD + BINS :].view(np.uint64)
        return Sample(values, words[HEAD : HEAD + BINS], bases, records, total, most)

    def put_shared(self, name: str, shared: Ints) -> None:
        """Write what the pairs of a block share."""
        self._put(f"{name}.shared", shared)

    def shared(self, name: str, shape: tuple[int, int]) -> Ints | None:
        """Return what the pairs of a block share; None if it is not there, or damaged."""
        words = self._words(f"{name}.shared")
        return None if words is None or words.size != shape[0] * shape[1] else words.reshape(shape)

    def _put(self, name: str, *parts: npt.NDArray[np.int64] | npt.NDArray[np.uint64]) -> None:
        target = self.folder / name
        arrays = [np.array([_digest(name, parts)], np.uint64), *parts]
        try:
            if self._is_kept:
                with replacing(target) as part, part.open("wb") as file:
                    for array in arrays:
                        array.tofile(file)
            else:  # of this run alone: who reads it waits until all are written
                with target.open("wb") as file:
                    for array in arrays:
                        array.tofile(file)
        except OSError as error:
            raise mb.RunError(f"cannot write to {self.folder}: {reason_of(error)}") from None

    def _words(self, name: str) -> Ints | None:
        # Read, not mapped: a mapped file holds a descriptor, of which a process has 1024, and ends it where it is cut.
        path = self.folder / name
        try:
            words = np.fromfile(path, np.int64)
            if words.nbytes != path.stat().st_size or not words.size:
                pass  # no whole number of words
            elif name in self._checked or words[0] == np.uint64(_digest(name, [words[1:]])).view(np.int64):
                self._checked.add(name)
                return words[1:]
        except FileNotFoundError:
            return None
        except OSError as error:
            logger("kmers").warning("%s cannot be read: %s", path, reason_of(error))
            return None
        logger("kmers").warning("%s is not as it was written", path)
        return None


def _digest(name: str, parts: Sequence[npt.NDArray[np.int64] | npt.NDArray[np.uint64]]) -> int:
    """Return a number of 64 bits that stands for a file. Local."""
    result, first = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"), 0
    for part in parts:
        words = np.ascontiguousarray(part).reshape(-1).view(np.uint64)
        result += sum(of_bytes(words, first, words.nbytes or 1).tolist())
        first += words.nbytes
    return result % (1 << 64)
