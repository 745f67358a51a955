"""Compiled loops over one block."""
