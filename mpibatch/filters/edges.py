"""Edge strength and sharpening as in scikit-image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.filters._engine import arguments as ask
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.filters._engine.windows import correlate_magnitude
from mpibatch.filters.color import as_float
from mpibatch.filters.gaussians import gaussian_filter
from mpibatch.filters.linear import checked
from mpibatch.mpi import MPI

__all__ = ["sobel_magnitude", "unsharp_mask"]

EDGE = (-1.0, 0.0, 1.0)
SMOOTH = (0.25, 0.5, 0.25)


def sobel_magnitude(
    u: Field, axis: int | Sequence[int] | None = None, mode: str = "reflect", cval: float = 0.0
) -> Field:
    """Return the edge strength: root mean square of Sobel's derivatives, as skimage.filters.sobel. Collective.

    u : integers are scaled to 0 … 1 (signed: -1 … 1) first. The result is f8, or f4 for f4.
    axis : grid axes of the derivatives; None for all. One axis alone gives the signed derivative.
    mode, cval : scipy's boundary mode, and the value beyond "constant" walls.

    `mpibatch.filters.sobel` is scipy's derivative, unscaled.
    """
    name = "sobel_magnitude"
    checked(name, u)
    ndim = u.grid.ndim
    along = ask.axes_of(name, axis, ndim)
    where, wall = ask.mode_of(name, mode), ask.cval_of(name, cval)
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
        correlate_magnitude(image, out, windows, math.sqrt(ndim), where, wall)
    return out


def unsharp_mask(
    u: Field, radius: float | Sequence[float] = 1.0, amount: float = 1.0, preserve_range: bool = False
) -> Field:
    """Sharpen: add `amount` times what a Gaussian of `radius` takes away, as skimage.filters.unsharp_mask. Collective.

    u : integers are scaled to 0 … 1 (signed: -1 … 1) first, unless `preserve_range`. The result is f8, or f4 for f4;
        components are sharpened one by one.
    radius : the Gaussian's standard deviation in cells, one for all grid axes or one each.
    preserve_range : if false, results are clipped to 0 … 1, or to -1 … 1 if any value of `u` is negative.
    """
    name = "unsharp_mask"
    checked(name, u)
    sigmas = [ask.real_of(name, "radius", one, 0.0) for one in ask.per_axis(name, "radius", radius, u.grid.ndim)]
    factor = ask.real_of(name, "amount", amount)
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
