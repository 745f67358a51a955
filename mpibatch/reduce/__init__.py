"""Reductions of Fields: one result, on every rank, with the same bits on any number of ranks.

Order cannot matter, because nothing is rounded before the end: floating sums are kept as whole numbers of
2**-1074 (see `exact`), extremes and counts are integers or compared as such. In dependency order:

arrays      walking an array that may be a view with a halo around it, without copying it
_loops      the compiled loops of the exact sum and of the histogram
exact       the exact sum of one array, its combination with others, and the one rounding
totals      sum, mean, count_nonzero
extremes    min, max, argmin, argmax
binning     histogram

What needs no MPI (`arrays`, `loops_*`, `exact`) can be imported where none is installed; hence the late imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy import attach

if TYPE_CHECKING:
    from mpibatch.reduce.binning import histogram
    from mpibatch.reduce.extremes import argmax, argmin, max, min
    from mpibatch.reduce.totals import count_nonzero, mean, sum
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "binning": ("histogram",),
            "extremes": ("argmax", "argmin", "max", "min"),
            "totals": ("count_nonzero", "mean", "sum"),
        },
    )

__all__ = ["argmax", "argmin", "count_nonzero", "histogram", "max", "mean", "min", "sum"]
