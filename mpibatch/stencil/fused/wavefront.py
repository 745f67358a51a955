"""Fused steps as compiled text: k steps of a kernel over one tile, in a wavefront along the slowest axis.

Step by step, ``fused`` computes plane s of level 1, plane s - r of level 2 (r: the reach), and so on up to level k,
each from the planes of the levels below, which are still in the cache: levels between live in rings of a few
planes, the last ones go to the fields. Level l is computed on the tile grown by (k - l) times the reach, but never
outside the domain; what lies outside is filled after each plane by the walls' formulas, as `walls` has them.

A chain is what one output goes through: its inputs are its own values one step ago, two steps ago, and so on.

The cells are computed by the kernel's own ``plane``: same text, same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.stencil.compiled.arguments import type_name, unpacking
from mpibatch.stencil.compiled.modules import HEADER, imported
from mpibatch.stencil.compiled.numba_source import decorator, number_parameters, plane_text, signature_of, vector_hints
from mpibatch.stencil.compiled.tables import Beside, Beyond, FusedLevel, Head, in_text
from mpibatch.stencil.compiled.wall_source import WALLS
from mpibatch.stencil.compiled.ways import PLAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.stencil.compiled.arguments import Parameter
    from mpibatch.stencil.compiled.types import Typed
    from mpibatch.stencil.compiled.ways import Way

__all__ = ["Chain", "fused_text"]

# Tables of whole numbers, see `compiled.tables`, say what happens at which level. `levels` has a row `FusedLevel` for
# each, a chain's `jobs` a `Head` for each level, and then the fills, `Beside` and `Beyond`.
_LEVEL, _HEAD = in_text(FusedLevel, "levels", "level"), in_text(Head, "jobs", "level", Beside)
_BESIDE, _BEYOND = in_text(Beside, "jobs", "e"), in_text(Beyond, "jobs", "q", Beside)
_PLANE = f"{_LEVEL.row}, {_LEVEL.rows_end}, {_LEVEL.column}, {_LEVEL.columns_end}"

# Plane p of memory begins at ``_at(p, p % slots, base, step, slots)``; a field has as many slots as planes (0). All
# this is done for every plane of every level, which in 2-D is a row: remainders, for one, take longer than some cells.
_FILLS = f"""\
@compiled_lean
def _at(p, wrapped, base, step, slots):
    return base + (wrapped if slots else p) * step


@compiled_lean
def _beside(b, t, row, w, e, jobs, v):
    to, of = t + {_BESIDE.to_row} * row + {_BESIDE.to_column} * w, t + {_BESIDE.of_row} * row + {_BESIDE.of_column} * w
    if {_BESIDE.kind} == 1 and {_BESIDE.rows} * {_BESIDE.columns} * w == 1:
        b[U8(to)] = b[U8(of)]
    else:
        _put(b, to, of, row, {_BESIDE.rows}, {_BESIDE.columns}, w, {_BESIDE.kind}, v, {_BESIDE.value})


@compiled_lean
def _beyond(b, base, step, slots, row, w, p, level, levels, jobs, v):
    j0, j1, i0, i1 = {_PLANE}
    for q in range({_HEAD.beyond}, {_HEAD.beyond_end}):
        if {_BEYOND.turn} == p:
            t = base + ({_BEYOND.to} % slots if slots else {_BEYOND.to}) * step
            s = base + ({_BEYOND.of} % slots if slots else {_BEYOND.of}) * step
            shift = j0 * row + i0 * w
            _put(b, t + shift, s + shift, row, j1 - j0, i1 - i0, w, {_BEYOND.kind}, v, {_BEYOND.value})
            for e in range({_HEAD.beside}, {_HEAD.beside_end}):
                _beside(b, t, row, w, e, jobs, v)
"""


@dataclass(frozen=True, slots=True)
class Chain:
    """The inputs that hold one output's values, by their number, from the latest to the oldest."""

    inputs: tuple[int, ...]

    @property
    def depth(self) -> int:
        """How many of its levels are kept. Local."""
        return len(self.inputs)


