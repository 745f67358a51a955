"""From counts to absorption: flats and darks, outliers, and the logarithm, projection by projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import mpibatch as mb
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from mpibatch.apps.tomo.scans import Scan
    from mpibatch.fields.field import Field

__all__ = ["LEAST", "absorptions"]

LEAST = 1e-6  # transmission: what is darker, or below 0 by noise, is taken for this


def absorptions(scan: Scan, outliers: float) -> Field:
    """Return p = -log T of each projection, of f4. Collective. RunError.

    Where T differs by more than `outliers` from the median of the 3 × 3 pixels around it, the median takes its place.
    """
    from mpibatch.apps.tomo._loops.projections import absorb, transmit

    counts = scan.projections
    result = counts.grid.empty(np.float32)
    bright, first = scan.flats - scan.darks, counts.grid.box.start[0]
    # An image at a time: medians need whole ones, which every rank has, and no others.
    image = mb.Grid(counts.grid.shape[1:], comm=MPI.COMM_SELF).empty(np.float32)
    with agreed(counts.grid.comm, "taking logarithms of transmissions"):
        for number, (given, out) in enumerate(zip(counts.owned, result.owned, strict=True), first):
            transmit(given, scan.darks, bright, image.owned)
            if not np.isfinite(image.owned).all():
                raise mb.RunError(
                    f"projection {number} of the scan has pixels that are no finite numbers; leave it out, with its "
                    "angle, or put numbers in their place"
                )
            if outliers:
                median = mb.filters.median_filter(image, 3).owned
                away = np.abs(image.owned - median) > np.float32(outliers)
                image.owned[away] = median[away]
            absorb(image.owned, LEAST)
            out[...] = image.owned
    return result
