"""From the bytes of FASTA and FASTQ to canonical k-mers: a machine that takes a file in pieces, cut anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled_lean

__all__ = ["BASES", "BROKEN", "FASTQ", "IS_NEW", "LENGTH", "LINE", "NUMBERS", "PHASE", "PLACE", "QUALITY", "RECORDS"]
__all__ += ["END", "FOREIGN", "GAP", "HEAD", "LETTER", "LETTERS", "MARKS", "RETURN"]
__all__ += ["NO_HEAD", "NO_PLUS", "OTHER_LENGTH", "encode"]

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

# What a byte of a sequence is: 0 to 3 are A, C, G, T.
GAP, END, RETURN, FOREIGN = range(4, 8)
# Where the machine stands: the line that it is in, or that begins next.
HEAD, TITLE, LETTERS, PLUS, MARKS = range(5)
# What it knows, as whole numbers: bases since the last gap, of the record, and of those before; marks of quality.
NUMBERS = 11
PHASE, IS_NEW, RUN, LENGTH, BASES, QUALITY, LINE, RECORDS, FASTQ, BROKEN, PLACE = range(NUMBERS)
# Why it stopped, in BROKEN, and at which byte of the piece, in PLACE.
LETTER, NO_HEAD, NO_PLUS, OTHER_LENGTH = range(1, 5)

LINE_FEED, CARRIAGE_RETURN, GREATER, AT, PLUS_SIGN = 10, 13, 62, 64, 43
TWO = np.uint64(2)


@compiled_lean
def encode(data: Bytes, kinds: Bytes, k: int, state: Ints, both: Codes, out: Codes) -> Any:
    """Write the canonical k-mers of a piece of a file, and return how many; stop at what is wrong. Local.

    `state` and `both`, the last k bases on either strand, go on from piece to piece. A k-mer is the lesser of the two
    as numbers of 2k bits, whose order is that of their letters.
    """
    mask = (np.uint64(1) << np.uint64(2 * k)) - np.uint64(1)
    top = np.uint64(2 * (k - 1))
    forward, reverse = both[0], both[1]
    phase, is_new, run, length = state[PHASE], state[IS_NEW], state[RUN], state[LENGTH]
    bases, quality, line = state[BASES], state[QUALITY], state[LINE]
    count, place = 0, 0
    while place < data.size:
        byte = data[place]
        if phase == LETTERS and not (is_new and byte == GREATER and not state[FASTQ]):
            is_new = 0
            kind = kinds[byte]
            before = place
            while kind < GAP:
                forward = ((forward << TWO) | np.uint64(kind)) & mask
                reverse = (reverse >> TWO) | (np.uint64(3 - kind) << top)
                run += 1
                if run >= k:
                    out[count] = min(forward, reverse)
                    count += 1
                place += 1
                kind = kinds[data[place]] if place < data.size else np.uint8(RETURN)
            length += place - before
            if place == data.size:
                break
            if kind == GAP:
                run = 0
                length += 1
            elif kind == END:
                line += 1
                is_new = 1
                if state[FASTQ]:
                    phase = PLUS
            elif kind == FOREIGN:
                state[BROKEN] = LETTER
                break
        elif byte == LINE_FEED:
            line += 1
            if phase == MARKS and quality != length:
                state[BROKEN] = OTHER_LENGTH
                break
            # An empty line before a record is none; in FASTQ an empty sequence is.
            if phase == TITLE:
                phase, run = LETTERS, 0
            elif phase == PLUS:
                if is_new:
                    state[BROKEN] = NO_PLUS
                    break
                phase, quality = MARKS, 0
            elif phase == MARKS:
                phase = HEAD
            is_new = 1
        elif phase in (HEAD, LETTERS):
            if byte in (GREATER, AT):
                if state[RECORDS] == 0:
                    state[FASTQ] = byte == AT
                if (byte == AT) != state[FASTQ]:
                    state[BROKEN] = NO_HEAD
                    break
                bases += length
                state[RECORDS] += 1
                phase, length, is_new = TITLE, 0, 0
            elif byte != CARRIAGE_RETURN:
                state[BROKEN] = NO_HEAD
                break
        elif phase == PLUS:
            if is_new and byte != PLUS_SIGN:
                state[BROKEN] = NO_PLUS
                break
            is_new = 0
        elif phase == MARKS and byte != CARRIAGE_RETURN:
            quality += 1
        place += 1
    both[0], both[1] = forward, reverse
    state[PHASE], state[IS_NEW], state[RUN], state[LENGTH] = phase, is_new, run, length
    state[BASES], state[QUALITY], state[LINE] = bases, quality, line
    state[PLACE] = place
    return count
