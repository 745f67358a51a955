"""Compiled loops of exact sums and histograms."""
