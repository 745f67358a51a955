"""Compiled loops of reductions."""
