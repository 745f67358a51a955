"""What a segmentation was asked, checked. Local; a function of the arguments alone, so that all ranks raise alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine.arguments import input_dtype

__all__ = ["check_picture", "check_together", "picture_dtype"]


def check_picture(name: str, u: Any, what: str = "") -> None:
    """Raise UsageError unless `u` is a Field of plain numbers without components. Local."""
    label = f"{name}: {what}" if what else name
    check_field(label, u)
    input_dtype(label, u.dtype)
    if u.components:
        raise UsageError(
            f"{label}: the field has components {u.components}; give one without, such as one channel, or their mean "
            "(mpibatch.filters.channel_mean)"
        )


def check_together(name: str, u: Field, other: Any, what: str) -> None:
    """Raise UsageError unless `other` is such a Field, too, on the grid of `u`. Local."""
    check_picture(name, other, what)
    if not other.grid.matches(u.grid):
        raise UsageError(
            f"{name}: {what} is of shape {other.shape} on {other.grid}, and does not give every rank the same cells as "
            f"{u.grid}; bring both to one grid (mpibatch.redistribute)"
        )


def picture_dtype(u: Field) -> np.dtype[Any]:
    """Return the dtype in which cells are compared: that of the field, u1 for bool. Local."""
    return np.dtype(np.uint8) if u.dtype.kind == "b" else u.dtype
