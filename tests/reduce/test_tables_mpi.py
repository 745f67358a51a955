"""Sorted tables of all ranks made one: the same on every rank, whatever their number, empty ones among them."""

from __future__ import annotations

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.mpi.tables import Table, merge_tables

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_every_rank_has_all_rows_in_order(rows: int) -> None:
    comm = mb.Grid((1,)).comm
    rng = np.random.default_rng(comm.rank)
    keys = rng.permutation(1000)[: rows * (comm.rank % 3)] * comm.size + comm.rank

    def merged(mine: Table, other: Table) -> Table:
        both = [np.concatenate(pair) for pair in zip(mine, other, strict=True)]
        order = np.argsort(both[0])
        return tuple(column[order] for column in both)

    order = np.sort(keys)
    ours = merge_tables(comm, (order, np.stack([order, -order], axis=1).astype("f4")), merged)
    everything = np.sort(np.concatenate(comm.allgather(keys)))
    np.testing.assert_array_equal(ours[0], everything)
    np.testing.assert_array_equal(ours[1], np.stack([everything, -everything], axis=1))
