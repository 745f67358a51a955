"""How well an equation is solved: what its two sides differ by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpibatch.base.timing import phase
from mpibatch.halo import slabs
from mpibatch.reduce.limits import max as greatest

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.solve.operators import BandRows

__all__ = ["add_laplacian", "largest"]


def add_laplacian(u: Field, axis: int, rows: BandRows, total: Field) -> None:
    """Add what the rows of an axis make of a field. Collective: one message from and to each neighbor on the axis."""
    wraps = rows.lower[0] != 0.0
    before, behind = slabs(u, axis, (1, 1), "grid-wrap" if wraps else "constant")
    if not u.owned.size:
        return
    low, high = u.box.start[axis], u.box.stop[axis]
    shape = [1] * u.ndim
    shape[axis] = high - low
    lower, diagonal, upper = (part[low:high].reshape(shape) for part in (rows.lower, rows.diagonal, rows.upper))
    first, rest = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
    with phase("compute"):
        total.owned[...] += diagonal * u.owned
        total.owned[...] += lower * np.concatenate([before, u.owned[first]], axis)
        total.owned[...] += upper * np.concatenate([u.owned[rest], behind], axis)


def largest(u: Field) -> float:
    """Return the largest magnitude. Collective."""
    return float(greatest(np.abs(u)))
