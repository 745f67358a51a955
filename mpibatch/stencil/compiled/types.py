"""A program with a NumPy type for every number, after NumPy's promotion rules; what both back ends carry out.

Constants, scalar parameters, indices and coordinates are weak, as Python's numbers are to NumPy: they are
computed with in f8 (or i8) among themselves and take on the type of the field that they meet. Truth values count
as weak whole numbers in arithmetic. In typed form both operands of an operation have one type, so that neither
back end converts anything by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.stencil.language.functions import FUNCTIONS
from mpibatch.stencil.language.ir import MARKERS, KernelProgram, Op, Read, TextPlace
from mpibatch.stencil.language.source import refusal
from mpibatch.stencil.language.tape import without_unused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Array", "Load", "Stored", "Sweep", "Typed", "assign_types", "check_dtype"]

_F8, _I8, _BOOL = np.dtype("f8"), np.dtype("i8"), np.dtype("?")
_COMPARISONS = frozenset(["<", "<=", ">", ">=", "==", "!="])
_ANY_TYPE = {"min", "max", "minimum", "maximum", "where", "abs", "floor", "ceil"}
_FLOAT_FUNCTIONS = {name for name, _ in FUNCTIONS.values()} - _ANY_TYPE


@dataclass(frozen=True, slots=True)
class Array:
    """How a field is stored: its type and its components."""

    dtype: np.dtype[Any]
    components: tuple[int, ...] = ()

    @property
    def words(self) -> int:
        """Numbers per cell. Local."""
        return math.prod(self.components)


@dataclass(frozen=True, slots=True)
class Stored:
    """Memory, components last, and where owned cell (0, 0, 0) lies in it: the low widths of the halo."""

    array: npt.NDArray[Any]
    first: tuple[int, ...]


class Sweep(Protocol):
    """Computes a range of cells; what a back end makes of a kernel and memory."""

    def __call__(self, start: Sequence[int], stop: Sequence[int], /) -> None:
        """Compute the owned cells [start, stop), counted from this rank's first. Local."""


@dataclass(frozen=True, slots=True)
class Load:
    """A read of input number `array`: offsets along the grid's axes, and which of its components in C order."""

    array: int
    offsets: tuple[int, ...]
    component: int


# Compared by identity: a kernel keeps one for the same arguments, and to hash all operations takes long.
@dataclass(frozen=True, slots=True, eq=False)
class Typed:
    """A kernel for certain fields.

    Attributes
    ----------
    ndim : axes of the grid.
    inputs, outputs : how they are stored, in the order of ``program.fields`` and of what is returned.
    scalars : (name, "int", "float" or "bool") of the scalar parameters.
    ops, types : operations and the type of each result. Besides loads and constants: cast, ``+ - * / // %``, neg,
        abs, ``& | ^ ~``, not, comparisons, where, floor, ceil, and functions on floats.
    results : for each output the operation of each component.
    in_place : for each output the input that is the same memory, read at the cell itself only; -1 for none.
    narrow : (scalar, integer type that it is cast to), to be checked when the value is known.
    """

    name: str
    ndim: int
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    scalars: tuple[tuple[str, str], ...]
    ops: tuple[Op, ...]
    types: tuple[np.dtype[Any], ...]
    results: tuple[tuple[int, ...], ...]
    in_place: tuple[int, ...]
    narrow: tuple[tuple[str, np.dtype[Any]], ...]


