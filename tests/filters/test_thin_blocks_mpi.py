"""Blocks of which some ranks have thin ones: they read theirs in another way, and send the same messages."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndi

import mpibatch as mb
from mpibatch.filters._engine.rows import THIN
from tests.support.shares import shared_out

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
    wholes = []
    axes = [axis for axis in (0, 1, 2) for _ in range(3)]
    for number, axis in enumerate(axes):
        # Of the ranks at least one has a cell less than the others, at the width where blocks are thin.
        shape = [least + 1] * 3
        shape[axis] = max(RANKS, least * RANKS - 2 + number % 3)
        shape[axis - 1] = least
        wholes.append((rng.random(shape) * 200).astype(dtype))
    weights = np.ones((size,) * 3)

    def answer(whole: np.ndarray) -> np.ndarray:
        return ndi.correlate(whole, weights) if dtype == "?" else ndi.median_filter(whole, size)

    for axis, whole, expected in zip(axes, wholes, shared_out(answer, wholes), strict=True):
        u = scattered(whole, axis)
        ours = mb.filters.correlate(u, weights) if dtype == "?" else mb.filters.median_filter(u, size)
        np.testing.assert_array_equal(ours.owned, expected[u.box.slices()])
