"""Fused steps: the bits of as many calls, for any kernel, walls, number of steps, shape and topology."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import mpibatch as mb
from mpibatch.mpi import MPI
from mpibatch.stencil import cells, choices, coordinate, index, stencil
from mpibatch.stencil.fused import trials
from mpibatch.stencil.fused.sweep import Sweeper
from mpibatch.stencil.iteration import _steppers, _tunings, chosen, iterate

if TYPE_CHECKING:
    from pathlib import Path

    from mpibatch.stencil.kernel import Kernel

pytestmark = pytest.mark.mpi
SIZE = MPI.COMM_WORLD.size
STEP = (0.5, 0.25, 2.0)


@stencil
def line_wave(u, before, m):
    return u[0] * 0.5 - before[0] + m[1] * (u[-1] + u[1])


@stencil
def star(u, k):
    return u[0, 0] + k * (u[-2, 0] - u[1, 0] + u[0, -1] - 3.0 * u[0, 2])


@stencil
def downwind(u, m):
    return u[0, 0] - 0.5 * m[0, 0] * (u[0, 0] - u[0, -1]) + 0.125 * m[1, 1]


@stencil
def leapfrog(u, before, m):
    return 0.5 * u[0, 0] - before[0, 0] + m[0, 0] * (u[-1, 0] + u[1, 0] + u[0, -1] + u[0, 1])


@stencil
def deep(u, before):
    return 0.5 * u[-1, 1] - 0.25 * before[1, 0] + 0.25 * (u[0, -1] + before[-1, -1])


@stencil
def coupled(p, v, m):
    new = [v[0, 0, 0] + 0.25 * (p[0, 1] - p[0, -1]), v[0, 0, 1] - 0.25 * (p[1, 0] - p[-1, 0])]
    return p[0, 0] - m[0, 0] * 0.25 * (v[0, 1, 0] - v[0, -1, 0] + v[1, 0, 1] - v[-1, 0, 1]), new


@stencil
def mixed(a, b, old):
    return 0.5 * a[0, 0] - old[0, 0] + 0.5 * b[1, 0], b[0, 0] + 0.25 * a[0, -1]


@stencil
def located(u):
    return 0.5 * (u[-1, 0] + u[0, 1]) + index(0) * 0.125 + coordinate(1) / cells(1)


@stencil
def heat(u, k):
    around = u[-1, 0, 0] + u[1, 0, 0] + u[0, -1, 0] + u[0, 1, 0] + u[0, 0, -1] + u[0, 0, 1]
    return u[0, 0, 0] + k * (around - 6.0 * u[0, 0, 0])


@stencil
def cube(u, before, m):
    return u[-1, -1, 1] * 0.5 - before[0, 0, 0] * m[0, 0, 0] + u[1, 0, -1] * 0.25 + u[0, 1, 0] + index(2) * 0.125


# Kernel: axes, fields that change (components), fields that stay, scalars.
CASES: dict[Kernel, tuple[int, tuple[tuple[int, ...], ...], int, tuple[float, ...]]] = {
    line_wave: (1, ((), ()), 1, ()),
    star: (2, ((),), 0, (0.125,)),
    downwind: (2, ((),), 1, ()),
    leapfrog: (2, ((), ()), 1, ()),
    deep: (2, ((), ()), 0, ()),
    coupled: (2, ((), (2,)), 1, ()),
    mixed: (2, ((), (), ()), 0, ()),
    located: (2, ((),), 0, ()),
    heat: (3, ((),), 0, (0.125,)),
    cube: (3, ((), ()), 1, ()),
}


def field_of(grid: mb.Grid, components: tuple[int, ...], seed: int, dtype: str = "f8", halo: Any = 0) -> mb.Field:
    """The same numbers on any decomposition, the halo poisoned."""
    whole = np.random.default_rng(seed).normal(size=grid.shape + components).astype(dtype)
    field = grid.full(np.nan, dtype, halo, components)
    field.owned[...] = whole[grid.box.slices()]
    return field


def repeated(
    kernel: Kernel, state: tuple[mb.Field, ...], args: tuple[Any, ...], steps: int, time: float, dt: float, **walls: Any
) -> tuple[mb.Field, ...]:
    """Step by step, with new fields each time."""
    for step in range(steps):
        count = len(kernel.program.outputs)
        out = tuple(state[m].like() for m in range(count))
        kernel(*state, *args, out=out, time=time + step * dt, **walls)
        state = (*out, *state)[: len(state)]
    return state


def assert_equal(found: Any, expected: Any, what: str = "") -> None:
    for a, b in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        np.testing.assert_array_equal(a.owned, b.owned, what)


def tide(*coordinates_and_time: Any) -> Any:
    return sum(coordinates_and_time) * 0.125


SIDE = st.sampled_from(
    [
        "reflect",
        "mirror",
        "nearest",
        "wrap",
        "constant",
        ("constant", 0.75),
        ("dirichlet", -0.5),
        ("neumann", 0.25),
        ("reflect", -1),
    ]
)


@st.composite
def problems(draw: Any) -> dict[str, Any]:
    kernel = draw(st.sampled_from(list(CASES)))
    ndim = CASES[kernel][0]
    shape = tuple(draw(st.lists(st.integers(1, {1: 40, 2: 14, 3: 9}[ndim]), min_size=ndim, max_size=ndim)))
    split = draw(st.integers(0, ndim))  # an axis for all ranks, or the default
    topology = None if split == ndim else tuple(SIZE if axis == split else 1 for axis in range(ndim))
    sizes: list[Any] = [None] * ndim
    if topology is not None and draw(st.booleans()):
        cuts = sorted(draw(st.lists(st.integers(0, shape[split]), min_size=SIZE - 1, max_size=SIZE - 1)))
        sizes[split] = [b - a for a, b in zip([0, *cuts], [*cuts, shape[split]], strict=True)]
    whole = draw(SIDE)
    entries = st.one_of(SIDE, st.lists(SIDE, min_size=2, max_size=2))
    return {
        "kernel": kernel,
        "shape": shape,
        "topology": topology,
        "sizes": sizes,
        "periodic": tuple(draw(st.lists(st.booleans(), min_size=ndim, max_size=ndim))),
        "walls": draw(st.one_of(st.just(whole), st.lists(entries, min_size=ndim, max_size=ndim))),
        "steps": draw(st.integers(0, 9)),
        "fuse": draw(st.integers(2, 6)),
        "halo": draw(st.sampled_from([0, 2, 7])),
        # Every type is another second of compiling.
        "dtype": draw(st.sampled_from(["f8", "f4"])) if kernel is star else "f8",
        "threads": draw(st.sampled_from([1, 1, 2])),
    }


@settings(max_examples=60)
@given(problems())
def test_fused_steps_have_the_bits_of_calls(problem: dict[str, Any]) -> None:
    kernel, dtype = problem["kernel"], problem["dtype"]
    ndim, changing, staying, scalars = CASES[kernel]
    try:
        grid = mb.Grid(
            problem["shape"],
            topology=problem["topology"],
            sizes=problem["sizes"] if problem["topology"] else None,
            periodic=problem["periodic"],
            spacing=STEP[:ndim],
        )
    except mb.UsageError:
        return  # more ranks than the default topology has cells for
    state = tuple(field_of(grid, components, seed, dtype, problem["halo"]) for seed, components in enumerate(changing))
    args = (*(field_of(grid, (), 9 + n, dtype, problem["halo"]) for n in range(staying)), *scalars)
    options = {"walls": problem["walls"], "cval": 0.375}
    refused = None
    try:
        expected = repeated(kernel, state, args, problem["steps"], 0.0, 0.0, **options)
    except mb.UsageError as error:
        refused = str(error)
    if refused is not None:
        with pytest.raises(mb.UsageError) as again:
            iterate(kernel, state, *args, steps=problem["steps"], fuse=problem["fuse"], **options)
        assert str(again.value) == refused
        return
    before = [field.owned.copy() for field in state]
    found = iterate(
        kernel.using(threads=problem["threads"]), state, *args, steps=problem["steps"], fuse=problem["fuse"], **options
    )
    assert_equal(found, expected, str(problem))
    for field, kept in zip(state, before, strict=True):
        np.testing.assert_array_equal(field.owned, kept)


def fused_sweeps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of steps that are fused from here on, on a rank that has cells."""
    found: list[int] = []
    compute = Sweeper.__call__

    def noted(self: Sweeper, slots: Any, targets: Any, kept: Any, steps: int, *rest: Any) -> None:
        found.append(steps)
        compute(self, slots, targets, kept, steps, *rest)

    monkeypatch.setattr(Sweeper, "__call__", noted)
    return found


