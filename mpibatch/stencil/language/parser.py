"""Reading a stencil function: parameters in, calls inlined, one `KernelProgram` out."""

from __future__ import annotations

import ast
import inspect
import operator
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.stencil.language.captures import Cells
from mpibatch.stencil.language.expressions import evaluate, known, power, select, truth
from mpibatch.stencil.language.frame import FunctionFrame, is_dynamic
from mpibatch.stencil.language.functions import CASTS, FUNCTIONS, MARKER_FUNCTIONS
from mpibatch.stencil.language.ir import KernelOutput, KernelProgram
from mpibatch.stencil.language.source import read_function
from mpibatch.stencil.language.statements import NOTHING, run
from mpibatch.stencil.language.tape import Argument, Ref, Tape, known_number, shifted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RESERVED", "parse"]

# Keywords of the call itself.
RESERVED = ("out", "walls", "cval", "time")
DEEPEST_CALL = 32
# Builtins that make sense on lists of unknown numbers as they are.
_PLAIN: tuple[Any, ...] = (len, range, zip, enumerate, tuple, list, reversed)


def parse(function: Callable[..., Any], components: Mapping[str, tuple[str, ...]]) -> KernelProgram:
    """Return the parsed form of a stencil function; raise UsageError for what is not part of the language. Local."""
    function = getattr(function, "py_func", function)  # a function compiled by numba is read from its Python text
    tree, source = read_function(function)
    signature = inspect.signature(function)
    names = list(signature.parameters)
    if names[:1] in (["self"], ["cls"]):
        source.refuse(tree, f"the method {function.__name__!r}", "write a plain function, and pass it what it needs")
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            source.refuse(tree, f"a stencil with *{name}", "name every parameter")
        if name in RESERVED:
            source.refuse(tree, f"parameter {name!r} has the name of an option of the call", "choose another name")
    unknown = set(components) - set(names)
    if unknown:
        raise UsageError(f"components= names {sorted(unknown)}, which {function.__name__!r} has no parameters for")
    tape = Tape()
    frame = FunctionFrame(source, tape, _scopes(function), components, _call, name=tree.name)
    frame.names = {name: Argument(name) for name in names}
    result = run(tree.body, frame)
    if result is NOTHING:
        source.refuse(tree, f"{function.__name__!r} returns nothing", "return the new value of the cell")
    returns_tuple = isinstance(result, tuple)
    last = tree.body[-1]
    outputs = [_output(last, frame, part) for part in (result if isinstance(result, tuple) else (result,))]
    program = tape.program(function.__name__, names, outputs, returns_tuple)
    if not program.fields:
        source.refuse(tree, f"{function.__name__!r} reads no field", "read at least one, such as u[0, 0]")
    return program


def _scopes(function: Callable[..., Any]) -> tuple[Mapping[str, Any], ...]:
    return Cells(function), getattr(function, "__globals__", {})


def _output(node: ast.AST, frame: FunctionFrame, part: Any) -> KernelOutput:
    if isinstance(part, list):
        if not part:
            frame.refuse(node, "an empty list is returned", "return [a, b] for a field of two components")
        return KernelOutput(tuple(frame.number(node, p).number for p in part), True)
    return KernelOutput((frame.number(node, part).number,), False)


def _call(node: ast.Call, frame: FunctionFrame, shift: tuple[int, ...] | None) -> Any:
    """Read a call; `shift` is set for a stencil called at an offset, as in ``laplace(u)[-1, 0]``."""
    function = evaluate(node.func, frame)
    if is_dynamic(function):
        frame.refuse(node, "a call of something that is not known", "call functions that are defined above the stencil")
    args, keywords = _arguments(node, frame)
    is_stencil = hasattr(function, "__stencil__")
    if shift is not None and not is_stencil:
        # An index on the result of any other function picks from what it returned.
        value = _call(node, frame, None)
        if not isinstance(value, tuple | list):
            frame.refuse(node, "an index on a number", "only stencils are called at an offset: laplace(u)[-1, 0]")
        return known(node, frame, operator.getitem, value, shift[0] if len(shift) == 1 else shift)
    if is_stencil:
        moved = [shifted(a, shift) for a in args]
        return inline(node, frame, function, moved, {k: shifted(v, shift) for k, v in keywords.items()})
    if isinstance(function, types.FunctionType) and function in MARKER_FUNCTIONS:
        return _marker(node, frame, MARKER_FUNCTIONS[function], [*args, *keywords.values()])
    if _hashable(function) and function in CASTS:
        return _cast(node, frame, function, args)
    if _hashable(function) and function in FUNCTIONS:
        if keywords:
            frame.refuse(node, "keywords in a call of a mathematical function", "give its operands in order")
        return _mathematical(node, frame, function, args)
    return _other(node, frame, function, args, keywords)


