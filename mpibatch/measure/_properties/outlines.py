"""Properties of regions in a plane that their convex hulls tell: from the extent of each label in each row.

A label's rows go to the rank of its row of the table, one entry for each, merged on the way; hulls are made there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.measure._engine.memory import signed
from mpibatch.measure._engine.rows import fold_rows
from mpibatch.mpi import agreed
from mpibatch.mpi.routes import forward

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mpibatch.fields.field import Field
    from mpibatch.measure._engine.shares import Shares

__all__ = ["OUTLINES", "hull_columns", "outlined"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

OUTLINES = ("area_convex", "feret_diameter_max", "solidity")


def _merged(rows: Ints) -> Ints:
    """Return an entry for each label and row, in order: the least first and the greatest last place. Local."""
    return fold_rows(rows, (np.minimum, slice(2, 3)), (np.maximum, slice(3, 4)), keys=2)


def outlined(labels: Field, shares: Shares) -> Ints:
    """Return (label, row, first, last place) of this rank's share of the labels, sorted. Collective."""
    from mpibatch.measure._loops import outlines

    comm = labels.grid.comm
    with agreed(comm, "regionprops_table"), phase("compute"):
        cells = signed(labels.owned)
        rows = np.empty((int(outlines.count_runs(cells)), 4), np.int64)
        outlines.runs(cells, labels.box.start[0], labels.box.start[1], rows)
        rows = _merged(rows)
    with phase("halo"):
        return _merged(forward(comm, shares.owners(rows[:, 0]), rows, _merged))


def hull_columns(names: Iterable[str], table: Ints, count: Ints, spacing: tuple[float, ...]) -> dict[str, Array]:
    """Return the columns of these properties, of labels of so many cells. Local."""
    from mpibatch.measure._loops import outlines

    starts = np.flatnonzero(np.diff(table[:, 0], prepend=0))
    areas, squares = np.zeros(len(count), np.int64), np.zeros(len(count))
    outlines.hulls(np.append(starts, len(table)), table, spacing[0], spacing[1], areas, squares)
    volume = np.float64(np.prod(spacing))
    columns = {
        "area_convex": areas * volume,
        "feret_diameter_max": np.sqrt(squares),
        "solidity": (count * volume) / (areas * volume),
    }
    return {name: columns[name] for name in names if name in columns}
