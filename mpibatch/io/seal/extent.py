"""Where in a file the values of a dataset lie, and the digests of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["Digests", "Extent"]

Digests = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Extent:
    """A range of bytes that holds values of one dataset: all of them, a time of a series, or a stored chunk.

    Attributes
    ----------
    dataset : the dataset's name in the file.
    offset, nbytes : the range.
    first : number of the first byte, in C order among those of the whole dataset; 0 for a stored chunk, whose bytes are
        its own.
    per_digest : bytes that one digest stands for; the last one may stand for fewer.
    digests : one for each `per_digest` bytes, see `mpibatch.io.seal.digests`.
    cells : (start, stop) of the box of values that a stored chunk holds, components included; () for plain values,
        where a byte's number tells the cell.
    block, tags : of an encrypted block its number within the dataset, and by what it is known to be as it was.
    """

    dataset: str
    offset: int
    nbytes: int
    first: int
    per_digest: int
    digests: Digests = field(repr=False, compare=False)
    cells: tuple[tuple[int, ...], ...] = ()
    block: int = 0
    tags: bytes = field(default=b"", repr=False, compare=False)
