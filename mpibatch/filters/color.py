"""From color to gray: scikit-image's rgb2gray, the plain mean of the channels, and its conversion to floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.filters._engine.parts import parts
from mpibatch.filters.passes import checked

__all__ = ["as_float", "channel_mean", "parts", "rgb2gray", "scaled"]

Array = npt.NDArray[Any]

# Luminance of linear RGB with the primaries of CRT phosphors, as scikit-image takes it.
LUMINANCE = (0.2125, 0.7154, 0.0721)


def scaled(cells: Array) -> Array:
    """Return floats as they are, and others as f8: bool to 0 or 1, integers divided by their type's maximum. Local.

    As scikit-image's img_as_float: unsigned integers to 0 … 1, signed ones to -1 … 1.
    """
    if cells.dtype.kind == "f":
        return cells
    if cells.dtype.kind == "b":
        return cells.astype(np.float64)
    result = np.multiply(cells, 1.0 / np.iinfo(cells.dtype).max, dtype=np.float64)
    return np.maximum(result, -1.0, out=result) if cells.dtype.kind == "i" else result


def as_float(u: Field) -> Field:
    """Return `u` itself if it is floating, else a new f8 Field scaled as scikit-image does (see `scaled`). Local."""
    if u.dtype.kind == "f":
        return u
    out = Field(u.grid, np.float64, 0, u.components)
    for source, target in parts(u.owned, out.owned):
        target[...] = scaled(source)
    return out


def rgb2gray(u: Field) -> Field:
    """Return the luminance 0.2125 R + 0.7154 G + 0.0721 B of a field with 3 components (R, G, B).

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes with components (3,), of bool, integers of 8 to 64 bits, float32 or float64.
        Integers are scaled to 0 … 1 (signed: -1 … 1) first.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo and without components, of float64, or float32 for float32, in the
        unit of the scaled `u`.

    Raises
    ------
    UsageError
        On all ranks alike, if `u` is no such field.

    Notes
    -----
    Collective, though no message is sent: a pass over the block, without halo.

    scikit-image leaves the order and rounding of the sum to the BLAS library, where they depend on the processor, on
    the dtype and on the shape. Here they are fixed: for float64 the ones of OpenBLAS on x86 with AVX2 or AVX-512, so
    that the result there equals scikit-image's; for float32 results may differ from it by one rounding.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> red = grid.full((255, 0, 0), "u1", components=(3,))
    >>> v = mb.filters.rgb2gray(red)
    >>> v.shape, round(float(mb.mean(v)), 4)
    ((16, 16), 0.2125)
    """
    name = "rgb2gray"
    checked(name, u)
    if u.components != (3,):
        raise UsageError(
            f"{name}: the field has components {u.components or 'none'}; give one with the 3 components R, G, B"
        )
    from mpibatch.filters._loops import color

    out = Field(u.grid, u.dtype if u.dtype.kind == "f" else np.float64)
    weights = np.array(LUMINANCE, out.dtype)
    weigh = color.weigh_plain if out.dtype == np.float32 else color.weigh_fused
    with timed("compute"):
        for source, target in parts(u.owned, out.owned):
            weigh(np.ascontiguousarray(scaled(source)).reshape(-1), weights, target.reshape(-1))
    return out


def channel_mean(u: Field) -> Field:
    """Return the mean over the components, unscaled.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes with components, of bool, integers of 8 to 64 bits, float32 or float64, in any
        unit.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo and without components, of float64, or float32 for float32, in the
        unit of `u`.

    Raises
    ------
    UsageError
        On all ranks alike, if `u` is no such field.

    Notes
    -----
    Collective, though no message is sent: a pass over the block, without halo. Channels are summed in float64, first to
    last.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.full((10, 20, 60), "u1", components=(3,))
    >>> v = mb.filters.channel_mean(u)
    >>> v.dtype, float(mb.max(v))
    (dtype('float64'), 30.0)
    """
    name = "channel_mean"
    checked(name, u)
    count = math.prod(u.components)
    if not u.components or not count:
        raise UsageError(f"{name}: the field has no components; give one with channels, such as an RGB picture")
    out = Field(u.grid, u.dtype if u.dtype == np.float32 else np.float64)
    with timed("compute"):
        for source, target in parts(u.owned, out.owned):
            channels = source.reshape(*target.shape, count)
            total = channels[..., 0].astype(np.float64)
            for channel in range(1, count):
                total += channels[..., channel]
            total /= count
            target[...] = total
    return out
