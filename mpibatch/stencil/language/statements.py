"""Reading statements: loops are unrolled, and of a condition on cells both branches are read and merged."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from mpibatch.stencil.language.expressions import binary, bind, evaluate, iterate, select, truth
from mpibatch.stencil.language.frame import FunctionFrame, Unset
from mpibatch.stencil.language.tape import Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NOTHING", "run"]

NOTHING = object()  # a block that ended without `return`

_HINTS: dict[type[ast.AST], str] = {
    ast.While: "a stencil does the same work for every cell: loop over a constant range",
    ast.FunctionDef: "define functions outside the stencil; calls to them are inlined",
    ast.Import: "import outside the stencil",
    ast.ImportFrom: "import outside the stencil",
    ast.Global: "return what the stencil computes",
    ast.Nonlocal: "return what the stencil computes",
    ast.Raise: "a cell cannot fail; return NaN and look at the result",
    ast.Assert: "a cell cannot fail; check the fields before the call",
    ast.Break: "loops are unrolled; choose values with `a if test else b`",
    ast.Continue: "loops are unrolled; choose values with `a if test else b`",
    ast.With: "a stencil computes with numbers only",
    ast.Try: "a cell cannot fail; choose values with `a if test else b`",
}


def run(body: Sequence[ast.stmt], frame: FunctionFrame) -> Any:
    """Read statements in order; return what they return, or NOTHING. Local."""
    for at, node in enumerate(body):
        if isinstance(node, ast.Return):
            if node.value is None:
                frame.refuse(node, "a return without a value", "return the new value of the cell")
            return evaluate(node.value, frame)
        if isinstance(node, ast.If):
            returned = _branch(node, body[at + 1 :], frame)
        elif isinstance(node, ast.For):
            returned = _loop(node, frame)
        else:
            _simple(node, frame)
            continue
        if returned is not NOTHING:
            return returned
    return NOTHING


def _simple(node: ast.stmt, frame: FunctionFrame) -> None:
    if isinstance(node, ast.Assign):
        value = evaluate(node.value, frame)
        for target in node.targets:
            bind(target, frame, value)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        bind(node.target, frame, evaluate(node.value, frame))
    elif isinstance(node, ast.AugAssign):
        before = evaluate(_as_load(node.target), frame)
        bind(node.target, frame, binary(node, frame, type(node.op), before, evaluate(node.value, frame)))
    elif isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return  # `pass`, or a docstring
    else:
        kind = type(node).__name__
        hint = _HINTS.get(type(node), "see the docstring of mpibatch.stencil for what a stencil may contain")
        frame.refuse(node, f"a stencil cannot contain this ({kind})", hint)


def _as_load(target: ast.expr) -> ast.expr:
    """The same expression, read instead of written (readers do not look at the context)."""
    return target


def _loop(node: ast.For, frame: FunctionFrame) -> Any:
    if node.orelse:
        frame.refuse(node.orelse[0], "a loop with `else`", "loops are unrolled and never broken off")
    for item in iterate(node.iter, frame):
        bind(node.target, frame, item)
        if run(node.body, frame) is not NOTHING:
            frame.refuse(node, "a return inside a loop", "choose values with `a if test else b`, and return at the end")
    return NOTHING


def _branch(node: ast.If, rest: Sequence[ast.stmt], frame: FunctionFrame) -> Any:
    test = truth(node.test, frame, evaluate(node.test, frame))
    if not isinstance(test, Ref):
        return run(node.body if test else node.orelse, frame)
    before = frame.names
    if _returns(node.body) or _returns(node.orelse):
        # What follows belongs to whichever branch falls through: read it with each, and merge what is returned.
        results = []
        for branch in (node.body, node.orelse):
            frame.names = _copied(before)
            results.append(run([*branch, *rest], frame))
        if NOTHING in results:
            frame.refuse(node, "one branch of this `if` returns, the other comes to no return", "return in both")
        if any(isinstance(r, tuple) for r in results) and len({len(r) for r in results if isinstance(r, tuple)}) != 1:
            frame.refuse(node, "the branches return different numbers of values", "return as many in both")
        return select(node, frame, test, *results)
    ends = []
    for branch in (node.body, node.orelse):
        frame.names = _copied(before)
        run(branch, frame)
        ends.append(frame.names)
    frame.names = {name: _merged(node, frame, test, name, ends) for name in ends[0] | ends[1]}
    return NOTHING


def _merged(node: ast.If, frame: FunctionFrame, test: Ref, name: str, ends: list[dict[str, Any]]) -> Any:
    values = [end.get(name, Unset()) for end in ends]
    if any(isinstance(value, Unset) for value in values):
        return Unset()
    if values[0] is values[1]:
        return values[0]
    return select(node, frame, test, *values)


def _returns(body: Sequence[ast.stmt]) -> bool:
    return any(isinstance(inner, ast.Return) for node in body for inner in ast.walk(node))


def _copied(names: dict[str, Any]) -> dict[str, Any]:
    """Names with lists of their own, which a branch may change."""
    return {name: _copy(value) for name, value in names.items()}


def _copy(value: Any) -> Any:
    return [_copy(item) for item in value] if isinstance(value, list) else value
