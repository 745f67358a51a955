"""The state while one function is read: its text, its names, and the common list of operations."""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from mpibatch.stencil.language.captures import EMPTY
from mpibatch.stencil.language.ir import Read
from mpibatch.stencil.language.tape import MOST_OPERATIONS, Argument, Component, Ref, Tape, known_number

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Mapping

    from mpibatch.stencil.language.source import FunctionText

__all__ = ["FunctionFrame", "Unset", "is_dynamic"]


@dataclass(frozen=True, slots=True)
class Unset:
    """A name that only one branch of an `if` has set."""


def is_dynamic(value: Any) -> bool:
    """Whether `value` differs from cell to cell or from call to call. Local."""
    return isinstance(value, Ref | Argument | Component)


@dataclass
class FunctionFrame:
    """One function being read. `call` reads a call: it is given, since what it needs lies above this module."""

    source: FunctionText
    tape: Tape
    outer: tuple[Mapping[str, Any], ...]  # closure and globals
    components: Mapping[str, tuple[str, ...]]
    call: Callable[[ast.Call, FunctionFrame, tuple[int, ...] | None], Any]
    depth: int = 0
    name: str = ""  # of the function
    names: dict[str, Any] = field(default_factory=dict)

    def refuse(self, node: ast.AST, problem: str, hint: str) -> NoReturn:
        """Raise UsageError that points at `node`. Local."""
        self.source.refuse(node, problem, hint)

    def lookup(self, node: ast.Name) -> Any:
        """Return what a name stands for. Local."""
        scopes = [scope for scope in (self.names, *self.outer, vars(builtins)) if node.id in scope]
        if not scopes:
            if node.id == self.name:
                self.refuse(node, f"{node.id!r} names itself", "a stencil cannot call itself: write a range loop")
            hint = "define it above the stencil, or pass it as a parameter"
            self.refuse(node, f"{node.id!r} is not defined here", hint)
        value = scopes[0][node.id]
        if scopes[0] is not self.names:
            if node.id == self.name and self.depth == 0:
                self.refuse(node, f"{node.id!r} names itself", "a stencil cannot call itself: write a range loop")
            if value is EMPTY:
                self.refuse(node, f"{node.id!r} has no value yet", "set it above the stencil, which is read at once")
            if scopes[0] is not vars(builtins):
                self.tape.captures.add_name(scopes[0], node.id, value)
        if isinstance(value, Unset):
            self.refuse(node, f"{node.id!r} is set in one branch of an `if` only", "set it before the `if`")
        return value

    def emit(self, node: ast.AST, name: str, *args: Any, data: Any = None) -> Ref:
        """Add an operation on any values that are numbers. Local."""
        refs = [self.number(node, a) for a in args]
        if len(self.tape.ops) >= MOST_OPERATIONS:
            self.refuse(node, f"the kernel grew beyond {MOST_OPERATIONS} operations", "loops are unrolled")
        return self.tape.emit(name, refs, data, self.source.place(node))

    def number(self, node: ast.AST, value: Any) -> Ref:
        """Return a value as the result of an operation. Local."""
        if isinstance(value, Ref):
            return value
        if isinstance(value, Argument):
            self._plays(node, value.name, "scalar")
            return self.tape.emit("param", data=value.name, place=self.source.place(node))
        if isinstance(value, Component):
            self.refuse(node, "a component of a field is used without an index", "write the offsets: q.rho[0, 0]")
        known = known_number(value)
        if known is None:
            self.refuse(node, f"a number is needed here, not {_kind(value)}", "stencils compute with numbers only")
        return self.tape.emit("const", data=known, place=self.source.place(node))

    def read(self, node: ast.AST, value: Argument | Component, index: Any) -> Ref:
        """Read a field at relative indices. Local."""
        argument = value.argument if isinstance(value, Component) else value
        indices = tuple(index) if isinstance(index, tuple | list) else (index,)
        whole = [known_number(i) for i in indices]
        if any(is_dynamic(i) for i in indices):
            self.refuse(
                node,
                "an index that is not known when the kernel is compiled",
                "relative indices are whole numbers, such as u[-1, 0], or the variable of a range loop",
            )
        offsets = tuple(i for i in whole if isinstance(i, int) and not isinstance(i, bool))
        if len(offsets) != len(indices):
            self.refuse(node, f"index {indices!r}", "relative indices are whole numbers, such as u[-1, 0]")
        if argument.shift is not None:
            n = len(argument.shift)
            if len(offsets) < n:
                self.refuse(
                    node, f"{len(offsets)} indices in a stencil that is called at {argument.shift}", f"give {n}"
                )
            offsets = tuple(a + b for a, b in zip(offsets, argument.shift, strict=False)) + offsets[n:]
        self._plays(node, argument.name, "field")
        component = value.number if isinstance(value, Component) else None
        return self.tape.emit("read", data=Read(argument.name, offsets, component), place=self.source.place(node))

    def _plays(self, node: ast.AST, name: str, role: str) -> None:
        """Note that a parameter is used as a field or as a scalar; it cannot be both."""
        if self.tape.roles.setdefault(name, role) != role:
            self.refuse(
                node,
                f"parameter {name!r} is used with an index in one place and without in another",
                f"a field is read as {name}[0, 0]; a scalar has no index",
            )


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}" if not callable(value) else f"the function {getattr(value, '__name__', value)!r}"
