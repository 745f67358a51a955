"""Functions without loops, handed to LLVM at once.

numba infers types, looks for what lives where and renames variables in passes over the whole of a function, which for
the hundreds of lines of a kernel's cell take longer than LLVM's own work. A body in a straight line needs none of
that: each line's types are known from those before it. What a single operation is comes from numba all the same, so
that the code, and its bits, are those of the function compiled by numba alone.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import operator
import textwrap
from typing import TYPE_CHECKING, Any

from numba import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["straight"]

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_WRAPPED: dict[type[Any], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.USub: "sub"}


def straight(function: Callable[..., None]) -> Any:
    """Return what compiled code calls for a function of numbers and memory that is one line after another. Local.

    Lines store to memory or name a number; numbers are of literals, names, operators, choices, and calls of numba's
    types, of ``math`` and of ``choose``. Nothing is returned.
    """
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]

    def definition(typing: Any, *given: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            text = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
            assert isinstance(text, ast.FunctionDef)
            known = dict(zip(names, zip(values, given, strict=True), strict=True))
            line = _Lowering(typing, context, builder, function.__globals__, known)
            for statement in text.body:
                line.lower(statement)
            return context.get_dummy_value()

        return types.void(*given), generate

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("typing", *names)]
    definition.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return intrinsic(definition)


class _Lowering:
    """Lowers one line after another; a value is LLVM's and its numba type."""

    def __init__(self, typing: Any, context: Any, builder: Any, names: Any, known: dict[str, tuple[Any, Any]]) -> None:
        self._typing, self._context, self._builder = typing, context, builder
        self._globals, self._known = names, known
        self._operations: dict[Any, Any] = {}

    def lower(self, line: ast.stmt) -> None:
        if isinstance(line, ast.Expr):
            self._value(line.value)
            return
        assert isinstance(line, ast.Assign)
        (target,) = line.targets
        value, kind = self._value(line.value)
        if isinstance(target, ast.Name):
            self._known[target.id] = value, kind
            return
        assert isinstance(target, ast.Subscript)
        place, stored = self._place(target)
        self._context.pack_value(self._builder, stored, self._cast(value, kind, stored), place)

    def _value(self, node: ast.expr) -> tuple[Any, Any]:
        return getattr(self, f"_lower_{type(node).__name__.lower()}")(node)  # type: ignore[no-any-return]

    def _lower_constant(self, node: ast.Constant) -> tuple[Any, Any]:
        kind = self._typing.resolve_value_type(node.value)
        kind = getattr(kind, "literal_type", kind)
        return self._context.get_constant(kind, node.value), kind

    def _lower_name(self, node: ast.Name) -> tuple[Any, Any]:
        return self._known[node.id] if node.id in self._known else self._named(node)

    def _lower_attribute(self, node: ast.Attribute) -> tuple[Any, Any]:
        return self._context.get_constant(types.float64, self._object(node)), types.float64

    def _lower_binop(self, node: ast.BinOp) -> tuple[Any, Any]:
        return self._operation(_OPERATORS[type(node.op)], node.left, node.right)

    def _lower_unaryop(self, node: ast.UnaryOp) -> tuple[Any, Any]:
        return self._operation(_OPERATORS[type(node.op)], node.operand)

    def _lower_compare(self, node: ast.Compare) -> tuple[Any, Any]:
        return self._operation(_OPERATORS[type(node.ops[0])], node.left, node.comparators[0])

    def _lower_ifexp(self, node: ast.IfExp) -> tuple[Any, Any]:
        ends = []
        test, kind = self._value(node.test)
        with self._builder.if_else(self._cast(test, kind, types.boolean)) as branches:
            for branch, side in zip(branches, (node.body, node.orelse), strict=True):
                with branch:
                    value, kind = self._value(side)
                    ends.append((value, self._builder.block))
        both = self._builder.phi(ends[0][0].type)
        for value, block in ends:
            both.add_incoming(value, block)
        return both, kind

    def _lower_call(self, node: ast.Call) -> tuple[Any, Any]:
        function = self._object(node.func)
        if not isinstance(function, types.Type):
            return self._operation(function, *node.args)
        (given,) = node.args
        value, kind = self._wrapped(given) if function == types.int64 else self._value(given)
        return self._cast(value, kind, function), function

    def _wrapped(self, node: ast.expr) -> tuple[Any, Any]:
        """A value that is converted to 64 bits, whose sums, differences and products of as many may overflow.

        numba, and LLVM after it, takes it that they do not, as it may for places in memory; NumPy's wrap around.
        """
        if not isinstance(node, ast.BinOp | ast.UnaryOp) or type(node.op) not in _WRAPPED:
            return self._value(node)
        operands = (node.operand,) if isinstance(node, ast.UnaryOp) else (node.left, node.right)
        values = [self._value(operand) for operand in operands]
        if any(kind != types.int64 for _, kind in values):
            return self._applied(_OPERATORS[type(node.op)], values)
        given = [value for value, _ in values]
        zero = [given[0].type(0)] if len(given) == 1 else []
        return getattr(self._builder, _WRAPPED[type(node.op)])(*zero, *given), types.int64

    def _lower_subscript(self, node: ast.Subscript) -> tuple[Any, Any]:
        place, kind = self._place(node)
        return self._context.unpack_value(self._builder, kind, place), kind

    def _place(self, node: ast.Subscript) -> tuple[Any, Any]:
        memory, kind = self._value(node.value)
        if isinstance(kind, types.Array):
            memory = self._context.make_array(kind)(self._context, self._builder, memory).data
        index, _ = self._value(node.slice)
        return self._builder.gep(memory, [index]), kind.dtype

    def _named(self, node: ast.Name) -> tuple[Any, Any]:
        """A global, of which nothing but the type is of use to what is called with it."""
        return self._context.get_dummy_value(), self._typing.resolve_value_type(self._object(node))

    def _object(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Attribute):
            return getattr(self._object(node.value), node.attr)
        assert isinstance(node, ast.Name)
        return self._globals[node.id] if node.id in self._globals else getattr(builtins, node.id)

    def _cast(self, value: Any, kind: Any, to: Any) -> Any:
        return value if kind == to else self._context.cast(self._builder, value, kind, to)

    def _operation(self, function: Any, *operands: ast.expr) -> tuple[Any, Any]:
        return self._applied(function, [self._value(operand) for operand in operands])

    def _applied(self, function: Any, values: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        """What numba makes of a function of numbers."""
        key = (function, *(kind for _, kind in values))
        if key not in self._operations:
            known = self._typing.resolve_value_type(function)
            signature = self._typing.resolve_function_type(known, key[1:], {})
            self._operations[key] = signature, self._context.get_function(known, signature)
        signature, made = self._operations[key]
        given = [self._cast(value, kind, to) for (value, kind), to in zip(values, signature.args, strict=True)]
        self._context.add_linking_libs(getattr(made, "libs", ()))
        return made(self._builder, given), signature.return_type
