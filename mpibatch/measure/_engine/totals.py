"""What many ranks know of one key, added up where the key belongs, and brought back to all who know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.measure._engine.rows import fold_rows
from mpibatch.mpi.routes import ask, forward

if TYPE_CHECKING:
    from mpibatch.mpi import MPI

__all__ = ["totals"]

Ints = npt.NDArray[np.int64]


def totals(comm: MPI.Intracomm, to: Ints, keys: Ints, values: Ints, fold: np.ufunc = np.add) -> Ints:
    """Return, for each key, what all ranks know of it. Collective.

    Parameters
    ----------
    comm : a private communicator.
    to : the rank of each key, the same wherever it occurs.
    keys, values : a key may occur more than once.
    fold : makes one of two numbers, in any order: np.add, np.maximum.
    """

    def merge(rows: Ints) -> Ints:
        return fold_rows(rows, (fold, slice(1, 2)))

    rows = merge(forward(comm, to, np.column_stack([keys, values]), merge))
    return ask(comm, to, keys, lambda known: rows[np.searchsorted(rows[:, 0], known), 1:2])[:, 0]
