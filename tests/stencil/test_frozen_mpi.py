"""Fields that do not change are exchanged once: frozen ones for good, others once in a call of iterate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base import tally
from mpibatch.halo import engines, stages
from mpibatch.stencil import Kernel

pytestmark = pytest.mark.mpi
SHAPE = (13, 12)


def flow(u: Any, m: Any, k: Any) -> Any:
    around = m[-1, 0] * u[-1, 0] + m[1, 0] * u[1, 0] + m[0, -1] * u[0, -1] + m[0, 1] * u[0, 1]
    return u[0, 0] + k * (around - 4.0 * m[0, 0] * u[0, 0])


def corner(u: Any, m: Any) -> Any:
    return u[0, 0] + m[-2, 1] * u[0, 1] - m[1, -1]


def twice(u: Any, m: Any, n: Any) -> Any:
    return u[0, 0] + 0.1 * (m[-1, 0] - m[0, 1]) * (n[1, 0] + n[0, -1])


@pytest.fixture
def exchanged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For every exchange that is carried out, how many fields take part; made by a spy among the engines."""
    found: list[int] = []

    class Spy(stages.Stage):
        fields = 0

        def start(self) -> None:
            found.append(self.fields)
            super().start()

    def engine(comm: Any, decomposition: Any, halo: Any, memories: Any, cval: Any) -> list[stages.Stage]:
        made = engines.by_axis(comm, decomposition, halo, memories, cval)
        made[0].__class__ = Spy
        vars(made[0])["fields"] = len(memories)
        return made

    monkeypatch.setitem(engines.ENGINES, "spy", engine)
    monkeypatch.setenv("MPIBATCH_ENGINE", "spy")
    return found


def fields(halo: int = 2, **geometry: Any) -> tuple[mb.Field, mb.Field]:
    grid = mb.Grid(SHAPE, **geometry)
    u = grid.from_function(lambda y, x: np.sin(3.0 * y + x), halo=halo)
    return u, grid.from_function(lambda y, x: 0.2 + 0.01 * np.cos(y * x), halo=halo)


def kernel(function: Any, backend: str = "numba") -> Kernel:
    made = mb.stencil(backend=backend, overlap=False)(function)
    assert isinstance(made, Kernel)
    return made


def same(one: mb.Field, other: mb.Field) -> None:
    assert one.owned.tobytes() == other.owned.tobytes()


def is_cut(grid: mb.Grid) -> bool:
    return grid.comm.size > 1


def test_nobody_writes_to_it() -> None:
    u, m = fields()
    frozen = m.frozen()
    assert frozen.is_frozen
    assert not m.is_frozen
    assert frozen.frozen() is frozen
    same(frozen, m)
    for array in (frozen.owned, frozen.padded):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(ValueError, match="read-only"):
        np.add(u, m, out=frozen)
    for call in (
        lambda: kernel(flow)(u, m, 0.1, out=frozen),
        lambda: mb.iterate(kernel(flow), u, m, 0.1, steps=1, out=frozen),
    ):
        with pytest.raises(mb.UsageError, match="frozen"):
            call()
    m.owned[...] = 7.0
    assert not np.any(frozen.owned == 7.0)
    copy = frozen.copy()
    copy.owned[...] = 1.0
    assert not copy.is_frozen
    assert frozen.frozen(halo=5).halo == ((5, 5), (5, 5))


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_exchanged_once(backend: str, exchanged: list[int]) -> None:
    u, m = fields()
    step, turned = kernel(flow, backend), kernel(corner, backend)
    frozen = m.frozen()
    expected = step(u, m, 0.1, walls="nearest")
    exchanged.clear()
    outs = [u.like() for _ in range(3)]
    for out in outs:
        same(step(u, frozen, 0.1, out=out, walls="nearest"), expected)
    per_call = 1 if backend == "numpy" or is_cut(u.grid) else 0
    assert len(exchanged) == per_call * (3 + 1)

    # Further, and with corners: once more. Then both reaches are known.
    expected = turned(u, m, walls="nearest")
    exchanged.clear()
    for _ in range(2):
        same(turned(u, frozen, walls="nearest"), expected)
        step(u, frozen, 0.1, out=outs[0], walls="nearest")
    assert len(exchanged) == per_call * (1 + 2 + 2)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_other_walls_are_brought_again(backend: str, exchanged: list[int]) -> None:
    u, m = fields()
    step, frozen = kernel(flow, backend), m.frozen()
    zeros: list[Any] = [{"m": ("constant", 0.0)}, {"m": ("constant", -0.0)}]
    for walls in ["reflect", "wrap", ("neumann", 0.5), "constant", "wrap", "reflect", "wrap", *zeros]:
        for _ in range(2):
            exchanged.clear()
            found = step(u, frozen, 0.1, walls=walls)
            once = len(exchanged)
            exchanged.clear()
            same(found, step(u, m, 0.1, walls=walls))
        # u alone in the second call; m and u, together or not, in every call that can write to m
        assert once <= 1
        assert len(exchanged) >= once

    def moving(y: Any, x: Any, time: float) -> Any:
        return time + 0.0 * (y + x)

    for time in (0.0, 1.0):
        same(step(u, frozen, 0.1, walls={"m": moving}, time=time), step(u, m, 0.1, walls={"m": moving}, time=time))
        same(step(u, frozen, 0.1, walls="nearest"), step(u, m, 0.1, walls="nearest"))


