"""Morphological reconstruction, and the maxima and minima of a height: scikit-image's names, parameters and values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers
from mpibatch.base.errors import UsageError, nearest
from mpibatch.fields.field import Field
from mpibatch.filters._engine.arguments import real_of
from mpibatch.filters._engine.memory import check_memory, largest_block, padded_bytes
from mpibatch.mpi import agreed
from mpibatch.reduce.extremes import limits
from mpibatch.segment._engine.arguments import check_picture, check_together, picture_dtype
from mpibatch.segment._engine.growth import Growth
from mpibatch.segment._engine.neighborhood import Neighborhood, cube, from_footprint
from mpibatch.segment._engine.places import first_place

__all__ = ["h_maxima", "h_minima", "reconstruction"]

Array = npt.NDArray[Any]
METHODS = ("dilation", "erosion")


def reconstruction(
    seed: Field, mask: Field, method: str = "dilation", footprint: Any = None, offset: Any = None
) -> Field:
    """Return the seed, dilated (or eroded) again and again under (over) the mask, until nothing changes.

    Parameters
    ----------
    seed, mask : Field
        On the same grid, without components; nowhere is the seed above the mask (for erosion: below).
    method : {"dilation", "erosion"}, default "dilation"
        Whether the seed grows or shrinks.
    footprint : array of 0 and 1, optional
        Which cells are neighbors; all that share a corner unless given.
    offset : sequence of int, optional
        The index of the footprint's center, if that is not in its middle.

    Returns
    -------
    Field
        Of the common dtype of both, without a halo.

    Raises
    ------
    UsageError
        On all ranks: the seed exceeds the mask, one of them is NaN somewhere, or a parameter is not valid.

    Notes
    -----
    Collective. Each rank solves its block in two sweeps and a queue; blocks are solved about as often as the longest
    path along which a value spreads crosses from one rank to another, with one exchange of faces and one all-reduce of
    8 bytes each time. Memory: two copies of the block with its halo.

    The result is unique, so that it has the same bits on any number of ranks; zeros come out as 0.0. It has the values
    of ``skimage.morphology.reconstruction``, which returns integers as floats: here they stay what they are, and exact.
    On a periodic axis values spread around. Method: doi:10.1109/83.217222.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> grid = mb.Grid(7)
    >>> mask = grid.from_function(lambda x: np.array([0, 3, 1, 0, 5, 4, 0])[x.astype(int)], "i4")
    >>> seed = grid.from_function(lambda x: np.array([0, 2, 0, 0, 0, 3, 0])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.reconstruction(seed, mask)).tolist()
    [0, 2, 1, 0, 3, 3, 0]
    """
    name = "reconstruction"
    check_picture(name, seed, "seed")
    check_together(name, seed, mask, "mask")
    if method not in METHODS:
        raise UsageError(f"{name}: method {method!r} is unknown{nearest(str(method), METHODS)}")
    near = _near(name, footprint, seed.grid.ndim, offset)
    grows = method == "dilation"
    dtype = _common(name, seed, mask)
    with agreed(mask.grid.comm, f"{name} by {method} of {dtype}"):
        _check_order(name, seed, mask, grows)
    return _reconstructed(name, mask, seed.owned, mask.owned, dtype, near, grows)


def _near(name: str, footprint: Any, ndim: int, offset: Any = None) -> Neighborhood:
    return cube(ndim) if footprint is None else from_footprint(name, footprint, ndim, offset)


def _common(name: str, seed: Field, mask: Field) -> np.dtype[Any]:
    """Return the dtype that holds the values of both. Local."""
    dtype: np.dtype[Any] = np.result_type(seed.dtype, mask.dtype)
    if dtype.kind == "f" and "f" not in (seed.dtype.kind, mask.dtype.kind):
        raise UsageError(
            f"{name}: the seed is of {seed.dtype}, the mask of {mask.dtype}, and no integers hold the values of both; "
            "convert one with astype"
        )
    return dtype


def _check_order(name: str, seed: Field, mask: Field, grows: bool) -> None:
    """Raise UsageError where the seed is on the wrong side of the mask, or one of them is NaN. Local."""
    is_right = seed.owned <= mask.owned if grows else seed.owned >= mask.owned
    if is_right.all():
        return
    index = first_place(seed, ~is_right)
    place = tuple(i - low for i, low in zip(index, seed.box.start, strict=True))
    low, high = seed.owned[place], mask.owned[place]
    if low != low or high != high:
        raise UsageError(f"{name}: seed or mask is NaN at {index}; replace NaN first (np.nan_to_num)")
    raise UsageError(
        f"{name}: the seed is {low} at {index}, {'above' if grows else 'below'} the mask, which is {high}; give "
        f"np.{'minimum' if grows else 'maximum'}(seed, mask), or method={'erosion' if grows else 'dilation'!r}"
    )


def _put(target: Array, source: Array, grows: bool) -> None:
    """Copy values, in reversed order if they shall shrink; zeros lose their sign. Local."""
    source = as_numbers(source)
    if target.dtype.kind == "f":
        (np.add if grows else np.subtract)(target.dtype.type(0), source, out=target, casting="same_kind")
    elif grows:
        target[...] = source
    else:
        target[...] = source
        np.invert(target, out=target)


def _reconstructed(
    name: str, u: Field, seed: Array, mask: Array, dtype: np.dtype[Any], near: Neighborhood, grows: bool
) -> Field:
    """Return the reconstruction of owned cells that are known to be in order. Collective."""
    out = Field(u.grid, dtype)
    is_bool = dtype.kind == "b"
    growth = Growth(name, u, np.dtype(np.uint8) if is_bool else dtype, near)
    _put(growth.values, seed, grows)
    _put(growth.limits, mask, grows)
    growth.run()
    _put(as_numbers(out.owned), growth.values, grows)
    return out


def h_maxima(u: Field, h: float, footprint: Any = None) -> Field:
    """Return the maxima that rise by at least `h` above what leads to higher ones, as 0 and 1.

    Parameters
    ----------
    u : Field
        Without components.
    h : int or float
        The least height, more than 0.
    footprint : array of 0 and 1, optional
        Which cells are neighbors; all that share a corner unless given.

    Returns
    -------
    Field
        Of uint8, without a halo.

    Raises
    ------
    UsageError
        On all ranks: `h` is not positive, or a cell is NaN.

    Notes
    -----
    Collective; a `reconstruction`, and an all-reduce of 32 bytes. Has the values of ``skimage.morphology.h_maxima``,
    its allowance for rounding included. A height with a fraction makes f8 of integers, as there. Where scikit-image
    overflows (a range of signed integers beyond their maximum), the result is the right one.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: np.array([0, 5, 4, 6, 0, 2, 0, 1])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.h_maxima(u, 2)).tolist()
    [0, 0, 0, 1, 0, 1, 0, 0]
    """
    return _of_height("h_maxima", u, h, footprint, True)


def h_minima(u: Field, h: float, footprint: Any = None) -> Field:
    """Return the minima that lie at least `h` below what leads to lower ones, as 0 and 1.

    Parameters
    ----------
    u : Field
        Without components.
    h : int or float
        The least depth, more than 0.
    footprint : array of 0 and 1, optional
        Which cells are neighbors; all that share a corner unless given.

    Returns
    -------
    Field
        Of uint8, without a halo.

    Raises
    ------
    UsageError
        On all ranks: `h` is not positive, or a cell is NaN.

    Notes
    -----
    Collective; a `reconstruction`, and an all-reduce of 32 bytes. Has the values of ``skimage.morphology.h_minima``,
    its allowance for rounding included, but where that overflows, see `h_maxima`.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: -np.array([0, 5, 4, 6, 0, 2, 0, 1])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.h_minima(u, 2)).tolist()
    [0, 0, 0, 1, 0, 1, 0, 0]
    """
    return _of_height("h_minima", u, h, footprint, False)


def _of_height(name: str, u: Field, h: Any, footprint: Any, grows: bool) -> Field:
    check_picture(name, u)
    height = real_of(name, "h", h)
    if height <= 0:
        raise UsageError(f"{name}: h = {h!r}; give a height above 0 (of any height: local_{name[2:]})")
    near = _near(name, footprint, u.grid.ndim)
    least, most = limits(u, f"{name} of height {height}")
    if least != least:
        raise UsageError(f"{name}: a cell is NaN; replace NaN first (np.nan_to_num)")
    dtype = picture_dtype(u)
    if dtype.kind != "f" and height % 1:
        dtype = np.dtype(np.float64)
    # Values and limits with halos; and the cells, the shifted ones, and what is made of them.
    room = 2 * padded_bytes(u, near.reach, dtype.itemsize) + 3 * dtype.itemsize * math.prod(largest_block(u.grid))
    check_memory(u.grid, name, room, "its reconstruction", "take more ranks")
    out = Field(u.grid, np.uint8)
    cells = np.empty(u.owned.shape, dtype)
    np.copyto(cells, u.owned, casting="unsafe")
    low, high = (dtype.type(value) for value in (least, most))
    if dtype.kind == "f":
        span: Any = high - low
    else:
        span, height = int(most) - int(least), int(height)
    if height > span:
        out.owned[...] = 0
        return out
    rebuilt = _reconstructed(name, u, _shifted(cells, height, grows), cells, dtype, near, grows).owned
    np.greater_equal(
        _rise(rebuilt, cells) if not grows else _rise(cells, rebuilt), height, out=out.owned.view(np.bool_)
    )
    return out


def _shifted(cells: Array, height: Any, grows: bool) -> Array:
    """Return cells lowered (raised) by the height, with scikit-image's allowance for the rounding of floats. Local."""
    if cells.dtype.kind == "f":
        slack = 2 * np.finfo(cells.dtype).resolution * np.abs(cells)
        return np.asarray(cells - height - slack if grows else cells + height + slack)
    # Modulo 2**bits, and right where it does not pass the end of the dtype's range.
    bits = np.dtype(f"u{cells.itemsize}")
    step = bits.type(height)
    info = np.iinfo(cells.dtype)
    room = _rise(cells, info.min) if grows else _rise(info.max, cells)
    moved = (cells.view(bits) - step if grows else cells.view(bits) + step).view(cells.dtype)
    return np.asarray(np.where(room < step, cells.dtype.type(info.min if grows else info.max), moved))


def _rise(high: Any, low: Any) -> Array:
    """Return high - low, of which high is nowhere less; of integers, as unsigned ones, which hold it. Local."""
    array: Array = high if isinstance(high, np.ndarray) else low
    if array.dtype.kind == "f":
        return np.asarray(high - low)
    bits = np.dtype(f"u{array.itemsize}")
    first, second = (np.asarray(value, array.dtype).view(bits) for value in (high, low))
    return np.asarray(first - second)
