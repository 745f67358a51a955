"""What a grid is given for its axes: a value of each, and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from mpibatch.domain import Box

__all__ = ["axis_names", "open_mesh", "per_axis"]

_NAMES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x"), 4: ("t", "z", "y", "x")}


def per_axis(value: Any, ndim: int, name: str, convert: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return a value for each of `ndim` axes: one for all, or as many as there are axes. Local."""
    scalar = np.ndim(value) == 0
    values = (value,) * ndim if scalar else tuple(value)
    if len(values) != ndim:
        raise UsageError(
            f"{name}={value!r} has {len(values)} entries for a grid of {ndim} axes; give one, or one per axis"
        )
    return tuple(convert(v) for v in values)


def axis_names(axes: Sequence[str] | None, ndim: int) -> tuple[str, ...]:
    """Return distinct names of `ndim` axes, the usual ones if none are given. Local."""
    names = tuple(axes) if axes is not None else _NAMES[ndim]
    if len(names) != ndim or len(set(names)) != ndim:
        raise UsageError(f"axes={names!r} for a grid of {ndim} axes; give one distinct name per axis")
    return names


def open_mesh(box: Box, origin: Sequence[float], spacing: Sequence[float]) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the coordinates of a box's cells: one array for each axis, which broadcast to its shape. Local."""
    lines = [
        zero + step * np.arange(low, high, dtype="f8")
        for zero, step, low, high in zip(origin, spacing, box.start, box.stop, strict=True)
    ]
    return tuple(np.ix_(*lines))
