"""What filters compute, counted under the name that was called, so that reports can hold it against memory's speed."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mpibatch.base import tally
from mpibatch.base.compiled import thread_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.fields.field import Field

__all__ = ["counted", "running"]

_outermost = ""


@contextmanager
def running(name: str) -> Iterator[None]:
    """Count what is computed in a block as that of a filter, unless another one has called it. Local."""
    global _outermost
    before, _outermost = _outermost, _outermost or name
    try:
        yield
    finally:
        _outermost = before


def counted(u: Field, out: Field, operations: int) -> tally.KernelWork:
    """Return what times a loop over the owned cells, as phase "compute", and count the loop. Local.

    `operations` on numbers are of each cell and component: sums, products and comparisons, as if each were done anew.
    Cells are taken to come from memory once, and to go there once.
    """
    words = math.prod(u.components)
    nbytes = words * (u.dtype.itemsize + out.dtype.itemsize)
    work = tally.work(_outermost or "filter", words * operations, nbytes, thread_count())
    work.ran(u.box.size)
    return work
