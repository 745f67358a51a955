"""Compiled loops: sums along turned lines, and their way back."""

from mpibatch.base.compiled import thread_count

thread_count()  # with a number that is none, numba, which loads next, would not
