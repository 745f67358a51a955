"""Euclidean distances and growing labels against scipy and scikit-image: to the bit, ties included."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import segmentation as theirs

import mpibatch as mb
from mpibatch import segment
from mpibatch.mpi import MPI
from tests.support.segments import field, grids, indices_last, same_bits, shapes

pytestmark = pytest.mark.mpi

RANKS = MPI.COMM_WORLD.size
SHARES = st.sampled_from([0.0, 0.002, 0.02, 0.1, 0.31, 0.7])
SEEDS = st.integers(0, 2**32 - 1)


@given(grid=grids(), share=SHARES, seed=SEEDS, halo=st.integers(0, 1))
@settings(max_examples=60)
def test_distances(grid: mb.Grid, share: float, seed: int, halo: int) -> None:
    whole = shapes(np.random.default_rng(seed), grid.shape, share)
    same_bits(segment.distance_transform_edt(field(whole, grid, halo)), ndimage.distance_transform_edt(whole))


@given(grid=grids(), share=SHARES, seed=SEEDS, data=st.data())
@settings(max_examples=60)
def test_indices_and_sampling(grid: mb.Grid, share: float, seed: int, data: st.DataObject) -> None:
    whole = shapes(np.random.default_rng(seed), grid.shape, share)
    spacing = st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.7, 2.0, 3.1])
    sampling = data.draw(st.one_of(st.none(), spacing, st.tuples(*[spacing] * grid.ndim)))
    u = field(whole, grid)
    distances, indices = ndimage.distance_transform_edt(whole, sampling=sampling, return_indices=True)
    ours = segment.distance_transform_edt(u, sampling, return_indices=True)
    same_bits(ours[0], distances)
    same_bits(ours[1], indices_last(indices))
    same_bits(segment.distance_transform_edt(u, sampling), distances)
    same_bits(segment.distance_transform_edt(u, sampling, False, True), indices_last(indices))


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i8", "f4", "f8", "c8"])
def test_what_is_background(dtype: str) -> None:
    rng = np.random.default_rng(3)
    whole = (rng.integers(0, 3, (12, 9, 5)) * rng.integers(-1, 2, (12, 9, 5))).astype(dtype)
    if dtype[0] == "f":
        whole[3, 3, 3], whole[4, 4, 4] = np.nan, -0.0
    same_bits(segment.distance_transform_edt(field(whole, mb.Grid(whole.shape))), ndimage.distance_transform_edt(whole))


def test_frozen_fields_and_foreign_byte_order() -> None:
    rng = np.random.default_rng(5)
    whole = rng.random((19, 14)) > 0.1
    u = field(whole, mb.Grid(whole.shape)).frozen()
    distances, indices = ndimage.distance_transform_edt(whole, return_indices=True)
    same_bits(segment.distance_transform_edt(u), distances)
    same_bits(segment.distance_transform_edt(u, return_indices=True)[1], indices_last(indices))
    same_bits(segment.distance_transform_cdt(u), ndimage.distance_transform_cdt(whole))
    labels = np.where(rng.random(whole.shape) < 0.05, 300, 0).astype(">i2")
    ours = segment.expand_labels(field(labels, u.grid).frozen(), 2)
    same_bits(ours, theirs.expand_labels(labels.astype("i2"), 2))


def test_each_component_alone() -> None:
    rng = np.random.default_rng(4)
    whole = rng.random((23, 17, 2, 3)) > 0.1
    u = field(whole, mb.Grid(whole.shape[:2]))
    distances, indices = segment.distance_transform_edt(u, return_indices=True)
    for c in np.ndindex(2, 3):
        part = np.ascontiguousarray(whole[(..., *c)])
        d, i = ndimage.distance_transform_edt(part, return_indices=True)
        np.testing.assert_array_equal(distances.owned[(..., *c)], d[u.box.slices()])
        np.testing.assert_array_equal(indices.owned[(..., *c, slice(None))], indices_last(i)[u.box.slices()])
        np.testing.assert_array_equal(segment.distance_transform_edt(u).owned[(..., *c)], d[u.box.slices()])


@pytest.mark.parametrize("topology", [(RANKS, 1), (1, RANKS)])
@pytest.mark.parametrize("shape", [(150, 200), (257, 3), (3, 300)])
def test_far_background(shape: tuple[int, int], topology: tuple[int, int]) -> None:
    """Far enough for the envelope of parabolas, and for pencils instead of halos."""
    whole = np.ones(shape, bool)
    whole[shape[0] // 3, shape[1] // 4] = whole[-1, -1] = False
    u = field(whole, mb.Grid(shape, topology=topology))
    same_bits(segment.distance_transform_edt(u), ndimage.distance_transform_edt(whole))
    distances, indices = ndimage.distance_transform_edt(whole, sampling=(2, 0.3), return_indices=True)
    ours = segment.distance_transform_edt(u, (2, 0.3), return_indices=True)
    same_bits(ours[0], distances)
    same_bits(ours[1], indices_last(indices))


@pytest.mark.parametrize("shape", [(12, 40), (6, 5, 32)])
def test_where_all_is_background_each_cell_is_its_own_nearest(shape: tuple[int, ...]) -> None:
    """Nothing is far off, and so nothing is fetched, along axes that are cut either."""
    whole = np.zeros(shape, bool)
    for axis in range(len(shape)):
        topology = [RANKS if a == axis else 1 for a in range(len(shape))]
        if shape[axis] < RANKS:
            continue
        u = field(whole, mb.Grid(shape, topology=topology))
        distances, indices = ndimage.distance_transform_edt(whole, return_indices=True)
        for _ in range(3):  # memory that was used before is not all zeros
            u.like(np.float64).owned[...] = np.random.default_rng(axis).random(u.owned.shape)
            ours = segment.distance_transform_edt(u, return_indices=True)
            same_bits(ours[0], distances)
            same_bits(ours[1], indices_last(indices))


@pytest.mark.mpi(min_size=4)
@pytest.mark.parametrize("seed", range(8))
def test_short_distances_need_no_redistribution(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halos that are as wide as they must be, and no wider than half a block, along the axis that is cut last."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the field was to be redistributed")

    monkeypatch.setattr("mpibatch.segment._engine.passes.pencils", refuse)
    rng = np.random.default_rng(seed)
    grid = mb.Grid((88, 120), topology=(None, 2) if RANKS % 2 == 0 else (RANKS, 1))
    whole = ndimage.gaussian_filter(rng.random(grid.shape), 1.5) > 0.47
    # The nearest background is some way off in the neighboring block.
    whole[:45, 49:73], whole[45:, 50:72] = True, True
    whole[::25, :] = False
    u = field(whole, grid)
    same_bits(segment.distance_transform_edt(u), ndimage.distance_transform_edt(whole))
    distances, indices = ndimage.distance_transform_edt(whole, return_indices=True)
    ours = segment.distance_transform_edt(u, return_indices=True)
    same_bits(ours[0], distances)
    same_bits(ours[1], indices_last(indices))
    # These are far apart, and the distance is not.
    labels = np.where(rng.random(whole.shape) < 0.01, 5, 0)
    same_bits(segment.expand_labels(field(labels, grid), 3), theirs.expand_labels(labels, 3))


def test_squares_of_more_than_32_bits() -> None:
    whole = np.ones((1, 50_000, 2), bool)
    whole[0, 7, 1] = False
    topology = (1, RANKS, 1)
    u = field(whole, mb.Grid(whole.shape, topology=topology))
    same_bits(segment.distance_transform_edt(u), ndimage.distance_transform_edt(whole))


@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 4, 5)])
def test_without_background_all_is_infinitely_far(shape: tuple[int, ...]) -> None:
    u = mb.Grid(shape).full(1, "i4")
    for sampling in (None, 0.5):
        distances, indices = segment.distance_transform_edt(u, sampling, return_indices=True)
        assert np.isposinf(distances.owned).all()
        assert (indices.owned == -1).all()
        assert np.isposinf(segment.distance_transform_edt(u, sampling).owned).all()
    labels = u.grid.zeros("i4")
    assert not segment.expand_labels(labels, 3).owned.any()
    assert not segment.expand_labels(labels, math.inf).owned.any()


@given(grid=grids(), seed=SEEDS, dtype=st.sampled_from(["u1", "i2", "i4", "i8"]), data=st.data())
@settings(max_examples=60)
def test_expanded_labels(grid: mb.Grid, seed: int, dtype: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    share = data.draw(st.sampled_from([0.5, 0.9, 0.99]))
    whole = np.where(rng.random(grid.shape) < share, 0, rng.integers(1, 100, grid.shape)).astype(dtype)
    if not whole.any():
        whole.flat[rng.integers(whole.size)] = 7
    distance = data.draw(st.sampled_from([0, 1, 1.5, 2, 5, 30, math.inf]))
    spacing = data.draw(st.sampled_from([1, 0.7, (0.3, 2, 1, 1.1)[: grid.ndim]]))
    same_bits(
        segment.expand_labels(field(whole, grid), distance, spacing), theirs.expand_labels(whole, distance, spacing)
    )


def around(whole: np.ndarray, periodic: tuple[bool, ...]) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Three copies in a row along each periodic axis, and where the middle one is."""
    copies = tuple(3 if is_periodic else 1 for is_periodic in periodic)
    middle = tuple(slice(n, 2 * n) if c == 3 else slice(None) for n, c in zip(whole.shape, copies, strict=True))
    return np.tile(whole, copies), middle


