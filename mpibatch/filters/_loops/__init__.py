"""Compiled loops of the filters, and the comparator networks that they run."""
