"""VTKHDF: the datasets on one grid as point data of an ImageData, for ParaView and VTK.

Real numbers on grids of 1 to 3 axes, the last of which is x. They are links; where an axis has one cell, or there are
several axes of components, or VTK has no such type (bool, half precision), virtual datasets over the same values.
Complex numbers are left out. A series has VTKHDF's steps, which VTK reads from 9.3 on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.io.conventions.variable import Variable, largest, readable
from mpibatch.io.conventions.views import ascii_text, new_array, new_group, new_view

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GROUP", "add"]

GROUP = "VTKHDF"


def add(file: Any, variables: Sequence[Variable], times: Any = None) -> bool:
    """Add the group; False if there is nothing for it. Local. `times`: those of a series."""
    shown = largest(variables, _fits)
    if not shown:
        return False
    first = shown[0]
    missing = 3 - len(first.cells)
    cells = (1,) * missing + first.cells
    spacing, origin = (1.0,) * missing + first.spacing, (0.0,) * missing + first.origin
    extent = [bound for n in reversed(cells) for bound in (0, n - 1)]
    group = new_group(file, GROUP, {
        "Version": np.array([1, 0] if times is None else [2, 0], "i8"),
        "Type": ascii_text("ImageData"),
        "WholeExtent": np.array(extent, "i8"),
        "Origin": np.array(origin[::-1], "f8"),
        "Spacing": np.array(spacing[::-1], "f8"),
        "Direction": np.eye(3).reshape(-1),
    })  # fmt: skip
    data = new_group(group, "PointData")
    for v in shown:
        _add_one(data, file[v.name], v)
    _activate(data, shown)
    if times is not None:
        _steps(group, times, shown)
    return True


def _fits(v: Variable) -> bool:
    # VTK draws no image of a single point, and none without spacing or with a negative one.
    return (
        v.dtype.kind in "biuf" and len(v.axes) <= 3 and math.prod(v.cells) > 1 and all(step > 0 for step in v.spacing)
    )


def _add_one(data: Any, dataset: Any, v: Variable) -> None:
    # VTK wants the arrays of flat images without the flat axes, and tensors as one list of components.
    cells = tuple(n for n in v.cells if n > 1)
    values = (math.prod(v.components),) if v.components else ()
    shape = (*v.shape[: v.timed], *cells, *values)
    dtype = readable(v.dtype)
    if (shape, dtype) == (v.shape, v.dtype):
        data[v.label] = dataset
    else:
        new_view(data, v.label, dataset, shape, dtype)


def _activate(data: Any, shown: Sequence[Variable]) -> None:
    """Mark the array that is drawn at first."""
    first = min(shown, key=lambda v: v.plainness)
    data[first.label].attrs["Attribute"] = ascii_text("Vectors" if math.prod(first.components) == 3 else "Scalars")


def _steps(group: Any, times: Any, shown: Sequence[Variable]) -> None:
    count = shown[0].shape[0]
    steps = new_group(group, "Steps", {"NSteps": np.int64(count)})
    if getattr(times, "shape", None) == (count,):
        steps["Values"] = times
    else:
        new_array(steps, "Values", np.arange(count, dtype="f8"))
    offsets = new_group(steps, "PointDataOffsets")
    places = new_array(offsets, shown[0].label, np.arange(count, dtype="i8"))
    for v in shown[1:]:
        offsets[v.label] = places
