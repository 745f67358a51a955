"""Halos by way of memory that the ranks of a node share: the contract of `test_halo_mpi`, each way of moving forced."""

from __future__ import annotations

import gc
import random
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given

import mpibatch as mb
from mpibatch.halo import node_memory as memories
from mpibatch.halo import shared_stages
from mpibatch.halo.node_memory import LINE, NodeMemory, node_memory
from mpibatch.mpi import MPI
from tests.halo.test_halo_mpi import cases, expected, poisoned, same_on_all_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mpi(min_size=2)

# Of this rank: all ranks the same, each for itself, or found by timing.
WAYS = ("shared", "messages", "mixed", None)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str | None]:
    node = node_memory(mb.mpi.private())
    assert node is not None
    monkeypatch.setattr(shared_stages, "LEAST", shared_stages.NOTE + 1)
    mine = ("shared", "messages")[MPI.COMM_WORLD.rank % 2] if request.param == "mixed" else request.param
    monkeypatch.setattr(node, "way", mine)
    return request.param


@pytest.mark.parametrize("engine", ["axis", "plan"])
def test_every_way_fills_every_halo_cell(engine: str, way: str | None) -> None:
    @given(case=cases())
    @same_on_all_ranks
    def check(case: tuple) -> None:
        shape, components, widths, modes, periodic, dtype = case
        grid = mb.Grid(shape, periodic=periodic)
        whole = np.arange(np.prod(shape + components)).reshape(shape + components).astype(dtype)
        u = poisoned(whole, grid, widths)
        walls = ["wrap" if p else m for p, m in zip(periodic, modes, strict=True)]
        for _ in range(2):
            mb.exchange(u, mode=modes, cval=7, engine=engine)
            np.testing.assert_array_equal(u.padded, expected(whole, u, widths, walls, 7))
            inside = u.owned.copy()
            u.padded[...] = 99
            u.owned[...] = inside

    check()


def test_fields_that_share_messages(way: str | None) -> None:
    grid = mb.Grid((30, 12), periodic=(True, False))
    wholes = [np.arange(360).reshape(30, 12).astype("f4"), np.arange(720).reshape(30, 12, 2), np.eye(30, 12) > 0]
    fields = [poisoned(whole, grid, 1) for whole in wholes]
    # Rows of the first axis lie whole in memory, and go without being packed.
    for corners, widths in ((True, 1), (False, ((1, 1), (0, 0)))):
        with mb.Exchange(fields, widths, "nearest", corners=corners) as exchange:
            for turn in range(20):
                exchange()
                for number, u in enumerate(fields):
                    whole = wholes[number]
                    cut = slice(None) if corners else (slice(None), slice(1, -1))
                    around = expected(whole, u, u.halo, ["wrap", "nearest"], 0)
                    np.testing.assert_array_equal(u.padded[cut], around[cut])
                    wholes[number] = whole + np.array(turn % 2 + 1).astype(whole.dtype)
                    u.owned[...] = wholes[number][grid.box.slices()]


def test_ranks_that_are_behind_read_what_was_meant_for_them(way: str | None) -> None:
    # Fields come and go in another order of time on each rank, and so do the slots of their exchanges.
    grid, delays = mb.Grid((24, 40)), random.Random(MPI.COMM_WORLD.rank)
    for turn in range(40):
        fields = [grid.full(float(3 * turn + number), halo=2) for number in range(3)]
        exchanges = [mb.Exchange(u, mode=None, width=((0, 2), (0, 0)) if turn % 2 else 2) for u in fields]
        for exchange in exchanges:
            exchange.start()
        for number in reversed(range(3)):
            time.sleep(delays.choice([0, 0, 0.003]))
            exchanges[number].finish()
        for number, (u, exchange) in enumerate(zip(fields, exchanges, strict=True)):
            inner = u.padded[2:, 2:-2] if grid.rank < grid.size - 1 or turn % 2 else u.padded[:-2, 2:-2]
            last = u.box.stop[0] == 24
            assert (inner[: -2 if last else None] == 3 * turn + number).all()
            exchange.free()
        del fields, exchanges, u
        gc.collect(0)


