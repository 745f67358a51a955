"""What becomes of an image, or of each of many: labels, a table, a picture; and the batch of many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.cells.images import load_image, load_labels
from mpibatch.apps.cells.segmentation import Settings, corrected, segmented
from mpibatch.apps.cells.tables import check_properties, measured
from mpibatch.cli._files import check_targets, fitting_files
from mpibatch.cli._label_picture import draw
from mpibatch.cli._picture import check_picture
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from mpibatch.batch.results import Batch
    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.io.write.tables.region_table import RegionTable

__all__ = ["COUNTS", "Item", "Request", "analyze_fields", "analyzed", "is_pattern", "items_of"]

SEGMENTS = (".h5", ".hdf5", ".tif", ".tiff", ".zarr")
COUNTS = ("cells", "threshold")  # of each field, beside its rows
Gain = Callable[["Grid"], "Field"]  # what the light gains, on the grid of an image


@dataclass(frozen=True)
class Item:
    """An image and its files; "" where there is none.

    Attributes
    ----------
    image : str
        To read.
    labels : str
        To read: made by another program.
    segments, picture : str
        To write.
    """

    image: str
    labels: str
    segments: str
    picture: str


@dataclass(frozen=True)
class Request:
    """What is done with each image."""

    settings: Settings
    channel: int | None
    properties: tuple[str, ...]


def is_pattern(path: str) -> bool:
    """Whether a name stands for all files that fit. Local."""
    return any(sign in path.partition("::")[0] for sign in "*?")


def items_of(
    images: Sequence[str],
    labels: str,
    segments: str,
    picture: str,
    tables: Sequence[tuple[str | None, str]] = (),
    others: Sequence[str | None] = (),
) -> list[Item]:
    """Return the images whose names fit, with {name} in others' names replaced by theirs. Local, for rank 0 alone.

    tables: files that are written, too, and what they are called; others: those that are read, too. RunError,
    UsageError: no image fits; a file would be written twice, or over one that is read; or there is no place for it.
    """
    paths: list[str] = []
    for each in images:
        if not is_pattern(each):
            paths.append(each)
            continue
        pattern, separator, dataset = each.partition("::")
        # An image of OME-Zarr is a folder.
        paths += [f"{path}{separator}{dataset}" for path in fitting_files(pattern, takes_folders=True)]
    items = []
    for path in paths:
        name = Path(path.partition("::")[0]).name.split(".")[0]
        items.append(Item(path, *(text.replace("{name}", name) for text in (labels, segments, picture))))
    _check_endings(items[0])
    targets = [(target, item.image) for item in items for target in (item.segments, item.picture)]
    sources = [source for item in items for source in (item.image, item.labels)]
    remedy = "give files different names ({name} is that of the image)"
    check_targets([*tables, *targets], [*sources, *others], remedy)
    return items


def _check_endings(item: Item) -> None:
    if item.segments and not item.segments.endswith(SEGMENTS):
        raise mb.UsageError(
            f"the labels {item.segments} have none of the endings {', '.join(SEGMENTS)}; give them one of these"
        )
    if item.picture:
        check_picture(item.picture)


def analyzed(item: Item, request: Request, gain: Gain | None, comm: MPI.Intracomm) -> tuple[RegionTable, float]:
    """Write the labels and the picture of an image; return its table, and the threshold. Collective.

    The threshold is NaN where labels are given.
    """
    raw = load_image(item.image, request.channel, comm)
    with agreed(comm, "checking what is made of an image"):
        check_properties(request.properties, raw.grid.ndim)
        if item.picture and raw.grid.ndim != 2:
            raise mb.UsageError(f"{item.image} has three axes, and a picture two; leave --picture out")
    image = corrected(raw, gain(raw.grid) if gain else None, request.settings)
    del raw  # which is no more needed where another image was made of it
    if item.labels:
        labels, level = load_labels(item.labels, image), np.nan
        if request.settings.clear_border:
            labels = mb.segment.clear_border(labels)
    else:
        labels, level = segmented(image, request.settings)
    table = measured(labels, image, request.properties)
    if not item.labels:
        table.attrs["threshold"] = level
    if item.segments:
        mb.save(item.segments, cells=labels)
    if item.picture:
        draw(image, labels, item.picture)
    return table, level


def analyze_fields(
    items: Sequence[Item], request: Request, gain: npt.NDArray[Any] | None, comm: MPI.Intracomm, **options: Any
) -> Batch:
    """Analyze each image on its own rank, or on a team. Collective; options are those of `mpibatch.map_items`."""
    work = functools.partial(_columns_of, request, gain)
    return mb.map_items(work, items, comm=comm, names=[item.image for item in items], **options)


def _columns_of(
    request: Request, whole: npt.NDArray[Any] | None, item: Item, comm: MPI.Intracomm
) -> dict[str, npt.NDArray[Any] | float]:
    gain = None if whole is None else functools.partial(_placed, whole)
    table, level = analyzed(item, request, gain, comm)
    return {**table.gather(), "cells": table.rows, "threshold": level}


def _placed(whole: npt.NDArray[Any], grid: Grid) -> Field:
    """Return this rank's part of what every rank has. Local. UsageError."""
    if grid.shape != whole.shape:
        raise mb.UsageError(f"the field has the shape {grid.shape}, and the flat field {whole.shape}; they must match")
    part = grid.empty(whole.dtype)
    part.owned[...] = whole[grid.box.slices()]
    return part
