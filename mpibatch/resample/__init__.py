"""Resampling of Fields: values between cells, with scipy.ndimage's names, parameters and bits.

Each function returns what scipy makes of the whole array, on any number of ranks. Spline coefficients are made along
cut lines by speculation and repair (`mpibatch.resample._engine.coefficients`), and what a block of results is made of
is fetched as a product of runs of indices (`mpibatch.resample._engine.samples`). All are collective.

Importing this package loads none of them; names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import nearest
from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.resample.affine_transforms import affine_transform, rotate
    from mpibatch.resample.coordinates import map_coordinates
    from mpibatch.resample.pyramids import pyramid
    from mpibatch.resample.splines import spline_filter, spline_filter1d
    from mpibatch.resample.zooms import shift, zoom

__all__ = [
    "affine_transform",
    "map_coordinates",
    "pyramid",
    "rotate",
    "shift",
    "spline_filter",
    "spline_filter1d",
    "zoom",
]

_FAMILIES = {
    "affine_transforms": ("affine_transform", "rotate"),
    "coordinates": ("map_coordinates",),
    "pyramids": ("pyramid",),
    "splines": ("spline_filter", "spline_filter1d"),
    "zooms": ("shift", "zoom"),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(__name__, _FAMILIES, explain=lambda name: nearest(name, __all__))
