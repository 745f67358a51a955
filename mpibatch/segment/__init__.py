"""Segments of Fields: distances, labels, what grows, floods, thins and peaks, with scipy's and scikit-image's names.

Each function returns what scipy.ndimage or scikit-image make of the whole array, on any number of ranks. Much of it is
a fixed point that does not depend on the order in which cells are visited: each rank solves its block, then asks its
neighbors for news, until nothing changes anywhere (`mpibatch.segment._engine.relaxation`). Distances go from axis to
axis (`mpibatch.segment._engine.passes`). All are collective.

Importing this package loads none of them; names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import nearest
from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.segment.boundaries import find_boundaries
    from mpibatch.segment.chamfer import distance_transform_cdt
    from mpibatch.segment.distances import distance_transform_edt, expand_labels
    from mpibatch.segment.floods import apply_hysteresis_threshold, clear_border, flood, flood_fill
    from mpibatch.segment.label_maps import LabelMap, join_segmentations, relabel_sequential
    from mpibatch.segment.peak_spacing import peak_local_max
    from mpibatch.segment.peaks import local_maxima, local_minima
    from mpibatch.segment.propagation import binary_fill_holes, binary_propagation
    from mpibatch.segment.reconstructions import h_maxima, h_minima, reconstruction
    from mpibatch.segment.removals import remove_small_holes, remove_small_objects
    from mpibatch.segment.thinning import skeletonize, thin
    from mpibatch.segment.watersheds import watershed

__all__ = [
    "LabelMap",
    "apply_hysteresis_threshold",
    "binary_fill_holes",
    "binary_propagation",
    "clear_border",
    "distance_transform_cdt",
    "distance_transform_edt",
    "expand_labels",
    "find_boundaries",
    "flood",
    "flood_fill",
    "h_maxima",
    "h_minima",
    "join_segmentations",
    "local_maxima",
    "local_minima",
    "peak_local_max",
    "reconstruction",
    "relabel_sequential",
    "remove_small_holes",
    "remove_small_objects",
    "skeletonize",
    "thin",
    "watershed",
]

_FAMILIES = {
    "boundaries": ("find_boundaries",),
    "chamfer": ("distance_transform_cdt",),
    "distances": ("distance_transform_edt", "expand_labels"),
    "floods": ("apply_hysteresis_threshold", "clear_border", "flood", "flood_fill"),
    "peaks": ("local_maxima", "local_minima"),
    "propagation": ("binary_fill_holes", "binary_propagation"),
    "reconstructions": ("h_maxima", "h_minima", "reconstruction"),
    "label_maps": ("LabelMap", "join_segmentations", "relabel_sequential"),
    "removals": ("remove_small_holes", "remove_small_objects"),
    "peak_spacing": ("peak_local_max",),
    "thinning": ("skeletonize", "thin"),
    "watersheds": ("watershed",),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(__name__, _FAMILIES, explain=lambda name: nearest(name, __all__))
