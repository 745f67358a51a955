"""Scans of known bodies: counts, flats, darks, stripes, zingers and an axis that is not in the middle.

Every random number belongs to a pixel of a projection, so that a scan is the same on any ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["Acquisition", "center_of", "measure"]

Array = npt.NDArray[Any]
DARK = 100.0  # counts without a beam
FADING = 0.3  # how much less of the beam there is at the edges
DUST = 0.02  # how much more or less of the beam a detector with dust on it counts during the scan than in flats
AXES = ("angle", "y", "x")


@dataclass(frozen=True)
class Acquisition:
    """How a scan is made."""

    angles: int = 180
    arc: float = 180.0  # degrees, from 0 to below it
    counts: float = 20_000.0  # in the middle of the beam
    absorption: float = 2.0  # -log T of the darkest ray
    center: float = math.nan  # detector of the axis; nan: the middle one
    stripes: float = 0.02  # of pixels of the detector, the share that dust changes
    zingers: float = 0.0005  # of pixels of a projection
    flats: int = 20
    darks: int = 10
    pixel: float = 1.0  # µm
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("angles", 2), ("flats", 1), ("darks", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise mb.UsageError(f"--{name} {getattr(self, name)} is not valid; give {least} or more")
        for name, most in (("arc", 360), ("counts", 6e4), ("absorption", 20), ("pixel", math.inf)):
            if not 0 < getattr(self, name) <= most:
                raise mb.UsageError(f"--{name} {getattr(self, name)} is not valid; give a number above 0, to {most:g}")
        for name in ("stripes", "zingers"):
            if not 0 <= getattr(self, name) <= 1:
                raise mb.UsageError(f"--{name} {getattr(self, name)} is no share of pixels; give 0 to 1")


def center_of(how: Acquisition, width: int) -> float:
    """Return the detector that the axis is projected on. Local."""
    return width // 2 if math.isnan(how.center) else how.center


def measure(volume: Field, how: Acquisition, *, circle: bool) -> tuple[dict[str, Field], dict[str, dict[str, str]]]:
    """Return the fields of a scan of a body by DXchange's names, and their units. Collective. UsageError.

    circle: whether the body is in the cylinder inside the volume's box; else its images are as wide as the diagonal.
    """
    rays = _rays(volume, how, circle=circle)
    count, rows, width = rays.shape
    grid, rng = rays.grid, mb.random.Generator(how.seed)
    image = mb.Grid((rows, width), comm=grid.comm)
    beam = mb.gather_all(image.from_function(lambda y, x: _beam(y, x, rows, width) * how.counts, "f8"))
    dusty = mb.gather_all(rng.uniform(image)) < how.stripes
    dust = np.where(dusty, mb.gather_all(rng.normal(image, 0.0, DUST)), 0.0)
    hits, sizes = rng.uniform(grid), rng.uniform(grid, 0.2, 1.0)
    expected = DARK + beam * np.clip(1 + dust, 0, None) * np.exp(-rays.owned)
    expected += np.where(hits.owned < how.zingers, sizes.owned * how.counts, 0.0)
    fields = {"exchange/data": _counted(grid, expected, rng)}
    for name, many, level in (("data_white", how.flats, DARK + beam), ("data_dark", how.darks, DARK)):
        about: dict[str, Any] = {"comm": grid.comm, "topology": (None, 1, 1), "axes": ("image", "y", "x")}
        images = mb.Grid((many, rows, width), **about)
        fields[f"exchange/{name}"] = _counted(images, np.broadcast_to(level, images.box.shape), rng)
    line = mb.Grid(count, comm=grid.comm)
    fields["exchange/theta"] = line.from_function(lambda i: i * (how.arc / count), "f8")
    single = mb.Grid(1, comm=grid.comm)
    fields |= {f"exchange/{axis}_pixel_size": single.full(how.pixel, "f8") for axis in "yx"}
    units = {f"exchange/{axis}_pixel_size": {"units": "um"} for axis in "yx"} | {"exchange/theta": {"units": "deg"}}
    return fields, units


def _beam(y: Array, x: Array, rows: int, width: int) -> Array:
    away = ((y / max(1, rows - 1) - 0.5) ** 2 + (x / max(1, width - 1) - 0.5) ** 2) / 0.5
    return 1 - FADING * away


def _rays(volume: Field, how: Acquisition, *, circle: bool) -> Field:
    """Return absorption along rays (angle, row, detector), about the axis of the scan. Collective. UsageError."""
    with agreed(volume.grid.comm, "checking the body to be scanned"):
        if volume.grid.ndim != 3 or volume.components or volume.dtype.kind not in "biuf":
            raise mb.UsageError(
                f"a body of shape {volume.shape} and dtype {volume.dtype} cannot be scanned; give a volume of three "
                "axes, of integers or floats"
            )
        if not np.isfinite(volume.owned).all() or (volume.owned < 0).any():
            raise mb.UsageError("the body to be scanned has values below 0, or none; give attenuation, 0 or more")
    angles = np.arange(how.angles) * (how.arc / how.angles)
    slices = mb.projections.radon(volume.astype("f8"), angles, circle)
    highest = float(mb.max(slices))
    if not highest > 0:
        raise mb.UsageError("the body to be scanned is empty; give a volume with values above 0")
    width = slices.shape[1]
    center = center_of(how, width)
    with agreed(volume.grid.comm, "checking the axis"):
        if not width / 4 <= center <= 3 * width / 4:
            raise mb.UsageError(
                f"--center {center:g} is not in the middle half of the detectors 0 to {width - 1}; give one that is"
            )
    shifted = mb.resample.shift(slices, (0, center - width // 2, 0), order=1) if center != width // 2 else slices
    turned = mb.redistribute(shifted, mb.Grid(shifted.shape, comm=volume.grid.comm, topology=(1, 1, None)))
    shape = (how.angles, volume.grid.shape[0], width)
    rays = mb.Grid(shape, comm=volume.grid.comm, topology=(None, 1, 1), axes=AXES).empty("f8")
    rays.owned[...] = turned.owned.transpose(2, 0, 1) * (how.absorption / highest)
    return rays


def _counted(grid: mb.Grid, expected: Array, rng: mb.random.Generator) -> Field:
    """Return counts of Poisson's distribution about what is expected. Local, but all ranks must call it."""
    from mpibatch.apps.tomo._loops.projections import count

    result = grid.empty("u2")
    uniform, normal = rng.uniform(grid), rng.normal(grid)
    count(np.ascontiguousarray(expected), uniform.owned, normal.owned, result.owned)
    return result
