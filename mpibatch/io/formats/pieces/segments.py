"""The strips and tiles of a TIFF's page, one at a time: only those that a box meets are read and unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.io.chunks.grid import ChunkGrid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.io.formats.source import Array, Selection

__all__ = ["Segments", "is_cut_alike"]

_JPEG = (6, 7, 34892, 33007)  # codes of compressions whose segments share tables


def is_cut_alike(page: Any, inner: Sequence[int]) -> bool:
    """Whether a series has a page's axes in the page's own order, those of length 1 apart. Local."""
    return [n for n in page.shaped if n > 1] == [n for n in inner if n > 1]


class Segments:
    """A page as chunks of its five axes: planes of samples, depth, rows, columns, samples."""

    def __init__(self, page: Any) -> None:
        key = page.keyframe
        sizes = (1, 1, max(1, min(key.rowsperstrip, key.imagelength)), key.shaped[3], key.shaped[4])
        if key.is_tiled:
            sizes = (1, max(1, key.tiledepth), key.tilelength, key.tilewidth, key.shaped[4])
        self.grid = ChunkGrid(tuple(map(int, key.shaped)), tuple(map(int, sizes)))
        self._page, self._key = page, key
        self._options: dict[str, Any] = {"_fullsize": True} if key.is_tiled else {}
        if key.compression in _JPEG:
            self._options |= {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        if self.grid.total != len(page.dataoffsets):
            raise ValueError(f"a page has {len(page.dataoffsets)} segments instead of {self.grid.total}")

    def values(self, number: int) -> Array:
        """Return the values of a segment, perhaps also those beyond the page. Local. Not to be written to."""
        offset, nbytes = int(self._page.dataoffsets[number]), int(self._page.databytecounts[number])
        stored = None
        if nbytes:
            handle = self._page.parent.filehandle
            handle.seek(offset)
            stored = handle.read(nbytes)
            if len(stored) < nbytes:
                raise ValueError(f"it ends at byte {offset + len(stored)}, within a segment")
        decoded, *_ = self._key.decode(stored, number, **self._options)
        if decoded is None:
            return np.broadcast_to(np.asarray(self._key.nodata, self._key.dtype), self.grid.size)
        return np.asarray(decoded)[None]

    def selection(self, inner: Sequence[int], selection: Selection) -> Selection:
        """Return the selection of the page's five axes that is one of a series' axes `inner`. Local."""
        parts = iter([s for s, n in zip(selection, inner, strict=True) if n > 1])
        return tuple(next(parts) if n > 1 else slice(0, 1) for n in self.grid.shape)

    def stored_view(self, target: Array, inner: Sequence[int]) -> Array:
        """Return a view of a part of a series' axes `inner` that has the page's five axes. Local."""
        view = target[tuple(slice(None) if n > 1 else 0 for n in inner)]
        return view[tuple(slice(None) if n > 1 else None for n in self.grid.shape)]
