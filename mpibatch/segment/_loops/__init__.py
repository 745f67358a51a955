"""Compiled loops of distances: squares (whole numbers), sites (floats, with what belongs to them), chamfer."""
