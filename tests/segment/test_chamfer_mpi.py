"""Steps to the background against scipy's two sweeps over the whole array: to the bit, ties included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import mpibatch as mb
from mpibatch import segment
from mpibatch.mpi import MPI
from tests.support.segments import field, grids, indices_last, same_bits, shapes

pytestmark = pytest.mark.mpi

SHARES = st.sampled_from([0.0, 0.002, 0.02, 0.1, 0.31, 0.7])
SEEDS = st.integers(0, 2**32 - 1)


def all_agree(whole: np.ndarray, grid: mb.Grid, metric: Any) -> None:
    u = field(whole, grid)
    distances, indices = ndimage.distance_transform_cdt(whole, metric, return_indices=True)
    ours = segment.distance_transform_cdt(u, metric, return_indices=True)
    same_bits(ours[0], distances)
    same_bits(ours[1], indices_last(indices))
    same_bits(segment.distance_transform_cdt(u, metric), distances)
    same_bits(segment.distance_transform_cdt(u, metric, False, True), indices_last(indices))


@given(grid=grids(), share=SHARES, seed=SEEDS, metric=st.sampled_from(["chessboard", "taxicab", "manhattan"]))
@settings(max_examples=40)
def test_known_metrics(grid: mb.Grid, share: float, seed: int, metric: str) -> None:
    all_agree(shapes(np.random.default_rng(seed), grid.shape, share), grid, metric)


@given(grid=grids(), share=SHARES, seed=SEEDS)
@settings(max_examples=40)
def test_any_other_metric(grid: mb.Grid, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    all_agree(shapes(rng, grid.shape, share), grid, rng.random((3,) * grid.ndim) < rng.random())


@pytest.mark.parametrize("metric", ["chessboard", "taxicab"])
def test_ways_through_all_ranks_and_back(metric: str) -> None:
    whole = np.ones((40, 31), bool)
    whole[-1, 0] = False
    for topology in ((MPI.COMM_WORLD.size, 1), (1, MPI.COMM_WORLD.size)):
        all_agree(whole, mb.Grid(whole.shape, topology=topology), metric)
        all_agree(whole[::-1, ::-1].copy(), mb.Grid(whole.shape, topology=topology), metric)


def test_steps_go_around_periodic_axes() -> None:
    """As in the middle of three copies in a row: axes on which few cells are background, and any metric."""
    rng = np.random.default_rng(6)
    for shape, periodic in (((9,), True), ((7, 11), (True, False)), ((6, 5), True), ((4, 5, 3), (False, True, True))):
        grid = mb.Grid(shape, periodic=periodic)
        for metric in ("chessboard", "taxicab", rng.random((3,) * grid.ndim) < 0.6):
            whole = shapes(rng, shape, 0.05)
            copies = np.tile(whole, [3 if is_ring else 1 for is_ring in grid.periodic])
            middle = tuple(slice(n, 2 * n) if ring else slice(n) for n, ring in zip(shape, grid.periodic, strict=True))
            distances, indices = ndimage.distance_transform_cdt(copies, metric, return_indices=True)
            ours = segment.distance_transform_cdt(field(whole, grid), metric, return_indices=True)
            same_bits(ours[0], distances[middle])
            same_bits(ours[1], indices_last(indices)[middle] % np.array(shape, "i4"))


@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 4, 5)])
def test_without_background_there_is_no_way(shape: tuple[int, ...]) -> None:
    all_agree(np.ones(shape, bool), mb.Grid(shape), "chessboard")


def test_each_component_alone() -> None:
    whole = np.random.default_rng(4).random((23, 17, 2)) > 0.1
    u = field(whole, mb.Grid(whole.shape[:2]))
    distances, indices = segment.distance_transform_cdt(u, return_indices=True)
    for c in range(2):
        d, i = ndimage.distance_transform_cdt(np.ascontiguousarray(whole[..., c]), return_indices=True)
        np.testing.assert_array_equal(distances.owned[..., c], d[u.box.slices()])
        np.testing.assert_array_equal(indices.owned[..., c, :], indices_last(i)[u.box.slices()])


WRONG = (
    (lambda u: segment.distance_transform_cdt(u, "chess"), "metric 'chess' is unknown"),
    (lambda u: segment.distance_transform_cdt(u, np.ones((3, 3, 3))), r"shape \(3, 3, 3\) was given"),
    (lambda u: segment.distance_transform_cdt(u, np.ones((5, 5))), r"shape \(5, 5\) was given"),
    (lambda u: segment.distance_transform_cdt(u, [[1, 2], [3]]), "is no array"),
    (lambda u: segment.distance_transform_cdt(u, "taxicab", False), "neither distances nor indices"),
    (lambda u: segment.distance_transform_cdt(np.ones((3, 3))), "not a Field"),
)


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_cannot_be_meant(call: Any, words: str) -> None:
    u = mb.Grid((6, 5)).full(1, "i4")
    with pytest.raises(mb.UsageError, match=words):
        call(u)
