"""Edge strength and sharpening as in scikit-image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase as timed
from mpibatch.filters._engine.arguments import axes_of, cval_of, mode_of, per_axis, real_of
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.filters._engine.windows import correlate_magnitude
from mpibatch.filters.color import as_float
from mpibatch.filters.gaussians import gaussian_filter
from mpibatch.filters.passes import checked
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["sobel_magnitude", "unsharp_mask"]

EDGE = (-1.0, 0.0, 1.0)
SMOOTH = (0.25, 0.5, 0.25)


def sobel_magnitude(
    u: Field, axis: int | Sequence[int] | None = None, mode: str = "reflect", cval: float = 0.0
) -> Field:
    """Return the edge strength: root mean square of Sobel's derivatives, as skimage.filters.sobel.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Integers are
        scaled to 0 … 1 (signed: -1 … 1) first. Each component is filtered alone.
    axis : int or sequence of int, optional
        Grid axes of the derivatives; one axis alone gives the signed derivative. Default: all.
    mode : str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u` (of the scaled `u`, if that holds integers).

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of float64, or float32 for float32, in the unit of the scaled `u`
        per 2 cells.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. A rank receives the cell around its block, corners included, from the ranks around it, in one exchange.
    The cost is 2 * 3**(n - 1) products a cell for each derivative, on n grid axes.

    Equal, bit for bit, to skimage.filters.sobel of the whole array on any number of ranks. `mpibatch.filters.sobel` is
    scipy's derivative, unscaled.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: x)
    >>> v = mb.filters.sobel_magnitude(u)
    >>> round(float(mb.gather_all(v)[8, 8]), 4)
    1.4142
    """
    name = "sobel_magnitude"
    checked(name, u)
    ndim = u.grid.ndim
    along = axes_of(name, axis, ndim)
    mode, cval = mode_of(name, mode), cval_of(name, cval)
    image = as_float(u)
    check_memory(u.grid, name, padded_bytes(image, [(1, 1)] * ndim, image.dtype.itemsize))
    out = image.like(halo=0)
    windows = []
    for edge in along:
        window = np.ones((1,) * ndim)
        for a in range(ndim):  # exact products: their order does not matter
            window = window * np.reshape(EDGE if a == edge else SMOOTH, [-1 if b == a else 1 for b in range(ndim)])
        windows.append(window)
    with timed("compute"):
        correlate_magnitude(image, out, windows, math.sqrt(ndim), mode, cval)
    return out


def unsharp_mask(
    u: Field, radius: float | Sequence[float] = 1.0, amount: float = 1.0, preserve_range: bool = False
) -> Field:
    """Sharpen: add `amount` times what a Gaussian of `radius` takes away, as skimage.filters.unsharp_mask.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Integers are
        scaled to 0 … 1 (signed: -1 … 1) first, unless `preserve_range`. Each component is sharpened alone.
    radius : float or sequence of float, default 1.0
        Standard deviation of the Gaussian in cells, at least 0; one for all, or one for each grid axis.
    amount : float, default 1.0
        Factor of what is added, without unit.
    preserve_range : bool, default False
        If false, results are clipped to 0 … 1, or to -1 … 1 if any value of `u` is negative. If true, they are neither
        scaled nor clipped.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of float64, or float32 for float32, in the unit of the scaled `u`.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. One `gaussian_filter` of mode "reflect": a rank receives int(4 * radius + 0.5) cells before and after
    its block along each axis; and one all-reduce of a flag, unless `preserve_range`.

    Equal, bit for bit, to skimage.filters.unsharp_mask of the whole array on any number of ranks.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: x >= 8)
    >>> v = mb.filters.unsharp_mask(u, radius=1.0, preserve_range=True)
    >>> mb.gather_all(v)[8, 6:10].round(2)
    array([-0.06, -0.3 ,  1.3 ,  1.06])
    """
    name = "unsharp_mask"
    checked(name, u)
    sigmas = [real_of(name, "radius", entry, 0.0) for entry in per_axis(name, "radius", radius, u.grid.ndim)]
    factor = real_of(name, "amount", amount)
    if preserve_range:
        image = u if u.dtype.kind == "f" else u.astype(np.float64)
    else:
        image = as_float(u)
    result = gaussian_filter(image, sigmas, mode="reflect")
    with timed("compute"):
        values = result.owned
        np.subtract(image.owned, values, out=values)
        values *= factor
        np.add(image.owned, values, out=values)
        if not preserve_range:
            below = bool(np.any(image.owned < 0))
            with REDUCTION:
                negative = u.grid.comm.allreduce(below, op=MPI.LOR)
            np.clip(values, -1.0 if negative else 0.0, 1.0, out=values)
    return result
