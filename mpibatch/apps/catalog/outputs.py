"""What a catalog leaves behind: its table, maps, and regions for DS9."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

import mpibatch as mb
from mpibatch.apps.catalog.photometry import kron_ellipses
from mpibatch.io.write.tables.csv_text import write_pieces

if TYPE_CHECKING:
    from mpibatch.apps.catalog.catalogs import Catalog
    from mpibatch.io.write.tables.region_table import RegionTable

__all__ = ["write_maps", "write_regions"]

LINES = 1 << 14  # of regions, made into text at once
HEADER = "global color=green width=1\nimage\n"
BLENDED_COLOR = " color=yellow"


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
