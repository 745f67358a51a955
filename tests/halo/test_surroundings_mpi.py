"""What filters keep of an exchange: few frames, no field, nothing beyond their grid; and messages cut into parts."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.halo import slabs, surroundings
from mpibatch.halo.engines import ENGINES
from mpibatch.mpi import MPI
from tests.support.oracles import padded

pytestmark = pytest.mark.mpi
RANKS = MPI.COMM_WORLD.size


@pytest.fixture
def grid() -> mb.Grid:
    return mb.Grid((6 * RANKS, 7), topology=(RANKS, 1))


def frames(grid: mb.Grid) -> dict[Any, surroundings.Frame]:
    return surroundings._frames[grid]


def test_one_frame_serves_all_fields_of_a_kind(grid: mb.Grid) -> None:
    for value in (1.0, 2.0):
        for halo in (0, 2):
            u = grid.full(value, halo=halo)
            before, after = slabs(u, 0, (2, 1), "reflect")
            assert (before == value).all()
            assert (after == value).all()
    assert len(frames(grid)) == 1
    slabs(grid.zeros("f4"), 0, (2, 1), "reflect")
    slabs(grid.zeros(), 0, (2, 1), "wrap")
    assert len(frames(grid)) == 3


def test_what_slabs_returns_stays_as_it_is(grid: mb.Grid) -> None:
    first = slabs(grid.full(1.0), 0, (1, 1), "nearest")
    slabs(grid.full(2.0), 0, (1, 1), "nearest")
    assert all((part == 1.0).all() for part in first)


def test_frames_are_few_and_small(grid: mb.Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    u = grid.zeros()
    for reach in range(1, surroundings.MOST_FRAMES + 4):
        slabs(u, 0, (reach, 0), "wrap")
    assert len(frames(grid)) == surroundings.MOST_FRAMES
    monkeypatch.setattr(surroundings, "MOST_BYTES", 600)
    slabs(u, 0, (20, 20), "mirror")  # too large to be kept
    assert not any(key[0].widths[0][1] == 20 for key in frames(grid))
    slabs(u, 1, (1, 1), "mirror")
    assert sum(frame.nbytes for frame in frames(grid).values()) <= 600


def test_frames_hold_no_field_and_go_with_their_grid() -> None:
    grid = mb.Grid((6 * RANKS, 7), topology=(RANKS, 1))
    u = grid.from_function(lambda y, x: y + x)
    u.memory.is_reused = False
    mb.filters.gaussian_filter(u, 1)
    mb.filters.correlate(u, np.ones((3, 3)))
    memory, kept = weakref.ref(u.memory), list(frames(grid).values())
    assert kept
    del u
    gc.collect()
    assert memory() is None
    stages, watched = [frame._stage for frame in kept], weakref.ref(kept[0])
    assert any(stage.requests for stage in stages) == (RANKS > 1)
    del kept, grid
    gc.collect()
    assert watched() is None
    assert not any(stage.requests or stage._types for stage in stages)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_messages_go_in_parts_that_mpi_can_count(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpibatch.halo.stages.MESSAGE_BYTES", 20)
    for topology in ((RANKS, 1), (1, RANKS)):
        grid = mb.Grid((6 * RANKS, 6 * RANKS), topology=topology)
        whole = np.arange(36.0 * RANKS**2).reshape(grid.shape)
        u = grid.full(-1.0, halo=2)
        u.owned[...] = whole[grid.box.slices()]
        mb.exchange(u, mode="reflect", engine=engine)
        around = padded(whole, u.halo, ["reflect"] * 2, 0)
        np.testing.assert_array_equal(u.padded, around[grid.box.grow(u.halo).slices((-2, -2))])
        before, _ = slabs(u, 0, (2, 2), "reflect")
        np.testing.assert_array_equal(before, u.padded[:2, 2:-2])
