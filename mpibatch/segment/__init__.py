"""Segments of images: distances to the background, and labels that grow, with the names and bits of scipy and skimage.

Each function takes a Field and returns a new one on the same grid, equal to what scipy.ndimage or scikit-image make of
the whole array, on any number of ranks. All are collective.

In dependency order: ``_loops`` (compiled), ``_passes`` (from axis to axis), then the families that the table below
names. Importing this package loads none of them; names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import nearest
from mpibatch.base.lazy import attach

if TYPE_CHECKING:
    from mpibatch.segment.chamfer import distance_transform_cdt
    from mpibatch.segment.distances import distance_transform_edt, expand_labels

__all__ = [
    "distance_transform_cdt",
    "distance_transform_edt",
    "expand_labels",
]

_FAMILIES = {
    "chamfer": ("distance_transform_cdt",),
    "distances": ("distance_transform_edt", "expand_labels"),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(__name__, _FAMILIES, explain=lambda name: nearest(name, __all__))
