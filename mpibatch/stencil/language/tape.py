"""What names stand for while a kernel is read, and the list of operations that grows meanwhile.

A value is either known now (a Python number, tuple, module, function: it takes part in the reading only) or the
result of an operation (`Ref`), or a parameter of the kernel (`Argument`) whose use decides what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.stencil.language.captures import Captures
from mpibatch.stencil.language.ir import KernelOutput, KernelProgram, Op, TextPlace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Argument", "Component", "Ref", "Tape", "known_number", "shifted", "without_unused"]

MOST_OPERATIONS = 20_000


@dataclass(frozen=True, slots=True)
class Ref:
    """The result of operation `number`."""

    number: int


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of the kernel; `shift` is where an inlined stencil was called at."""

    name: str
    shift: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Component:
    """A named component of a field."""

    argument: Argument
    number: int


def shifted(value: Any, shift: tuple[int, ...] | None) -> Any:
    """Return a field argument as seen from the cell at `shift`. Local."""
    if shift is None or not isinstance(value, Argument):
        return value
    if value.shift is not None:
        shift = tuple(a + b for a, b in zip(value.shift, shift, strict=True))
    return Argument(value.name, shift)


def known_number(value: Any) -> bool | int | float | None:
    """Return a number that is known while reading as a plain Python one, None for anything else. Local."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float) else None


@dataclass
class Tape:
    """The operations read so far; asking for one that is there already returns it."""

    roles: dict[str, str] = field(default_factory=dict)  # parameter: "field" or "scalar"
    ops: list[Op] = field(default_factory=list)
    places: list[TextPlace | None] = field(default_factory=list)
    captures: Captures = field(default_factory=Captures)
    _numbers: dict[Any, int] = field(default_factory=dict)

    def emit(self, name: str, args: Sequence[Ref] = (), data: Any = None, place: TextPlace | None = None) -> Ref:
        """Return the result of an operation, added if it is new. Local."""
        op = Op(name, tuple(a.number for a in args), data)
        # 1, 1.0 and True are equal and must not be taken for one another, nor 0.0 for -0.0.
        key = (name, op.args, type(data), repr(data))
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.ops)
            self.ops.append(op)
            self.places.append(place)
        return Ref(number)

    def program(
        self, name: str, parameters: Sequence[str], outputs: Sequence[KernelOutput], returns_tuple: bool
    ) -> KernelProgram:
        """Return what the outputs need, and nothing else. Local."""
        ops, place = without_unused(self.ops, [part for output in outputs for part in output.parts])
        return KernelProgram(
            name=name,
            parameters=tuple(parameters),
            fields=tuple(p for p in parameters if self.roles.get(p) == "field"),
            scalars=tuple(p for p in parameters if self.roles.get(p) == "scalar"),
            ops=ops,
            outputs=tuple(KernelOutput(tuple(place[p] for p in o.parts), o.is_vector) for o in outputs),
            returns_tuple=returns_tuple,
            places=tuple(self.places[n] for n in place),
            captured=tuple(self.captures.constants.values()),
        )


def without_unused(ops: Sequence[Op], results: Iterable[int]) -> tuple[tuple[Op, ...], dict[int, int]]:
    """Return the operations that results need, in order, and by their old numbers the new ones. Local."""
    live: set[int] = set()
    todo = list(results)
    while todo:
        number = todo.pop()
        if number not in live:
            live.add(number)
            todo += ops[number].args
    place = {number: at for at, number in enumerate(sorted(live))}
    return tuple(Op(o.name, tuple(place[a] for a in o.args), o.data) for o in (ops[n] for n in place)), place
