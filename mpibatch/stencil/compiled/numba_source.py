"""The compiled back end: a typed kernel as the text of numba functions.

``cell`` computes one cell. ``plane`` runs it over the cells [j0, j1) × [i0, i1) of one plane (a row of one, in 2-D; in
1-D the line), and takes where each plane that it reads begins: in a field, or in a ring of planes for fused steps.
``sweep`` runs that over the planes [k0, k1), in strips of rows so that the planes read stay in the cache; at each
``turn`` it unpacks what it was given, and fills cells outside the domain.

Memory comes by its address, truth values as bytes. Cells of a row are counted from 0 with the row's place added and the
sum taken as unsigned: numba would guard a signed index against wrap-around in every load, and not vectorize. The text
has the order of operations of the typed form; nothing is re-associated, so a cell's bits do not depend on the block it
lies in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.stencil.compiled.arguments import type_name, unpacking
from mpibatch.stencil.compiled.modules import HEADER
from mpibatch.stencil.compiled.ways import PLAIN
from mpibatch.stencil.language.ir import MARKERS, Op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.stencil.compiled.arguments import Parameter
    from mpibatch.stencil.compiled.types import Load, Typed
    from mpibatch.stencil.compiled.ways import Way

__all__ = ["Signature", "decorator", "kernel_text", "number_parameters", "plane_text", "signature_of", "vector_hints"]

DEEPEST_NESTING = 30
LINE = 64  # bytes of a cache line
LEAVES = frozenset(["const", "param", "read"])
_MATH = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2"}
_INFIX = frozenset(["+", "-", "*", "/", "//", "%", "&", "|", "^", "<", "<=", ">", ">=", "==", "!="])
_GEOMETRY = {"index": "int", "cells": "int", "coordinate": "float", "spacing": "float"}
_NUMPY = frozenset(["floor", "ceil"])  # Python's return whole numbers

# LLVM's own limit, less what it counts otherwise than we do.
MANY_CHECKS = 100


@dataclass(frozen=True, slots=True)
class Signature:
    """What the generated functions take, in order; rings and sweeps are built from it.

    Attributes
    ----------
    planes : for each input the offsets along the slowest axis at which it is read (0 alone in 1-D).
    read_off : the inputs that are read off the cell.
    scalars : names of the scalar arguments ``s0, s1, ...`` in the kernel's text.
    geometry : (marker, axis) of the grid's parameters, as ``g0, g1, ...``; "index" is the cell where counting
        begins, "coordinate" the coordinate of global cell 0.
    """

    planes: tuple[tuple[int, ...], ...]
    read_off: tuple[int, ...]
    scalars: tuple[str, ...]
    geometry: tuple[tuple[str, int], ...]


def signature_of(typed: Typed) -> Signature:
    """Return what the functions generated for a typed kernel take. Local."""
    loads = [op.data for op in typed.ops if op.name == "read"]
    planes = []
    for number in range(len(typed.inputs)):
        offsets = {x.offsets[0] if typed.ndim > 1 else 0 for x in loads if x.array == number}
        planes.append(tuple(sorted(offsets)))
    geometry: list[tuple[str, int]] = []
    for op in typed.ops:
        if op.name in MARKERS:
            markers = {"coordinate": ("index", "coordinate", "spacing")}.get(op.name, (op.name,))
            geometry += [(name, op.data) for name in markers if (name, op.data) not in geometry]
    read_off = sorted({x.array for x in loads if any(x.offsets)})
    return Signature(tuple(planes), tuple(read_off), tuple(name for name, _ in typed.scalars), tuple(geometry))


def _at(offset: int) -> str:
    """A plane's name by its offset: m2, p0, p1."""
    return f"{'m' if offset < 0 else 'p'}{abs(offset)}"


def _plus(number: int) -> str:
    return f" + {number}" if number > 0 else f" - {-number}" if number else ""


def _moved(name: str, by: int) -> str:
    return f"({name}{_plus(by)})" if by else name


def _times(words: int) -> str:
    return f" * {words}" if words > 1 else ""