def test_the_faster_way_is_found_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    node = node_memory(mb.mpi.private())
    assert node is not None
    monkeypatch.setattr(node, "faster", {})
    u = mb.Grid((64, 64, 64)).zeros(halo=1)
    for _ in range(2 * (shared_stages.WARM + shared_stages.TIMED)):
        assert not node.faster
        mb.exchange(u)
    assert node.faster  # of each axis that is cut, or none: some choose the slower one
    assert set(node.faster.values()) <= {"shared", "messages"}


def test_no_room_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    node = node_memory(mb.mpi.private())
    assert node is not None
    monkeypatch.setattr(node, "way", "shared")
    monkeypatch.setattr(node, "slot", lambda nbytes: None)
    whole = np.arange(64.0 * 64).reshape(64, 64)
    u = poisoned(whole, mb.Grid((64, 64)), 2)
    mb.exchange(u)
    np.testing.assert_array_equal(u.padded, expected(whole, u, u.halo, ["reflect"] * 2, 0))


def test_slots_wait_for_their_readers() -> None:
    comm = MPI.COMM_WORLD.Dup()
    node = node_memory(mb.mpi.private(comm))
    assert node is not None
    one = node.slot(1000)
    assert one is not None
    assert one.is_read()
    one.number += 1
    node.give_back(one)
    other = node.slot(1000)
    assert other is not None
    assert other.start == one.start + LINE + 1024
    one._read[0] = 1
    again = node.slot(1000)
    assert again is not None
    assert again.start == one.start
    node.give_back(again)
    node.give_back(other)
    whole = node.slot(memories.PART)
    assert whole is None  # with its line it is longer than the part
    comm.Free()
    assert not node.is_open


def test_nobody_waits_for_a_neighbor_that_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    node = node_memory(mb.mpi.private())
    assert node is not None
    monkeypatch.setattr(node, "way", "shared")
    whole = np.arange(64.0 * 64).reshape(64, 64)
    u = poisoned(whole, mb.Grid((64, 64)), 4)
    with mb.Exchange(u) as exchange:
        exchange()
        stages = [stage for stage in exchange._stages if isinstance(stage, shared_stages.SharedStage)]
        slots = [slot for stage in stages for shown in stage._shown for slot in shown.slots]
        assert slots
        for slot in slots:
            slot.number += 1  # as if nobody had read it, nor ever would
        exchange()
        np.testing.assert_array_equal(u.padded, expected(whole, u, u.halo, ["reflect"] * 2, 0))
        assert all(stage._begun is stage.requests for stage in stages)
        for slot in slots:
            slot.number -= 1


@pytest.mark.parametrize("value", ["messages", "sharing"])
@pytest.mark.parametrize("ranks", ["all", "last"])
def test_the_environment_can_choose(value: str, ranks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where ranks differ in it: they go by messages then, or all are told of the one that is wrong."""
    if ranks == "all" or MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:
        monkeypatch.setenv("MPIBATCH_HALOS", value)
    comm = MPI.COMM_WORLD.Dup()
    if value == "messages":
        assert node_memory(mb.mpi.private(comm)) is None
    else:
        with pytest.raises(mb.UsageError, match="did you mean 'shared'"):
            node_memory(mb.mpi.private(comm))
    comm.Free()


def test_little_shared_memory_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "SHARE", 1e-9)
    comm = MPI.COMM_WORLD.Dup()
    assert node_memory(mb.mpi.private(comm)) is None
    comm.Free()


def test_an_exchange_after_the_end_of_its_communicator_is_refused() -> None:
    comm = MPI.COMM_WORLD.Dup()
    u = mb.Grid((32, 32), comm=comm).zeros(halo=1)
    mb.exchange(u)
    assert isinstance(node_memory(u.grid.comm), NodeMemory)
    comm.Free()
    with pytest.raises(mb.RunError, match="has been freed"):
        mb.exchange(u)
