"""An array's memory as what compiled functions pass on to one another: one word instead of seven.

A kernel over nine fields would otherwise hand over some two hundred numbers for each row of a plane, which takes as
long as a hundred cells.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

__all__ = ["pointer"]


@intrinsic  # type: ignore[untyped-decorator]
def pointer(_typing: Any, array: Any) -> Any:
    """Return where a contiguous array begins, to be indexed from 0; within compiled code. Local."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate
