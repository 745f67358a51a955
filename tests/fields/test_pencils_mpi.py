"""Lines of cells along an axis that is cut: whole by redistribution, and what lies before and after a block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.fields.pencils import are_whole, before_and_after, pencils
from mpibatch.mpi import MPI
from tests.support.segments import field, grids

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD


@given(grid=grids((9, 6, 4, 3)), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_there_and_back(grid: mb.Grid, seed: int) -> None:
    whole = np.random.default_rng(seed).random(grid.shape)
    u = field(whole, grid)
    for axis in range(grid.ndim):
        to = pencils(grid, axis)
        v = mb.redistribute(u, to)
        assert are_whole(to, axis)
        assert to.box.size == 0 or (to.box.start[axis], to.box.stop[axis]) == (0, grid.shape[axis])
        np.testing.assert_array_equal(v.owned, whole[to.box.slices()])
        np.testing.assert_array_equal(mb.redistribute(v, grid).owned, u.owned)
        assert pencils(to, axis) is to


@pytest.mark.parametrize("shape", [(5,), (3, 1), (1, 3), (2, 2, 2)])
def test_more_ranks_than_lines(shape: tuple[int, ...]) -> None:
    grid = mb.Grid(shape)
    for axis in range(len(shape)):
        owners = WORLD.allreduce(int(pencils(grid, axis).box.size > 0))
        assert owners <= np.prod(shape) // shape[axis]


def test_lines_are_shared_out_evenly_and_the_geometry_stays() -> None:
    sizes = [[1, 3] + [0] * (WORLD.size - 2) if WORLD.size > 1 else [4], None, None]
    grid = mb.Grid((4, 12, 10), sizes=sizes, spacing=(1, 2, 3), origin=5, units="mm", periodic=(False, True, False))
    to = pencils(grid, 0)
    cells = WORLD.allgather(to.box.size)
    assert max(cells) <= 4 * 12 * 10 / WORLD.size * 1.5
    assert (to.spacing, to.origin, to.units, to.periodic) == (grid.spacing, grid.origin, grid.units, grid.periodic)


@given(grid=grids((9, 6, 4, 3)), seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
@settings(max_examples=60)
def test_nearest_before_and_after(grid: mb.Grid, seed: int, share: float) -> None:
    """Along every axis, of the last and first marked cells of each block, against a search in the whole array."""
    rng = np.random.default_rng(seed)
    marked, colors = rng.random(grid.shape) < share, rng.integers(1, 200, grid.shape).astype("u1")
    for axis in range(grid.ndim):
        box = grid.box
        other = tuple(slice(None) if a == axis else s for a, s in enumerate(box.slices()))
        lines, hues = (np.moveaxis(part[other], axis, -1) for part in (marked, colors))
        low, high = box.start[axis], box.stop[axis]
        last, first = _extreme(lines, hues, low, high, -1), _extreme(lines, hues, low, high, 0)
        before, after = before_and_after(grid, axis, last, first)
        for ours, expected in zip(before, _extreme(lines, hues, 0, low, -1), strict=True):
            np.testing.assert_array_equal(ours, expected)
        for ours, expected in zip(after, _extreme(lines, hues, high, grid.shape[axis], 0), strict=True):
            np.testing.assert_array_equal(ours, expected)


def _extreme(lines: np.ndarray, hues: np.ndarray, low: int, high: int, which: int) -> list[np.ndarray]:
    """Place and hue of each line's first (0) or last (-1) marked cell from `low` to `high`; -1 and 0 if none is."""
    places, chosen = np.full(lines.shape[:-1], -1), np.zeros(lines.shape[:-1], "u1")
    for line in np.ndindex(*lines.shape[:-1]):
        hits = np.flatnonzero(lines[line][low:high])
        if hits.size:
            places[line] = low + hits[which]
            chosen[line] = hues[line][places[line]]
    return [places, chosen]


def test_an_axis_that_there_is_not() -> None:
    with pytest.raises(mb.UsageError, match="axis 2 of a grid of 2 axes"):
        pencils(mb.Grid((3, 4)), 2)