def _plane_arguments(typed: Typed, signature: Signature) -> list[str]:
    names = []
    for m in range(len(typed.outputs)):
        names += [f"b{m}", f"b{m}_p0", f"b{m}_s"]
    for n, planes in enumerate(signature.planes):
        names += [f"a{n}", *(f"a{n}_{_at(d)}" for d in planes), f"a{n}_s"]
    names += [f"s{i}" for i in range(len(signature.scalars))]
    names += [f"g{i}" for i in range(len(signature.geometry))]
    return names


def plane_text(typed: Typed, way: Way = PLAIN) -> str:
    """Return the text of ``cell`` and ``plane``. Local."""
    signature = signature_of(typed)
    writer = _CellWriter(typed, signature)
    body = writer.body()
    arguments = _plane_arguments(typed, signature)
    given = ", ".join([*arguments, "k", "j", "i0", "i"])
    lines = [
        "@straight",
        f"def cell({given}):",
        *(f"    {line}" for line in (*writer.rows(), *body)),
        "\n",
        "@compiled_within",
        f"def plane({', '.join([*arguments, 'k', 'j0', 'j1', 'i0', 'i1'])}):",
        *vector_hints(way),
        f"    for j in range({'j0, j1' if typed.ndim == 3 else '1'}):",
        *(_fetches(typed, signature, way.ahead) if way.ahead and typed.ndim == 3 else ()),
        "        for i in range(i1 - i0):",
        f"            cell({given})",
    ]
    return "\n".join(lines) + "\n"


def vector_hints(way: Way) -> list[str]:
    """Return the lines by which a function tells how long its vectors may be. Local."""
    return ["    use_short_vectors()"] if way.is_narrow else []


