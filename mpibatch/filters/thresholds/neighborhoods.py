"""Thresholds of their own for each cell, from what surrounds it: scikit-image's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError, nearest
from mpibatch.base.timing import phase as timed
from mpibatch.filters._engine.arguments import integers_of, real_of, sigmas_of
from mpibatch.filters.box_means import uniform_filter
from mpibatch.filters.correlation import correlate1d
from mpibatch.filters.gaussians import gaussian_filter
from mpibatch.filters.passes import checked
from mpibatch.filters.rank import median_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["threshold_local", "threshold_niblack", "threshold_sauvola"]

METHODS = ("gaussian", "mean", "median")


def _unscaled(u: Field) -> Field:
    """Return floats as they are, and others as f8, not scaled: another field, if need be. Local."""
    return u if u.dtype.kind == "f" else u.astype(np.float64)


def _odd_of(name: str, parameter: str, value: Any, ndim: int) -> tuple[int, ...]:
    """Return the window's odd extent in cells along each axis, checked."""
    sizes = integers_of(name, parameter, value, ndim, 1)
    if any(size % 2 == 0 for size in sizes):
        raise UsageError(f"{name}: {parameter} = {value!r} has no middle; give odd numbers of cells")
    return sizes


def threshold_local(
    u: Field,
    block_size: int | Sequence[int] = 3,
    method: str = "gaussian",
    offset: float = 0,
    mode: str = "reflect",
    param: float | Sequence[float] | None = None,
    cval: float = 0,
) -> Field:
    """Return the weighted mean, or the median, around each cell, less an offset, as scikit-image's. Collective.

    Parameters
    ----------
    u : Field
        Of any real dtype; of components each alone.
    block_size : int or sequence of int, default 3
        Odd number of cells of the window along all axes, or along each.
    method : str, default "gaussian"
        What is taken of the window: "gaussian" (a mean with the weights of a Gaussian), "mean" or "median".
    offset : float, default 0
        What is subtracted, in the unit of `u`.
    mode : str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    param : float or sequence of float, optional
        Standard deviation of the Gaussian in cells; one for all axes, or one for each. Default: a sixth of the window's
        cells less one.
    cval : float, default 0
        What "constant" walls hold, in the unit of `u`.

    Returns
    -------
    Field
        Of dtype f4 for f4, else f8: cells of `u` that are above it are foreground.

    Raises
    ------
    UsageError
        For parameters that are not valid. Method "generic", which takes a Python function, is not supported.

    Notes
    -----
    Collective; costs as the filter that it names: `gaussian_filter` and `median_filter`, to the bit as scikit-image's
    result, or `uniform_filter`, about whose equality see there.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.scatter(np.array([1, 2, 1, 9, 1, 2]), mb.Grid(6))
    >>> mb.gather_all(mb.filters.threshold_local(u, 3, "median"))
    array([1., 1., 2., 1., 2., 2.])
    """
    name = "threshold_local"
    checked(name, u)
    sizes = _odd_of(name, "block_size", block_size, u.grid.ndim)
    less = real_of(name, "offset", offset)
    if method not in METHODS:
        raise UsageError(f"{name}: method {method!r} is not supported{nearest(str(method), METHODS)}")
    image = _unscaled(u)
    if method == "gaussian":
        sigma = [(size - 1) / 6.0 for size in sizes] if param is None else sigmas_of(name, param, u.grid.ndim)
        result = gaussian_filter(image, sigma, mode=mode, cval=cval)
    elif method == "mean":
        result = uniform_filter(image, sizes, mode=mode, cval=cval)
    else:
        result = median_filter(image, sizes, mode=mode, cval=cval)
    result.owned[...] -= less
    return result


