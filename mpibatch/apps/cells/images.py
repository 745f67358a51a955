"""Images of cells as they are read, checked: two or three axes of numbers; and labels of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mpibatch as mb
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.mpi import MPI

__all__ = ["load_image", "load_labels"]


def load_image(path: str, channel: int | None, comm: MPI.Intracomm, *, is_light: bool = False) -> Field:
    """Return an image, or one channel of it. Collective. UsageError, RunError.

    With `is_light` an image without channels is that of all channels.
    """
    u = mb.load(path, comm=comm)
    with agreed(comm, f"reading {path}"):
        if not isinstance(u, mb.Field):
            raise mb.UsageError(f"{path} is a table; give an image")
        if u.dtype.kind not in "iuf" or u.grid.ndim not in (2, 3) or len(u.components) > 1:
            raise mb.UsageError(
                f"{path} of shape {u.shape} and dtype {u.dtype} is no image of cells; give integers or floats of two "
                "or three axes"
            )
        count = u.components[0] if u.components else 1
        if channel is None and count > 1:
            raise mb.UsageError(
                f"{path} has {count} channels, and cells are sought in one; name it: --channel 0 to {count - 1}"
            )
        number = 0 if channel is None or (is_light and not u.components) else channel
        if not 0 <= number < count:
            raise mb.UsageError(f"{path} has no channel {number}; give --channel 0 to {count - 1}")
        if not u.components:
            return u
        chosen = u.grid.empty(u.dtype)
        chosen.owned[...] = u.owned[..., number]
        return chosen


def load_labels(path: str, image: Field) -> Field:
    """Return the labels that another program made of an image. Collective. UsageError, RunError."""
    comm = image.grid.comm
    labels = mb.load(path, comm=comm)
    with agreed(comm, f"reading {path}"):
        if not isinstance(labels, mb.Field) or labels.dtype.kind not in "iu" or labels.components:
            kind = labels.dtype if isinstance(labels, mb.Field) else "rows of a table"
            raise mb.UsageError(
                f"the labels {path} are {kind}; give whole numbers without channels: one for each cell, 0 between them"
            )
        if labels.shape != image.shape:
            raise mb.UsageError(
                f"the labels {path} have the shape {labels.shape}, and the image {image.shape}; give labels of this "
                "very image"
            )
    return mb.redistribute(labels, image.grid)