def test_blocks_may_be_thinner_than_the_halo_of_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (12 + SIZE, 11)
    thin = [1] * (SIZE - 1) + [13]
    sweeps = fused_sweeps(monkeypatch)
    for periodic in (False, True):
        for walls in ("mirror", [["constant", ("neumann", 0.5)], ("dirichlet", 1.0)]):
            grid = mb.Grid(shape, topology=(SIZE, 1), sizes=(thin, None), periodic=(periodic, False), spacing=0.5)
            u = field_of(grid, (), 3)
            expected = repeated(star, (u,), (0.125,), 13, 0.0, 0.0, walls=walls)
            assert_equal(iterate(star, u, 0.125, steps=13, fuse=6, walls=walls), expected)
    assert sweeps == [6, 6] * 4


@pytest.mark.parametrize("budget", [1, 700, 5000])
def test_tiles_do_not_show(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpibatch.stencil.iteration.BUDGETS", (budget,))
    for kernel, shape in ((line_wave, (150,)), (leapfrog, (7, 90)), (heat, (6, 50, 5))):
        _, changing, staying, scalars = CASES[kernel]
        for periodic in (False, True):
            grid = mb.Grid(shape, periodic=periodic)
            state = tuple(field_of(grid, components, n) for n, components in enumerate(changing))
            args = (*(field_of(grid, (), 9) for _ in range(staying)), *scalars)
            expected = repeated(kernel, state, args, 7, 0.0, 0.0, walls=("dirichlet", 0.5))
            for threads in (1, 3):
                found = iterate(kernel.using(threads=threads), state, *args, steps=7, fuse=3, walls=("dirichlet", 0.5))
                assert_equal(found, expected)


def test_the_choice_is_measured_once_and_does_not_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trials, "WORTHWHILE", 0.0)
    monkeypatch.setattr(choices, "_folder", lambda: tmp_path)
    sweeps = fused_sweeps(monkeypatch)
    grid = mb.Grid((48 * SIZE, 9), topology=(SIZE, 1))
    # Each host has caches of its own.
    budgets = tuple(budget + 64 * grid.rank for budget in trials.BUDGETS)
    monkeypatch.setattr("mpibatch.stencil.iteration.BUDGETS", budgets)
    u, kernel = field_of(grid, (), 5, halo=1), star.using()
    expected = u
    for _ in range(4):
        expected = repeated(kernel, (expected,), (0.125,), 67, 0.0, 0.0)[0]
        iterate(kernel, u, 0.125, steps=67, out=u)
        assert_equal(u, (expected,))
    assert {2, 3} <= set(sweeps)
    (found,) = _tunings[kernel].values()
    assert chosen(kernel, grid) == found.best()
    assert found.trial(1000) is None
    assert grid.comm.allgather(found.best()) == [found.best()] * SIZE
    # The slowest rank counts, and all know its times.
    assert grid.comm.allgather(found.times) == [found.times] * SIZE
    # A later run begins with it.
    again = star.using()
    assert_equal(iterate(again, u, 0.125, steps=5), repeated(star, (u,), (0.125,), 5, 0.0, 0.0))
    (recalled,) = _tunings[again].values()
    assert recalled.settled == found.best()
    assert not recalled.times


