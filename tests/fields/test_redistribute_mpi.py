"""Scatter, gather and changes of decomposition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.mpi import MPI, transfer
from mpibatch.mpi.transfers import Target, Transfers, pieces

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD
same_on_all_ranks = settings(derandomize=True, deadline=None, database=None, max_examples=40)


@st.composite
def sized_grids(draw: st.DrawFn, shape: tuple[int, ...]) -> mb.Grid:
    """A grid with random, also empty, blocks along one axis."""
    axis = draw(st.integers(0, len(shape) - 1))
    cuts = sorted(draw(st.lists(st.integers(0, shape[axis]), min_size=WORLD.size - 1, max_size=WORLD.size - 1)))
    sizes: list = [None] * len(shape)
    sizes[axis] = np.diff([0, *cuts, shape[axis]]).tolist()
    topology = [1] * len(shape)
    topology[axis] = WORLD.size
    return mb.Grid(shape, topology=topology, sizes=sizes)


@given(data=st.data())
@same_on_all_ranks
def test_any_decomposition_to_any_other(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    components = data.draw(st.sampled_from([(), (3,)]))
    whole = np.arange(np.prod(shape + components), dtype="i4").reshape(shape + components)
    u = mb.scatter(whole if WORLD.rank == 0 else None, data.draw(sized_grids(shape)), halo=data.draw(st.integers(0, 2)))
    v = mb.redistribute(u, data.draw(sized_grids(shape)), halo=1)
    np.testing.assert_array_equal(v.owned, whole[v.box.slices()])
    np.testing.assert_array_equal(mb.gather_all(v), whole)
    root = data.draw(st.integers(0, WORLD.size - 1))
    gathered = mb.gather(v, root)
    assert (gathered is None) == (WORLD.rank != root)
    if gathered is not None:
        np.testing.assert_array_equal(gathered, whole)


def test_scatter_from_another_rank_and_foreign_byte_order() -> None:
    root = WORLD.size - 1
    whole = np.arange(30, dtype=">f8").reshape(5, 6)
    u = mb.scatter(whole if WORLD.rank == root else None, mb.Grid((5, 6)), root=root)
    assert u.dtype == np.dtype("f8")
    np.testing.assert_array_equal(u.owned, whole[u.box.slices()])


@pytest.mark.parametrize("limit", [1, 7, 24, 100, 1 << 30])
def test_messages_above_the_limit_are_cut(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpibatch.mpi.transfers.MESSAGE_BYTES", limit)
    monkeypatch.setattr("mpibatch.fields.redistribution.MESSAGE_BYTES", limit)
    whole = np.arange(7 * 5 * 3, dtype="u2").reshape(7, 5, 3)
    u = mb.scatter(whole if WORLD.rank == 0 else None, mb.Grid((7, 5, 3)))
    v = mb.redistribute(u, mb.Grid((7, 5, 3), topology=(1, 1, WORLD.size)))
    np.testing.assert_array_equal(mb.gather_all(v), whole)


@given(st.lists(st.integers(0, 6), max_size=4), st.integers(1, 8), st.integers(1, 60))
@same_on_all_ranks
def test_pieces_cover_an_array_once_in_order(wire: list[int], itemsize: int, limit: int) -> None:
    array = np.arange(int(np.prod(wire))).reshape(wire)
    cut = [array[part].ravel() for part in pieces(tuple(wire), itemsize, limit)]
    np.testing.assert_array_equal(np.concatenate(cut), array.ravel())
    assert all(part.size * itemsize <= max(limit, itemsize) for part in cut)


def test_a_transfer_fills_repeated_cells_from_one() -> None:
    to, source = (WORLD.rank + 1) % WORLD.size, (WORLD.rank - 1) % WORLD.size
    target = np.zeros((3, 4))
    row = np.arange(4.0)[None] + WORLD.rank
    moves = (
        Transfers({to: [row]}, {source: [Target(target, (1, 4))]})
        if WORLD.size > 1
        else Transfers(copies=[(target, row)])
    )
    transfer(WORLD, moves, limit=16)
    np.testing.assert_array_equal(target, np.broadcast_to(np.arange(4.0) + source, (3, 4)))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(mb.UsageError, match="same shape"):
        mb.redistribute(mb.Grid((4,)).zeros(), mb.Grid((5,)))
