"""Filters of Fields: scipy.ndimage's names, parameters and bits, and scikit-image's for what scipy lacks.

Each takes a Field and returns a new one on the same grid, equal to the bit to what scipy or scikit-image make of the
whole array, on any number of ranks. The one exception is `uniform_filter` on floats (see there). All are collective.

In dependency order: ``_loops`` (compiled), ``_engine`` (arguments, windows, memory; one pass over a block and what
surrounds it), ``passes`` and ``extrema``, ``_morphology`` (which algorithm), then the families of filters that the
table below names, with the rooms ``morphology``, ``thresholds`` and ``fourier``.

Importing this package loads no filter, and with it neither MPI nor numba; names are found when first used. What
needs only names and signatures (job files, ``--help``) reads `MODULES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import nearest
from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.filters.backgrounds import ellipsoid_kernel, rolling_ball
    from mpibatch.filters.box_means import uniform_filter, uniform_filter1d
    from mpibatch.filters.canny_edges import canny
    from mpibatch.filters.color import channel_mean, rgb2gray
    from mpibatch.filters.correlation import convolve, convolve1d, correlate, correlate1d
    from mpibatch.filters.derivatives import generic_gradient_magnitude, generic_laplace, laplace
    from mpibatch.filters.edges import sobel_magnitude, unsharp_mask
    from mpibatch.filters.fourier.multipliers import (
        fourier_ellipsoid,
        fourier_gaussian,
        fourier_shift,
        fourier_uniform,
    )
    from mpibatch.filters.gaussians import (
        gaussian_filter,
        gaussian_filter1d,
        gaussian_gradient_magnitude,
        gaussian_laplace,
    )
    from mpibatch.filters.generic_filters import generic_filter
    from mpibatch.filters.gradients import prewitt, sobel
    from mpibatch.filters.minmax import maximum_filter, maximum_filter1d, minimum_filter, minimum_filter1d
    from mpibatch.filters.morphology.gray_levels import grey_closing, grey_dilation, grey_erosion, grey_opening
    from mpibatch.filters.morphology.masks import binary_closing, binary_dilation, binary_erosion, binary_opening
    from mpibatch.filters.morphology.tophats import black_tophat, morphological_gradient, white_tophat
    from mpibatch.filters.rank import median_filter, percentile_filter, rank_filter
    from mpibatch.filters.thresholds.histogram import (
        threshold_isodata,
        threshold_li,
        threshold_triangle,
        threshold_yen,
    )
    from mpibatch.filters.thresholds.multi_otsu import threshold_multiotsu
    from mpibatch.filters.thresholds.neighborhoods import threshold_local, threshold_niblack, threshold_sauvola
    from mpibatch.filters.thresholds.otsu import threshold_otsu

__all__ = [
    "MODULES",
    "binary_closing",
    "binary_dilation",
    "binary_erosion",
    "binary_opening",
    "black_tophat",
    "canny",
    "channel_mean",
    "convolve",
    "convolve1d",
    "correlate",
    "correlate1d",
    "ellipsoid_kernel",
    "fourier_ellipsoid",
    "fourier_gaussian",
    "fourier_shift",
    "fourier_uniform",
    "gaussian_filter",
    "gaussian_filter1d",
    "gaussian_gradient_magnitude",
    "gaussian_laplace",
    "generic_filter",
    "generic_gradient_magnitude",
    "generic_laplace",
    "grey_closing",
    "grey_dilation",
    "grey_erosion",
    "grey_opening",
    "laplace",
    "maximum_filter",
    "maximum_filter1d",
    "median_filter",
    "minimum_filter",
    "minimum_filter1d",
    "morphological_gradient",
    "names",
    "percentile_filter",
    "prewitt",
    "rank_filter",
    "rgb2gray",
    "rolling_ball",
    "sobel",
    "sobel_magnitude",
    "threshold_isodata",
    "threshold_li",
    "threshold_local",
    "threshold_multiotsu",
    "threshold_niblack",
    "threshold_otsu",
    "threshold_sauvola",
    "threshold_triangle",
    "threshold_yen",
    "uniform_filter",
    "uniform_filter1d",
    "unsharp_mask",
    "white_tophat",
]

_FAMILIES = {
    "backgrounds": ("rolling_ball",),
    "morphology.masks": ("binary_closing", "binary_dilation", "binary_erosion", "binary_opening"),
    "canny_edges": ("canny",),
    "color": ("channel_mean", "rgb2gray"),
    "correlation": ("convolve", "convolve1d", "correlate", "correlate1d"),
    "derivatives": ("laplace",),
    "gradients": ("prewitt", "sobel"),
    "edges": ("sobel_magnitude", "unsharp_mask"),
    "fourier.multipliers": ("fourier_ellipsoid", "fourier_gaussian", "fourier_shift", "fourier_uniform"),
    "gaussians": ("gaussian_filter", "gaussian_filter1d", "gaussian_gradient_magnitude", "gaussian_laplace"),
    "morphology.gray_levels": ("grey_closing", "grey_dilation", "grey_erosion", "grey_opening"),
    "thresholds.histogram": ("threshold_isodata", "threshold_li", "threshold_triangle", "threshold_yen"),
    "thresholds.neighborhoods": ("threshold_local", "threshold_niblack", "threshold_sauvola"),
    "minmax": ("maximum_filter", "maximum_filter1d", "minimum_filter", "minimum_filter1d"),
    "rank": ("median_filter", "percentile_filter", "rank_filter"),
    "thresholds.multi_otsu": ("threshold_multiotsu",),
    "thresholds.otsu": ("threshold_otsu",),
    "morphology.tophats": ("black_tophat", "morphological_gradient", "white_tophat"),
    "box_means": ("uniform_filter", "uniform_filter1d"),
}

# The module of every filter whose parameters are plain values, as a job file or a command line can give them.
MODULES = {name: f"mpibatch.filters.{family}" for family, names in _FAMILIES.items() for name in names}

# These take a Python function, or make what a filter takes.
_HIGHER = {
    "backgrounds": ("ellipsoid_kernel",),
    "derivatives": ("generic_gradient_magnitude", "generic_laplace"),
    "generic_filters": ("generic_filter",),
}
_HIGHER_NAMES = [name for names in _HIGHER.values() for name in names]


def names() -> list[str]:
    """Return the names of all filters that take plain values.

    Returns
    -------
    list of str
        In alphabetical order; not the filters that take a Python function, such as `generic_laplace`.

    Notes
    -----
    Local. Loads no filter.

    Examples
    --------
    >>> import mpibatch as mb
    >>> [name for name in mb.filters.names() if name.startswith("median")]
    ['median_filter']
    """
    return sorted(MODULES)


if not TYPE_CHECKING:
    _NAMES = {family: _FAMILIES.get(family, ()) + _HIGHER.get(family, ()) for family in _FAMILIES | _HIGHER}
    __getattr__, __dir__ = attach(__name__, _NAMES, explain=lambda name: nearest(name, [*MODULES, *_HIGHER_NAMES]))
