"""What a segmentation was asked, checked: by the arguments alone, or agreed on, so that all ranks raise alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine.arguments import input_dtype
from mpibatch.reduce.extremes import limits

__all__ = ["MOST", "check_labels", "check_picture", "check_together", "picture_dtype"]

MOST = 2**63 - 2


def check_picture(name: str, u: Any, argument: str = "") -> None:
    """Raise UsageError unless `u` is a Field of plain numbers without components. Local."""
    label = f"{name}: {argument}" if argument else name
    check_field(label, u)
    input_dtype(label, u.dtype)
    if u.components:
        raise UsageError(
            f"{label}: the field has components {u.components}; give one without, such as one channel, or their mean "
            "(mpibatch.filters.channel_mean)"
        )


def check_together(name: str, u: Field, other: Any, argument: str) -> None:
    """Raise UsageError unless `other` is such a Field, too, on the grid of `u`. Local."""
    check_picture(name, other, argument)
    if not other.grid.matches(u.grid):
        raise UsageError(
            f"{name}: {argument} is of shape {other.shape} on {other.grid}, and gives ranks other cells than "
            f"{u.grid}; bring both to one grid (mpibatch.redistribute)"
        )


def picture_dtype(u: Field) -> np.dtype[Any]:
    """Return the dtype in which cells are compared: that of the field, u1 for bool. Local."""
    return np.dtype(np.uint8) if u.dtype.kind == "b" else u.dtype


def check_labels(name: str, u: Any, role: str = "") -> tuple[int, int]:
    """Return the least and the greatest label of a Field of integers, none negative or of 64 bits. Collective."""
    label = f"{name}: {role}" if role else name
    check_picture(label, u)
    if u.dtype.kind not in "iu":
        raise UsageError(
            f"{label}: the field is of {u.dtype}; labels are integers: number its objects first (mpibatch.label)"
        )
    least, most = map(int, limits(u, f"{label} of {u.shape}"))
    if least < 0 or most > MOST:
        raise UsageError(
            f"{label}: there is a label {least if least < 0 else most}; give labels from 0 to 2**63 - 2, such as "
            "mpibatch.label returns"
        )
    return least, most
