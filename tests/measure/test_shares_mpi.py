"""Shares of labels: consecutive ranges, of which each rank has about as many labels, wherever these lie."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.measure
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch import segment
from mpibatch.measure._engine.shares import BINS, Shares
from mpibatch.mpi import MPI

pytestmark = pytest.mark.mpi
COMM = MPI.COMM_WORLD
RANKS = COMM.size
MOST = 2**63 - 1


@st.composite
def numbers(draw: st.DrawFn) -> np.ndarray:
    """Some clusters of numbers anywhere in 63 bits."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        begin, spread = draw(st.integers(0, 62)), draw(st.integers(0, 62))
        count = draw(st.sampled_from([1, 3, 400, 5000]))
        low = 2**begin
        parts.append(rng.integers(low, min(low + 2**spread, MOST), count, endpoint=True))
    return np.unique(np.concatenate([*parts, draw(st.sampled_from([[1], [0, MOST], [MOST]]))]).astype(np.int64))


@settings(max_examples=30, deadline=None)
@given(numbers(), st.integers(0, 2))
def test_ranges_are_consecutive_and_none_has_much_more(values: np.ndarray, seed: int) -> None:
    mine = values[np.random.default_rng(seed).integers(0, RANKS, len(values)) == COMM.rank]
    shares = Shares.even(COMM, int(values[0]), int(values[-1]), 4 * RANKS, lambda: mine[::-1])
    owners = shares.owners(values)
    assert owners.min() >= 0
    assert owners.max() < RANKS
    assert (np.diff(owners) >= 0).all()
    most = COMM.allreduce(np.bincount(owners, minlength=RANKS).max(), op=MPI.MAX)
    if shares.bins is not None:
        # A bin has at most twice its part, or one number; a rank may have a part of one more at each of its ends.
        assert most <= len(values) / RANKS + 2 * (2 * len(values) / BINS + 1)
        assert shares.bins.shape[1] <= 8 * BINS


def sparse(shape: tuple[int, ...]) -> np.ndarray:
    """A label in every other cell: few small numbers, most in a narrow range far away, one as great as can be."""
    labels = np.zeros(shape, np.int64)
    inner = labels[::2, ::2]
    inner[...] = 2**40 + np.random.default_rng(3).permutation(inner.size).reshape(inner.shape)
    inner[0, :3] = [5, MOST - 1, 9]
    return labels


def test_no_rank_has_the_rows_of_all_sparse_labels() -> None:
    whole = sparse((48, 50))
    labels = mb.scatter(whole, mb.Grid(whole.shape))
    table = mb.regionprops_table(labels, properties=("label", "area", "centroid", "perimeter", "moments_central"))
    expected = skimage.measure.regionprops_table(
        np.unique(whole, return_inverse=True)[1], properties=("area", "centroid", "perimeter", "moments_central")
    )
    most = COMM.allreduce(len(table["label"]), op=MPI.MAX)
    assert most <= len(expected["area"]) / RANKS + 4
    every = table.gather()
    np.testing.assert_array_equal(every["label"], np.unique(whole)[1:])
    for name, column in expected.items():
        np.testing.assert_allclose(every[name], column, atol=1e-12)


def test_maps_and_removals_of_sparse_labels() -> None:
    whole = sparse((20, 22))
    labels = mb.scatter(whole, mb.Grid(whole.shape))
    new, forward, inverse = segment.relabel_sequential(labels, 2**50)
    values, places = np.unique(whole, return_inverse=True)
    np.testing.assert_array_equal(mb.gather_all(new), np.where(whole > 0, 2**50 - 1 + places, 0))
    np.testing.assert_array_equal(mb.gather_all(inverse[new]), whole)
    np.testing.assert_array_equal(forward.gather()[0], values)
    share = len(values) / RANKS + 4
    assert COMM.allreduce(max(len(forward.in_values), len(inverse.in_values)), op=MPI.MAX) <= share
    np.testing.assert_array_equal(mb.gather_all(segment.remove_small_objects(labels, max_size=1)), 0 * whole)
