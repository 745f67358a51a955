"""Catalogues of many frames, each made by one rank, or by a few together."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import mpibatch as mb
from mpibatch.apps.catalog.catalogs import Settings, make_catalog
from mpibatch.io.base.names import user_path
from mpibatch.io.write.saver import save_table
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.batch.results import Batch

__all__ = ["catalog_frames", "items_of"]

SUMMARY = "frames.csv"  # beside the tables, a row for each frame
Item = tuple[str, str]  # a frame, and its table


def items_of(frames: str, folder: str, ending: str) -> list[Item]:
    """Return the frames whose names fit, in order, with tables in a folder. Local. RunError, UsageError."""
    pattern, separator, extension = frames.partition("::")
    pattern = user_path(pattern)
    root = Path(Path(pattern).anchor)
    paths = sorted(path for path in root.glob(str(Path(pattern).relative_to(root))) if path.is_file())
    if not paths:
        raise mb.RunError(f"there is no file {pattern}; give names with * and ?, in quotes")
    if not Path(folder).is_dir():
        raise mb.RunError(f"cannot write to {folder}: there is no such folder; make it first")
    targets = [str(Path(folder) / (path.name.split(".")[0] + ending)) for path in paths]
    writers = {str(Path(folder) / SUMMARY): "the summary"}
    for path, target in zip(paths, targets, strict=True):
        if target in writers:
            raise mb.UsageError(f"{path} and {writers[target]} would both write {target}; rename the frame")
        writers[target] = str(path)
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
        functools.partial(_catalogued, settings),
        items,
        comm=comm,
        ranks_per_item=ranks_per_frame,
        names=[frame for frame, _ in items],
        journal=journal,
        output=Path(folder) / SUMMARY,
    )


def _catalogued(settings: Settings, item: Item, comm: MPI.Intracomm) -> dict[str, float]:
    frame, target = item
    catalog = make_catalog(mb.load(frame, comm=comm), settings)
    save_table(catalog.table, target, "sources")
    background = catalog.background
    return {"sources": catalog.table.rows, "background": background.level, "noise": background.noise}
