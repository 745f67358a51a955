"""Reductions of the cells of each label: ``groups``, which cells; ``sums``; ``order``, extremes and medians."""