def threshold_niblack(u: Field, window_size: int | Sequence[int] = 15, k: float = 0.2) -> Field:
    """Return the mean around each cell less `k` standard deviations, as skimage.filters.threshold_niblack. Collective.

    Parameters
    ----------
    u : Field
        Of any real dtype; of components each alone.
    window_size : int or sequence of int, default 15
        Odd number of cells of the window along all axes, or along each.
    k : float, default 0.2
        How many standard deviations are subtracted.

    Returns
    -------
    Field
        Of dtype f4 for f4, else f8: cells of `u` that are above it are foreground.

    Raises
    ------
    UsageError
        For parameters that are not valid.

    Notes
    -----
    Collective. For integers equal to scikit-image's result, as long as its sums over the whole image stay below 2**53.
    For floats scikit-image takes differences of sums over the whole image, whose rounding grows with it; here each
    window is summed by itself, in f8.

    Two passes along each axis, in a time that grows with the window, of which each gets slabs of half a window.

    Method: W. Niblack, An Introduction to Digital Image Processing, 1986.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.scatter(np.array([1, 2, 1, 9, 1, 2]), mb.Grid(6))
    >>> mb.gather_all(mb.filters.threshold_niblack(u, 3)).round(2)
    array([1.57, 1.24, 3.29, 2.91, 3.29, 1.24])
    """
    mean, deviation = _moments("threshold_niblack", u, window_size)
    factor = real_of("threshold_niblack", "k", k)
    with timed("compute"):
        deviation.owned[...] *= factor
        mean.owned[...] -= deviation.owned
    return mean


def threshold_sauvola(u: Field, window_size: int | Sequence[int] = 15, k: float = 0.2, r: float | None = None) -> Field:
    """Return mean · (1 + k · (deviation / r - 1)) around each cell, as skimage.filters.threshold_sauvola. Collective.

    Parameters
    ----------
    u : Field
        Of any real dtype; of components each alone.
    window_size : int or sequence of int, default 15
        Odd number of cells of the window along all axes, or along each.
    k : float, default 0.2
        Weight of the standard deviation.
    r : float, optional
        Dynamic range of the standard deviation, in the unit of `u`. Default: half of what the dtype holds, 1 for
        floats.

    Returns
    -------
    Field
        Of dtype f4 for f4, else f8: cells of `u` that are above it are foreground.

    Raises
    ------
    UsageError
        For parameters that are not valid.

    Notes
    -----
    Collective: two passes along each axis, in a time that grows with the window, of which each gets slabs of half a
    window. As equal to scikit-image's result as that of `threshold_niblack`.

    Method: doi:10.1016/S0031-3203(99)00055-2.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.scatter(np.array([1, 2, 1, 9, 1, 2]), mb.Grid(6))
    >>> mb.gather_all(mb.filters.threshold_sauvola(u, 3, r=10)).round(2)
    array([1.35, 1.08, 3.48, 3.21, 3.48, 1.08])
    """
    name = "threshold_sauvola"
    mean, deviation = _moments(name, u, window_size)
    factor = real_of(name, "k", k)
    span = _half_range(u.dtype) if r is None else real_of(name, "r", r)
    if span == 0:
        raise UsageError(f"{name}: r = {r!r} is no range; give a number other than 0")
    with timed("compute"):
        mean.owned[...] *= 1 + factor * (deviation.owned / span - 1)
    return mean


def _half_range(dtype: np.dtype[Any]) -> float:
    if dtype.kind == "f":
        return 1.0
    return 0.5 if dtype.kind == "b" else 0.5 * (int(np.iinfo(dtype).max) - int(np.iinfo(dtype).min))


def _moments(name: str, u: Field, window_size: Any) -> tuple[Field, Field]:
    """Return mean and standard deviation in the window around each cell; walls mirror. Collective."""
    checked(name, u)
    sizes = _odd_of(name, "window_size", window_size, u.grid.ndim)
    image = _unscaled(u)
    square = image * image
    mean, mean_square = (_sum(part, sizes).astype(image.dtype) for part in (image, square))
    cells = math.prod(sizes)
    with timed("compute"):
        mean.owned[...] /= cells
        mean_square.owned[...] /= cells
        mean_square.owned[...] -= mean.owned * mean.owned
        # Rounding may bring it below zero.
        np.clip(mean_square.owned, 0, None, out=mean_square.owned)
        np.sqrt(mean_square.owned, out=mean_square.owned)
    return mean, mean_square


def _sum(u: Field, sizes: Sequence[int]) -> Field:
    """Return the sum over the window around each cell, in f8. Collective."""
    result = u.astype(np.float64)
    for axis, size in enumerate(sizes):
        result = correlate1d(result, np.ones(size), axis, mode="mirror")
    return result
