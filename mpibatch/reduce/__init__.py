"""Reductions of Fields: one result, on every rank, with the same bits on any number of ranks.

Order cannot matter, because nothing is rounded before the end: floating sums are kept as whole numbers of
2**-1074 (see `exact_sums`), extremes and counts are integers or compared as such. In dependency order:

- ``arrays``: walking an array that may be a view with a halo around it, without copying it
- ``operands``: which elements of a Field take part, and the all-reduce of integers
- ``_loops``: the compiled loops
- ``exact_sums``: exact sums of values and of products, their combination with others, and the one rounding
- ``axes``: which axes are reduced, who has parts of the same lines, and who gets their results
- ``order``: integers that order as values do, order statistics digit by digit, what lies between two of them
- ``slot_sums``: sums of elements in any order, each for its label, number or bin
- ``extremes``: the search for the least and greatest
- ``totals``: sum, mean, count_nonzero, any, all
- ``lines``: sums, extremes and quantiles along axes
- ``limits``: min, max, argmin, argmax
- ``moments``: var, std, dot, norm
- ``bin_counts``: histogram
- ``occurrences``: bincount, unique
- ``quantiles``: median, quantile, percentile

What needs no MPI (`arrays`, `_loops`, `exact_sums`) can be imported where none is installed; hence the late imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.reduce.bin_counts import histogram
    from mpibatch.reduce.limits import argmax, argmin, max, min, minmax, nanargmax, nanargmin, nanmax, nanmin
    from mpibatch.reduce.moments import dot, nanstd, nanvar, norm, std, var
    from mpibatch.reduce.occurrences import bincount, unique
    from mpibatch.reduce.quantiles import median, nanmedian, nanpercentile, nanquantile, percentile, quantile
    from mpibatch.reduce.totals import all, any, count_nonzero, mean, nanmean, nansum, sum
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "bin_counts": ("histogram",),
            "limits": ("argmax", "argmin", "max", "min", "minmax", "nanargmax", "nanargmin", "nanmax", "nanmin"),
            "moments": ("dot", "nanstd", "nanvar", "norm", "std", "var"),
            "occurrences": ("bincount", "unique"),
            "totals": ("all", "any", "count_nonzero", "mean", "nanmean", "nansum", "sum"),
            "quantiles": ("median", "nanmedian", "nanpercentile", "nanquantile", "percentile", "quantile"),
        },
    )

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "bincount",
    "count_nonzero",
    "dot",
    "histogram",
    "max",
    "mean",
    "median",
    "min",
    "minmax",
    "nanargmax",
    "nanargmin",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanpercentile",
    "nanquantile",
    "nanstd",
    "nansum",
    "nanvar",
    "norm",
    "percentile",
    "quantile",
    "std",
    "sum",
    "unique",
    "var",
]
