"""What generated code needs and numba has no words for: memory by its address, choices without a branch, fills.

A choice as ``a if test else b`` cuts a function into more blocks, which numba's passes go through again and again
before LLVM makes one of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["choose", "fill", "memory"]


@intrinsic  # type: ignore[untyped-decorator]
def memory(_typing: Any, address: Any, number: Any) -> Any:
    """Return numbers of a type, which begin at an address, to be indexed from 0; within compiled code. Local."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(number.dtype)(address, number), generate


@intrinsic  # type: ignore[untyped-decorator]
def choose(_typing: Any, test: Any, a: Any, b: Any) -> Any:
    """Return `a` where the test, a truth value, holds, otherwise `b`, of the same type; within compiled code. Local."""
    if a != b:
        raise TypeError(f"choose: {a} and {b} are of two types")

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return a(types.boolean, a, b), generate


@intrinsic  # type: ignore[untyped-decorator]
def fill(_typing: Any, code: Any, b: Any, w: Any, k: Any, jobs: Any, count: Any, v: Any) -> Any:
    """Call `edge` of `wall_source`, whose code is at an address, if there is a job; within compiled code. Local."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        code, *given = args
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        with builder.if_then(builder.icmp_signed(">", given[-2], given[-2].type(0))):
            builder.call(builder.inttoptr(code, kind.as_pointer()), given)

    return types.void(code, b, w, k, jobs, count, v), generate
