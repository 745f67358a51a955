"""Peaks at a distance, against scikit-image on the whole array, on any decomposition."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import feature

import mpibatch as mb
from mpibatch import segment
from mpibatch.mpi import MPI
from tests.segment.test_growth_mpi import pictures
from tests.support.pieces import piece, same_cells, topologies

pytestmark = pytest.mark.mpi

NUMBERS = ["u1", "i1", "u2", "i4", "u4", "i8", "f4", "f8"]


@given(picture=pictures(NUMBERS, [(37,), (9, 14), (23, 8), (1, 30), (5, 6, 7), (9, 3, 8)]), draws=st.data())
@settings(max_examples=60)
def test_peak_local_max(picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject) -> None:
    whole, grid, seed = picture
    if whole.dtype.kind in "iu":
        whole = whole + (whole.min() == np.iinfo(whole.dtype).min)  # scikit-image cannot negate it
    form = np.random.default_rng(seed).random((3,) * whole.ndim) < 0.6
    form[(1,) * whole.ndim] = True
    options: dict[str, Any] = {
        "min_distance": draws.draw(st.sampled_from([1, 1, 2, 3, 4])),
        "threshold_abs": draws.draw(st.sampled_from([None, None, 1])),
        "threshold_rel": draws.draw(st.sampled_from([None, None, 0.5])),
        "exclude_border": draws.draw(st.sampled_from([True, False, False, 1, (0,) * (whole.ndim - 1) + (2,)])),
        "num_peaks": draws.draw(st.sampled_from([np.inf, np.inf, 1, 4])),
        "footprint": draws.draw(st.sampled_from([None, None, form])),
        "p_norm": draws.draw(st.sampled_from([np.inf, np.inf, 2, 1])),
    }
    wanted = feature.peak_local_max(whole, **options)
    u = piece(whole, grid, seed % 2)
    np.testing.assert_array_equal(segment.peak_local_max(u, **options), wanted)
    marks = np.zeros(whole.shape, np.bool_)
    marks[tuple(wanted.T)] = True
    same_cells(segment.peak_local_max(u, indices=False, **options), marks)


@pytest.mark.parametrize("topology", topologies(2), ids=str)
def test_no_two_peaks_of_a_flat_ridge_are_close(topology: tuple[int, ...]) -> None:
    """A chain of equal peaks through all blocks, each of which depends on the one before it."""
    whole = np.zeros((7, 60))
    whole[3] = 2.0
    found = segment.peak_local_max(piece(whole, mb.Grid(whole.shape, topology=topology)), 3, exclude_border=False)
    np.testing.assert_array_equal(found, [[3, x] for x in range(0, 60, 3)])
    np.testing.assert_array_equal(found, feature.peak_local_max(whole, 3, exclude_border=False))


def test_peaks_keep_their_distance_around_a_periodic_axis() -> None:
    whole = np.where(np.isin(np.arange(20), [1, 9, 18]), 5, np.arange(20) % 2)
    grid = mb.Grid(20, periodic=True)
    assert segment.peak_local_max(piece(whole, grid), 4).tolist() == [[1], [9]]


def test_what_cannot_be_meant_is_refused_by_all_ranks() -> None:
    u = mb.Grid((6, 5)).from_function(lambda y, x: y * x)
    holed = u.copy()
    holed.owned[...] = np.nan
    for call, message in (
        (lambda: segment.peak_local_max(u > 1), "bool has no heights"),
        (lambda: segment.peak_local_max(u, -1), "min_distance = -1"),
        (lambda: segment.peak_local_max(u, exclude_border=(1, 2, 3)), "exclude_border"),
        (lambda: segment.peak_local_max(u, p_norm=0.5), "p_norm"),
        (lambda: segment.peak_local_max(u, num_peaks=-2), "num_peaks"),
        (lambda: segment.peak_local_max(holed), "NaN"),
    ):
        with pytest.raises(mb.UsageError, match=message) as caught:
            call()
        assert len(set(MPI.COMM_WORLD.allgather(str(caught.value)))) == 1


def test_examples_are_true() -> None:
    failed, tried = doctest.testmod(importlib.import_module("mpibatch.segment.peak_spacing"))
    assert tried > 3
    assert not failed