def fused_text(typed: Typed, chains: Sequence[Chain], way: Way = PLAIN) -> str:
    """Return the text of a module with ``fused`` for a kernel, chain m being that of output m. Local."""
    signature = signature_of(typed)
    scalars = [name for name, _ in number_parameters(typed, signature)]
    offsets = sorted({0, *(d for planes in signature.planes for d in planes)})
    kept = [n for n in range(len(typed.inputs)) if not any(n in chain.inputs for chain in chains)]
    lines = [
        decorator(typed),
        "def fused(ints, floats):",
        *(f"    {line}" for line in unpacking(_parameters(typed, chains, kept))),
        *vector_hints(way),
        "    for turn in range(begin, end):",
        "        for level in range(steps + 1):",
        "            p, left = turn - level * reach, steps - level",
        f"            if p < {_LEVEL.first} or p >= {_LEVEL.turns_end}:",
        "                continue",
        *_indented([f"{_wrapped(d)} = {_plane(d)} % slots" for d in offsets]),
        *_indented(_targets(chains)),
        "            if level == 0:",
        "                pass",
        *(
            line
            for m, chain in enumerate(chains)
            for q in range(1, chain.depth)
            if chain.inputs[q] in signature.read_off
            for line in _around(typed, m, f"x{m}_{q}", f"f{m} + p * f{m}_s0", f"f{m}, f{m}_s0, 0, f{m}_s1")
        ),
        f"            elif p < {_LEVEL.planes_end}:",
        *_indented(_sources(chains), 16),
        f"                j0, j1, i0, i1 = {_PLANE}",
        f"                plane({', '.join([*_given(typed, chains), *scalars, 'p', 'j0', 'j1', 'i0', 'i1'])})",
        "            if left:",
        *(
            line
            for m, chain in enumerate(chains)
            if not set(chain.inputs).isdisjoint(signature.read_off)
            for line in _around(typed, m, f"b{m}", _begin(f"b{m}", 0), f"b{m}_o, b{m}_t, b{m}_n, b{m}_r")
        ),
        *(["                pass"] if set(signature.read_off).issubset(kept) else []),
    ]
    title = f"# stencil {typed.name}, {typed.ndim}-D, fused steps\n"
    # A plane of a level is written to other memory than those that it is made of are read from.
    apart = ["told_apart(plane)\n"] if lines[0] != "@compiled_lean" else []
    fills = "\n\n".join([HEADER + imported(WALLS, "_put"), _FILLS])
    header = HEADER + imported(fills, "_at", "_beside", "_beyond")
    return "\n\n".join([title + header, plane_text(typed, way), *apart, "\n".join(lines) + "\n"])


def _parameters(typed: Typed, chains: Sequence[Chain], kept: Sequence[int]) -> list[Parameter]:
    """What ``fused`` finds packed."""
    parameters: list[Parameter] = []
    for m, chain in enumerate(chains):
        memory = type_name(typed.outputs[m].dtype)
        parameters += [(f"{kind}{m}_{q}", memory) for kind in "xy" for q in range(chain.depth)]
        parameters += [(f"ring{m}", memory), (f"row{m}", "int"), (f"flat{m}", "int"), (f"zero{m}", "int")]
        parameters += [(f"jobs{m}", "I8"), (f"values{m}", memory)]
        parameters += [(name, "int") for name in (f"f{m}", f"f{m}_s0", f"f{m}_s1")]
    for n in kept:
        parameters += [(f"a{n}", type_name(typed.inputs[n].dtype))]
        parameters += [(f"a{n}_{place}", "int") for place in ("o", "s0", "s1")]
    parameters += [("levels", "I8"), *((name, "int") for name in ("begin", "end", "steps", "reach", "slots"))]
    return parameters + number_parameters(typed, signature_of(typed))


