"""Compiled text that fills cells outside the domain, on the way of a sweep: no pass over memory of their own.

``_put`` makes a rectangle of cells from another one, as walls have it. ``edge`` is called before each plane of a
sweep, and carries out the jobs of that plane: by its address, so that it is compiled once for each type, and not with
each kernel.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from mpibatch.base.compiled import address_in_c
from mpibatch.stencil.compiled.arguments import type_name
from mpibatch.stencil.compiled.modules import HEADER, load
from mpibatch.stencil.compiled.tables import EdgeJob, in_text

if TYPE_CHECKING:
    import numpy as np

__all__ = ["KINDS", "WALLS", "code_of_edges"]

# What cells outside the domain hold, made of a cell inside.
KINDS = {"copy": 1, "constant": 2, "dirichlet": 3, "signed": 4, "neumann": 5}

_PUT = """\
@compiled_lean
def _put(b, t, s, row, rows, cells, w, kind, v, v0):
    if kind == 1 and cells * w == 1:
        for j in range(rows):
            b[U8(t + j * row)] = b[U8(s + j * row)]
    elif kind == 1:
        for j in range(rows):
            for i in range(cells * w):
                b[U8(t + j * row + i)] = b[U8(s + j * row + i)]
    else:
        for j in range(rows):
            for i in range(cells * w):
                x = b[U8(s + j * row + i)]
                y = v[U8(v0 + i % w)]
                if kind == 2:
                    x = y
                elif kind == 3:
                    x = y - x
                elif kind == 4:
                    x = x * y
                else:
                    x = x + y
                b[U8(t + j * row + i)] = x
"""

_JOB = in_text(EdgeJob, "jobs", "q")
_EDGE = f"""\
@compiled_in_c
def edge(b, w, k, jobs, count, v):
    for q in range(count):
        if {_JOB.first} <= k and k < {_JOB.end}:
            d = k * {_JOB.plane}
            t, s = d + {_JOB.to}, d + {_JOB.of}
            if {_JOB.kind} == 1 and {_JOB.rows} * {_JOB.cells} * w == 1:
                b[U8(t)] = b[U8(s)]
            else:
                _put(b, t, s, {_JOB.row}, {_JOB.rows}, {_JOB.cells}, w, {_JOB.kind}, v, {_JOB.value})
"""


WALLS = "\n\n".join([HEADER, _PUT, _EDGE])  # a module


@functools.cache
def code_of_edges(dtype: np.dtype[Any]) -> int:
    """Return the address of ``edge`` for cells of a type. Local."""
    module: Any = load(WALLS)
    number, whole = getattr(module, type_name(dtype)), module.I8
    memory, table = module.memory_of(number), module.memory_of(whole)
    return address_in_c(module.edge, (memory, whole, whole, table, whole, memory))
