"""What a transform was given, checked: functions of the arguments alone, so that all ranks raise alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError, nearest
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine.arguments import axes_of, axis_of, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "NORMS",
    "axis_of",
    "check_norm",
    "complex_dtype",
    "extents_of",
    "float_dtype",
    "length_of",
    "scale",
    "size_of",
]

NORMS = ("backward", "ortho", "forward")
_FLOATS = {"e": "f4", "f": "f4", "d": "f8", "F": "c8", "D": "c16"}


def float_dtype(name: str, u: Any, *, real: bool = False) -> np.dtype[Any]:
    """Return the dtype in which SciPy computes: f4, f8, c8 or c16; of integers and bool f8. Local."""
    check_field(name, u)
    char = "d" if u.dtype.kind in "biu" else u.dtype.char
    if char not in _FLOATS or not u.dtype.isnative:
        raise UsageError(
            f"{name}: cannot transform a field of dtype {u.dtype.str}; f4, f8, c8 and c16 can be, and integers as f8: "
            "convert it with u.astype"
        )
    dtype = np.dtype(_FLOATS[char])
    if real and dtype.kind == "c":
        raise UsageError(
            f"{name}: the field is of {u.dtype}, and this transform is of real values; take fftn, or u.real and u.imag"
        )
    return dtype


def complex_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the complex dtype of the same precision. Local."""
    return np.result_type(dtype, np.complex64)


def check_norm(name: str, norm: Any) -> str:
    """Return one of `NORMS`. Local."""
    if norm is None:
        return "backward"
    if norm not in NORMS:
        raise UsageError(f"{name}: norm = {norm!r} is unknown{nearest(str(norm), NORMS)}")
    return str(norm)


def length_of(name: str, n: Any, default: int, parameter: str = "n") -> int:
    """Return the length of lines, as given or by default. Local."""
    length = default if n is None else whole(name, parameter, n)
    if length < 1:
        raise UsageError(f"{name}: {parameter} = {length} points cannot be transformed; give at least 1")
    return length


def extents_of(name: str, u: Field, s: Any, axes: Any) -> tuple[list[int], list[int]]:
    """Return the transformed axes, in the order given, and the length of lines along each, as SciPy does. Local."""
    ndim = u.grid.ndim
    if axes is not None:
        numbers = list(axes_of(name, axes, ndim))
    lengths = None if s is None else [whole(name, "s", n) for n in (s if np.iterable(s) else (s,))]
    if axes is None:
        count = ndim if lengths is None else len(lengths)
        if count > ndim:
            raise UsageError(f"{name}: s = {s!r} has {count} lengths for a grid of {ndim} axes; give {ndim} or fewer")
        numbers = [*range(ndim - count, ndim)]
    if lengths is None:
        lengths = [u.grid.shape[axis] for axis in numbers]
    if len(lengths) != len(numbers):
        raise UsageError(f"{name}: s = {s!r} and axes = {axes!r} differ in length; give a length for each axis")
    sizes = [u.grid.shape[axis] if n == -1 else n for axis, n in zip(numbers, lengths, strict=True)]
    for n in sizes:
        length_of(name, n, 1, "s")
    return numbers, sizes


def scale(norm: str, count: int, dtype: np.dtype[Any], *, forward: bool) -> Any:
    """Return what results are multiplied by, of the real dtype; None for 1. Local. As SciPy rounds it."""
    kind = NORMS.index(norm) if forward else 2 - NORMS.index(norm)
    if kind == 0:
        return None
    number = np.longdouble(count)
    real = np.empty(0, dtype).real.dtype.type
    return real(1 / number) if kind == 2 else real(1 / np.sqrt(number))


def size_of(sizes: Sequence[int]) -> int:
    """Return the points of a transform. Local."""
    return math.prod(sizes)
