"""Thresholds of a whole Field, and of each cell by what surrounds it."""