def test_back_ends_take_turns() -> None:
    # One fills all around at once, the other lets its sweeps fill the walls.
    u, m = fields()
    frozen = m.frozen()
    kernels = [kernel(function, backend) for function in (flow, corner) for backend in ("numpy", "numba", "numpy")]
    for walls in ("nearest", "reflect", ("dirichlet", 1.0)):
        for one in (*kernels, *reversed(kernels)):
            numbers = (0.1,) if one.name == "flow" else ()
            same(one(u, frozen, *numbers, walls=walls), one(u, m, *numbers, walls=walls))


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_narrow_and_given_twice(backend: str, exchanged: list[int]) -> None:
    u, m = fields(halo=0)
    frozen, step, mixed = m.frozen(), kernel(flow, backend), kernel(twice, backend)
    walls = {"m": "nearest", "n": "reflect"}
    for _ in range(2):
        exchanged.clear()
        found = step(u, frozen, 0.1), mixed(u, frozen, frozen, walls=walls)
        same(found[0], step(u, m, 0.1))
        same(found[1], mixed(u, m, m, walls=walls))
    # Narrow ones are not known, wherever they are given: the plans that fill their copies go at their own times.
    per_call = 1 if backend == "numpy" or is_cut(u.grid) else 0
    for _ in range(2):
        exchanged.clear()
        mixed(u, frozen, frozen, walls=walls)
        assert sum(exchanged) == 2 * per_call  # u is read at the cell itself
    wide = m.frozen(halo=1)
    for calls in range(2):
        exchanged.clear()
        same(mixed(u, wide, wide, walls=walls), found[1])
        assert sum(exchanged) == per_call * (1 if calls else 2)  # one memory, two walls: the first is known


def test_own_exchanges_are_noticed(exchanged: list[int]) -> None:
    u, m = fields()
    step, frozen = kernel(flow), m.frozen()
    expected = step(u, m, 0.1, walls="nearest")
    step(u, frozen, 0.1, walls="nearest")
    mb.exchange(frozen, mode="constant", cval=9.0)
    same(step(u, frozen, 0.1, walls="nearest"), expected)
    with mb.Exchange([frozen], mode="wrap") as own:
        own()
        same(step(u, frozen, 0.1, walls="nearest"), expected)
        own.start()
        own.finish()
        same(step(u, frozen, 0.1, walls="nearest"), expected)


@pytest.mark.parametrize("periodic", [False, (True, False)])
@pytest.mark.parametrize("halo", [0, 2])
def test_iterate_brings_what_stays_once(periodic: Any, halo: int, exchanged: list[int]) -> None:
    u, m = fields(halo, periodic=periodic)
    step, frozen = kernel(flow), m.frozen()
    expected = mb.iterate(step, u, m, 0.1, steps=7, fuse=1, walls="nearest")
    last = u
    for _ in range(7):
        last = step(last, m, 0.1, walls="nearest")
    same(expected, last)
    exchanged.clear()
    mb.iterate(step, u, m, 0.1, steps=7, fuse=1, walls="nearest")
    once, per_step = (1, 7) if is_cut(u.grid) else (0, 0)
    assert len(exchanged) == once + per_step
    for fuse in (1, 3, 2):
        for field in (m, frozen, frozen):
            exchanged.clear()
            same(mb.iterate(step, u, field, 0.1, steps=7, fuse=fuse, walls="nearest"), expected)
    if is_cut(u.grid):
        # By now all is known of the frozen field, if it is wide: u alone, for 2, 2, 2 and 1 steps.
        assert exchanged == [1] * (4 if halo else 5)
    # In between it is read with other walls.
    step(u, frozen, 0.1, walls="wrap")
    same(mb.iterate(step, u, frozen, 0.1, steps=7, fuse=3, walls="nearest"), expected)


@pytest.mark.parametrize("halo", [0, 1])
def test_once_in_a_call_step_by_step(halo: int, exchanged: list[int]) -> None:
    u, m = fields(halo)
    mb.iterate(kernel(flow, "numpy"), u, m, 0.1, steps=5, fuse=1)
    assert exchanged == [1] * (1 + 5)
    exchanged.clear()
    walls = {"m": "nearest", "n": "reflect"}
    found = mb.iterate(kernel(twice, "numpy"), u, m, m, steps=2, fuse=1, walls=walls)
    assert exchanged == [1] * 2
    step = kernel(twice)
    same(found, step(step(u, m, m, walls=walls), m, m, walls=walls))


def test_what_stays_may_change_between_calls() -> None:
    u, m = fields()
    step = kernel(flow)
    for fuse in (1, 3):
        for _ in range(3):
            m.owned[...] *= 0.9
            found = mb.iterate(step, u, m, 0.1, steps=3, fuse=fuse, walls="reflect")
            last = u
            for _ in range(3):
                last = step(last, m, 0.1, walls="reflect")
            same(found, last)


