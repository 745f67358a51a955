"""The parsed form of a kernel: a list of operations on numbers, each named by its place in the list.

Three-address code in single assignment: an operation takes the results of earlier ones, nothing is computed
twice, and whatever `if`, loops and calls there were are gone. Both back ends and the footprint read this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpibatch.stencil.language.captures import Captured

__all__ = ["MARKERS", "KernelOutput", "KernelProgram", "Op", "Read", "TextPlace"]

# What a kernel may ask about the cell that it computes or about the grid, along an axis.
MARKERS = ("index", "coordinate", "spacing", "cells")


@dataclass(frozen=True, slots=True)
class TextPlace:
    """Where in the user's text something stands."""

    file: str
    line: int
    text: str
    column: int
    width: int

    def __str__(self) -> str:
        return f'  File "{self.file}", line {self.line}\n    {self.text}\n    {" " * self.column}{"^" * self.width}'


@dataclass(frozen=True, slots=True)
class Read:
    """One relative read of a field.

    Attributes
    ----------
    index : the numbers between the brackets; the last of them are component indices if the field has components
        and `component` is None. How many axes the grid has is known only when the kernel is called.
    component : the number of a named component.
    """

    field: str
    index: tuple[int, ...]
    component: int | None = None

    def offsets(self, ndim: int) -> tuple[int, ...]:
        """The offsets along the grid's axes. Local."""
        return self.index[:ndim]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    ==========================  ============  ==============================================================
    name                        args          data
    ==========================  ============  ==============================================================
    const                                     a Python bool, int or float (in typed form: a NumPy scalar)
    param                                     name of a scalar parameter
    read                                      a `Read` (in typed form: a `typed.Load`)
    one of MARKERS                            axis
    cast                        a             dtype name
    + - * / // % & | ^ etc.     a, b
    < <= > >= == !=             a, b
    and or                      a, b          (of numbers a number, as in Python)
    neg abs not truth ~         a
    where                       test, a, b    (both are computed, one is kept)
    a function's name           its operands
    ==========================  ============  ==============================================================
    """

    name: str
    args: tuple[int, ...] = ()
    data: Any = None


@dataclass(frozen=True, slots=True)
class KernelOutput:
    """One returned field: the operations that give its components (one for a field without components)."""

    parts: tuple[int, ...]
    is_vector: bool


@dataclass(frozen=True, slots=True)
class KernelProgram:
    """A kernel's text, parsed once. `places` tells where each operation comes from, `captured` what is constant."""

    name: str
    parameters: tuple[str, ...]
    fields: tuple[str, ...]
    scalars: tuple[str, ...]
    ops: tuple[Op, ...]
    outputs: tuple[KernelOutput, ...]
    returns_tuple: bool
    places: tuple[TextPlace | None, ...] = field(repr=False, default=())
    captured: tuple[Captured, ...] = field(repr=False, compare=False, default=())

    @property
    def reads(self) -> tuple[Read, ...]:
        """All different reads, in the order of the text. Local."""
        return tuple(op.data for op in self.ops if op.name == "read")
