"""What reductions take."""

from __future__ import annotations

from typing import Any

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import check_field

__all__ = ["check_dtype"]


def check_dtype(u: Any, asked: str) -> None:
    """Raise UsageError unless `u` is a Field of bool, integers or floats of up to 8 bytes, in native order. Local."""
    check_field(asked, u)
    dtype = u.dtype
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or not dtype.isnative:
        raise UsageError(
            f"{asked} of a field of dtype {dtype}; it is defined for bool, integers and floats of up to 8 bytes: "
            "convert it with u.astype, or reduce its real and imaginary parts"
        )
