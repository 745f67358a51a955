"""What generated code needs and numba has no words for: an array's memory as one word, and a choice without a branch.

A kernel over nine fields would otherwise hand over some two hundred numbers for each row of a plane, which takes as
long as a hundred cells. And each ``a if test else b`` cuts a function into more blocks, which numba's passes go through
again and again before LLVM makes one of them.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

__all__ = ["choose", "pointer"]


@intrinsic  # type: ignore[untyped-decorator]
def pointer(_typing: Any, array: Any) -> Any:
    """Return where a contiguous array begins, to be indexed from 0; within compiled code. Local."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic  # type: ignore[untyped-decorator]
def choose(_typing: Any, test: Any, a: Any, b: Any) -> Any:
    """Return `a` where the test, a truth value, holds, otherwise `b`, of the same type; within compiled code. Local."""
    if a != b:
        raise TypeError(f"choose: {a} and {b} are of two types")

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return a(types.boolean, a, b), generate
