"""Reductions of each line of cells along some axes: ``sums``, ``extremes``, ``quantiles``."""
