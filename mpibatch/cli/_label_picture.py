"""Pictures of labels over fields, of any size: drawn by rank 0 of what is left when they are thinned out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.cli._overlay import enlargement, numbered, outlined
from mpibatch.cli._picture import encoded, gray
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import gather
from mpibatch.io.write.tables.csv_text import write_pieces
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["draw"]

LONGEST = 2000  # pixels of a picture's side; larger fields are thinned out
PERCENTILES = (1.0, 99.5)


def draw(field: Field, labels: Field, path: str, *, is_upward: bool = False) -> None:
    """Draw the outlines and numbers of labels over a field, its first row at the top or at the bottom. Collective."""
    comm = field.grid.comm
    values, numbers = (gather(_thinned(u)) for u in (field, labels))
    picture: list[bytes] = []
    with agreed(comm, f"drawing {path}"):
        if values is not None and numbers is not None:
            order = slice(None, None, -1) if is_upward else slice(None)
            picture.append(_drawn(values[order], numbers[order], path))
    write_pieces(comm, path, lambda: picture)


def _drawn(values: Any, labels: Any, path: str) -> bytes:
    """Return the bytes of a picture file. Local."""
    from PIL import Image

    pixels, large = outlined(gray(values, PERCENTILES), labels, enlargement(values.shape, LONGEST))
    pixels, _ = numbered(pixels, large)
    return encoded(Image.fromarray(pixels), path)


def _thinned(u: Field) -> Field:
    """Each n-th pixel of each n-th row, so many that a picture has room for them. Collective."""
    grid = u.grid
    step = -(-max(grid.shape) // LONGEST)
    sizes: list[Any] = []
    for blocks in grid.decomposition.axes:
        ends = [0, *(-(-blocks.bounds(part)[1] // step) for part in range(blocks.parts))]
        sizes.append(np.diff(ends).tolist())
    thin = Grid([-(-n // step) for n in grid.shape], comm=grid.comm, sizes=sizes).empty(u.dtype)
    thin.owned[...] = u.owned[tuple(slice(-low % step, None, step) for low in grid.box.start)]
    return thin
