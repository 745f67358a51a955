"""What a catalogue leaves behind: its table, maps, regions for DS9, and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mpibatch as mb
from mpibatch.apps.catalog.photometry import kron_ellipses
from mpibatch.cli._overlay import enlargement, numbered, outlined
from mpibatch.cli._picture import gray
from mpibatch.io.write.tables.csv_text import write_pieces
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from mpibatch.apps.catalog.catalogs import Catalog
    from mpibatch.fields.field import Field
    from mpibatch.io.write.tables.region_table import RegionTable

__all__ = ["check_picture", "draw", "write_maps", "write_regions"]

LONGEST = 2000  # pixels of a picture's side; larger frames are thinned out
PERCENTILES = (1.0, 99.5)
LINES = 1 << 14  # of regions, made into text at once
HEADER = "global color=green width=1\nimage\n"
BLENDED_COLOR = " color=yellow"


def check_picture(path: str) -> None:
    """Refuse now a picture that could not be drawn in the end. Local. UsageError."""
    from PIL import Image

    if Path(path).suffix.lower() not in Image.registered_extensions():
        raise mb.UsageError(f"the picture {path} has not the ending of one; name it .png")


def write_maps(catalog: Catalog, segments: str | None, background: str | None) -> None:
    """Write the map of segments, and background and noise. Collective."""
    if segments:
        mb.save(segments, segments=catalog.segments)
    if background:
        levels, noises = catalog.background.levels(), catalog.background.noises()
        mb.save(background, background=levels, noise=noises)


def write_regions(table: RegionTable, path: str) -> None:
    """Write Kron's ellipses as regions for DS9, whose pixels count from 1. Collective."""
    write_pieces(table.comm, path, lambda: _regions(table))


def _regions(table: RegionTable) -> Iterator[bytes]:
    if table.comm.rank == 0:
        yield HEADER.encode()
    a, b = kron_ellipses(table)
    numbers = (table["x"] + 1, table["y"] + 1, a, b, np.degrees(table["theta"]))
    for low in range(0, len(a), LINES):
        some = slice(low, low + LINES)
        rows = zip(*(column[some].tolist() for column in (*numbers, table["number"], table["flag"])), strict=True)
        yield "".join(
            f"ellipse({x:.3f},{y:.3f},{major:.3f},{minor:.3f},{angle:.2f}) # text={{{number}}}"
            f"{BLENDED_COLOR if flag & 1 else ''}\n"
            for x, y, major, minor, angle, number, flag in rows
        ).encode()


def draw(catalog: Catalog, path: str) -> None:
    """Draw the outlines and numbers of sources over the frame, with its first row below. Collective.

    Rank 0 draws what is left of a frame of any size when it is thinned out.
    """
    values, segments = (mb.gather(_thinned(u)) for u in (catalog.value, catalog.segments))
    with agreed(catalog.value.grid.comm, f"drawing {path}"):
        if values is None or segments is None:
            return
        from PIL import Image

        scale = enlargement(values.shape, LONGEST)
        pixels, large = outlined(gray(values[::-1], PERCENTILES), segments[::-1], scale)
        pixels, _ = numbered(pixels, large)
        Image.fromarray(pixels).save(path)


def _thinned(u: Field) -> Field:
    """Each n-th pixel of each n-th row, so many that a picture has room for them. Collective."""
    grid = u.grid
    step = -(-max(grid.shape) // LONGEST)
    sizes: list[Any] = []
    for blocks in grid.decomposition.axes:
        ends = [0, *(-(-blocks.bounds(part)[1] // step) for part in range(blocks.parts))]
        sizes.append(np.diff(ends).tolist())
    thin = mb.Grid([-(-n // step) for n in grid.shape], comm=grid.comm, sizes=sizes).empty(u.dtype)
    thin.owned[...] = u.owned[tuple(slice(-low % step, None, step) for low in grid.box.start)]
    return thin
