"""Operations that compiled loops share."""

from mpibatch.base.compiled import thread_count

thread_count()  # with a number that is none, numba, which loads next, would not
