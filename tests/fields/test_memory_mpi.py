"""Fields that come and go share memory, and nobody who can see it notices."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.fields.memory import SMALL, FieldMemory, Pools
from mpibatch.filters._engine.memory import check_memory
from mpibatch.stencil import Kernel, stencil
from mpibatch.stencil.call.state import state_of

pytestmark = pytest.mark.mpi


@stencil
def spread(u, k):
    return u[0, 0] + k * (u[-1, 0] + u[1, 0] + u[0, -1] + u[0, 1] - 4.0 * u[0, 0])


@stencil
def turned(a, b, k):
    return a[0, 0] + k * (b[-1, 0] - b[1, 0]), b[0, 0] + k * (a[0, -1] - a[0, 1])


def start(grid: mb.Grid, halo: int = 1) -> mb.Field:
    return grid.from_function(lambda y, x: np.sin(0.3 * y) + np.cos(0.2 * x), halo=halo)


def stepped(u: mb.Field, steps: int) -> mb.Field:
    v = u.like()
    u = u.copy()
    for _ in range(steps):
        spread(u, k=0.1, out=v)
        u, v = v, u
    return u


def plans(kernel: Kernel) -> int:
    return len(state_of(kernel).plans)


def test_new_results_in_a_loop_plan_twice() -> None:
    grid = mb.Grid((17, 19), periodic=(True, False))
    kernel = spread.using()
    u = start(grid)
    expected = stepped(u, 30)
    for _ in range(30):
        u = kernel(u, k=0.1)
    np.testing.assert_array_equal(u.owned, expected.owned)
    assert plans(kernel) <= 3

    several = turned.using()
    a, b = start(grid), start(grid)
    c, d = start(grid), start(grid)
    e, f = c.like(), c.like()
    for _ in range(20):
        a, b = several(a, b, k=0.1)
        several(c, d, k=0.1, out=(e, f))
        c, d, e, f = e, f, c, d
    np.testing.assert_array_equal(a.owned, c.owned)
    np.testing.assert_array_equal(b.owned, d.owned)
    assert plans(several) <= 5


def test_what_is_seen_stays_as_it_is() -> None:
    grid = mb.Grid((13, 11))
    u = start(grid)
    seen = []
    for step in range(12):
        u = spread(u, k=0.1)
        # Halos are scratch, so what is looked at are owned cells.
        views = (u.padded[1:-1, 1:-1], u.owned, memoryview(u.owned[1:]), u.owned.view("u8").T[::-1])
        # What ranks hold on to differs, and with it whose memory is new, and planned anew.
        if (step + grid.rank) % 3 != 0:
            seen.append((views[(step + grid.rank) % 4], np.array(views[(step + grid.rank) % 4])))
    for view, before in seen:
        np.testing.assert_array_equal(np.asarray(view), before)
    np.testing.assert_array_equal(u.owned, stepped(start(grid), 12).owned)


def test_memory_comes_back_only_when_all_views_are_gone() -> None:
    grid = mb.Grid((9, 8))
    u = grid.zeros(halo=2)
    memory, view = u.memory, u.owned[:1]
    del u
    assert grid.zeros(halo=2).memory is not memory
    del view
    assert memory in {grid.empty(halo=2).memory for _ in range(2)} or grid.empty(halo=2).memory is memory
    assert grid.empty("f4", halo=2).memory is not memory
    assert grid.empty(halo=1).memory is not memory


def test_frozen_fields_keep_their_memory_to_themselves() -> None:
    grid = mb.Grid((12, 10), periodic=True)
    kernel = spread.using()
    expected = kernel(start(grid), k=0.25)
    for value in range(4):
        medium = (start(grid) * (value + 1)).frozen(halo=1)
        memory = medium.memory
        kernel(medium, k=0.25)
        del medium
        other = start(grid)
        assert other.memory is not memory
        np.testing.assert_array_equal(kernel(other, k=0.25).owned, expected.owned)
        with pytest.raises(ValueError, match="read-only"):
            other.frozen().owned[...] = 1


def test_an_exchange_keeps_its_fields_memory() -> None:
    grid = mb.Grid((12, 10), periodic=True)
    u = start(grid)
    with mb.Exchange(u) as exchange:
        memory = u.memory
        del u
        v = start(grid)
        assert v.memory is not memory
        exchange()
    mb.exchange(v)
    memory = v.memory
    del v
    assert grid.empty(halo=1).memory is memory


def test_little_waits_and_nothing_outlives_its_grid() -> None:
    grid = mb.Grid((64, 64))
    for cells in range(1, 20):
        grid.empty(halo=cells * 8)
    assert sum(memory.cells.nbytes for kept in grid.memories._free.values() for memory in kept) <= SMALL
    large = grid.empty(halo=1500)
    memory = weakref.ref(large.memory)
    assert large.padded.nbytes > SMALL
    del large
    assert memory() is None
    kernel = spread.using()
    u = start(grid)
    for _ in range(5):
        u = kernel(u, k=0.1)
    kept = weakref.ref(u.memory)
    del u, grid
    gc.collect()
    assert kept() is None
    assert not plans(kernel)


def test_large_memory_waits_within_what_was_in_use_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpibatch.fields.memory.SMALL", 100)
    monkeypatch.setattr("mpibatch.fields.memory._ALL", Pools())
    monkeypatch.setattr("mpibatch.fields.memory.available_memory", lambda: 2**62)
    grid = mb.Grid((4 * mb.Grid(1).size, 1024))
    fields = [grid.full(value) for value in range(3)]
    pool, each = grid.memories, fields[0].padded.nbytes
    kept = [u.memory for u in fields]
    del fields[0]
    assert pool.waiting == each
    fields.append(2 * fields[0])
    assert pool.waiting == 0
    assert fields[-1].memory is kept[0]
    assert (fields[-1].owned == 2).all()
    assert (fields[0].owned == 1).all()
    fields.clear()
    assert pool.waiting == 3 * each
    other = [grid.zeros("f4", halo=1) for _ in range(2)]
    assert pool.waiting + sum(u.padded.nbytes for u in other) <= 3 * each
    monkeypatch.setenv("MPIBATCH_MEMORY_LIMIT", "2M")
    check_memory(grid, "a filter", 2**21 - each // 2)
    assert pool.waiting == 0
    monkeypatch.setattr("mpibatch.fields.memory.available_memory", lambda: 0)
    pool.together._looked = -1e9
    del other
    assert pool.waiting == 0


def test_what_waits_stays_where_a_filter_has_room_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPIBATCH_MEMORY_LIMIT", raising=False)
    monkeypatch.setattr("mpibatch.fields.memory._ALL", Pools())
    grid = mb.Grid((4 * mb.Grid(1).size, 1024))
    grid.zeros()
    waiting = grid.memories.waiting
    assert waiting > 0
    monkeypatch.setattr("mpibatch.filters._engine.memory.available_memory", lambda: 2**62)
    check_memory(grid, "a filter", 2**27)
    assert grid.memories.waiting == waiting
    monkeypatch.setattr("mpibatch.filters._engine.memory.available_memory", lambda: 2**27 - 1)
    with pytest.raises(mb.RunError, match=r"a filter needs 128\.0 MiB per rank"):
        check_memory(grid, "a filter", 2**27)
    assert grid.memories.waiting == 0


def test_memory_of_all_grids_waits_within_what_was_in_use_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpibatch.fields.memory.SMALL", 100)
    monkeypatch.setattr("mpibatch.fields.memory._ALL", Pools())
    monkeypatch.setattr("mpibatch.fields.memory.available_memory", lambda: 2**62)
    grids = [mb.Grid((4 * mb.Grid(1).size, 1024 + n)) for n in range(3)]
    most = 0
    for grid in grids:
        fields = [grid.zeros() for _ in range(2)]
        most = max(most, sum(u.padded.nbytes for u in fields))
        fields.clear()
        assert grid.memories.waiting > 0
        assert grid.memories.together.waiting <= most
    assert grids[0].memories.waiting == 0
    fields = [grids[0].zeros() for _ in range(2)]
    assert sum(grid.memories.waiting for grid in grids) == 0
    fields.clear()
    assert grids[0].memories.waiting > 0

    # No memory for a new field: what waits makes room.
    made = []

    def make() -> FieldMemory:
        made.append(grids[0].memories.waiting)
        if len(made) == 1:
            raise MemoryError
        return FieldMemory((4,), np.dtype("f8"), (slice(None),))

    grids[1].memories.lend("new", make)
    assert made[0] > made[1] == 0


def test_threads_share_memory() -> None:
    grid = mb.Grid(8 * mb.Grid(1).size)

    def use(value: int) -> bool:
        return all((grid.full(value + n).owned == value + n).all() for n in range(300))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(use, (0, 1000, 2000, 3000)))
    grid.memories.together.release()
    assert grid.memories.lent == grid.memories.waiting == 0


def test_exchanges_of_many_kinds_are_bounded() -> None:
    grid = mb.Grid((12, 10))
    u = start(grid)
    for value in range(60):
        mb.exchange(u, mode="constant", cval=float(value))
    assert len(u.memory.exchanges) <= 16
