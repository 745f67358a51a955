"""Reading expressions: what is known is computed at once, what is not becomes operations."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from mpibatch.stencil.language.frame import FunctionFrame, is_dynamic
from mpibatch.stencil.language.tape import Argument, Component, Ref, known_number

__all__ = ["binary", "comprehended", "evaluate", "iterate", "select", "truth"]

_BINARY: dict[type[ast.AST], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("pow", operator.pow),
    ast.BitAnd: ("&", operator.and_),
    ast.BitOr: ("|", operator.or_),
    ast.BitXor: ("^", operator.xor),
}
_UNARY: dict[type[ast.AST], tuple[str, Callable[[Any], Any]]] = {
    ast.USub: ("neg", operator.neg),
    ast.UAdd: ("", operator.pos),
    ast.Invert: ("~", operator.invert),
}
_COMPARE: dict[type[ast.AST], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Is: ("is", operator.is_),
    ast.IsNot: ("is not", operator.is_not),
}
# Whole powers up to this are multiplications; larger ones call the library's pow.
MOST_POWER = 64

_HINTS: dict[str, str] = {
    "Lambda": "write a function with def; calls to it are inlined",
    "Slice": "a stencil reads single cells: u[-1, 0]",
    "Starred": "write the values one by one",
    "JoinedStr": "stencils compute with numbers only",
    "Dict": "put tables into module-level constants",
    "NamedExpr": "assign on a line of its own",
    "Await": "stencils compute with numbers only",
}


def evaluate(node: ast.AST, frame: FunctionFrame) -> Any:
    """Return the value of an expression. Local."""
    read = _READERS.get(type(node))
    if read is None:
        kind = type(node).__name__
        hint = _HINTS.get(kind, "see the docstring of mpibatch.stencil for what a stencil may contain")
        frame.refuse(node, f"a stencil cannot contain this ({kind})", hint)
    return read(node, frame)


def binary(node: ast.AST, frame: FunctionFrame, kind: type[ast.AST], a: Any, b: Any) -> Any:
    """Combine two values. Local."""
    if kind not in _BINARY:
        frame.refuse(node, f"operator {kind.__name__} is not part of the language", "use + - * / // % ** & | ^")
    name, function = _BINARY[kind]
    if not is_dynamic(a) and not is_dynamic(b):
        return known(node, frame, function, a, b)
    return power(node, frame, a, b) if name == "pow" else frame.emit(node, name, a, b)


def known(node: ast.AST, frame: FunctionFrame, function: Callable[..., Any], *args: Any) -> Any:
    """Compute with what is known already. Local."""
    try:
        return function(*args)
    except Exception as error:
        frame.refuse(node, f"{type(error).__name__}: {error}", "this is computed while the kernel is read")


def power(node: ast.AST, frame: FunctionFrame, a: Any, b: Any) -> Ref:
    """Return a ** b; a whole constant power is repeated squaring, the same products on every back end. Local."""
    exponent = known_number(b)
    if exponent == 0.5:
        return frame.emit(node, "sqrt", a)
    if exponent is None or exponent != int(exponent) or abs(exponent) > MOST_POWER:
        return frame.emit(node, "pow", a, b)
    n = int(exponent)
    if n == 0:
        return frame.number(node, 1)
    if n < 0:
        return frame.emit(node, "/", 1, power(node, frame, a, -n))
    if n == 1:
        return frame.number(node, a)
    if n % 2:
        return frame.emit(node, "*", power(node, frame, a, n - 1), a)
    root = power(node, frame, a, n // 2)
    return frame.emit(node, "*", root, root)


def truth(node: ast.AST, frame: FunctionFrame, value: Any) -> bool | Ref:
    """Return a value as true or false, known or not. Local."""
    if is_dynamic(value):
        return frame.emit(node, "truth", value)
    return bool(known(node, frame, bool, value))


def select(node: ast.AST, frame: FunctionFrame, test: Ref, a: Any, b: Any) -> Any:
    """Return a where `test` holds, else b; lists and tuples part by part. Local."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if type(a) is not type(b) or len(a) != len(b):
            frame.refuse(node, "the two branches give lists of different lengths", "make them the same length")
        return type(a)(select(node, frame, test, x, y) for x, y in zip(a, b, strict=True))
    if a is b or (is_dynamic(a) and a == b):
        return a
    same = known_number(a)
    if same is not None and type(a) is type(b) and repr(a) == repr(b):
        return a
    return frame.emit(node, "where", test, a, b)


