"""Compiled loops of measuring. Imported late, since they load numba."""
