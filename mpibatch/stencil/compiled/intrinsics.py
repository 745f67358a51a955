"""What generated code needs and numba has no words for: memory, choices, fills, and what else is to be told.

Memory is given by its address; the processor is told of lines to bring ahead, the compiler how long vectors may be.

A choice as ``a if test else b`` cuts a function into more blocks, which numba's passes go through again and again
before LLVM makes one of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["choose", "fetch_ahead", "fill", "memory", "use_short_vectors"]

TO_ALL_CACHES = 3


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


@intrinsic  # type: ignore[untyped-decorator]
def fetch_ahead(_typing: Any, a: Any, w: Any) -> Any:
    """Have the cache line of word `w` of memory brought; it need not be anybody's; within compiled code. Local."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        place, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = builder.bitcast(builder.gep(args[0], [args[1]]), place)
        builder.call(function, [address, number(0), number(TO_ALL_CACHES), number(1)])
        return context.get_dummy_value()

    return types.void(a, w), generate


@intrinsic  # type: ignore[untyped-decorator]
def use_short_vectors(_typing: Any) -> Any:
    """Have the function that this is called in compiled with vectors of 256 bits at most. Local."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        # llvmlite knows no such attribute, but writes what there is.
        set.add(builder.function.attributes, '"prefer-vector-width"="256"')
        return context.get_dummy_value()

    return types.void(), generate