def iterate(node: ast.expr, frame: FunctionFrame) -> list[Any]:
    """Return the items of what a loop goes over; they must be known. Local."""
    items = evaluate(node, frame)
    if is_dynamic(items):
        frame.refuse(node, "a loop over something that is not known when the kernel is compiled", "loop over range(3)")
    if not isinstance(items, range | list | tuple | np.ndarray | zip | enumerate):
        frame.refuse(node, f"a loop over a {type(items).__name__}", "loop over range, zip, enumerate, tuples or lists")
    return [item.item() if isinstance(item, np.generic) else item for item in items]


def bind(target: ast.AST, frame: FunctionFrame, value: Any) -> None:
    """Give names their values. Local."""
    if isinstance(target, ast.Name):
        frame.names[target.id] = value
    elif isinstance(target, ast.Tuple | ast.List):
        if not isinstance(value, tuple | list) or len(value) != len(target.elts):
            amount = f"{len(value)} values" if isinstance(value, tuple | list) else "one value"
            frame.refuse(target, f"{len(target.elts)} names are set to {amount}", "give as many names as values")
        for part, item in zip(target.elts, value, strict=True):
            bind(part, frame, item)
    elif isinstance(target, ast.Subscript):
        _set_item(target, frame, value)
    else:
        frame.refuse(target, "only local names can be set", "return new values instead of writing to a field")


def _set_item(target: ast.Subscript, frame: FunctionFrame, value: Any) -> None:
    base, index = evaluate(target.value, frame), evaluate(target.slice, frame)
    if is_dynamic(base):
        frame.refuse(target, "a stencil does not write to its inputs", "return the new value of the cell")
    if not isinstance(base, list) or not isinstance(index, int) or not -len(base) <= index < len(base):
        frame.refuse(target, "only elements of a local list can be set", "start from a list: f = [0.0, 0.0, 0.0]")
    base[index] = value


def comprehended(node: ast.ListComp | ast.GeneratorExp, frame: FunctionFrame) -> list[Any]:
    """Return the items of a comprehension over constant ranges. Local."""
    before = dict(frame.names)

    def level(number: int) -> Iterator[Any]:
        if number == len(node.generators):
            yield evaluate(node.elt, frame)
            return
        loop = node.generators[number]
        for item in iterate(loop.iter, frame):
            bind(loop.target, frame, item)
            tests = [truth(test, frame, evaluate(test, frame)) for test in loop.ifs]
            if any(isinstance(test, Ref) for test in tests):
                frame.refuse(loop.ifs[0], "a comprehension with a condition on cells", "use `a if test else b` instead")
            if all(tests):
                yield from level(number + 1)

    items = list(level(0))
    frame.names = before
    return items


def _name(node: ast.Name, frame: FunctionFrame) -> Any:
    return frame.lookup(node)


def _constant(node: ast.Constant, frame: FunctionFrame) -> Any:
    if isinstance(node.value, complex):
        frame.refuse(node, "a complex number", "keep real and imaginary part in two fields")
    return node.value


def _binary(node: ast.BinOp, frame: FunctionFrame) -> Any:
    return binary(node, frame, type(node.op), evaluate(node.left, frame), evaluate(node.right, frame))


def _unary(node: ast.UnaryOp, frame: FunctionFrame) -> Any:
    value = evaluate(node.operand, frame)
    if isinstance(node.op, ast.Not):
        test = truth(node, frame, value)
        return frame.emit(node, "not", test) if isinstance(test, Ref) else not test
    name, function = _UNARY[type(node.op)]
    if not is_dynamic(value):
        return known(node, frame, function, value)
    return frame.emit(node, name, value) if name else frame.number(node, value)


def _compare(node: ast.Compare, frame: FunctionFrame) -> Any:
    values = [evaluate(part, frame) for part in (node.left, *node.comparators)]
    result: Any = True
    for kind, a, b in zip(node.ops, values[:-1], values[1:], strict=True):
        if type(kind) not in _COMPARE:
            frame.refuse(node, f"comparison {type(kind).__name__}", "use < <= > >= == !=")
        name, function = _COMPARE[type(kind)]
        if name.startswith("is") and (is_dynamic(a) or is_dynamic(b)):
            if isinstance(a, Ref) or isinstance(b, Ref):
                frame.refuse(node, f"`{name}` between numbers", "use == or !=")
            part: Any = known(node, frame, function, a, b)
        elif is_dynamic(a) or is_dynamic(b):
            part = frame.emit(node, name, a, b)
        else:
            part = known(node, frame, function, a, b)
        result = _both(node, frame, result, part)
    return result


