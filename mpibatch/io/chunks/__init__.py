"""Datasets in chunks: their shapes, the filters that they go through, and who works on which."""