def check_dtype(name: str, dtype: np.dtype[Any]) -> None:
    """Raise UsageError for a type that kernels do not compute with. Local."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype == np.float16:
        raise UsageError(
            f"field {name!r} of dtype {dtype} was given to a stencil; stencils compute with bool, integers, f4 and f8: "
            "use u.astype, or keep real and imaginary parts in two fields"
        )


@dataclass
class _Typer:
    """The typed operations so far. A value is its number, its type, and whether that is weak."""

    program: KernelProgram
    ops: list[Op] = field(default_factory=list)
    types: list[np.dtype[Any]] = field(default_factory=list)
    weak: list[bool] = field(default_factory=list)
    narrow: list[tuple[str, np.dtype[Any]]] = field(default_factory=list)
    place: TextPlace | None = None
    _numbers: dict[Any, int] = field(default_factory=dict)

    def emit(self, name: str, args: Sequence[int], dtype: np.dtype[Any], weak: bool = False, data: Any = None) -> int:
        key = (name, tuple(args), dtype, weak, type(data), repr(data))
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.ops)
            self.ops.append(Op(name, tuple(args), data))
            self.types.append(dtype)
            self.weak.append(weak)
        return number

    def refuse(self, problem: str, hint: str) -> NoReturn:
        raise refusal(self.place, f"stencil {self.program.name!r}: {problem}", hint)

    def constant(self, value: Any, dtype: np.dtype[Any], weak: bool = False) -> int:
        if dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            self.refuse(f"the number {value} does not fit into {dtype}", "convert the field: np.int64(u[0])")
        with np.errstate(all="ignore"):  # 1e300 becomes infinite as f4, as it does in an array
            return self.emit("const", (), dtype, weak, dtype.type(value))

    def cast(self, number: int, dtype: np.dtype[Any], weak: bool = False) -> int:
        """Return a value as `dtype`."""
        if self.types[number] == dtype:
            return number
        op = self.ops[number]
        if op.name == "const":
            return self.constant(op.data.item(), dtype, weak)
        if op.name == "param" and dtype.kind in "iu" and dtype != _I8:
            self.narrow.append((op.data, dtype))
        return self.emit("cast", (number,), dtype, weak)

    def common(self, args: Sequence[int], least: str = "") -> tuple[list[int], np.dtype[Any], bool]:
        """Bring operands to one type, at least a float if `least` is "f"; return them, it, and whether it is weak."""
        strong = {self.types[a] for a in args if not self.weak[a] and self.types[a] != _BOOL}
        loose = [self.types[a] for a in args if self.weak[a] or self.types[a] == _BOOL]
        has_float = any(t.kind == "f" for t in loose)
        if strong:
            dtype = np.result_type(*strong)
            if (has_float or least == "f") and dtype.kind != "f":
                dtype = _F8
        else:
            dtype = _F8 if has_float or least == "f" else _I8
        return [self.cast(a, dtype, not strong) for a in args], dtype, not strong

    def truth(self, number: int) -> int:
        if self.types[number] == _BOOL:
            return number
        dtype = self.types[number]
        return self.emit("!=", (number, self.constant(0, dtype, self.weak[number])), _BOOL)

    def where(self, test: int, a: int, b: int) -> int:
        if self.types[a] == self.types[b] == _BOOL:
            return self.emit("where", (self.truth(test), a, b), _BOOL)
        (a, b), dtype, weak = self.common((a, b))
        return self.emit("where", (self.truth(test), a, b), dtype, weak)


def _comparison(typer: _Typer, name: str, args: Sequence[int]) -> int:
    strong = {typer.types[a] for a in args if not typer.weak[a] and typer.types[a].kind in "iu"}
    for a in args:
        # A constant beyond the range of a small integer field compares as a number, it does not wrap around.
        op = typer.ops[a]
        if op.name in ("const", "param") and typer.types[a] == _I8 and len(strong) == 1:
            small = next(iter(strong))
            if small.itemsize < 8:
                args = [typer.cast(x, _I8) for x in args]
                break
    both, _, _ = typer.common(args)
    return typer.emit(name, both, _BOOL)


def _extremum(typer: _Typer, name: str, args: Sequence[int]) -> int:
    """Python's min and max (the first unless the second is beyond it); minimum and maximum pass NaN on."""
    (a, b), dtype, weak = typer.common(args)
    beyond = "<" if name.startswith("min") else ">"
    if name in ("min", "max"):
        return typer.emit("where", (typer.emit(beyond, (b, a), _BOOL), b, a), dtype, weak)
    test = typer.emit(beyond, (a, b), _BOOL)
    if dtype.kind == "f":
        test = typer.emit("|", (test, typer.emit("!=", (a, a), _BOOL)), _BOOL)
    return typer.emit("where", (test, a, b), dtype, weak)


def _operation(typer: _Typer, op: Op, args: list[int]) -> int:
    """Return the typed form of one operation of the program."""
    name = op.name
    if name in _COMPARISONS:
        return _comparison(typer, name, args)
    if name in ("min", "max", "minimum", "maximum"):
        return _extremum(typer, name, args)
    if name == "where":
        return typer.where(*args)
    if name in ("and", "or"):
        return _logic(typer, name, *args)
    if name == "truth":
        return typer.truth(args[0])
    if name == "not":
        return typer.emit("not", (typer.truth(args[0]),), _BOOL)
    if name == "cast":
        return typer.cast(_strong(typer, args[0]), np.dtype(op.data))
    if name in ("&", "|", "^", "~"):
        return _bitwise(typer, name, args)
    same, dtype, weak = typer.common(args, "f" if name == "/" or name in _FLOAT_FUNCTIONS else "")
    if name in ("//", "%") and dtype.kind == "f":
        typer.refuse(f"{name} between floats", "write floor(a / b), which is the same on every back end")
    if name in ("floor", "ceil") and dtype.kind != "f":
        return same[0]
    return typer.emit(name, same, dtype, weak)


def _strong(typer: _Typer, number: int) -> int:
    """A weak value that is cast on purpose is cast even if its type is right already."""
    if not typer.weak[number]:
        return number
    return typer.emit("cast", (number,), typer.types[number], False)


def _bitwise(typer: _Typer, name: str, args: Sequence[int]) -> int:
    if all(typer.types[a] == _BOOL for a in args):
        return typer.emit("not" if name == "~" else name, args, _BOOL)
    same, dtype, weak = typer.common(args)
    if dtype.kind == "f":
        typer.refuse(f"{name} between floats", "bits are those of whole numbers or of truth values")
    return typer.emit(name, same, dtype, weak)


