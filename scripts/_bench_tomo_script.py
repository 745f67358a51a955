"""What a practitioner writes today in place of `mpibatch.apps.tomo`: h5py, SciPy, scikit-image and joblib.

It knows nothing of mpibatch or MPI, so that joblib's processes load neither.
"""

from __future__ import annotations

import importlib
from typing import Any

import h5py
import numpy as np
from scipy import ndimage

__all__ = ["run"]

# By name, as in the other benchmarks: they have no types.
filters, measure, morphology, transform = (
    importlib.import_module(f"skimage.{name}") for name in ("filters", "measure", "morphology", "transform")
)
joblib = importlib.import_module("joblib")


def absorption(counts: Any, dark: Any, bright: Any, outliers: float) -> Any:
    values = ((counts - dark) / bright).astype(np.float32)
    median = ndimage.median_filter(values, (1, 3, 3))
    values = np.where(np.abs(values - median) > outliers, median, values)
    return -np.log(np.maximum(values, 1e-6))


def slice_of(sinogram: Any, angles: Any, size: int, shift: float) -> Any:
    order = np.argsort(sinogram, axis=1, kind="stable")
    smooth = ndimage.median_filter(np.take_along_axis(sinogram, order, 1), (size, 1))
    np.put_along_axis(smooth, order, smooth.copy(), 1)
    return transform.iradon(ndimage.shift(smooth, (shift, 0), order=1), angles)


def run(path: str, output: str, center: float, jobs: int) -> int:
    """Make the volume, the labels and the table; return the number of pores."""
    with h5py.File(path) as file:
        counts, angles = file["exchange/data"][...], file["exchange/theta"][...]
        dark = file["exchange/data_dark"][...].mean(0)
        bright = file["exchange/data_white"][...].mean(0) - dark
    with joblib.Parallel(jobs, mmap_mode="c") as parallel:
        parts = parallel(
            joblib.delayed(absorption)(part, dark, bright, 0.2) for part in np.array_split(counts, 8 * jobs)
        )
        sinograms = np.concatenate(parts).transpose(1, 2, 0)
        size, shift = min(21, sinograms.shape[1] // 10 | 1), sinograms.shape[1] // 2 - center
        slices = parallel(
            joblib.delayed(slice_of)(np.ascontiguousarray(each), angles, size, shift) for each in sinograms
        )
    volume = np.stack(slices)
    smooth = ndimage.gaussian_filter(volume, 1.0)
    material = smooth > filters.threshold_otsu(smooth)
    pores = ndimage.binary_fill_holes(material) & ~material
    labels, count = ndimage.label(morphology.remove_small_objects(pores, max_size=7))
    names = ("label", "area", "centroid", "bbox", "equivalent_diameter_area", "axis_major_length", "intensity_mean")
    table = measure.regionprops_table(labels, volume, names)
    with h5py.File(output, "w") as file:
        file["volume"], file["pores"] = volume, labels
        for name, column in table.items():
            file[f"table/{name}"] = column
    return int(count)
