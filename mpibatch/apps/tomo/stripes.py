"""Stripes: what a detector has too much or too little at all angles, and so would become a ring of the volume.

Method: N. T. Vo, R. C. Atwood, M. Drakopoulos 2018, doi:10.1364/OE.26.028396, section 3.1 (sorting). What a detector
sees over a turn, in order of size, changes little from detector to detector, unless it is the detector that changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["remove_stripes"]

Array = npt.NDArray[Any]
SIGN = np.uint32(1 << 31)
HALF = np.uint64(32)


def remove_stripes(sinograms: Field, size: int) -> None:
    """Take stripes out of f4 sinograms (row, detector, angle) in place, with whole rows on each rank. Collective.

    The values of each detector are sorted; medians over `size` detectors, reflected at the ends, take their places, and
    return to where values of their order came from, of equal ones that of the lower angle first.
    """
    grid = mb.Grid(sinograms.grid.shape[1:], comm=MPI.COMM_SELF)
    with agreed(sinograms.grid.comm, "taking stripes out"):
        for sinogram in sinograms.owned:
            _smooth_ranks(sinogram, grid, size)


def _smooth_ranks(sinogram: Array, grid: mb.Grid, size: int) -> None:
    # Sorted as whole numbers, value above angle: all differ, so that there is one order, and it is quickly made.
    bits = sinogram.view(np.uint32)
    keys = np.where(bits & SIGN, ~bits, bits | SIGN).astype(np.uint64) << HALF
    keys |= np.arange(sinogram.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    order, high = keys.astype(np.uint32), (keys >> HALF).astype(np.uint32)
    ranked = grid.empty(np.float32)
    ranked.owned.view(np.uint32)[...] = np.where(high & SIGN, high ^ SIGN, ~high)
    smooth = mb.filters.median_filter(ranked, (size, 1)).owned
    np.put_along_axis(sinogram, order.astype(np.intp), smooth, axis=1)
