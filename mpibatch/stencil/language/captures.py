"""What a kernel took from outside while it was read: constants become part of it, and must not change afterwards.

Names of closures and modules, attributes of objects and items of dicts are recorded with their values. Each call
looks at them again: by identity, then by value; so a table that is written to, or a constant that is set anew, raises
instead of being ignored.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpibatch.base.errors import UsageError

__all__ = ["EMPTY", "Captured", "Captures", "Cells", "check_captured"]

# Tables up to so many bytes are compared whole, of larger ones so many numbers.
WHOLE, SAMPLES = 4096, 64
# Neither can change, nor hold what can: for these, to be the same object is to be equal.
_FIXED = (bool, int, float, complex, str, bytes, type(None), np.generic, range, types.FunctionType)

EMPTY = object()  # a name of a closure that has no value yet


class Cells(Mapping[str, Any]):
    """The names that a function has from the functions around it, as they are now; EMPTY without a value."""

    def __init__(self, function: Callable[..., Any]) -> None:
        code = getattr(function, "__code__", None)
        names = code.co_freevars if code is not None else ()
        self._cells: dict[str, types.CellType] = dict(
            zip(names, getattr(function, "__closure__", None) or (), strict=True)
        )

    def __getitem__(self, name: str) -> Any:
        try:
            return self._cells[name].cell_contents
        except ValueError:
            return EMPTY

    def closure_cell(self, name: str) -> types.CellType:
        """Where the name's value is kept. Local."""
        return self._cells[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """One value: what it is called, where it is looked up, as `get(place, key)`, and what it was."""

    name: str
    get: Callable[[Any, Any], Any]
    place: Any
    key: Any
    value: Any
    frozen: Any
    is_fixed: bool

    def now(self) -> Any:
        """The value of today; that of the reading where there is none any more. Local."""
        try:
            return self.get(self.place, self.key)
        except (LookupError, AttributeError, ValueError):
            return self.value

    def holds(self, value: Any) -> bool:
        """Whether `value` is what was read. Local."""
        if value is self.value and self.is_fixed:
            return True
        return bool(_frozen(value) == self.frozen)


@dataclass
class Captures:
    """The values taken from outside so far."""

    constants: dict[Any, Captured] = field(default_factory=dict)

    def add(self, name: str, get: Callable[[Any, Any], Any], place: Any, key: Any, value: Any) -> None:
        """Record a value, unless it is a module or a class, whose own contents are recorded as they are read. Local."""
        mark = (id(place), name)
        if mark in self.constants or value is EMPTY or isinstance(value, types.ModuleType | type | np.ufunc):
            return
        if isinstance(value, types.BuiltinFunctionType):
            return
        is_fixed = isinstance(value, _FIXED) or _is_object(value)
        self.constants[mark] = Captured(
            name=name, get=get, place=place, key=key, value=value, frozen=_frozen(value), is_fixed=is_fixed
        )

    def add_name(self, scope: Mapping[str, Any], name: str, value: Any) -> None:
        """Record what a name outside of the function stands for. Local."""
        if isinstance(scope, Cells):
            self.add(name, getattr, scope.closure_cell(name), "cell_contents", value)
        else:
            self.add(name, operator.getitem, scope, name, value)


def check_captured(kernel: str, captured: Sequence[Captured]) -> None:
    """Raise UsageError if a constant of a kernel has changed since it was read. Local."""
    for constant in captured:
        value = constant.now()
        if not constant.holds(value):
            was, now = (" ".join(repr(x).split())[:60] for x in (constant.value, value))
            change = f"has changed from {was} to {now}" if was != now else f"({now}) was changed in place"
            raise UsageError(
                f"stencil {kernel!r} was called, and its constant {constant.name!r} {change}; a stencil keeps what it "
                "read when it was defined: pass what changes as an argument, or define the stencil anew"
            )


def _is_object(value: Any) -> bool:
    """Whether only attributes or items of `value` are read, which are recorded by themselves."""
    return not isinstance(value, np.ndarray | list | tuple) and not isinstance(value, _FIXED)


def _frozen(value: Any) -> Any:
    """What stands for a value: two are equal if the values are, to the type and the bit."""
    if isinstance(value, np.ndarray):
        part = value if value.nbytes <= WHOLE else value.ravel()[:: max(1, value.size // SAMPLES)]
        return (value.dtype, value.shape, part.tobytes())
    if isinstance(value, list | tuple):
        return (type(value), *map(_frozen, value))
    if isinstance(value, float | np.generic):
        return (type(value), repr(value))
    if isinstance(value, bool | int | str | bytes | types.NoneType | range):
        return (type(value), value)
    function = getattr(value, "__stencil__", value)
    if isinstance(function, types.FunctionType):
        return (_text(function), function.__defaults__)
    return value


def _text(function: types.FunctionType) -> Any:
    """A function defined anew with the same text is the same; its code counts, not the lines it stands in."""
    code = function.__code__
    return code.co_code, code.co_names, tuple(c for c in code.co_consts if not isinstance(c, types.CodeType))
