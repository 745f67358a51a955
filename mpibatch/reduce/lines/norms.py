"""Norms of each line of cells along some axes of a Field, each rounded once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.reduce.axes import lines_of
from mpibatch.reduce.lines.extremes import extreme_lines
from mpibatch.reduce.lines.sums import count_lines, sum_lines

if TYPE_CHECKING:
    from mpibatch.reduce.axes import Axis
    from mpibatch.reduce.operands import Operand

__all__ = ["norm_lines"]


def norm_lines(op: Operand, ord: float | None, axis: Axis) -> Any:
    """Return the norms along axes as ``sum`` returns sums; `ord` is 0, 1, 2, inf or None. Collective."""
    lines = lines_of(op, axis)
    if ord == 0:
        return lines.spread(count_lines(lines, truths=True).astype("f8"))
    if ord == 1:
        magnitudes = lines_of(replace(op, u=_magnitudes(op.u)), axis)
        return lines.spread(sum_lines(magnitudes, "total"))
    if ord == math.inf:
        ends = [np.abs(extreme_lines(lines, largest=side).astype("f8")) for side in (False, True)]
        return lines.spread(np.maximum(*ends))
    return lines.spread(sum_lines(lines, "norm"))


def _magnitudes(u: Field) -> Field:
    """Return what the elements are without their signs, in a dtype that holds that of the least integer. Local."""
    if u.dtype.kind not in "if":
        return u
    result = Field(u.grid, u.dtype if u.dtype.kind == "f" else f"u{u.dtype.itemsize}", 0, u.components)
    with phase("compute"):
        np.abs(u.owned, out=result.owned.view(u.dtype))
    return result
