"""Neighborhoods, padded blocks, the relaxation that all fixed points share, and passes from axis to axis."""
