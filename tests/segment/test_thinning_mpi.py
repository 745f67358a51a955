"""Skeletons and thinning against scikit-image on the whole picture, on any decomposition."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data, morphology

import mpibatch as mb
from mpibatch import segment
from mpibatch.mpi import MPI
from tests.segment.test_growth_mpi import pictures
from tests.support.pieces import piece, same_cells, topologies

pytestmark = pytest.mark.mpi

FLAT = [(1, 1), (1, 30), (9, 14), (23, 8), (40, 37)]


@given(picture=pictures(["?", "u1", "f4"], FLAT), steps=st.sampled_from([None, 0, 1, 2]))
@settings(max_examples=60)
def test_thinning(picture: tuple[np.ndarray, mb.Grid, int], steps: int | None) -> None:
    whole, grid, seed = picture
    u = piece(whole, grid, seed % 2)
    same_cells(segment.skeletonize(u), morphology.skeletonize(whole))
    same_cells(segment.thin(u, steps), morphology.thin(whole, steps))


@given(picture=pictures(["?", "i4"], [*FLAT, (1, 9, 8), (7, 1, 9), (8, 9, 7), (11, 5, 12)]))
@settings(max_examples=40)
def test_skeletons_by_lee(picture: tuple[np.ndarray, mb.Grid, int]) -> None:
    whole, grid, seed = picture
    same_cells(
        segment.skeletonize(piece(whole, grid, seed % 2), method="lee"), morphology.skeletonize(whole, method="lee")
    )


@pytest.mark.parametrize("topology", topologies(3), ids=str)
def test_cells_of_a_volume_wait_for_those_before_them_on_other_ranks(topology: tuple[int, ...]) -> None:
    """Thick bars, slanting plates and noise, where long chains of cells depend on one another."""
    z, y, x = np.indices((12, 13, 14))
    noise = np.random.default_rng(3).random(z.shape) < 0.6
    for whole in (np.ones(z.shape, np.bool_), abs(x + y - z - 8) < 3, noise, np.zeros(z.shape, np.bool_)):
        u = piece(whole, mb.Grid(whole.shape, topology=topology))
        same_cells(segment.skeletonize(u), morphology.skeletonize(whole))


def test_every_neighborhood() -> None:
    """All 512 pictures of 3 × 3 cells, far enough apart."""
    whole = np.zeros((16 * 6, 32 * 6), np.bool_)
    for number in range(512):
        y, x = 6 * (number // 32) + 1, 6 * (number % 32) + 1
        whole[y : y + 3, x : x + 3] = (number >> np.arange(9).reshape(3, 3)) & 1
    u = piece(whole, mb.Grid(whole.shape))
    same_cells(segment.skeletonize(u), morphology.skeletonize(whole))
    same_cells(segment.thin(u), morphology.thin(whole))


@pytest.mark.parametrize("topology", topologies(2), ids=str)
def test_a_real_picture(topology: tuple[int, ...]) -> None:
    whole = ~np.asarray(data.horse())[::2, ::2].astype(bool)
    u = piece(whole, mb.Grid(whole.shape, topology=topology))
    same_cells(segment.skeletonize(u, method="zhang"), morphology.skeletonize(whole))
    same_cells(segment.thin(u), morphology.thin(whole))


def test_what_cannot_be_meant_is_refused_by_all_ranks() -> None:
    u = mb.Grid((6, 5)).zeros("?")
    for call, message in (
        (lambda: segment.skeletonize(u, method="medial"), "'zhang' or 'lee'"),
        (lambda: segment.skeletonize(mb.Grid((3, 3, 3)).zeros("?"), method="zhang"), "3 grid axes"),
        (lambda: segment.skeletonize(mb.Grid(3).zeros("?"), method="lee"), "1 grid axes"),
        (lambda: segment.skeletonize(mb.Grid((3, 3, 3), periodic=True).zeros("?")), "periodic"),
        (lambda: segment.thin(u, -1), "max_num_iter"),
        (lambda: segment.thin(u, 1.5), "max_num_iter"),
    ):
        with pytest.raises(mb.UsageError, match=message) as caught:
            call()
        assert len(set(MPI.COMM_WORLD.allgather(str(caught.value)))) == 1


def test_examples_are_true() -> None:
    failed, tried = doctest.testmod(importlib.import_module("mpibatch.segment.thinning"))
    assert tried > 3
    assert not failed


def test_what_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPIBATCH_MEMORY_LIMIT", "0.5 MiB")
    u = mb.Grid((700, 700)).full(True, "?")
    for call in (segment.thin, segment.skeletonize):
        with pytest.raises(mb.UsageError, match=f"{call.__name__} needs"):
            call(u)
