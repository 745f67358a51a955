"""What the microscope's light does to an image: its gain, pixel by pixel, with a mean of 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

import mpibatch as mb
from mpibatch import filters
from mpibatch.apps.cells.images import load_image
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.mpi import MPI

__all__ = ["gain_of", "load_gain", "median_of"]

MOST = 101  # fields whose median is taken: more change it little


def load_gain(path: str, channel: int | None, grid: Grid) -> Field:
    """Return the gain that an image of an empty field shows. Collective. UsageError, RunError."""
    flat = load_image(path, channel, grid.comm, is_light=True)
    with agreed(grid.comm, f"reading {path}"):
        if flat.shape != grid.shape:
            raise mb.UsageError(
                f"the flat field {path} has the shape {flat.shape}, and the image {grid.shape}; give one of the same "
                "camera and binning"
            )
    return gain_of(mb.redistribute(flat, grid), path)


def gain_of(flat: Field, name: str) -> Field:
    """Return a flat field over its mean. Collective. UsageError if pixels have no light."""
    is_dark = ~(flat.owned > 0) | ~np.isfinite(flat.owned)
    dark = flat.like(np.bool_, 0)
    dark.owned[...] = is_dark
    count = mb.count_nonzero(dark)
    if count:
        raise mb.UsageError(
            f"{count} pixels of the flat field {name} are not above 0, and nothing can be divided by them; give an "
            "image of an empty, lit field"
        )
    gain = flat.like(np.float32, 0)
    gain.owned[...] = flat.owned / mb.mean(flat)
    return gain


def median_of(images: Sequence[str], channel: int | None, sigma: float, comm: MPI.Intracomm) -> Field:
    """Return the median of many fields, pixel by pixel, smoothed by a Gaussian. Collective. RunError if there is none.

    Of more than `MOST`, evenly chosen ones are read; what cannot be read, or has another shape, is left out.
    """
    chosen = images if len(images) <= MOST else [images[n * len(images) // MOST] for n in range(MOST)]
    layers: list[Field] = []
    for path in chosen:
        try:
            layer = load_image(path, channel, comm)
        except (mb.RunError, mb.UsageError):  # the same on all ranks; the batch tells of it
            continue
        if not layers or layer.shape == layers[0].shape:
            layers.append(layer)
    if not layers:
        raise mb.RunError(f"none of the fields, the first of which is {images[0]}, can be read; there is no median")
    middle = layers[0].like(np.float64, 0)
    middle.owned[...] = np.median([layer.owned for layer in layers], axis=0)
    return filters.gaussian_filter(middle, sigma)