def test_little_work_is_not_worth_compiling_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = fused_sweeps(monkeypatch)
    u = field_of(mb.Grid((20, 9)), (), 5)
    assert_equal(iterate(star.using(), u, 0.125, steps=9), repeated(star, (u,), (0.125,), 9, 0.0, 0.0))
    assert not sweeps


def test_walls_that_are_functions_see_the_time_of_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = fused_sweeps(monkeypatch)
    grid = mb.Grid((13, 12), spacing=0.5)
    u = field_of(grid, (), 1, halo=2)
    walls = [[tide, "mirror"], "nearest"]
    expected = repeated(star, (u,), (0.125,), 5, 1.5, 0.25, walls=walls)
    for fuse in (4, "auto"):
        assert_equal(iterate(star, u, 0.125, steps=5, fuse=fuse, time=1.5, time_step=0.25, walls=walls), expected)
    assert not sweeps


def test_out_may_be_what_changes() -> None:
    grid = mb.Grid((14, 15))
    u, before, m = (field_of(grid, (), n, halo=n) for n in range(3))
    expected = repeated(leapfrog, (u, before), (m,), 7, 0.0, 0.0)
    new = iterate(leapfrog, (u, before), m, steps=7, fuse=3)
    assert [field.halo for field in new] == [u.halo, before.halo]
    assert_equal(new, expected)
    # The same memory goes into both at first.
    assert_equal(iterate(leapfrog, (u, u), m, steps=7, fuse=3), repeated(leapfrog, (u, u), (m,), 7, 0.0, 0.0))
    found = iterate(leapfrog, (u, before), m, steps=7, fuse=3, out=(u, before))
    assert found[0] is u
    assert found[1] is before
    assert_equal(found, expected)
    assert_equal(iterate(leapfrog, (u, before), m, steps=0), expected)
    # What stays may be changed between calls.
    m.owned[...] *= 0.5
    expected = repeated(leapfrog, (u, before), (m,), 4, 0.0, 0.0)
    assert_equal(iterate(leapfrog, (u, before), m, steps=4, fuse=2, out=(u, before)), expected)