@pytest.mark.parametrize("halo", [0, 1, 3])
def test_ranks_may_keep_other_fields(halo: int) -> None:
    # Plans, and memory of iterations, go with the fields, and when there are many: at other times on other ranks.
    u, m = fields(halo)
    step, frozen = kernel(flow), m.frozen()
    expected = step(u, m, 0.1, walls="nearest")
    same(step(u, frozen, 0.1, walls="nearest"), expected)
    held = []
    for _ in range(17):
        other = u.copy()
        same(step(other, frozen, 0.1, walls="nearest"), expected)
        if not u.grid.rank:
            held.append(other)
    same(step(u, frozen, 0.1, walls="nearest"), expected)


@pytest.mark.parametrize("halo", [0, 1, 3])
def test_ranks_may_keep_other_iterations(halo: int) -> None:
    u, m = fields(halo)
    step, frozen = kernel(flow), m.frozen()
    for fuse in (1, 3, 2):
        expected = mb.iterate(step, u, m, 0.1, steps=4, fuse=fuse)
        same(mb.iterate(step, u, frozen, 0.1, steps=4, fuse=3), expected)
        held = []
        for at in range(3):
            other = u.copy()
            same(mb.iterate(step, other, frozen, 0.1, steps=4, fuse=1 + at), expected)
            if not u.grid.rank:
                held.append(other)
        same(mb.iterate(step, u, frozen, 0.1, steps=4, fuse=fuse), expected)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_one_geometry(backend: str) -> None:
    # A slope is by length: fields that share a halo's walls have to agree on it.
    u, m = fields()
    step, frozen = kernel(flow, backend), m.frozen()
    walls = ("neumann", 1.0)
    step(u, frozen, 0.1, walls=walls)
    wider = mb.Grid(SHAPE, spacing=2.0).zeros(halo=2)
    around = mb.Grid(SHAPE, periodic=True).zeros(halo=2)
    for other, given in ((wider, walls), (around, "nearest")):
        for call in (lambda: step(other, frozen, 0.1, walls=given), lambda: step(frozen, other, 0.1, walls=given)):  # noqa: B023
            with pytest.raises(mb.UsageError, match="one grid"):
                call()
        for fuse in (1, 2):
            with pytest.raises(mb.UsageError, match="one grid"):
                mb.iterate(step, other, frozen, 0.1, steps=2, fuse=fuse, walls=given)
    step(wider, frozen, 0.1, walls="nearest")


def test_finish_overwrites_what_was_known() -> None:
    u, m = fields()
    step, frozen = kernel(flow), m.frozen()
    expected = step(u, m, 0.1, walls="nearest")
    with mb.Exchange([frozen], mode="constant", cval=9.0) as own:
        own.start()
        step(u, frozen, 0.1, walls="nearest")
        own.finish()
    same(step(u, frozen, 0.1, walls="nearest"), expected)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_needs_are_the_same_on_any_ranks(backend: str) -> None:
    u, m = fields()
    step, frozen = kernel(flow, backend), m.frozen()
    tally.reset()
    for _ in range(3):
        step(u, frozen, 0.1, walls="nearest")
    needs = {need: times for lap in tally.exchanges() for need, times in lap.exchanges.items()}
    assert sum(times for need, times in needs.items() if need.bytes_per_cell == 8) == 3 + 1
    assert {need.widths for need in needs} == {((1, 1), (1, 1))}
    if backend == "numpy":
        return
    tally.reset()
    mb.iterate(step, u, m, 0.1, steps=4, fuse=2, walls="nearest")
    told = [(need.widths[0][0], times) for lap in tally.exchanges() for need, times in lap.exchanges.items()]
    assert sum(times for _, times in told) == 2 + 1
    assert {width for width, _ in told} == {2}


def test_padded_copies_cannot_be_written_to() -> None:
    _, m = fields(1)
    frozen = m.frozen()
    assert mb.halo.padded_copy(frozen, 1, "reflect") is frozen.padded
    # Compiled loops take read-only memory as well.
    same(mb.filters.correlate(frozen, np.ones((3, 3))), mb.filters.correlate(m, np.ones((3, 3))))
    same(mb.filters.median_filter(frozen, 3), mb.filters.median_filter(m, 3))


def test_threads_take_turns() -> None:
    u, m = fields()
    made = mb.stencil(threads=2, overlap=False)(corner)
    same(made(u, m.frozen()), kernel(corner)(u, m))


def test_other_parts_take_it(tmp_path: Any) -> None:
    _, m = fields()
    frozen = m.frozen()
    assert mb.sum(frozen) == mb.sum(m)
    assert mb.max(frozen) == mb.max(m)
    same(mb.filters.gaussian_filter(frozen, 1), mb.filters.gaussian_filter(m, 1))
    same(2 * frozen + 1, 2 * m + 1)
    path = m.grid.comm.bcast(str(tmp_path / "frozen.h5"))
    mb.save(path, m=frozen)
    same(mb.load(path, "m", grid=m.grid), m)
