"""Windows: which cells around a cell a rank or morphology filter reads, normalized to all axes of the grid.

Where scipy treats `axes` that are not in ascending order in a special way, that way is kept: the entries of a
`size` belong to the axes as they were given, the axes of a footprint always to the array's axes in order.
"""

from __future__ import annotations

import inspect
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import origins_of, per_axis, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Window",
    "cast_as_c",
    "expanded_origins",
    "fits",
    "footprint_of",
    "in_order",
    "mirrored",
    "numbers_of",
    "spread",
    "warn_of_size",
    "window_from",
]

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Window:
    """A footprint over every grid axis, and how far it reaches (low, high) from the cell that is computed."""

    footprint: Bools
    reach: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """Number of cells read. Local."""
        return int(np.count_nonzero(self.footprint))

    @property
    def full(self) -> bool:
        """Whether every cell of the bounding box is read. Local."""
        return bool(self.footprint.all())

    def offsets(self, shape: Sequence[int], order: Sequence[int] | None = None) -> npt.NDArray[np.int64]:
        """Return the flat offsets of the cells read, from the window's corner in an array of `shape`. Local.

        `order` says which of the window's axes each axis of that array is; cells come in the window's own order.
        """
        strides = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], dtype=np.int64)
        cells = np.argwhere(self.footprint).astype(np.int64)
        return np.ascontiguousarray(cells[:, list(order)] if order is not None else cells) @ strides


def window_from(footprint: Bools, origins: Sequence[int]) -> Window:
    """Return the window of a footprint over all axes; an origin shifts it towards lower indices. Local."""
    reach = tuple(
        (size // 2 + origin, size - 1 - size // 2 - origin)
        for size, origin in zip(footprint.shape, origins, strict=True)
    )
    return Window(footprint, reach)


def spread(ndim: int, axes: Sequence[int], values: Sequence[Any], other: Any) -> tuple[Any, ...]:
    """Return one value for each of `ndim` axes: those given for `axes`, and `other` elsewhere. Local."""
    given = dict(zip(axes, values, strict=True))
    return tuple(given.get(axis, other) for axis in range(ndim))


def in_order(ndim: int, axes: Sequence[int], values: Sequence[Any], other: Any) -> tuple[Any, ...]:
    """Return `values` for each axis of a footprint over `axes`, and `other` for the axes that it lacks. Local."""
    return tuple(values) if len(axes) == ndim else spread(ndim, axes, values, other)


def numbers_of(name: str, parameter: str, value: Any) -> npt.NDArray[Any]:
    """Return the array of numbers that a footprint or structure is given as. Local."""
    try:
        given = np.asarray(value)
    except ValueError:  # rows of different lengths
        given = np.empty(0, object)
    if given.dtype.kind not in "biuf":
        raise UsageError(
            f"{name}: {parameter} = {value!r} are not numbers in rows of equal length; give an array of numbers"
        )
    return given


def warn_of_size(name: str) -> None:
    """Warn that `size` is not used beside a footprint, where the user's program called mpibatch. Local."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("mpibatch."):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{name}: ignoring size because footprint is set", UserWarning, stacklevel=level)


def footprint_of(
    name: str, parameter: str, footprint: Any, ndim: int, axes: Sequence[int], may_be_false: bool = False
) -> Bools:
    """Return a footprint over all `ndim` axes from one over as many axes as are filtered. Local."""
    given = numbers_of(name, parameter, footprint) != 0
    if given.ndim != len(axes):
        raise UsageError(
            f"{name}: {parameter} has {given.ndim} axes, but {len(axes)} grid axes are filtered;"
            " give one of as many axes"
        )
    if not given.size:
        raise UsageError(f"{name}: {parameter} of shape {given.shape} is empty; give at least one cell")
    if not given.any() and not may_be_false:
        raise UsageError(f"{name}: {parameter} of shape {given.shape} is false everywhere; set at least one cell of it")
    return np.expand_dims(given, tuple(axis for axis in range(ndim) if axis not in axes))


def expanded_origins(name: str, origin: Any, shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """Return the origin for every axis of a footprint of `shape`, checked. Local."""
    given = tuple(whole(name, "origin", entry) for entry in per_axis(name, "origin", origin, len(axes)))
    return origins_of(name, in_order(len(shape), axes, given, 0), shape)


def mirrored(name: str, origins: Sequence[Any], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the origins of a mirrored window of `shape`; one of even size has no center of its own. Local."""
    shifts = (whole(name, "origin", origin) for origin in origins)
    return tuple(-origin - (0 if size % 2 else 1) for origin, size in zip(shifts, shape, strict=True))


def fits(cval: float, dtype: np.dtype[Any]) -> bool:
    """Whether `cval`, rounded toward zero, is a value of `dtype`. Local."""
    if dtype.kind == "f":
        return True
    if not math.isfinite(cval):
        return False
    if dtype.kind == "b":
        return math.trunc(cval) in (0, 1)
    limits = np.iinfo(dtype)
    return int(limits.min) <= math.trunc(cval) <= int(limits.max)


def cast_as_c(value: float, dtype: np.dtype[Any]) -> Any:
    """Return `value` as a scalar of `dtype`, converted as scipy's compiled code does on x86-64. Local.

    Fractions are cut off; integers wrap around, after a conversion to a signed type of 32 or 64 bits whose
    overflow gives its lowest value.
    """
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(value)
    bits = 64 if dtype.itemsize == 8 or dtype == np.uint32 else 32
    lowest = -(1 << (bits - 1))
    whole_part = math.trunc(value) if math.isfinite(value) else lowest
    if not lowest <= whole_part < -lowest and not (dtype == np.uint64 and 0 <= whole_part < 1 << 64):
        whole_part = lowest
    if dtype.kind == "b":
        return np.bool_(whole_part & 255)
    size = 8 * dtype.itemsize
    wrapped = whole_part & ((1 << size) - 1)
    if dtype.kind == "i" and wrapped >= 1 << (size - 1):
        wrapped -= 1 << size
    return dtype.type(wrapped)