def _fetches(typed: Typed, signature: Signature, ahead: int) -> list[str]:
    """Ask for a row of all that comes into the cache: of the last plane that is read of each input, in three axes."""
    rows = [
        (f"a{n}", f"a{n}_{_at(planes[-1])}", typed.inputs[n]) for n, planes in enumerate(signature.planes) if planes
    ]
    rows = [row for n, row in enumerate(rows) if n not in typed.in_place]
    rows += [(f"b{m}", f"b{m}_p0", typed.outputs[m]) for m, n in enumerate(typed.in_place) if n >= 0]
    lines = []
    for name, plane, array in rows:
        words, line = array.words, max(1, LINE // array.dtype.itemsize)
        lines += [
            f"        for w in range(i0{_times(words)}, i1{_times(words)}, {line}):",
            f"            fetch_ahead({name}, U8({plane} + (j + {ahead}) * {name}_s + w))",
        ]
    return lines


def decorator(typed: Typed) -> str:
    """Return how what calls ``plane`` is compiled. Local."""
    writer = _CellWriter(typed, signature_of(typed))
    writer.body()
    # Each array written is to be told apart from each other one, and from each row read.
    written, read = len(typed.outputs), len(writer.rows()) - len(typed.outputs)
    checks = written * read + written * (written - 1) // 2
    return "@compiled_lean_many" if checks > MANY_CHECKS else "@compiled_lean"


class _CellWriter:
    """Writes the operations of one cell; what is used once is written where it is used."""

    def __init__(self, typed: Typed, signature: Signature) -> None:
        self._typed = typed
        self._signature = signature
        self._rows: dict[tuple[int, int, int], str] = {}
        self._text: dict[int, str] = {}
        self._depth: dict[int, int] = {}
        uses = [0] * len(typed.ops)
        for op in typed.ops:
            for a in op.args:
                uses[a] += 1
        # Both sides of a choice get names, so that they are computed in a straight line and vectorize.
        self._sides = {a for op in typed.ops if op.name == "where" for a in op.args[1:]}
        for parts in typed.results:
            for part in parts:
                uses[part] += 1
        self._uses = uses

    def rows(self) -> list[str]:
        """Where each row begins: the same for all its cells, as LLVM sees."""
        three = self._typed.ndim == 3
        lines = []
        for m, array in enumerate(self._typed.outputs):
            across = f" + j * b{m}_s" if three else ""
            lines.append(f"w{m} = b{m}_p0{across} + i0{_times(array.words)}")
        for (n, d0, d1), name in self._rows.items():
            across = f" + {_moved('j', d1)} * a{n}_s" if three else ""
            lines.append(f"{name} = a{n}_{_at(d0)}{across} + i0{_times(self._typed.inputs[n].words)}")
        return lines

    def body(self) -> list[str]:
        """What is computed of a cell."""
        lines = []
        for number, op in enumerate(self._typed.ops):
            text, depth = self._operation(number, op)
            is_inline = self._uses[number] == 1 and number not in self._sides and depth < DEEPEST_NESTING
            if op.name in ("const", "param") or is_inline:
                self._text[number], self._depth[number] = text, depth
            else:
                lines.append(f"t{number} = {text}")
                self._text[number], self._depth[number] = f"t{number}", 0
        stores = [(m, c, part) for m, parts in enumerate(self._typed.results) for c, part in enumerate(parts)]
        values = [self._text[part] for _, _, part in stores]
        if len(stores) > 1:
            # All is computed before anything is stored: a store may, for all the compiler knows, change an input.
            lines += [f"y{at} = {value}" for at, value in enumerate(values)]
            values = [f"y{at}" for at in range(len(values))]
        for (m, c, _), value in zip(stores, values, strict=True):
            words = self._typed.outputs[m].words
            stored = f"U1({value})" if self._typed.outputs[m].dtype.kind == "b" else value
            lines.append(f"b{m}[U8(w{m} + i{_times(words)}{_plus(c)})] = {stored}")
        return lines

    def _operation(self, number: int, op: Op) -> tuple[str, int]:
        args = [self._text[a] for a in op.args]
        depth = 1 + max((self._depth[a] for a in op.args), default=0)
        name, dtype = op.name, self._typed.types[number].str[1:]
        if name == "const":
            return _constant(op.data), 0
        if name == "param":
            return f"s{self._signature.scalars.index(op.data)}", 0
        if name == "read":
            text = self._load(op.data)
            return f"({text} != 0)" if dtype == "b1" else text, 0
        if name in MARKERS:
            return self._marker(name, op.data), 0
        if name == "where":
            # A side that nothing else needs may be left out by LLVM where it is not chosen: a division, say.
            is_lone = any(self._uses[a] == 1 and self._typed.ops[a].name not in LEAVES for a in op.args[1:])
            return f"({args[1]} if {args[0]} else {args[2]})" if is_lone else f"choose({', '.join(args)})", depth
        if name in ("not", "~"):
            return f"{dtype.upper()}({'not ' if name == 'not' else '~'}{args[0]})", depth
        if name == "cast":
            return f"{dtype.upper()}({args[0]})", depth
        if name == "neg":
            text = f"(-{args[0]})"
        elif name in _INFIX:
            text = f"({args[0]} {name} {args[1]})"
        elif name == "abs":
            text = f"abs({args[0]})"
        else:
            text = f"{'np' if name in _NUMPY else 'math'}.{_MATH.get(name, name)}({', '.join(args)})"
        # numba computes with small integers, and calls some functions, in a wider type.
        narrow = dtype[0] in "iu" or (dtype == "f4" and name not in _INFIX and name not in ("neg", "abs"))
        return (f"{dtype.upper()}({text})" if narrow else text), depth

    def _load(self, load: Load) -> str:
        if load.array in self._typed.in_place:
            # One name for one memory: numba's compiler then sees that cells do not depend on one another.
            m = self._typed.in_place.index(load.array)
            return f"b{m}[U8(w{m} + i{_times(self._typed.outputs[m].words)}{_plus(load.component)})]"
        offsets = {1: (0, 0), 2: (load.offsets[0], 0), 3: load.offsets[:2]}[self._typed.ndim]
        words = self._typed.inputs[load.array].words
        key = (load.array, offsets[0], offsets[1])
        name = self._rows.setdefault(key, f"r{len(self._rows)}")
        return f"a{load.array}[U8({name} + i{_times(words)}{_plus(load.offsets[-1] * words + load.component)})]"

    def _marker(self, name: str, axis: int) -> str:
        geometry = {key: f"g{at}" for at, key in enumerate(self._signature.geometry)}
        if name in ("spacing", "cells"):
            return geometry[name, axis]
        local = {1: ("(i0 + i)",), 2: ("k", "(i0 + i)"), 3: ("k", "j", "(i0 + i)")}[self._typed.ndim][axis]
        index = f"({geometry['index', axis]} + {local})"
        if name == "index":
            return index
        return f"({geometry['coordinate', axis]} + {geometry['spacing', axis]} * F8({index}))"


def _constant(value: np.generic) -> str:
    short = value.dtype.str[1:]
    plain = value.item()
    if isinstance(plain, float) and not np.isfinite(plain):
        text = "math.nan" if np.isnan(plain) else "math.inf" if plain > 0 else "(math.inf * -1.0)"
    else:
        text = repr(plain)
    # What numba takes a literal for anyway needs no conversion, which is another call to compile.
    return text if short in ("b1", "f8") else f"{short.upper()}({text})"


def number_parameters(typed: Typed, signature: Signature) -> list[Parameter]:
    """Return the scalars and what is asked of the grid. Local."""
    geometry = [(f"g{i}", _GEOMETRY[name]) for i, (name, _) in enumerate(signature.geometry)]
    return [(f"s{i}", kind) for i, (_, kind) in enumerate(typed.scalars)] + geometry


def _sweep_parameters(typed: Typed, signature: Signature) -> list[Parameter]:
    """What ``sweep`` finds packed."""
    parameters: list[Parameter] = []
    for letter, arrays in (("b", typed.outputs), ("a", typed.inputs)):
        for n, array in enumerate(arrays):
            parameters += [(f"{letter}{n}", type_name(array.dtype))]
            parameters += [(f"{letter}{n}_{place}", "int") for place in ("o", "s0", "s1")]
    parameters += number_parameters(typed, signature)
    for n in signature.read_off:
        values = type_name(typed.inputs[n].dtype)
        parameters += [(f"f{n}", "int"), (f"e{n}", "I8"), (f"c{n}", "int"), (f"v{n}", values)]
    return parameters


def kernel_text(typed: Typed, are_apart: bool = True, way: Way = PLAIN) -> str:
    """Return the text of a module with ``sweep``. Local.

    `are_apart`: what is written is no input's memory, unless it is `Typed.in_place`.
    """
    signature = signature_of(typed)
    rest = [name for name, _ in number_parameters(typed, signature)]
    given = []
    for m in range(len(typed.outputs)):
        given += [f"b{m}", f"b{m}_o + k * b{m}_s0", f"b{m}_s1"]
    for n, planes in enumerate(signature.planes):
        given += [f"a{n}", *(f"a{n}_o + {_moved('k', d)} * a{n}_s0" for d in planes), f"a{n}_s1"]
    lines = [
        "@straight",
        "def turn(ints, floats, k, j0, j1, i0, i1):",
        *(f"    {line}" for line in unpacking(_sweep_parameters(typed, signature))),
        *(f"    fill(f{n}, a{n}, {typed.inputs[n].words}, k, e{n}, c{n}, v{n})" for n in signature.read_off),
        f"    plane({', '.join([*given, *rest, 'k', 'j0', 'j1', 'i0', 'i1'])})",
        "\n",
        decorator(typed),
        "def sweep(ints, floats, k0, k1, j0, j1, i0, i1):",
        *vector_hints(way),
        "    for k in range(k0, k1):",
        "        turn(ints, floats, k, j0, j1, i0, i1)",
    ]
    # Else it would be found out for every row.
    apart = ["told_apart(plane)\n"] if are_apart else []
    return "\n\n".join([_title(typed) + HEADER, plane_text(typed, way), *apart, "\n".join(lines) + "\n"])


def _title(typed: Typed) -> str:
    def arrays(kind: str, of: Sequence[object]) -> list[str]:
        return [f"# {kind}{at}: {array}" for at, array in enumerate(of)]

    lines = [f"# stencil {typed.name}, {typed.ndim}-D", *arrays("a", typed.inputs), *arrays("b", typed.outputs)]
    return "\n".join([*lines, *(f"# s{at}: {name}, {kind}" for at, (name, kind) in enumerate(typed.scalars))]) + "\n"
