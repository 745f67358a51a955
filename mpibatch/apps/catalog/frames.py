"""Catalogs of many frames, each made by one rank, or by a few together."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import mpibatch as mb
from mpibatch.apps.catalog.catalogs import Settings, make_catalog
from mpibatch.cli._files import check_targets, fitting_files
from mpibatch.io.write.saver import save_table
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.batch.results import Batch

__all__ = ["catalog_frames", "items_of"]

SUMMARY = "frames.csv"  # beside the tables, a row for each frame
Item = tuple[str, str]  # a frame, and its table


def items_of(frames: str, folder: str, ending: str) -> list[Item]:
    """Return the frames whose names fit, in order, with tables in a folder. Local, for rank 0 alone.

    RunError, UsageError.
    """
    pattern, separator, extension = frames.partition("::")
    paths = fitting_files(pattern)
    if not Path(folder).is_dir():
        raise mb.RunError(f"cannot write to {folder}: there is no such folder; make it first")
    targets = [str(Path(folder) / (path.name.split(".")[0] + ending)) for path in paths]
    sources = [str(path) for path in paths]
    written = [(str(Path(folder) / SUMMARY), "the summary"), *zip(targets, sources, strict=True)]
    check_targets(written, sources, "rename the frame")
    return [(f"{path}{separator}{extension}", target) for path, target in zip(paths, targets, strict=True)]


def catalog_frames(
    comm: MPI.Intracomm,
    items: Sequence[Item],
    folder: str,
    settings: Settings,
    ranks_per_frame: int = 1,
    journal: str | None = None,
) -> Batch:
    """Write the table of each frame, and frames.csv with a row for each. Collective."""
    return mb.map_items(
        functools.partial(_cataloged, settings),
        items,
        comm=comm,
        ranks_per_item=ranks_per_frame,
        names=[frame for frame, _ in items],
        journal=journal,
        output=Path(folder) / SUMMARY,
    )


def _cataloged(settings: Settings, item: Item, comm: MPI.Intracomm) -> dict[str, float]:
    frame, target = item
    catalog = make_catalog(mb.load(frame, comm=comm), settings)
    save_table(catalog.table, target, "sources")
    background = catalog.background
    return {"sources": catalog.table.rows, "background": background.level, "noise": background.noise}