def test_distances_go_around_periodic_axes() -> None:
    rng = np.random.default_rng(11)
    for shape in ((23,), (12, 17), (9, 1), (40, 5), (7, 6, 10)):
        for periodic in itertools.product((False, True), repeat=len(shape)):
            topology = [1] * len(shape)
            topology[rng.integers(len(shape))] = RANKS
            grid = mb.Grid(shape, periodic=periodic, topology=topology if rng.random() < 0.5 else None)
            whole = rng.random(shape) > rng.choice([0.02, 0.3])
            whole.flat[rng.integers(whole.size)] = False
            three, middle = around(whole, periodic)
            u = field(whole, grid)
            sizes = np.array(shape).reshape((-1,) + (1,) * len(shape))
            for sampling in (None, (0.3, 1.7, 1.0)[: len(shape)]):
                distances, indices = ndimage.distance_transform_edt(three, sampling, return_indices=True)
                ours = segment.distance_transform_edt(u, sampling, return_indices=True)
                same_bits(ours[0], np.ascontiguousarray(distances[middle]))
                same_bits(ours[1], indices_last((indices[(slice(None), *middle)] % sizes).astype("i4")))
                same_bits(segment.distance_transform_edt(u, sampling), np.ascontiguousarray(distances[middle]))
            labels = np.where(whole, 0, rng.integers(1, 9, shape)).astype("i4")
            grown = theirs.expand_labels(around(labels, periodic)[0], 3)[middle]
            same_bits(segment.expand_labels(field(labels, grid), 3), np.ascontiguousarray(grown))


WRONG = (
    (lambda u: segment.distance_transform_edt(u, 0), "no spacing"),
    (lambda u: segment.distance_transform_edt(u, -1), "no spacing"),
    (lambda u: segment.distance_transform_edt(u, math.nan), "not finite"),
    (lambda u: segment.distance_transform_edt(u, (1, 2, 3)), "3 values for 2"),
    (lambda u: segment.distance_transform_edt(u, "wide"), "not a real number"),
    (lambda u: segment.distance_transform_edt(u, None, False), "neither distances nor indices"),
    (lambda u: segment.distance_transform_edt(np.ones((3, 3))), "not a Field"),
    (lambda u: segment.expand_labels(u, -1), "too small"),
    (lambda u: segment.expand_labels(u, math.nan), "not finite"),
    (lambda u: segment.expand_labels(u, 1, 0), "no spacing"),
    (lambda u: segment.expand_labels(u.astype("f8")), "labels are integers"),
    (lambda u: segment.expand_labels(np.ones((3, 3), int)), "not a Field"),
)


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_cannot_be_meant(call: Any, words: str) -> None:
    u = mb.Grid((6, 5)).full(1, "i4")
    with pytest.raises(mb.UsageError, match=words):
        call(u)
