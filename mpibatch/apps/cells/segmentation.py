"""From an image to labels of cells: background, smoothing, thresholds, and a split of cells that touch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import mpibatch as mb
from mpibatch import filters, segment
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["Settings", "corrected", "segmented"]

BACKGROUNDS = {"tophat": filters.white_tophat, "ball": filters.rolling_ball}


@dataclass(frozen=True)
class Settings:
    """What labels depend on, beside the image."""

    background: str = "none"  # none, tophat:SIZE or ball:RADIUS, in pixels
    sigma: float = 1.5  # of the Gaussian that smooths the image
    block: int = 51  # pixels of the window of the local threshold; 0: none
    fraction: float = 0.5  # of Otsu's threshold of the whole image; 0: none
    small: int = 30  # pixels of an object that is dropped, at most
    distance: int = 4  # pixels between the middles of cells that touch, at least
    split_sigma: float = 1.5  # of the Gaussian that smooths the distances to the background
    clear_border: bool = False

    def __post_init__(self) -> None:
        self.background_size()
        if self.block < 0 or (self.block and not self.block % 2):
            raise mb.UsageError(f"--block {self.block} has no middle; give an odd number, or 0 for no local threshold")
        for name, value, least in (("small", self.small, 0), ("distance", self.distance, 1)):
            if value < least:
                raise mb.UsageError(f"--{name} {value} is not valid; give a whole number, {least} or more")
        for name, number in (("sigma", self.sigma), ("split-sigma", self.split_sigma), ("fraction", self.fraction)):
            if not 0 <= number < math.inf:
                raise mb.UsageError(f"--{name} {number} is not valid; give a number, 0 or more")
        if not self.block and not self.fraction:
            raise mb.UsageError("--block 0 with --fraction 0 leaves no threshold; give one of them")

    def background_size(self) -> tuple[str, int]:
        """Return the filter of the background, "" for none, and its size in pixels. Local. UsageError."""
        kind, _, size = self.background.partition(":")
        if self.background == "none":
            return "", 0
        if kind not in BACKGROUNDS or not size.isdecimal() or not int(size):
            raise mb.UsageError(
                f"--background {self.background} is unknown; give none, tophat:SIZE or ball:RADIUS, in pixels"
            )
        return kind, int(size)


def corrected(image: Field, gain: Field | None, settings: Settings) -> Field:
    """Return an image divided by what its illumination gains, less its background. Collective."""
    kind, size = settings.background_size()
    if gain is not None:
        real = image.like(_real(image), 0)
        np.divide(image.owned, gain.owned, out=real.owned, casting="same_kind")
        image = real
    if kind == "tophat":
        return filters.white_tophat(image, size=size)
    if kind == "ball":
        ground = filters.rolling_ball(image, radius=size)
        np.subtract(image.owned, ground.owned, out=ground.owned)
        return ground
    return image


def segmented(image: Field, settings: Settings) -> tuple[Field, float]:
    """Return the labels of the cells in a corrected image, and the least value that one has. Collective.

    RunError if the image cannot be told apart into cells and background.
    """
    mask, level = _mask(image, settings)
    labels = _split(mask, settings)
    return (segment.clear_border(labels) if settings.clear_border else labels), level


def _real(image: Field) -> np.dtype[Any]:
    """Small integers become f4, which holds them all; others as NumPy has it."""
    return np.result_type(image.dtype, np.float32)


def _mask(image: Field, settings: Settings) -> tuple[Field, float]:
    smooth = filters.gaussian_filter(image, settings.sigma, output=_real(image))
    least, most = mb.minmax(smooth)
    if least == most:
        raise mb.RunError(f"the image is {least} everywhere: it is blank; give one with cells")
    mask = image.like(np.bool_, 0)
    level = settings.fraction * filters.threshold_otsu(smooth) if settings.fraction else least
    np.greater(smooth.owned, level, out=mask.owned)
    if settings.block:
        mask.owned[...] &= smooth.owned > filters.threshold_local(smooth, settings.block).owned
    del smooth
    mask = segment.remove_small_objects(segment.binary_fill_holes(mask), max_size=settings.small)
    if mb.count_nonzero(mask) == math.prod(image.shape):
        raise mb.RunError(
            f"every pixel is above the threshold of {level}: no background is left; give a larger --fraction, a "
            "--block, or take the background away (--background)"
        )
    return mask, float(level)


def _split(mask: Field, settings: Settings) -> Field:
    """Number cells from 1, by the raster order of their middles; then objects that have no middle. Collective."""
    depth = filters.gaussian_filter(segment.distance_transform_edt(mask), settings.split_sigma)
    height = depth.like(halo=1)  # as wide as the flood's, which then makes no copy
    height.owned[...] = depth.owned
    del depth
    markers = [_markers(height, mask, settings.distance)]
    np.negative(height.owned, out=height.owned)
    # Nobody else holds the markers, so that they go when the flood has read them.
    labels: Field = segment.watershed(height, markers.pop(), mask=mask)
    del height
    # A small object beside a larger one has no peak of its own. Nothing flows into it, and it must not be lost.
    rest = mask.like()
    np.equal(labels.owned, 0, out=rest.owned)
    rest.owned[...] &= mask.owned
    if mb.any(rest):
        others, count = mb.label(rest)[0], int(mb.max(labels))
        with agreed(mask.grid.comm, "numbering cells"):
            np.add(labels.owned, others.owned + count, out=labels.owned, where=others.owned > 0)
    return labels


def _markers(depth: Field, mask: Field, distance: int) -> Field:
    """Return the numbers of the middles of cells: peaks of the distances to the background. Collective."""
    middles = segment.peak_local_max(depth, distance, exclude_border=False, indices=False)
    middles.owned[...] &= mask.owned
    return mb.label(middles)[0]
