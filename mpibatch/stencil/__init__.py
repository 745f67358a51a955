"""Stencils: write the update of one cell as a Python function, and have it swept over fields on any number of ranks.

    @mb.stencil
    def heat(u, k):
        return u[0, 0] + k * (u[-1, 0] + u[1, 0] + u[0, -1] + u[0, 1] - 4.0 * u[0, 0])

    w = heat(u, k=0.1, walls="nearest")

**The language.** Parameters that are read with an index are fields, the others numbers. Indices are relative and
whole; those behind the grid's axes choose a component: ``q[0, 0, 2]``, or with names ``q.rho[0, 0]``. There are

- local names, lists of constant length, tuples, and module-level constants (also NumPy arrays as tables);
- ``+ - * / ** abs min max``, whole ``// % & | ^ ~``, comparisons, ``and or not``, where ``x or y`` is x if that is
  not 0, else y;
- ``math`` or NumPy functions: sqrt, exp, expm1, log, log1p, log10, sin … arctan2, sinh, cosh, tanh, hypot, copysign,
  floor, ceil, minimum, maximum, where;
- ``a if test else b`` and ``if``: both sides are computed, one is kept, so a cell takes the same time everywhere;
- ``for`` over range, zip, enumerate and constants, comprehensions, ``sum``: unrolled;
- calls of plain functions and of other stencils, which are inlined; ``laplace(u)[-1, 0]`` is a stencil one cell up;
- ``index(axis)``, ``coordinate(axis)``, ``spacing(axis)``, ``cells(axis)`` of the grid.

A returned list is a field with components, a returned tuple several fields. Anything else is refused with file, line
and caret. Constants, and functions called, are what they are when the stencil is defined; a call raises if one has
changed since: pass what changes as a parameter.

**Fields that stay as they are** (a medium, a mask, coefficients) are best given as ``u.frozen()``: a copy that nobody
can write to, whose halo is exchanged once and then known. For that it needs a halo at least as wide as the kernels
read it: ``u.frozen(halo=2)``; with `iterate`, times the steps that are fused. Otherwise it is exchanged like any
other field. `iterate` exchanges all fields that it does not change once in a call, frozen or not.

**Types and bits.** NumPy's promotion rules; numbers that are no field's are weak, so an f4 field stays f4. It
differs from NumPy in this: truth values count as whole numbers (i8) in arithmetic, minima and maxima; functions of
whole numbers are f8, also of small ones; a power by a whole number that is no constant is f8. Constant whole powers
are repeated squaring, ``min(a, b)`` is ``b if b < a else a`` as in Python. The back ends agree to the bit,
but for exp and its like, which agree to a few units in the last place; and a cell has the same bits wherever its
block begins.

The rooms, in order of dependency: ``language`` (text to a list of operations, and its footprint), ``walls``,
``choices`` (what timing found, on disk), ``compiled`` (types, the text of numba functions and their running; NumPy's
twin), ``call`` (plan, halo traffic, sweep), ``kernel``, ``decorator``, ``fused`` (several steps in one sweep),
``iteration``. Only ``call``, ``fused`` and ``iteration`` load MPI.

The module can be called, so that ``mb.stencil`` is the decorator and the package alike.

Parameters
----------
*args, **options
    Of the module when it is called: those of `mpibatch.stencil.stencil`.

Returns
-------
Kernel or callable
    What `mpibatch.stencil.stencil` returns.

Raises
------
UsageError
    With file, line and caret, for what is not part of the language.

Notes
-----
Local, and so is the decorator; calling what it makes is collective.

Examples
--------
>>> import mpibatch as mb
>>> @mb.stencil
... def heat(u, k):
...     return u[0] + k * (u[-1] - 2.0 * u[0] + u[1])
>>> u = mb.Grid(6).from_function(lambda x: x * x, halo=1)
>>> print(mb.gather_all(heat(u, k=0.25, walls="nearest")))
[ 0.25  1.5   4.5   9.5  16.5  22.75]
"""

from __future__ import annotations

import sys
import types
from typing import Any

from mpibatch.stencil.decorator import stencil
from mpibatch.stencil.kernel import Kernel
from mpibatch.stencil.language.footprint import FieldReach, Footprint
from mpibatch.stencil.language.functions import cells, coordinate, index, spacing

__all__ = ["FieldReach", "Footprint", "Kernel", "cells", "coordinate", "index", "spacing", "stencil"]


class _Callable(types.ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        """See `stencil`. Local."""
        return stencil(*args, **options)


sys.modules[__name__].__class__ = _Callable
