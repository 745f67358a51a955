"""Compiled loops of distances: squares (whole numbers), sites (floats, with what belongs to them), chamfer."""

from mpibatch.base.compiled import thread_count

thread_count()  # with a number that is none, numba, which loads next, would not