def _logic(typer: _Typer, name: str, a: int, b: int) -> int:
    """Python's `and` and `or`, which give one of the two: of truth values a truth value, of numbers a number."""
    if typer.types[a] == typer.types[b] == _BOOL:
        return typer.emit("&" if name == "and" else "|", (a, b), _BOOL)
    return typer.where(a, b, a) if name == "and" else typer.where(a, a, b)


def _load(typer: _Typer, read: Read, ndim: int, inputs: Sequence[Array]) -> int:
    number = typer.program.fields.index(read.field)
    array = inputs[number]
    last = (read.component,) if read.component is not None else read.index[ndim:]
    shape = array.components
    if read.component is not None and len(read.index) != ndim:
        typer.refuse(f"{len(read.index)} indices of a named component on a grid of {ndim} axes", "give one per axis")
    if len(last) != len(shape) or any(not 0 <= c < n for c, n in zip(last, shape, strict=False)):
        problem = f"field {read.field!r} has {ndim} grid axes and components {shape}; it is read at {list(read.index)}"
        typer.refuse(problem, "give one offset per grid axis, then the number of the component, from 0")
    flat = int(np.ravel_multi_index(last, shape)) if shape else 0
    return typer.emit("read", (), array.dtype, False, Load(number, read.offsets(ndim), flat))


_WEAK = {"int": _I8, "float": _F8, "bool": _BOOL}


def assign_types(
    program: KernelProgram,
    ndim: int,
    inputs: Sequence[Array],
    scalars: Mapping[str, str],
    requested: Sequence[Array | None],
    in_place: Sequence[int] = (),
) -> Typed:
    """Return the typed form of a program. Local.

    Parameters
    ----------
    inputs : how the fields are stored, in the order of ``program.fields``.
    scalars : "int", "float" or "bool" for each scalar parameter.
    requested : how each output is to be stored, None for the type that the expression has.
    in_place : see `Typed`; default: no output is an input.

    Raises UsageError where types and text do not fit one another.
    """
    typer = _Typer(program)
    numbers: list[int] = []
    for op, place in zip(program.ops, program.places, strict=True):
        typer.place = place
        if op.name == "const":
            value = op.data
            kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
            number = typer.constant(value, _WEAK[kind], kind != "bool")
        elif op.name == "param":
            kind = scalars[op.data]
            number = typer.emit("param", (), _WEAK[kind], kind != "bool", op.data)
        elif op.name == "read":
            number = _load(typer, op.data, ndim, inputs)
        elif op.name in MARKERS:
            if op.data >= ndim:
                typer.refuse(f"axis {op.data} on a grid of {ndim} axes", f"axes are numbered 0 to {ndim - 1}")
            dtype = _I8 if op.name in ("index", "cells") else _F8
            number = typer.emit(op.name, (), dtype, True, op.data)
        else:
            number = _operation(typer, op, [numbers[a] for a in op.args])
        numbers.append(number)
    outputs, results = _stored(typer, requested, numbers)
    ops, order = without_unused(typer.ops, [part for parts in results for part in parts])
    return Typed(
        name=program.name,
        ndim=ndim,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        scalars=tuple((name, scalars[name]) for name in program.scalars),
        ops=ops,
        types=tuple(typer.types[n] for n in order),
        results=tuple(tuple(order[p] for p in parts) for parts in results),
        in_place=tuple(in_place) or (-1,) * len(outputs),
        narrow=tuple(dict.fromkeys(typer.narrow)),
    )


def _stored(
    typer: _Typer, requested: Sequence[Array | None], numbers: Sequence[int]
) -> tuple[list[Array], list[tuple[int, ...]]]:
    """Return how the outputs are stored, and the operations that give their components in those types."""
    program = typer.program
    outputs: list[Array] = []
    results: list[tuple[int, ...]] = []
    for at, (output, want) in enumerate(zip(program.outputs, requested, strict=True)):
        parts = [numbers[p] for p in output.parts]
        components = (len(parts),) if output.is_vector else ()
        kinds = {typer.types[p] for p in parts}
        dtype = typer.common(parts)[1] if len(kinds) > 1 else kinds.pop()
        stored = want or Array(dtype, components)
        if stored.components != components:
            raise UsageError(
                f"stencil {program.name!r} returns components {components} as output {at}, and out has "
                f"{stored.components}; create out with components={components}"
            )
        is_small = all(typer.weak[p] for p in parts) and dtype.kind == "i" and stored.dtype.kind == "u"
        if not np.can_cast(dtype, stored.dtype, "same_kind") and not is_small:
            raise UsageError(
                f"stencil {program.name!r} computes {dtype} as output {at}, and out is {stored.dtype}; "
                f"give an out that can hold it, or cast in the kernel: np.{stored.dtype}(...)"
            )
        outputs.append(stored)
        results.append(tuple(typer.cast(p, stored.dtype) for p in parts))
    return outputs, results
