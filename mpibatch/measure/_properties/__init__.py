"""Columns of a table of regions, each family of scikit-image's properties by itself."""
