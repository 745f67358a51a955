"""Segments of Fields: what grows, floods, thins and peaks, with scipy's and scikit-image's names and values.

Most of it is a fixed point that does not depend on the order in which cells are visited: each rank solves its block,
then asks its neighbors for news, until nothing changes anywhere (`mpibatch.segment._engine.relaxation`). So the result
has the same bits on any number of ranks. All are collective; results have no halo; on a periodic axis there is no wall.

Names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy import attach

if TYPE_CHECKING:
    from mpibatch.segment.floods import apply_hysteresis_threshold, clear_border, flood, flood_fill
    from mpibatch.segment.peaks import local_maxima, local_minima
    from mpibatch.segment.propagation import binary_fill_holes, binary_propagation
    from mpibatch.segment.reconstructions import h_maxima, h_minima, reconstruction
    from mpibatch.segment.spaced import peak_local_max
    from mpibatch.segment.thinning import skeletonize, thin
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "floods": ("apply_hysteresis_threshold", "clear_border", "flood", "flood_fill"),
            "peaks": ("local_maxima", "local_minima"),
            "propagation": ("binary_fill_holes", "binary_propagation"),
            "reconstructions": ("h_maxima", "h_minima", "reconstruction"),
            "spaced": ("peak_local_max",),
            "thinning": ("skeletonize", "thin"),
        },
    )

__all__ = [
    "apply_hysteresis_threshold",
    "binary_fill_holes",
    "binary_propagation",
    "clear_border",
    "flood",
    "flood_fill",
    "h_maxima",
    "h_minima",
    "local_maxima",
    "local_minima",
    "peak_local_max",
    "reconstruction",
    "skeletonize",
    "thin",
]