def _around(typed: Typed, m: int, array: str, begin: str, memory: str) -> list[str]:
    """Fill around plane p of an array, and planes that are made of it."""
    words, row, head = typed.outputs[m].words, memory.split(", ")[-1], in_text(Head, f"jobs{m}", "level", Beside)
    lines = [
        f"if p < {_LEVEL.planes_end}:",
        f"    for e in range({head.beside}, {head.beside_end}):",
        f"        _beside({array}, {begin}, {row}, {words}, e, jobs{m}, values{m})",
        f"if p < {head.inner} or p >= {head.inner_end}:",
        f"    _beyond({array}, {memory}, {words}, p, level, levels, jobs{m}, values{m})",
    ]
    return _indented(lines, 16)


def _plane(offset: int) -> str:
    return f"(p + {offset})" if offset else "p"


def _wrapped(offset: int) -> str:
    """The name of a plane's slot."""
    return f"slot_m{-offset}" if offset < 0 else f"slot_p{offset}"


def _begin(name: str, offset: int) -> str:
    """Where a plane of memory `name` begins."""
    return f"_at({_plane(offset)}, {_wrapped(offset)}, {name}_o, {name}_t, {name}_n)"


def _indented(lines: Sequence[str], by: int = 12) -> list[str]:
    return [" " * by + line for line in lines]


def _memory(name: str, array: str, base: str, step: str, slots: str, row: str) -> str:
    return f"{name}, {name}_o, {name}_t, {name}_n, {name}_r = {array}, {base}, {step}, {slots}, {row}"


def _field(name: str, array: str, m: int) -> str:
    return _memory(name, array, f"f{m}", f"f{m}_s0", "0", f"f{m}_s1")


def _ring(name: str, m: int, level: str) -> str:
    base = f"zero{m} + ({level} - 1) * slots * flat{m}"
    return _memory(name, f"ring{m}", base, f"flat{m}", "slots", f"row{m}")


def _targets(chains: Sequence[Chain]) -> list[str]:
    """Choose where each chain's plane of this level goes: the last levels to the fields, others to a ring."""
    lines = []
    for m, chain in enumerate(chains):
        lines += ["if level == 0:", "    " + _field(f"b{m}", f"x{m}_0", m)]
        for q in range(chain.depth):
            lines += [f"elif left == {q}:", "    " + _field(f"b{m}", f"y{m}_{q}", m)]
        lines += ["else:", "    " + _ring(f"b{m}", m, "level")]
    return lines


def _sources(chains: Sequence[Chain]) -> list[str]:
    """Choose where the inputs of this level lie: those of q steps ago are level - 1 - q."""
    lines = []
    for m, chain in enumerate(chains):
        for q, n in enumerate(chain.inputs):
            choices = [(f"level == {old}", _field(f"a{n}", f"x{m}_{q + 1 - old}", m)) for old in range(1, q + 2)]
            # Level k - d is kept in a field; with q > 0 it may be read again.
            choices += [(f"left == {d - 1 - q}", _field(f"a{n}", f"y{m}_{d}", m)) for d in range(q + 1, chain.depth)]
            for at, (test, choice) in enumerate(choices):
                lines += [f"{'elif' if at else 'if'} {test}:", "    " + choice]
            lines += ["else:", "    " + _ring(f"a{n}", m, f"(level - {1 + q})")]
    return lines


def _given(typed: Typed, chains: Sequence[Chain]) -> list[str]:
    """What ``plane`` takes: arrays, and where their planes begin."""
    given = []
    for m in range(len(chains)):
        given += [f"b{m}", _begin(f"b{m}", 0), f"b{m}_r"]
    for n, planes in enumerate(signature_of(typed).planes):
        if any(n in chain.inputs for chain in chains):
            given += [f"a{n}", *(_begin(f"a{n}", d) for d in planes), f"a{n}_r"]
        else:
            given += [f"a{n}", *(f"a{n}_o + {_plane(d)} * a{n}_s0" for d in planes), f"a{n}_s1"]
    return given
