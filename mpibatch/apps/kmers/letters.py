"""K-mers of a file of sequences: FASTA or FASTQ, perhaps by gzip and by Crypt4GH, in pieces that fit into memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.kmers._loops import letters as loops
from mpibatch.base.errors import reason_of
from mpibatch.io.vault.crypt4gh import MAGIC, SEGMENT, Decrypted

__all__ = ["PIECE", "KmerReader"]

Codes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

PIECE = 1 << 20  # bytes of letters at a time
GZIP = b"\x1f\x8b"
UNCERTAIN = b"NRYKMSWBDHV"  # letters for more than one base

MESSAGES = {
    loops.LETTER: "there is a letter that is not of DNA ({letter!r})",
    loops.NO_HEAD: "a record begins with {letter!r}, not with > (FASTA) or @ (FASTQ)",
    loops.NO_PLUS: "there is no line with + behind the bases; records of FASTQ have four lines",
    loops.OTHER_LENGTH: "there are not as many marks of quality as bases",
}


class KmerReader:
    """Canonical k-mers of a file, each the lesser of a k-mer and its reverse complement, as a number of 2k bits.

    Attributes
    ----------
    bases : int
        Gaps included.
    records : int
        Sequences.
    """

    def __init__(self, path: str, k: int, *, mask: bool) -> None:
        self.path, self.k = path, k
        self._kinds = _kinds(mask=mask)
        self._state, self._both = np.zeros(loops.NUMBERS, np.int64), np.zeros(2, np.uint64)
        self._state[loops.IS_NEW] = 1

    @property
    def bases(self) -> int:
        """How many were read so far. Local."""
        return int(self._state[loops.BASES] + self._state[loops.LENGTH])

    @property
    def records(self) -> int:
        """How many began so far. Local."""
        return int(self._state[loops.RECORDS])

    def pieces(self, space: Callable[[int], Codes]) -> Iterator[Codes]:
        """Yield k-mers, each time in what `space` returned for so many. Local. RunError if the file is wrong."""
        try:
            with Path(self.path).open("rb") as file:
                given: Any = file
                if file.peek(len(MAGIC)).startswith(MAGIC):
                    given = io.BufferedReader(Decrypted(file, self.path), SEGMENT)
                source = gzip.GzipFile(fileobj=given) if given.peek(len(GZIP)).startswith(GZIP) else given
                while data := source.read(PIECE):
                    letters = np.frombuffer(bytearray(data), np.uint8)  # writable, as compiled code takes them
                    out = space(letters.size)
                    count = loops.encode(letters, self._kinds, self.k, self._state, self._both, out)
                    if self._state[loops.BROKEN]:
                        self._refuse(letters)
                    yield out[:count]
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise mb.RunError(f"{self.path} is damaged or cut short: gzip cannot read it; copy it again") from None
        except OSError as error:
            raise mb.RunError(f"{self.path} cannot be read: {reason_of(error)}") from None
        self._check_end()

    def _refuse(self, letters: Bytes) -> None:
        state = self._state
        why = MESSAGES[int(state[loops.BROKEN])].format(letter=chr(int(letters[state[loops.PLACE]])))
        line = state[loops.LINE] + (state[loops.BROKEN] != loops.OTHER_LENGTH)  # whose end was read
        raise mb.RunError(f"{self.path}, line {line}: {why}; give FASTA or FASTQ of DNA")

    def _check_end(self) -> None:
        state = self._state
        ends = (loops.HEAD,) if state[loops.FASTQ] else (loops.HEAD, loops.LETTERS)
        # The last line may lack its end.
        is_whole = state[loops.PHASE] in ends or (
            state[loops.FASTQ] and state[loops.PHASE] == loops.MARKS and state[loops.QUALITY] == state[loops.LENGTH]
        )
        if not is_whole:
            raise mb.RunError(f"{self.path} is cut short: it ends within a record; copy it again")
        if not self.bases:
            raise mb.RunError(f"{self.path} has no sequence; give FASTA or FASTQ with some")


def _kinds(*, mask: bool) -> Bytes:
    """What each byte is within a sequence; with `mask`, lower case is a gap."""
    kinds = np.full(256, loops.FOREIGN, np.uint8)
    kinds[[*UNCERTAIN, *UNCERTAIN.lower()]] = loops.GAP
    kinds[[*b"ACGT"]] = range(4)
    kinds[[*b"acgt"]] = loops.GAP if mask else range(4)
    kinds[ord("\n")], kinds[ord("\r")] = loops.END, loops.RETURN
    return kinds
