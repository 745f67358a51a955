"""Reductions of Fields: one result, on every rank, with the same bits on any number of ranks.

Order cannot matter, because nothing is rounded before the end: floating sums are kept as whole numbers of
2**-1074 (see `exact`), extremes and counts are integers or compared as such. In dependency order:

arrays      walking an array that may be a view with a halo around it, without copying it
loops_*     the compiled loops of the exact sum and of the histogram
exact       the exact sum of one array, its combination with others, and the one rounding
totals      sum, mean, count_nonzero
extremes    min, max, argmin, argmax
binning     histogram

What needs no MPI (`arrays`, `loops_*`, `exact`) can be imported where none is installed; hence the late imports.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpibatch.reduce.binning import histogram
    from mpibatch.reduce.extremes import argmax, argmin, max, min
    from mpibatch.reduce.totals import count_nonzero, mean, sum

__all__ = ["argmax", "argmin", "count_nonzero", "histogram", "max", "mean", "min", "sum"]

_HOMES = {
    "argmax": "extremes",
    "argmin": "extremes",
    "count_nonzero": "totals",
    "histogram": "binning",
    "max": "extremes",
    "mean": "totals",
    "min": "extremes",
    "sum": "totals",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
