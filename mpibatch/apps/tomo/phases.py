"""Paganin's filter: the projected absorption of a body of one material, from a scan taken at a distance.

Where the index of refraction is 1 - δ + iβ everywhere in the body, T = F⁻¹[F[I / I0] / (1 + z λ δ / (4 π β) k²)] at the
distance z, wavelength λ and wave number k, and p = -log T. Method: D. Paganin and others 2002,
doi:10.1046/j.1365-2818.2002.01010.x. Cosine transforms stand for F, so that images are mirrored at their edges.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

import mpibatch as mb
from mpibatch.apps.tomo.transmissions import LEAST

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["area_of", "retrieve"]

HC = 1.239841984e-9  # keV m


def area_of(ratio: float, energy: float, distance: float, pixel: float) -> float:
    """Return z λ δ / (4 π β) in pixels². ratio: δ / β; energy in keV, distance in m, pixel in µm. Local."""
    meters = pixel * 1e-6
    return distance * (HC / energy) * ratio / (4 * math.pi) / (meters * meters)


def retrieve(absorption: Field, area: float) -> None:
    """Replace p of each projection by what the filter makes of it. Collective."""
    from mpibatch.apps.tomo._loops.projections import absorb, attenuate

    y, x = (np.pi * np.arange(low, high) / n for low, high, n in _spans(absorption.grid))
    for image in absorption.owned:
        attenuate(image)
    waves = mb.fft.dctn(absorption, axes=(1, 2))
    waves.owned[...] *= (1 / (1 + area * (y[:, None] ** 2 + x**2))).astype(np.float32)
    absorption.owned[...] = mb.fft.idctn(waves, axes=(1, 2)).owned
    for image in absorption.owned:
        absorb(image, LEAST)


def _spans(grid: mb.Grid) -> list[tuple[int, int, int]]:
    return list(zip(grid.box.start[1:], grid.box.stop[1:], grid.shape[1:], strict=True))
