"""Steps that join earlier results: named operations of two or three, and expressions of names. No eval.

An expression is read with `ast`, and only what is listed here is accepted. Every cell is computed from the same cell of
each result, by the NumPy functions that Fields take: the bits do not depend on the ranks. Pure but for `evaluate`.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["EXPRESSION", "OPERATIONS", "evaluate", "names_in", "operate", "parsed"]

EXPRESSION = "expression"
LONGEST = 2000  # characters of an expression
DEEPEST = 60
LARGEST = 2**63

_PLAIN = (
    "add", "subtract", "multiply", "divide", "minimum", "maximum", "power", "hypot", "arctan2",
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
)  # fmt: skip
# A step's `filter`: the function of NumPy, and how many results it takes.
OPERATIONS: Mapping[str, tuple[str, int]] = {
    **{name: (name, 2) for name in _PLAIN},
    "and": ("logical_and", 2),
    "or": ("logical_or", 2),
    "xor": ("logical_xor", 2),
    "not": ("logical_not", 1),
    "where": ("where", 3),
}
_FUNCTIONS: Mapping[str, tuple[str, int]] = {
    **{name: entry for name, entry in OPERATIONS.items() if name not in ("and", "or", "not")},
    **{name: (name, 1) for name in ("sqrt", "square", "floor", "ceil", "rint", "trunc", "sign", "isnan", "isfinite")},
    "abs": ("absolute", 1),
}
_OTSU = "threshold_otsu"
_CALLS = (*_FUNCTIONS, _OTSU)

_OPERATORS: Mapping[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Pow: "power",
    ast.BitAnd: "bitwise_and", ast.BitOr: "bitwise_or", ast.BitXor: "bitwise_xor", ast.Invert: "invert",
    ast.USub: "negative", ast.UAdd: "positive", ast.Not: "logical_not", ast.And: "logical_and", ast.Or: "logical_or",
    ast.Eq: "equal", ast.NotEq: "not_equal", ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater",
    ast.GtE: "greater_equal",
}  # fmt: skip


def parsed(text: str) -> ast.expr:
    """Return the checked tree of an expression. Local. Raises UsageError with the place, marked by a caret."""
    if len(text) > LONGEST:
        raise UsageError(f"the expression has {len(text)} characters, and {LONGEST} at most; use several steps")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (RecursionError, MemoryError):
        raise UsageError("the expression is nested too deep; use several steps") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", 1) or 1
        raise _wrong(text, line, (getattr(error, "offset", 1) or 1) - 1, f"not valid: {error.args[0]}") from None
    _check(tree, text, 0)
    return tree


def names_in(tree: ast.expr) -> list[str]:
    """Return the names that an expression reads, in their order, each once. Local."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset))
    return list(dict.fromkeys(node.id for node in nodes))


def _check(node: ast.expr, text: str, depth: int) -> None:
    wrong = f"nested more than {DEEPEST} deep; use several steps" if depth > DEEPEST else _problem(node)
    if wrong:
        raise _wrong(text, node.lineno, node.col_offset, wrong)
    for inner in _parts(node):
        _check(inner, text, depth + 1)


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    skipped = node.func if isinstance(node, ast.Call) else None
    yield from (part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr) and part is not skipped)


def _problem(node: ast.expr) -> str:
    """What is wrong with a node itself; "" for nothing."""
    match node:
        case ast.Name():
            return ""
        case ast.Constant(value=value):
            if not isinstance(value, (bool, int, float)):
                return f"{value!r} is no number"
            return "this number has more than 63 bits" if isinstance(value, int) and value >= LARGEST else ""
        case ast.BinOp(op=op) | ast.UnaryOp(op=op) | ast.BoolOp(op=op):
            return "" if type(op) in _OPERATORS else f"the operator {type(op).__name__} is not known here"
        case ast.Compare(ops=ops):
            return "" if all(type(op) in _OPERATORS for op in ops) else "compare with == != < <= > >="
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            if name not in _CALLS:
                return f"there is no function {name!r}{nearest(name, _CALLS)}"
            takes = 1 if name == _OTSU else _FUNCTIONS[name][1]
            return "" if len(args) == takes else f"{name} takes {takes} values, and {len(args)} were given"
    return f"{type(node).__name__} is not taken: write names, numbers, operators, comparisons and functions"


def _wrong(text: str, line: int, column: int, problem: str) -> UsageError:
    lines = text.strip().splitlines() or [""]
    shown = lines[min(line, len(lines)) - 1]
    # ast counts bytes; a caret stands under a character.
    before = len(shown.encode()[: max(0, column)].decode(errors="ignore"))
    return UsageError(f"{problem}\n    {shown}\n    {' ' * before}^ expression, line {line}")


def evaluate(text: str, values: Mapping[str, Any]) -> Any:
    """Return the Field that an expression of Fields and numbers yields. Collective where it asks for a threshold."""
    from mpibatch.fields.field import Field

    result = _value(parsed(text), values)
    if not isinstance(result, Field):
        raise UsageError(f"expression {text!r} yields one number and not a field; name an earlier step in it")
    return result


def operate(name: str, fields: Sequence[Any]) -> Any:
    """Return what a named operation makes of Fields. Local."""
    import numpy as np

    return getattr(np, OPERATIONS[name][0])(*fields)


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _apply(_OPERATORS[type(op)], _value(left, values), _value(right, values))
        case ast.UnaryOp(op=op, operand=operand):
            return _apply(_OPERATORS[type(op)], _value(operand, values))
        case ast.BoolOp(op=op, values=parts):
            result = _value(parts[0], values)
            for part in parts[1:]:
                result = _apply(_OPERATORS[type(op)], result, _value(part, values))
            return result
        case ast.Compare(left=left, ops=ops, comparators=others):
            terms = [_value(term, values) for term in (left, *others)]
            result = _apply(_OPERATORS[type(ops[0])], terms[0], terms[1])
            for comparison, low, high in zip(ops[1:], terms[1:], terms[2:], strict=False):
                result = _apply("logical_and", result, _apply(_OPERATORS[type(comparison)], low, high))
            return result
        case ast.Call(func=ast.Name(id=name), args=args):
            given = [_value(arg, values) for arg in args]
            if name == _OTSU:
                from mpibatch import filters

                return float(filters.threshold_otsu(given[0]))
            return _apply(_FUNCTIONS[name][0], *given)
    raise AssertionError(f"{type(node).__name__} was not checked")


def _apply(name: str, *terms: Any) -> Any:
    import numpy as np

    if all(isinstance(term, (bool, int, float, np.generic)) for term in terms):
        # Numbers alone, in double precision: Python's own whole numbers would grow without end in powers of powers.
        numbers = [term if isinstance(term, (bool, np.bool_)) else np.float64(term) for term in terms]
        with np.errstate(all="ignore"):  # an infinity says it all
            number = getattr(np, name)(*numbers)
        return bool(number) if number.dtype.kind == "b" else float(number)
    return getattr(np, name)(*terms)
