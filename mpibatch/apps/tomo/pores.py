"""Pores and grains: Otsu's threshold, labels over all ranks, and a table of what each is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mpibatch as mb

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.io.write.tables.region_table import RegionTable

__all__ = ["KINDS", "Objects", "find_objects"]

KINDS = ("pores", "grains", "none")
COLUMNS = (
    "label", "num_pixels", "area", "centroid", "bbox", "equivalent_diameter_area", "axis_major_length",
    "axis_minor_length", "intensity_mean",
)  # fmt: skip


@dataclass(frozen=True)
class Objects:
    """What a volume has in it.

    Attributes
    ----------
    labels : Field
        Numbers of objects, 0 outside.
    table : RegionTable
        A row for each; lengths and volumes in the grid's units.
    threshold : float
        Of the attenuation, between material and void.
    share : float
        Porosity: of pores, in the body with its pores; of grains, in the whole volume.
    """

    labels: Field
    table: RegionTable
    threshold: float
    share: float


def find_objects(volume: Field, kind: str, smooth: float, smallest: int) -> Objects:
    """Return pores, which material encloses, or grains: bodies of material. Collective. RunError."""
    image = mb.filters.gaussian_filter(volume, smooth) if smooth else volume
    low, high = mb.minmax(image)
    if not low < high:
        raise mb.RunError(
            "the volume is the same everywhere, so that nothing tells material from void; look at the scan, or give "
            "--objects none"
        )
    threshold = mb.filters.threshold_otsu(image)
    material = image > threshold
    body = mb.segment.binary_fill_holes(material) if kind == "pores" else material
    mask = body & ~material if kind == "pores" else material
    if smallest > 1:
        mask = mb.segment.remove_small_objects(mask, max_size=smallest - 1)
    labels, _ = mb.label(mask)
    table = mb.regionprops_table(labels, volume, properties=COLUMNS, spacing=volume.grid.spacing)
    whole = int(mb.count_nonzero(body)) if kind == "pores" else math.prod(volume.shape)
    return Objects(labels, table, float(threshold), int(mb.count_nonzero(mask)) / max(1, whole))
