"""Neighborhoods, padded blocks, and the relaxation that all fixed points share."""
