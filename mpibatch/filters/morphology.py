"""Grey-scale and binary morphology with the names, parameters and bits of scipy.ndimage.

Flat structures are minima and maxima (`mpibatch.filters.extrema`); heights are added and compared in scipy's own
arithmetic: the first one in f64, the others in the array's dtype, where integers wrap around. Binary filters take
any dtype, nonzero cells as set, and give a field of bool. (Heights on a field of bool have no meaning: scipy leaves
numbers other than 0 and 1 in its arrays then, and the bits here are not scipy's.)

Axes, modes, `output` and errors: see `mpibatch.filters.linear`. In contrast to scipy, one mode per axis is
allowed for any footprint. `brute_force` is missing, since the result does not depend on it (but for structures
larger than the array, where scipy 1.17 without it writes past its arrays: the result is the one with it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field
from mpibatch.filters._morphology.binary import erosion, repeated
from mpibatch.filters._morphology.grey import dilated, eroded
from mpibatch.filters.linear import begin

__all__ = [
    "binary_closing",
    "binary_dilation",
    "binary_erosion",
    "binary_opening",
    "black_tophat",
    "grey_closing",
    "grey_dilation",
    "grey_erosion",
    "grey_opening",
    "morphological_gradient",
    "white_tophat",
]

Array = npt.NDArray[Any]
Size = int | Sequence[int] | None
Mode = str | Sequence[str]
Origin = int | Sequence[int]
Axes = int | Sequence[int] | None


def grey_erosion(
    u: Field,
    size: Size = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Mode = "reflect",
    cval: float = 0.0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the minimum over a window, minus the heights of `structure` if that is given. Collective."""
    return eroded("grey_erosion", u, size, footprint, structure, output, mode, cval, origin, axes)


def grey_dilation(
    u: Field,
    size: Size = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Mode = "reflect",
    cval: float = 0.0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the maximum over the mirrored window, plus the heights of `structure` if that is given. Collective."""
    return dilated("grey_dilation", u, size, footprint, structure, output, mode, cval, origin, axes)


def grey_opening(
    u: Field,
    size: Size = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Mode = "reflect",
    cval: float = 0.0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the dilation of the erosion: bright spots that hold no window are gone. Collective."""
    name = "grey_opening"
    begin(name, u, output)
    low = eroded(name, u, size, footprint, structure, None, mode, cval, origin, axes)
    return dilated(name, low, size, footprint, structure, output, mode, cval, origin, axes)


def grey_closing(
    u: Field,
    size: Size = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Mode = "reflect",
    cval: float = 0.0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the erosion of the dilation: dark spots that hold no window are gone. Collective."""
    name = "grey_closing"
    begin(name, u, output)
    high = dilated(name, u, size, footprint, structure, None, mode, cval, origin, axes)
    return eroded(name, high, size, footprint, structure, output, mode, cval, origin, axes)


def morphological_gradient(
    u: Field,
    size: Size = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Mode = "reflect",
    cval: float = 0.0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the dilation minus the erosion. Collective."""
    name = "morphological_gradient"
    out = begin(name, u, output)
    if u.dtype.kind == "b":
        raise UsageError(f"{name}: a field of bool has no differences; use u.astype('u1')")
    high = dilated(name, u, size, footprint, structure, None, mode, cval, origin, axes)
    low = eroded(name, u, size, footprint, structure, None, mode, cval, origin, axes)
    out.owned[...] = cast(np.subtract(high.owned, low.owned), out.dtype)
    return out


def white_tophat(
    u: Field,
    size: Size = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Mode = "reflect",
    cval: float = 0.0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the input minus its opening: the bright spots. Collective."""
    name = "white_tophat"
    begin(name, u, output)
    low = eroded(name, u, size, footprint, structure, None, mode, cval, origin, axes)
    opened = dilated(name, low, size, footprint, structure, output, mode, cval, origin, axes)
    return _difference(name, u.owned, opened.owned, opened)


def black_tophat(
    u: Field,
    size: Size = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Mode = "reflect",
    cval: float = 0.0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the closing of the input minus the input: the dark spots. Collective."""
    name = "black_tophat"
    begin(name, u, output)
    high = dilated(name, u, size, footprint, structure, None, mode, cval, origin, axes)
    closed = eroded(name, high, size, footprint, structure, output, mode, cval, origin, axes)
    return _difference(name, closed.owned, u.owned, closed)


def _difference(name: str, first: Array, second: Array, out: Field) -> Field:
    """Write first - second to `out`; of two bools, where they differ. Local."""
    if first.dtype.kind == "b" and second.dtype.kind == "b":
        np.logical_xor(first, second, out=out.owned)
    elif out.dtype.kind == "b":
        raise UsageError(f"{name}: the output dtype bool holds no differences; give another output dtype")
    else:
        out.owned[...] = cast(np.subtract(first, second), out.dtype)
    return out


def binary_erosion(
    u: Field,
    structure: Any = None,
    iterations: int = 1,
    mask: Field | None = None,
    border_value: int = 0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return which cells have all of `structure` around them set. Collective.

    This is repeated `iterations` times; until nothing changes if that is below 1. `structure` is a cross of 3
    cells per axis unless given. Cells where `mask` is zero keep their value.
    """
    return repeated(erosion("binary_erosion", u, structure, iterations, mask, border_value, origin, axes, False))


def binary_dilation(
    u: Field,
    structure: Any = None,
    iterations: int = 1,
    mask: Field | None = None,
    border_value: int = 0,
    origin: Origin = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the cells that `structure` reaches from any set cell. Collective.

    Further as `binary_erosion`.
    """
    return repeated(erosion("binary_dilation", u, structure, iterations, mask, border_value, origin, axes, True))


def binary_opening(
    u: Field,
    structure: Any = None,
    iterations: int = 1,
    origin: Origin = 0,
    mask: Field | None = None,
    border_value: int = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the dilation of the erosion: what holds no `structure` is gone. Collective."""
    name = "binary_opening"
    low = repeated(erosion(name, u, structure, iterations, mask, border_value, origin, axes, False))
    return repeated(erosion(name, low, structure, iterations, mask, border_value, origin, axes, True))


def binary_closing(
    u: Field,
    structure: Any = None,
    iterations: int = 1,
    origin: Origin = 0,
    mask: Field | None = None,
    border_value: int = 0,
    *,
    axes: Axes = None,
) -> Field:
    """Return the erosion of the dilation: gaps that hold no `structure` are filled. Collective."""
    name = "binary_closing"
    high = repeated(erosion(name, u, structure, iterations, mask, border_value, origin, axes, True))
    return repeated(erosion(name, high, structure, iterations, mask, border_value, origin, axes, False))
