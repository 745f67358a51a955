"""Halo engines: one contract, on real ranks."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.halo import padded_copy, slabs
from mpibatch.halo.engines import ENGINES
from mpibatch.mpi import MPI
from tests.support.oracles import PAD_MODES, padded

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.mpi
MODES = ["reflect", "mirror", "nearest", "wrap", "constant"]
same_on_all_ranks = settings(derandomize=True, deadline=None, database=None, max_examples=60)


def poisoned(whole: np.ndarray, grid: mb.Grid, halo: object) -> mb.Field:
    u = grid.full(np.array(99).astype(whole.dtype), whole.dtype, halo, whole.shape[grid.ndim :])
    u.owned[...] = whole[grid.box.slices()]
    return u


def expected(whole: np.ndarray, u: mb.Field, widths: tuple, modes: list[str], cval: float) -> np.ndarray:
    everything = padded(whole, widths, modes, cval)
    return everything[u.box.grow(widths).slices(tuple(-w[0] for w in widths))] if u.box.size else u.padded


@st.composite
def cases(draw: st.DrawFn) -> tuple:
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    components = draw(st.sampled_from([(), (3,), (2, 2)]))
    widths = tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in shape)
    modes = [draw(st.sampled_from(MODES)) for _ in shape]
    periodic = [draw(st.booleans()) for _ in shape]
    dtype = draw(st.sampled_from(["f4", "f8", "u1", "i2", "c16", "?"]))
    return shape, components, widths, modes, periodic, dtype


@pytest.mark.parametrize("engine", sorted(ENGINES))
@given(case=cases())
@same_on_all_ranks
def test_every_engine_fills_every_halo_cell(engine: str, case: tuple) -> None:
    shape, components, widths, modes, periodic, dtype = case
    grid = mb.Grid(shape, periodic=periodic)
    whole = np.arange(np.prod(shape + components)).reshape(shape + components).astype(dtype)
    u = poisoned(whole, grid, widths)
    mb.exchange(u, mode=modes, cval=7, engine=engine)
    walls = ["wrap" if p else m for p, m in zip(periodic, modes, strict=True)]
    np.testing.assert_array_equal(u.padded, expected(whole, u, widths, walls, 7))


@given(case=cases())
@same_on_all_ranks
def test_padded_copy_and_slabs_leave_the_field_alone(case: tuple) -> None:
    shape, components, widths, modes, _, dtype = case
    grid = mb.Grid(shape)
    whole = np.arange(np.prod(shape + components)).reshape(shape + components).astype(dtype)
    u = poisoned(whole, grid, [(a + 1, b) for a, b in widths])
    before = u.padded.copy()
    array = padded_copy(u, widths, modes, 7)
    if u.box.size:
        np.testing.assert_array_equal(array, expected(whole, u, widths, modes, 7))
    for axis in range(len(shape)):
        low, high = slabs(u, axis, widths[axis], modes[axis], 7)
        if u.box.size:
            alone = tuple(w if a == axis else (0, 0) for a, w in enumerate(widths))
            around = expected(whole, u, alone, modes, 7)
            np.testing.assert_array_equal(low, np.take(around, range(widths[axis][0]), axis))
            np.testing.assert_array_equal(
                high, np.take(around, range(around.shape[axis] - widths[axis][1], around.shape[axis]), axis)
            )
    np.testing.assert_array_equal(u.padded, before)


def test_padded_copy_is_the_field_s_own_memory_when_its_halo_fits() -> None:
    u = mb.Grid((8, 8)).zeros("f4", halo=2)
    assert padded_copy(u, 2, "reflect") is u.padded
    assert padded_copy(u, 1, "reflect") is not u.padded


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("topology", ["slab", "pencil", "last"])
def test_narrow_last_axis_faces_of_any_item_size(engine: str, topology: str) -> None:
    # Large enough for the compiled copies of short rows.
    size = MPI.COMM_WORLD.size
    ranks = {"slab": (size, 1, 1), "pencil": (1, None, None), "last": (1, 1, size)}[topology]
    shape = (24, 30, 8 * size)
    whole = np.random.default_rng(1).integers(0, 100, shape)
    for dtype, width in itertools.product(["u1", "i2", "f4", "f8", "c16"], [1, 2, 4]):
        u = poisoned(whole.astype(dtype), mb.Grid(shape, topology=ranks), width)
        mb.exchange(u, mode="wrap", engine=engine)
        np.testing.assert_array_equal(u.padded, expected(whole.astype(dtype), u, u.halo, ["wrap"] * 3, 0))


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_several_fields_of_different_types_share_an_exchange(engine: str) -> None:
    grid = mb.Grid((12, 9), periodic=(True, False))
    wholes = [np.arange(108).reshape(12, 9).astype("f4"), np.arange(216).reshape(12, 9, 2), np.eye(12, 9) > 0]
    fields = [poisoned(w, grid, 2) for w in wholes]
    with mb.Exchange(fields, width=1, mode="nearest", engine=engine) as exchange:
        for _ in range(3):
            exchange.start()
            exchange.finish()
            for whole, u in zip(wholes, fields, strict=True):
                inside = u.padded[1:-1, 1:-1] if u.box.size else u.padded
                np.testing.assert_array_equal(inside, expected(whole, u, ((1, 1), (1, 1)), ["wrap", "nearest"], 0))
                u.owned[...] = u.owned  # written between exchanges, as a time loop does


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_without_corners_the_faces_are_filled(engine: str) -> None:
    grid = mb.Grid((9, 10, 11), periodic=True)
    whole = np.arange(990.0).reshape(9, 10, 11)
    u = poisoned(whole, grid, 1)
    mb.exchange(u, corners=False, engine=engine)
    everything = expected(whole, u, u.halo, ["wrap"] * 3, 0)
    inside = slice(1, -1)
    for cut in ((slice(None), inside, inside), (inside, slice(None), inside), (inside, inside, slice(None))):
        np.testing.assert_array_equal(u.padded[cut], everything[cut])


def test_no_mode_leaves_walls_as_they_are() -> None:
    u = poisoned(np.arange(10.0), mb.Grid((10,)), 1)
    mb.exchange(u, mode=None)
    if u.box.size and u.box.start[0] == 0:
        assert u.padded[0] == 99


def test_engines_can_be_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MPIBATCH_ENGINE", "axes")
    with pytest.raises(mb.UsageError, match="did you mean 'axis'"):
        mb.exchange(mb.Grid((4,)).zeros(halo=1))
    monkeypatch.setitem(os.environ, "MPIBATCH_ENGINE", "plan")
    u = mb.Grid((12,)).zeros(halo=1)
    monkeypatch.delitem(os.environ, "MPIBATCH_ENGINE")
    mb.exchange(u)
    mb.exchange(u, engine="plan")
    assert len(u.memory.exchanges) == 1  # the grid's engine, by its name or not


@pytest.mark.mpi(min_size=2)
def test_ranks_whose_environments_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MPIBATCH_ENGINE", ["axis", "plan"][MPI.COMM_WORLD.rank % 2])
    with pytest.raises(mb.UsageError, match="ranks differ"):
        mb.Grid((12,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 3}, "create the field with halo"),
        ({"mode": "reflective"}, "did you mean 'reflect'"),
        ({"mode": ["wrap"]}, "1 entries"),
        ({"width": (1, 2, 3)}, "3 entries"),
        ({"width": -1}, "negative"),
        ({"width": 1.5}, "halo=1.5"),
        ({"mode": "constant", "cval": "x"}, "cval='x'"),
        ({"mode": "constant", "cval": np.array([1.0, 2.0])}, "a value that it can hold"),
    ],
)
def test_what_cannot_be_exchanged_is_refused_on_every_rank(arguments: dict, message: str) -> None:
    with pytest.raises(mb.UsageError, match=message):
        mb.exchange(mb.Grid((8, 8)).zeros(halo=2), **arguments)


@pytest.mark.parametrize("call", [mb.exchange, lambda u, **how: mb.halo.padded_copy(u, 1, how["mode"], how["cval"])])
def test_a_wall_value_that_the_dtype_lacks_is_refused_also_far_from_walls(call: Callable) -> None:
    u = mb.Grid((12,)).zeros("u1", halo=2)
    with pytest.raises(mb.UsageError, match="cval=300"):
        call(u, mode="constant", cval=300)


def test_an_exchange_is_planned_once_for_each_wall_value() -> None:
    u = mb.Grid((12,)).zeros("f8", halo=1)
    for _ in range(3):
        for value in (0.0, -0.0, float("nan"), np.array(7.0)):
            mb.exchange(u, mode="constant", cval=value)
            if u.box.size and u.box.start[0] == 0:
                assert u.padded[0].tobytes() == np.float64(value).tobytes()
    assert len(u.memory.exchanges) == 4


def test_oracle_knows_every_mode() -> None:
    assert set(PAD_MODES) == set(mb.domain.MODES)
