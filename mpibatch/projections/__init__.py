"""Projections of Fields, and images of them: tomography, with scikit-image's names, parameters and bits.

All are collective. Importing this package loads none of them; names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import nearest
from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.projections.projection import project
    from mpibatch.projections.radons import iradon, radon

__all__ = ["iradon", "project", "radon"]

_FAMILIES = {"projection": ("project",), "radons": ("iradon", "radon")}

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(__name__, _FAMILIES, explain=lambda name: nearest(name, __all__))
