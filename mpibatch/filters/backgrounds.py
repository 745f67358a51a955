"""The background of a picture or volume: scikit-image's names, parameters and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import real_of, whole
from mpibatch.filters._engine.footprints import numbers_of
from mpibatch.filters.minmax import maximum_filter
from mpibatch.filters.morphology.gray_levels import grey_erosion
from mpibatch.filters.passes import checked
from mpibatch.mpi import same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["ellipsoid_kernel", "rolling_ball"]

Array = npt.NDArray[Any]


def rolling_ball(u: Field, *, radius: float = 100, kernel: Any = None, nansafe: bool = False) -> Field:
    """Return the background: how high the top of a ball comes that is rolled along below the values.

    Parameters
    ----------
    u : Field
        Of numbers, on a grid of 1 to 4 axes. Each component is filtered alone.
    radius : float, default 100
        Of the ball, in cells and in units of the values.
    kernel : array_like, optional
        Instead of the ball: its heights, with as many axes as the grid; infinite where there is none of it. See
        `ellipsoid_kernel`.
    nansafe : bool, default False
        Whether what has a NaN within the kernel's box is NaN; else cells that are NaN are left out.

    Returns
    -------
    Field
        Of the dtype of `u`, without halo.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.

    Notes
    -----
    Collective. A `grey_erosion`: a rank receives the cells within the radius, and takes as many operations a cell as
    the ball has cells, which is much for large ones: shrink the picture first, or take the background of its smoothed
    values. Equal, bit for bit, to skimage.restoration.rolling_ball of the whole array, whose `workers` is missing
    (threads are ranks here). Method: doi:10.1109/MC.1983.1654163.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> u = mb.Grid(9).from_function(lambda x: 10.0 + 5.0 * (x == 4))
    >>> print(mb.gather_all(mb.filters.rolling_ball(u, radius=2)).round(3))
    [10.    10.    10.    10.    10.268 10.    10.    10.    10.   ]
    """
    name = "rolling_ball"
    checked(name, u)
    if kernel is None:
        size = real_of(name, "radius", radius, 0.0)
        kernel = _ball(size, u.grid.ndim)
    heights = numbers_of(name, "kernel", kernel)
    if heights.ndim != u.grid.ndim or not heights.size:
        raise UsageError(
            f"{name}: kernel has the shape {heights.shape}, and the grid {u.grid.ndim} axes; give as many, with cells"
        )
    # scikit-image's arithmetic.
    real = u.dtype if u.dtype.kind == "f" else np.dtype(np.float64)
    heights = heights.astype(real)
    center = heights[tuple(n // 2 for n in heights.shape)]
    if not np.isfinite(center):
        raise UsageError(f"{name}: the kernel's center is {center}; give a finite height there")
    same(u.grid.comm, f"{name} of {u.shape} {u.dtype}: {heights.shape} {heights.tobytes()!r} {bool(nansafe)}")
    depth = center - heights
    inside = heights != np.inf
    depth[~inside] = 0
    cells = u.astype(real)
    holes = np.isnan(cells.owned)
    cells.owned[holes] = np.inf
    out = grey_erosion(cells, footprint=inside, structure=-depth, mode="constant", cval=np.inf)
    if nansafe:
        marks = u.like(np.uint8, 0)
        marks.owned[...] = holes
        near = maximum_filter(marks, footprint=np.ones(heights.shape, np.bool_), mode="constant", cval=0)
        out.owned[near.owned != 0] = np.nan
    return out.astype(u.dtype)


def ellipsoid_kernel(shape: int | Sequence[int], intensity: float) -> Array:
    """Return the upper half of an ellipsoid, as `rolling_ball` takes it.

    Parameters
    ----------
    shape : int or sequence of int
        How many cells it is wide, along each axis.
    intensity : float
        How high it is.

    Returns
    -------
    ndarray of float64
        Its heights; infinite where there is none of it.

    Raises
    ------
    UsageError
        If a width is no whole number of cells.

    Notes
    -----
    Local. Equal to skimage.restoration.ellipsoid_kernel.

    Examples
    --------
    >>> import mpibatch as mb
    >>> print(mb.filters.ellipsoid_kernel((3, 5), 2.0)[1].round(3))
    [0.    1.732 2.    1.732 0.   ]
    """
    name = "ellipsoid_kernel"
    widths = [whole(name, "shape", n) for n in (shape if np.iterable(shape) else (shape,))]
    if not widths or min(widths) < 0:
        raise UsageError(f"{name}: shape = {shape!r}; give a width of at least 0 cells for each axis")
    height = real_of(name, "intensity", intensity)
    axes = np.maximum(np.array(widths) // 2, 1)
    places = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in axes], indexing="ij"), axis=-1)
    left = 1 - np.sum((places / axes) ** 2, axis=-1)
    kernel = np.asarray(height * np.sqrt(np.clip(left, 0, None)))
    kernel[left < 0] = np.inf
    return kernel


def _ball(radius: float, ndim: int) -> Array:
    """Return the heights of the upper half of a ball. Local."""
    width = np.ceil(radius)
    places = np.stack(np.meshgrid(*[np.arange(-width, width + 1)] * ndim, indexing="ij"), axis=-1)
    squares = np.sum(places**2, axis=-1)
    kernel = np.asarray(np.sqrt(np.clip(radius**2 - squares, 0, None)))
    kernel[np.sqrt(squares) > radius] = np.inf
    return kernel