@pytest.mark.parametrize("dtype", ["u1", "?"])
def test_whole_numbers_and_truth_values(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @stencil
    def life(u):
        around = sum(np.int64(u[a, b]) for a in (-1, 0, 1) for b in (-1, 0, 1)) - np.int64(u[0, 0])
        return around == 3 or (around == 2 and u[0, 0] != 0)

    sweeps = fused_sweeps(monkeypatch)
    for walls in ("wrap", ("constant", 1), ["mirror", "reflect"]):
        grid = mb.Grid((17, 16))
        u = grid.zeros(dtype)
        u.owned[...] = (np.random.default_rng(2).random((17, 16)) < 0.4)[grid.box.slices()]
        expected = repeated(life, (u,), (), 8, 0.0, 0.0, walls=walls)
        assert mb.count_nonzero(expected[0])
        assert_equal(iterate(life, u, steps=8, fuse=4, walls=walls), expected)
    assert sweeps == [4] * 6


def test_what_cannot_be_fused_goes_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = fused_sweeps(monkeypatch)
    grid = mb.Grid((16, 12), periodic=(True, False))
    u = field_of(grid, (), 1)
    cases: list[tuple[Kernel, tuple[mb.Field, ...], tuple[Any, ...], Any]] = [
        (located, (u,), (), "reflect"),
        (star.using(backend="numpy"), (u,), (0.5,), "reflect"),
        (star, (u,), (0.5,), ["reflect", ["wrap", "nearest"]]),
        (deep, (u, u), (), {"u": "nearest", "before": "mirror"}),
    ]
    for kernel, state, args, walls in cases:
        expected = repeated(kernel, state, args, 5, 0.0, 0.0, walls=walls)
        assert_equal(iterate(kernel, state, *args, steps=5, fuse=5, walls=walls), expected)
    assert not sweeps


def test_parameters_that_are_not_used_do_no_harm() -> None:
    @stencil
    def half(u, a, unused, b=2.0, other=None):
        return a * u[0, 0] + b * u[0, 1]

    u = field_of(mb.Grid((16, 12)), (), 1)
    expected = repeated(half, (u,), (0.5, "anything", 0.25), 3, 0.0, 0.0)
    for fuse in (1, 3):
        assert_equal(iterate(half, u, 0.5, "anything", 0.25, steps=3, fuse=fuse), expected)


def test_memory_ends_with_the_fields() -> None:
    kernel = star.using()
    grid = mb.Grid((16, 12))
    u = field_of(grid, (), 1)
    iterate(kernel, u, 0.125, steps=4, fuse=2)
    assert len(_steppers[kernel]) == 1
    stepper = weakref.ref(next(iter(_steppers[kernel].values())))
    del u
    gc.collect()
    assert not _steppers[kernel]
    assert stepper() is None
    for _ in range(5):
        kept = [iterate(kernel, field_of(grid, (), 1), 0.125, steps=4, fuse=2)]
    assert len(_steppers[kernel]) <= 2
    del kept


def test_what_does_not_fit_is_refused_on_every_rank() -> None:
    grid = mb.Grid((16, 12))
    u, v = grid.zeros(), grid.zeros("f4")
    cases = [
        (lambda: iterate(lambda u: u, u, steps=1), "decorated with @stencil"),
        (lambda: iterate(star, 1.0, 0.1, steps=1), "give a Field"),
        (lambda: iterate(star, u, 0.1, steps=-1), "whole number from 0"),
        (lambda: iterate(star, u, 0.1, steps=1, fuse=0), "fuse=0"),
        (lambda: iterate(star, u, 0.1, steps=1, fuse="all"), "fuse='all'"),
        (lambda: iterate(star, u, steps=1), "missing a required argument: 'k'"),
        (lambda: iterate(coupled, u, u, u, steps=1), "at least as many as it returns"),
        (lambda: iterate(leapfrog, (u, v), u, steps=1), "use one type for both"),
        (lambda: iterate(star, u, 0.1, steps=1, out=v), "u.like()"),
        (lambda: iterate(star, u, 0.1, steps=1, out=(u, u)), "as many Fields"),
        (lambda: iterate(leapfrog, (u, u), u, steps=1, out=(u, u)), "twice"),
        (lambda: iterate(star, u, 0.1, steps=4, fuse=2, walls="reflected"), "did you mean 'reflect'"),
        (lambda: iterate(star, u, 0.1, steps=4, fuse=2, walls=("dirichlet", (1.0, 2.0))), "one per component"),
    ]
    for call, message in cases:
        with pytest.raises(mb.UsageError, match=message):
            call()