def _both(node: ast.AST, frame: FunctionFrame, a: Any, b: Any) -> Any:
    if not isinstance(a, Ref):
        return b if a else False
    if not isinstance(b, Ref):
        return a if b else False
    return frame.emit(node, "&", a, b)


def _logic(node: ast.BoolOp, frame: FunctionFrame) -> Any:
    """`x or y` is x where it is true, else y, as in Python: a number if they are numbers."""
    name = "and" if isinstance(node.op, ast.And) else "or"
    result = evaluate(node.values[0], frame)
    for part in node.values[1:]:
        if is_dynamic(result):
            result = frame.emit(node, name, result, evaluate(part, frame))
        elif truth(part, frame, result) is (name == "and"):
            result = evaluate(part, frame)
        else:
            return result  # settled already: what follows is not looked at, as in Python
    return result


def _choice(node: ast.IfExp, frame: FunctionFrame) -> Any:
    test = truth(node.test, frame, evaluate(node.test, frame))
    if not isinstance(test, Ref):
        return evaluate(node.body if test else node.orelse, frame)
    return select(node, frame, test, evaluate(node.body, frame), evaluate(node.orelse, frame))


def _subscript(node: ast.Subscript, frame: FunctionFrame) -> Any:
    index = evaluate(node.slice, frame)
    if isinstance(node.value, ast.Call):
        return frame.call(node.value, frame, _shift(node, frame, index))
    base = evaluate(node.value, frame)
    if isinstance(base, Argument | Component):
        return frame.read(node, base, index)
    if isinstance(base, Ref):
        frame.refuse(node, "an index on a number", "only fields, tuples and lists have indices")
    if is_dynamic(index):
        frame.refuse(node, "an index that is not known when the kernel is compiled", "index with constants")
    item = known(node, frame, operator.getitem, base, index)
    if isinstance(base, Mapping):
        # Lists and arrays are recorded whole, by their names; dicts may hold anything.
        frame.tape.captures.add(f"{ast.unparse(node.value)}[{index!r}]", operator.getitem, base, index, item)
    return item.item() if isinstance(item, np.generic) else item


def _shift(node: ast.Subscript, frame: FunctionFrame, index: Any) -> tuple[int, ...]:
    shift = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(i, int) for i in shift):
        frame.refuse(node, "a stencil called at something that is no offset", "write laplace(u)[-1, 0]")
    return shift


def _attribute(node: ast.Attribute, frame: FunctionFrame) -> Any:
    base = evaluate(node.value, frame)
    if isinstance(base, Argument):
        names = frame.components.get(base.name, ())
        if node.attr not in names:
            known_names = f"its components are {', '.join(names)}" if names else "it has no named components"
            hint = f'{known_names}; name them with @stencil(components={{"{base.name}": ("rho", "mx")}})'
            frame.refuse(node, f"{base.name}.{node.attr}", hint)
        return Component(base, names.index(node.attr))
    if is_dynamic(base):
        frame.refuse(node, f"attribute {node.attr!r} of a number", "only modules and named components have attributes")
    value = known(node, frame, getattr, base, node.attr)
    frame.tape.captures.add(ast.unparse(node), getattr, base, node.attr, value)
    return value


def _tuple(node: ast.Tuple, frame: FunctionFrame) -> Any:
    return tuple(evaluate(part, frame) for part in node.elts)


def _list(node: ast.List, frame: FunctionFrame) -> Any:
    return [evaluate(part, frame) for part in node.elts]


def _call(node: ast.Call, frame: FunctionFrame) -> Any:
    return frame.call(node, frame, None)


_READERS: dict[type[ast.AST], Callable[[Any, FunctionFrame], Any]] = {
    ast.Name: _name,
    ast.Constant: _constant,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
    ast.BoolOp: _logic,
    ast.IfExp: _choice,
    ast.Subscript: _subscript,
    ast.Attribute: _attribute,
    ast.Tuple: _tuple,
    ast.List: _list,
    ast.ListComp: comprehended,
    ast.GeneratorExp: comprehended,
    ast.Call: _call,
}