def _other(node: ast.Call, frame: FunctionFrame, function: Any, args: list[Any], keywords: dict[str, Any]) -> Any:
    plain = getattr(function, "py_func", function)  # a function compiled by numba is read from its Python text
    if function is sum and not keywords:
        return _sum(node, frame, args)
    if function in (float, int, bool) and not any(map(is_dynamic, args)):
        return known(node, frame, function, *args)
    if function in _PLAIN and not keywords:
        return known(node, frame, function, *args)
    if isinstance(plain, types.FunctionType):
        return inline(node, frame, plain, args, keywords)
    hint = "a stencil calls math functions, other stencils, and plain Python functions that it can read"
    if function in (int, float, round):
        hint = "use floor(x), or np.float32(x) to change the type"
    return frame.refuse(node, f"a call of {getattr(function, '__name__', repr(function))!r}", hint)


def inline(
    node: ast.Call, frame: FunctionFrame, function: Callable[..., Any], args: list[Any], keywords: dict[str, Any]
) -> Any:
    """Read another function in place of the call. Local."""
    if frame.depth >= DEEPEST_CALL:
        frame.refuse(node, f"calls deeper than {DEEPEST_CALL}", "a stencil cannot call itself: write a range loop")
    try:
        bound = inspect.signature(function).bind(*args, **keywords)
    except TypeError as error:
        frame.refuse(node, f"{function.__name__}: {error}", "compare the call with the function's parameters")
    bound.apply_defaults()
    plain = getattr(function, "__stencil__", function)
    tree, source = read_function(plain)
    names = getattr(function, "__stencil_components__", {})
    # Inside, a field goes by its own name in the caller; the names of components follow the parameter.
    given = {name: value for name, value in bound.arguments.items() if isinstance(value, Argument)}
    components = dict(frame.components) | {given[name].name: names[name] for name in names if name in given}
    inner = FunctionFrame(
        source=source,
        tape=frame.tape,
        outer=_scopes(plain),
        components=components,
        call=frame.call,
        depth=frame.depth + 1,
        name=tree.name,
    )
    inner.names = dict(bound.arguments)
    result = run(tree.body, inner)
    if result is NOTHING:
        frame.refuse(node, f"{function.__name__!r} returns nothing", "return a value in every case")
    return result


def _arguments(node: ast.Call, frame: FunctionFrame) -> tuple[list[Any], dict[str, Any]]:
    args: list[Any] = []
    for part in node.args:
        if isinstance(part, ast.Starred):
            items = evaluate(part.value, frame)
            if not isinstance(items, tuple | list):
                frame.refuse(part, "a starred argument that is no tuple or list", "write the values one by one")
            args += items
        else:
            args.append(evaluate(part, frame))
    keywords: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            frame.refuse(node, "a call with **", "write the keywords one by one")
        keywords[keyword.arg] = evaluate(keyword.value, frame)
    return args, keywords


def _marker(node: ast.Call, frame: FunctionFrame, name: str, args: list[Any]) -> Ref:
    if len(args) != 1 or not isinstance(args[0], int) or not 0 <= args[0] <= 2:
        frame.refuse(node, f"{name}() with {len(args)} values", f"give the number of an axis: {name}(0)")
    return frame.emit(node, name, data=args[0])


def _cast(node: ast.Call, frame: FunctionFrame, function: Any, args: list[Any]) -> Any:
    if len(args) != 1:
        frame.refuse(node, f"{function.__name__} of {len(args)} values", "give one")
    return frame.emit(node, "cast", args[0], data=CASTS[function])


def _mathematical(node: ast.Call, frame: FunctionFrame, function: Any, args: list[Any]) -> Any:
    name, operands = FUNCTIONS[function]
    if operands is None:
        if len(args) == 1 and isinstance(args[0], list | tuple):
            args = list(args[0])
        if not args:
            frame.refuse(node, f"{name} of nothing", "give two values")
    elif len(args) != operands:
        frame.refuse(node, f"{name} of {len(args)} values", f"give {operands}")
    if not any(map(is_dynamic, args)):
        value = known(node, frame, function, *args)
        return value.item() if isinstance(value, np.generic) else value
    if name == "pow":
        return power(node, frame, args[0], args[1])
    if name == "where":
        test = truth(node, frame, args[0])
        return select(node, frame, test, args[1], args[2]) if isinstance(test, Ref) else args[1 if test else 2]
    if operands is not None:
        return frame.emit(node, name, *args)
    result = args[0]
    for other in args[1:]:
        result = frame.emit(node, name, result, other)
    return result


def _sum(node: ast.Call, frame: FunctionFrame, args: list[Any]) -> Any:
    """Return a sum from left to right. Local."""
    if not args or len(args) > 2 or not isinstance(args[0], list | tuple):
        frame.refuse(node, "sum of something that is no list", "sum a list, or an expression over a constant range")
    items = list(args[0]) if len(args) == 1 else [args[1], *args[0]]
    if not items:
        return 0
    total = items[0]
    for item in items[1:]:
        both = [known_number(total), known_number(item)]
        total = frame.emit(node, "+", total, item) if None in both else both[0] + both[1]  # type: ignore[operator]
    return total


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
