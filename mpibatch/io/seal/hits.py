"""What is broken in a file: ranges of bytes, taken together, and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mpibatch.io.seal.manifest import Manifest, Sealed

__all__ = ["Broken", "Hit", "broken_places", "joined"]


@dataclass(frozen=True, order=True)
class Broken:
    """A part of a file that is not what was written.

    Parameters
    ----------
    start, stop : int
        The bytes [start, stop) of the file among which at least one is wrong; all of it where the seal is missing.
    dataset : str
        Whose values lie there; "" for everything else.
    description : str
        The region in words, such as ``u[12:14, :, :]``, ``metadata, bytes 0-799``, or why there is no seal.

    Notes
    -----
    Local. All of them are attributes; it cannot be changed. It prints as `description`, and sorts in the order of
    the file.

    Examples
    --------
    >>> from mpibatch.io import Broken
    >>> print(Broken(800, 992, "u", "u[0:4, :]"))
    u[0:4, :]
    """

    start: int
    stop: int
    dataset: str
    description: str

    def __str__(self) -> str:
        return self.description


class Hit(NamedTuple):
    """A broken range: of bytes `low` to `high` of a dataset's values, of a stored chunk, or (dataset -1) of bytes."""

    dataset: int
    low: int
    high: int
    start: int
    stop: int


def joined(manifest: Manifest, hits: Sequence[Hit]) -> Iterator[Hit]:
    """Yield hits in order, neighbors taken together. Local."""
    open_hit: Hit | None = None
    for hit in sorted(hits):
        if open_hit is None:
            open_hit = hit
        elif (
            hit.dataset == open_hit.dataset
            and hit.low == open_hit.high
            and (hit.dataset < 0 or manifest.datasets[hit.dataset].boxes is None)
        ):
            start, stop = min(hit.start, open_hit.start), max(hit.stop, open_hit.stop)
            open_hit = open_hit._replace(high=hit.high, start=start, stop=stop)
        else:
            yield open_hit
            open_hit = hit
    if open_hit is not None:
        yield open_hit


def broken_places(
    manifest: Manifest, hits: Sequence[Hit], names: Callable[[int, int], Sequence[str]] | None
) -> list[Broken]:
    """Return what is broken, in words, in the order of the file. Local.

    Of a folder, `names` gives the files that have a range of bytes.
    """
    broken = []
    for hit in joined(manifest, hits):
        if hit.dataset < 0:
            where = f"bytes {hit.start}-{hit.stop - 1}" if names is None else ", ".join(names(hit.start, hit.stop))
            broken.append(Broken(hit.start, hit.stop, "", f"metadata, {where}"))
            continue
        dataset = manifest.datasets[hit.dataset]
        broken.append(Broken(hit.start, hit.stop, dataset.name, f"{dataset.name}[{_region(dataset, hit)}]"))
    return sorted(broken)


def _region(dataset: Sealed, hit: Hit) -> str:
    """The smallest box of values around the bytes of a hit, as it is written in Python."""
    shape = dataset.shape
    if dataset.boxes is not None:
        first, last = dataset.boxes[hit.low, 0].tolist(), [n - 1 for n in dataset.boxes[hit.low, 1].tolist()]
    else:
        item = np.dtype(dataset.dtype).itemsize
        first = _place(hit.low // item, shape)
        last = _place((hit.high - 1) // item, shape)
        differing = next((axis for axis, (a, b) in enumerate(zip(first, last, strict=True)) if a != b), len(shape))
        for axis in range(differing + 1, len(shape)):
            first[axis], last[axis] = 0, shape[axis] - 1
    indices = [
        ":" if b - a + 1 == n and n > 1 else f"{a}:{b + 1}" if b > a else str(a)
        for a, b, n in zip(first, last, shape, strict=True)
    ]
    return ", ".join(indices) or "()"


def _place(index: int, shape: tuple[int, ...]) -> list[int]:
    """The indices of the value that is number `index` in C order."""
    place = []
    for n in reversed(shape):
        index, at = divmod(index, n)
        place.append(at)
    return place[::-1]
