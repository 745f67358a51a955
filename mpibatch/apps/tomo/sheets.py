"""A slice at many centers, side by side: the one without tails beside what is sharp has the axis of rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import mpibatch as mb
from mpibatch.cli._picture import encoded, gray, sheet
from mpibatch.io.write.tables.csv_text import write_pieces
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.apps.tomo.volumes import Settings
    from mpibatch.fields.field import Field

__all__ = ["draw_centers", "parse_sweep"]

LONGEST = 400  # pixels of a slice's side; larger ones are thinned out
LETTERS = 14
PERCENTILES = (0.5, 99.5)
MOST = 100  # slices


def parse_sweep(text: str) -> list[float]:
    """Return centers from FIRST:LAST:STEP, both ends included. Local. UsageError."""
    try:
        first, last, step = map(float, text.split(":"))
        count = int((last - first) / step + 1e-9) + 1 if step > 0 and np.isfinite([first, last, step]).all() else 0
    except ValueError:
        count = 0
    if not 1 <= count <= MOST:
        raise mb.UsageError(f"--centers {text} are not 1 to {MOST}; give FIRST:LAST:STEP, such as 120:136:0.5")
    return [first + n * step for n in range(count)]


def draw_centers(sinogram: Field, angles: Any, centers: Sequence[float], settings: Settings, path: str) -> None:
    """Draw a slice at each center, all with the same gray levels. Collective.

    sinogram: of two axes, detector and angle.
    """
    pictures = []
    for center in centers:
        image = mb.gather(mb.projections.iradon(sinogram, angles, filter_name=settings.filter_name, center=center))
        if image is not None:
            step = -(-max(image.shape) // LONGEST)
            pictures.append(image[::step, ::step].copy())  # a view would keep all of each slice
    comm = sinogram.grid.comm
    with agreed(comm, f"drawing {path}"):
        drawn = [_drawn(pictures, centers, path)] if pictures else []
    write_pieces(comm, path, lambda: drawn)


def _drawn(pictures: Sequence[Any], centers: Sequence[float], path: str) -> bytes:
    """Return the bytes of a picture file. Local."""
    from PIL import Image

    pixels = gray(np.stack(pictures), PERCENTILES)
    enlarged = max(1, 160 // pixels.shape[1])
    images = [Image.fromarray(np.kron(each, np.ones((enlarged, enlarged), np.uint8))) for each in pixels]
    return encoded(sheet(images, [f"{center:g}" for center in centers], LETTERS), path)
