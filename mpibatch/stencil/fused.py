"""Fused steps as compiled text: k steps of a kernel over one tile, in a wavefront along the slowest axis.

Step by step, ``fused`` computes plane s of level 1, plane s - r of level 2 (r: the reach), and so on up to level k,
each from the planes of the levels below, which are still in the cache: levels between live in rings of a few
planes, the last ones go to the fields. Level l is computed on the tile grown by (k - l) times the reach, but never
outside the domain; what lies outside is filled after each plane by the walls' formulas, as `walls` has them.

A chain is what one output goes through: its inputs are its own values one step ago, two steps ago, and so on.

The cells are computed by the kernel's own ``plane``: same text, same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpibatch.stencil.generated import HEADER, plane_text, signature_of
from mpibatch.stencil.typed import Typed

__all__ = ["KINDS", "Chain", "fused_text"]

# What cells outside the domain hold, made of a cell inside.
KINDS = {"copy": 1, "constant": 2, "dirichlet": 3, "signed": 4, "neumann": 5}

# Tables of whole numbers tell what happens at which level. `levels` has a row for each: first plane, end of the
# planes that are computed, end of the turns, rows and columns of the plane. A chain's `jobs` has a row for each level
# (first and end of the fills within its planes, first and end of the fills of planes), and then these fills: row,
# column to fill and to take from, rows, columns, kind, place of the value; and turn, plane to fill and to take from,
# kind, place of the value.
#
# A plane of memory begins at ``at(p, base, step, slots)``; a field has as many slots as planes (0).
HELPERS = """\
@njit(error_model="numpy")
def at(p, base, step, slots):
    return base + (p % slots if slots else p) * step


@njit(error_model="numpy")
def put(b, t, s, row, rows, cells, w, kind, v, v0):
    for j in range(rows):
        if kind == 1:
            for i in range(cells * w):
                b[U8(t + j * row + i)] = b[U8(s + j * row + i)]
            continue
        for i in range(cells):
            for c in range(w):
                x = b[U8(s + j * row + i * w + c)]
                y = v[U8(v0 + c)]
                if kind == 2:
                    x = y
                elif kind == 3:
                    x = y - x
                elif kind == 4:
                    x = x * y
                else:
                    x = x + y
                b[U8(t + j * row + i * w + c)] = x


@njit(error_model="numpy")
def around(b, base, step, slots, row, w, p, level, levels, jobs, v):
    j0, j1, i0, i1 = levels[level, 3], levels[level, 4], levels[level, 5], levels[level, 6]
    first = jobs[level, 2]
    for q in range(first - 1, jobs[level, 3]):
        t = at(p, base, step, slots)
        if q < first:
            # The plane itself.
            if p >= levels[level, 1]:
                continue
        elif jobs[q, 0] == p:
            t = at(jobs[q, 1], base, step, slots)
            shift = j0 * row + i0 * w
            s = at(jobs[q, 2], base, step, slots) + shift
            put(b, t + shift, s, row, j1 - j0, i1 - i0, w, jobs[q, 3], v, jobs[q, 4])
        else:
            continue
        for e in range(jobs[level, 0], jobs[level, 1]):
            to, of = t + jobs[e, 0] * row + jobs[e, 1] * w, t + jobs[e, 2] * row + jobs[e, 3] * w
            put(b, to, of, row, jobs[e, 4], jobs[e, 5], w, jobs[e, 6], v, jobs[e, 7])
"""


@dataclass(frozen=True, slots=True)
class Chain:
    """The inputs that hold one output's values, by their number, from the latest to the oldest."""

    inputs: tuple[int, ...]

    @property
    def depth(self) -> int:
        """How many of its levels are kept. Local."""
        return len(self.inputs)


def fused_text(typed: Typed, chains: Sequence[Chain]) -> str:
    """Return the text of a module with ``fused`` for a kernel, chain m being that of output m. Local."""
    signature = signature_of(typed)
    scalars = [f"s{i}" for i in range(len(signature.scalars))] + [f"g{i}" for i in range(len(signature.geometry))]
    kept = [n for n in range(len(typed.inputs)) if not any(n in chain.inputs for chain in chains)]
    names: list[str] = []
    for m, chain in enumerate(chains):
        names += [f"{kind}{m}_{q}" for kind in "xy" for q in range(chain.depth)]
        names += [
            f"ring{m}",
            f"row{m}",
            f"flat{m}",
            f"zero{m}",
            f"jobs{m}",
            f"values{m}",
            f"f{m}",
            f"f{m}_s0",
            f"f{m}_s1",
        ]
    for n in kept:
        names += [f"a{n}", f"a{n}_o", f"a{n}_s0", f"a{n}_s1"]
    lines = [
        "@compiled",
        f"def fused({', '.join([*names, 'levels', 'begin', 'end', 'steps', 'reach', 'slots', *scalars])}):",
        "    for turn in range(begin, end):",
        "        for level in range(steps + 1):",
        "            p, left = turn - level * reach, steps - level",
        "            if p < levels[level, 0] or p >= levels[level, 2]:",
        "                continue",
        *_indented(_targets(chains)),
        "            if level == 0:",
        "                pass",
        *(
            f"                around(x{m}_{q}, f{m}, f{m}_s0, 0, f{m}_s1, {_tables(typed, m)})"
            for m, chain in enumerate(chains)
            for q in range(1, chain.depth)
            if _is_read_off(typed, chain.inputs[q])
        ),
        "            elif p < levels[level, 1]:",
        *_indented(_sources(chains), 16),
        "                j0, j1, i0, i1 = levels[level, 3], levels[level, 4], levels[level, 5], levels[level, 6]",
        f"                plane({', '.join([*_given(typed, chains), *scalars, 'p', 'j0', 'j1', 'i0', 'i1'])})",
        "            if left:",
        *(
            f"                around(b{m}, b{m}_o, b{m}_t, b{m}_n, b{m}_r, {_tables(typed, m)})"
            for m in range(len(chains))
        ),
    ]
    title = f"# stencil {typed.name}, {typed.ndim}-D, fused steps\n"
    return "\n\n".join([title + HEADER, HELPERS, plane_text(typed), "\n".join(lines) + "\n"])


def _tables(typed: Typed, m: int) -> str:
    return f"{typed.outputs[m].words}, p, level, levels, jobs{m}, values{m}"


def _is_read_off(typed: Typed, number: int) -> bool:
    loads = [op.data for op in typed.ops if op.name == "read"]
    return any(any(load.offsets) for load in loads if load.array == number)


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
        given += [f"b{m}", f"at(p, b{m}_o, b{m}_t, b{m}_n)", f"b{m}_r"]
    for n, planes in enumerate(signature_of(typed).planes):
        if any(n in chain.inputs for chain in chains):
            given += [f"a{n}", *(f"at(p + {d}, a{n}_o, a{n}_t, a{n}_n)" for d in planes), f"a{n}_r"]
        else:
            given += [f"a{n}", *(f"a{n}_o + (p + {d}) * a{n}_s0" for d in planes), f"a{n}_s1"]
    return given
