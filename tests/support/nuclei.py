"""Simulated nuclei, bright and blurred, that touch; mosaics; the same segmentation by scipy and scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["field_of_view", "flipped_copies", "segmented_by_scikit_image"]

Array = npt.NDArray[Any]


def field_of_view(shape: tuple[int, ...], count: int, seed: int = 0) -> Array:
    """Return u2: ellipsoids of random places, sizes and brightness, some over others, on a dim noisy ground."""
    rng = np.random.default_rng(seed)
    places = np.indices(shape, np.float64)
    image = np.zeros(shape)
    for _ in range(count):
        middle, axes = rng.uniform(0, shape), rng.uniform(4, 8, len(shape))
        distance = sum(((x - at) / a) ** 2 for x, at, a in zip(places, middle, axes, strict=True))
        image = np.maximum(image, rng.uniform(600, 1500) * (distance < 1))
    image = ndimage.gaussian_filter(image, 1) + 200 + rng.normal(0, 15, shape)
    return np.rint(np.clip(image, 0, None)).astype(np.uint16)


def flipped_copies(image: Array, count: int) -> Array:
    """Return a mosaic of `count` x `count` copies, an even number, each the mirror image of those beside it."""
    row = np.hstack([image, image[:, ::-1]])
    return np.tile(np.vstack([row, row[::-1]]), (count // 2, count // 2))


def segmented_by_scikit_image(
    image: Array, *, sigma: float = 1.5, block: int = 51, fraction: float = 0.5, small: int = 30, distance: int = 4,
    split_sigma: float = 1.5,
) -> tuple[Array, Array]:  # fmt: skip
    """Return the mask and the labels that scripts make of a whole image with these steps."""
    from skimage import feature, filters, morphology, segmentation

    smooth = ndimage.gaussian_filter(image.astype(np.result_type(image, np.float32)), sigma)
    mask = (smooth > filters.threshold_local(smooth, block)) & (smooth > fraction * filters.threshold_otsu(smooth))
    mask = morphology.remove_small_objects(ndimage.binary_fill_holes(mask), max_size=small)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), split_sigma)
    middles = np.zeros(mask.shape, np.bool_)
    middles[tuple(feature.peak_local_max(depth, min_distance=distance, exclude_border=False).T)] = True
    markers, count = ndimage.label(middles & mask)
    labels = segmentation.watershed(-depth, markers, mask=mask)
    others, _ = ndimage.label(mask & (labels == 0))
    return mask, np.where(others > 0, others + count, labels)
