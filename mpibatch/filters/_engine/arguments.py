"""What a filter was asked, checked and spelled out once per filtered axis. Pure: no MPI, no numba.

Axes are axes of the *grid* (0 … grid.ndim - 1, negative ones count from its end). Component axes, such as the
three channels of an RGB picture, are never filtered: every component is filtered alone, as scipy does when it
is given ``axes=(0, 1)``. Every check is a function of the arguments alone, so that all ranks raise alike.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mpibatch.base.errors import UsageError, nearest
from mpibatch.domain import MODES

__all__ = [
    "axes_of",
    "axis_of",
    "box_of",
    "cval_of",
    "dtype_of",
    "input_dtype",
    "integers_of",
    "mode_of",
    "modes_of",
    "origins_of",
    "output_dtype",
    "per_axis",
    "real_of",
    "sigmas_of",
    "sizes_of",
    "whole",
]

SUPPORTED = frozenset("?bBhHiIlLqQfd")  # NumPy's type letters that scipy.ndimage filters


def input_dtype(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return `dtype` if filters take it: bool, 8 to 64 bit integers, f4, f8, in native byte order. Local."""
    if dtype.char in SUPPORTED and dtype.isnative:
        return dtype
    todo = "filter its .real and .imag parts" if dtype.kind == "c" else "convert it, e.g. with dtype 'f4' or 'f8'"
    raise UsageError(f"{name}: cannot filter a field of dtype {dtype}; bool, integers, f4 and f8 can be: {todo}")


def dtype_of(name: str, output: Any) -> np.dtype[Any]:
    """Return the dtype that `output` is. Local. UsageError."""
    if isinstance(output, np.ndarray) or hasattr(output, "owned"):
        raise UsageError(f"{name}: output is an array, or a Field where only a dtype is taken: use the field returned")
    try:
        dtype: np.dtype[Any] = np.dtype(output)
    except TypeError:
        raise UsageError(f"{name}: output = {output!r} is no dtype; give one such as 'f4' or np.float64") from None
    return dtype


def output_dtype(name: str, output: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the result: `output` if given, else the input's `dtype`. Local."""
    if output is None:
        return dtype
    requested = dtype_of(name, output)
    if requested.char not in SUPPORTED or not requested.isnative:
        raise UsageError(f"{name}: output dtype {requested} is not supported; take bool, an integer type, 'f4' or 'f8'")
    return requested


def whole(name: str, parameter: str, value: Any) -> int:
    """Return `value` as an int; 3.0 counts as 3, 2.5 and nan do not. Local."""
    try:
        return operator.index(value)
    except TypeError:
        pass
    if isinstance(value, (float, np.floating)) and math.isfinite(value) and float(value).is_integer():
        return int(value)
    raise UsageError(f"{name}: {parameter} = {value!r} is not a whole number; give an integer")


def real_of(name: str, parameter: str, value: Any, least: float = -math.inf) -> float:
    """Return `value` as a finite float that is at least `least`. Local."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: {parameter} = {value!r} is not a real number; give a number") from None
    if not math.isfinite(number):
        raise UsageError(f"{name}: {parameter} = {value!r} is not finite; give a finite number")
    if number < least:
        raise UsageError(f"{name}: {parameter} = {value!r} is too small; give a number that is at least {least:g}")
    return number


def cval_of(name: str, cval: Any) -> float:
    """Return the value beyond the wall for mode 'constant' as a float; nan and inf are allowed. Local."""
    try:
        return float(cval)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: cval = {cval!r} is not a real number; give a number such as 0.0") from None


def axis_of(name: str, axis: Any, ndim: int) -> int:
    """Return `axis` counted from 0 on a grid of `ndim` axes. Local."""
    number = whole(name, "axis", axis)
    if not -ndim <= number < ndim:
        raise UsageError(
            f"{name}: axis {number} does not exist; the grid has {ndim} axes: take one of {-ndim} … {ndim - 1}"
            " (component axes are not filtered)"
        )
    return number % ndim


def axes_of(name: str, axes: Any, ndim: int) -> tuple[int, ...]:
    """Return the filtered grid axes in the order asked for; None means all of them. Local."""
    if axes is None:
        return tuple(range(ndim))
    if isinstance(axes, str) or not isinstance(axes, Iterable):
        axes = (axes,)
    numbers = tuple(axis_of(name, axis, ndim) for axis in axes)
    if len(set(numbers)) != len(numbers):
        raise UsageError(f"{name}: axes = {axes!r} names an axis twice; name each axis once")
    return numbers


def per_axis(name: str, parameter: str, value: Any, count: int) -> tuple[Any, ...]:
    """Return `count` values: the scalar `value` repeated, or the sequence `value` if it has that length. Local."""
    if isinstance(value, str) or not np.iterable(value):
        return (value,) * count
    values = tuple(value)
    if len(values) != count:
        raise UsageError(
            f"{name}: {parameter} = {value!r} has {len(values)} values for {count} filtered axes;"
            f" give one number for all, or {count}"
        )
    return values


def mode_of(name: str, mode: Any) -> str:
    """Return a known boundary mode. Local."""
    if not isinstance(mode, str):
        raise UsageError(f"{name}: mode = {mode!r} is not a name; give one of {', '.join(MODES)}")
    if mode in MODES:
        return mode
    raise UsageError(f"{name}: mode {mode!r} is unknown{nearest(mode, MODES)}")


def modes_of(name: str, mode: Any, count: int) -> tuple[str, ...]:
    """Return a boundary mode for each of `count` filtered axes. Local."""
    return tuple(mode_of(name, entry) for entry in per_axis(name, "mode", mode, count))


def integers_of(name: str, parameter: str, value: Any, count: int, least: int) -> tuple[int, ...]:
    """Return `count` whole numbers that are at least `least`. Local."""
    integers = tuple(whole(name, parameter, entry) for entry in per_axis(name, parameter, value, count))
    for integer in integers:
        if integer < least:
            raise UsageError(
                f"{name}: {parameter} = {integer} is too small; give a whole number that is at least {least}"
            )
    return integers


def sizes_of(name: str, size: Any, count: int) -> tuple[int, ...]:
    """Return the window's extent in cells (at least 1) for each of `count` filtered axes. Local."""
    return integers_of(name, "size", size, count, 1)


def box_of(name: str, size: Any, count: int) -> tuple[int, ...]:
    """Return the extent of a box that is filtered axis by axis, for each of `count` axes. Local.

    As in scipy, such a filter leaves out axes of fewer than 2 cells: what is below 1 counts as 1.
    """
    return tuple(max(1, whole(name, "size", entry)) for entry in per_axis(name, "size", size, count))


def origins_of(name: str, origin: Any, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the window's shift for each filtered axis; the center must stay inside the window of `sizes`. Local.

    As in scipy, an origin o lets cell i read the cells i - size//2 - o … i - size//2 - o + size - 1.
    """
    shifts = tuple(whole(name, "origin", entry) for entry in per_axis(name, "origin", origin, len(sizes)))
    for shift, size in zip(shifts, sizes, strict=True):
        if not -(size // 2) <= shift <= (size - 1) // 2:
            raise UsageError(
                f"{name}: origin = {shift} leaves the window of {size} cells;"
                f" give one from {-(size // 2)} to {(size - 1) // 2}"
            )
    return shifts


def sigmas_of(name: str, sigma: Any, count: int) -> tuple[float, ...]:
    """Return a Gaussian's standard deviation in cells (finite, at least 0) for each of `count` axes. Local."""
    return tuple(real_of(name, "sigma", entry, 0.0) for entry in per_axis(name, "sigma", sigma, count))
