"""Blocks of which some ranks have thin ones: they read theirs in another way, and send the same messages."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndi

import mpibatch as mb
from mpibatch.filters._engine.rows import THIN

pytestmark = pytest.mark.mpi
RANKS = mb.mpi.MPI.COMM_WORLD.size


def scattered(whole: np.ndarray, axis: int) -> mb.Field:
    topology = [1] * whole.ndim
    topology[axis] = RANKS
    grid = mb.Grid(whole.shape, topology=topology)
    u = grid.empty(whole.dtype)
    u.owned[...] = whole[grid.box.slices()]
    return u


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("dtype", ["f4", "u1", "?"])
def test_ranks_on_either_side_of_thin(size: int, dtype: str) -> None:
    rng = np.random.default_rng(size)
    least = THIN * (size - 1)  # cells of a block that is not thin
    for axis in (0, 1, 2):
        for more in (-1, 0, 1):
            # Of the ranks at least one has a cell less than the others, at the width where blocks are thin.
            shape = [least + 1] * 3
            shape[axis] = max(RANKS, least * RANKS - 1 + more)
            shape[axis - 1] = least
            whole = (rng.random(shape) * 200).astype(dtype)
            u = scattered(whole, axis)
            if dtype == "?":
                weights = np.ones((size,) * 3)
                ours, expected = mb.filters.correlate(u, weights), ndi.correlate(whole, weights)
            else:
                ours, expected = mb.filters.median_filter(u, size), ndi.median_filter(whole, size)
            np.testing.assert_array_equal(ours.owned, expected[u.box.slices()])
