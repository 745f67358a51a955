"""Kernel calls on real ranks: halos, walls, overlap and blocks never show in the result."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.host import Caches
from mpibatch.mpi import MPI
from mpibatch.stencil import choices, coordinate, index, stencil
from mpibatch.stencil.call.state import state_of
from mpibatch.stencil.compiled import strips
from tests.support.oracles import padded

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi
SIZE = MPI.COMM_WORLD.size
MODES = ["reflect", "mirror", "nearest", "wrap", "constant"]
STEP = (0.5, 0.25)


@stencil
def star(u, k):
    return u[0, 0] + k * (u[-2, 0] - u[1, 0] + u[0, -1] - 3.0 * u[0, 2])


def star_of(p: np.ndarray, k: Any) -> np.ndarray:
    """The same on an array with two cells around."""
    c = p[2:-2, 2:-2]
    k = p.dtype.type(k)
    return c + k * (p[:-4, 2:-2] - p[3:-1, 2:-2] + p[2:-2, 1:-3] - p.dtype.type(3) * p[2:-2, 4:])


@stencil
def box(u):
    return u[-2, -2] - u[2, 1] * 0.5 + u[0, 0] * u[-1, 2]


def box_of(p: np.ndarray) -> np.ndarray:
    return p[:-4, :-4] - p[4:, 3:-1] * p.dtype.type(0.5) + p[2:-2, 2:-2] * p[1:-3, 4:]


@stencil
def step3(u, m, k):
    return u[0, 0, 0] + k * m[0, 0, 0] * (
        u[-1, 0, 0] + u[1, 0, 0] + u[0, -1, 0] + u[0, 1, 0] + u[0, 0, 1] - u[0, 0, -1]
    )


def whole_of(shape: tuple[int, ...], dtype: str = "f8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def scattered(whole: np.ndarray, grid: mb.Grid, halo: Any = 0) -> mb.Field:
    """This rank's part, the halo poisoned."""
    u = grid.full(np.nan, whole.dtype, halo, whole.shape[grid.ndim :])
    u.owned[...] = whole[grid.box.slices()]
    return u


def assert_is(u: mb.Field, expected: np.ndarray) -> None:
    assert u.dtype == expected.dtype
    np.testing.assert_array_equal(u.owned, expected[u.box.slices()])


def grids(shape: tuple[int, int], **options: Any) -> list[mb.Grid]:
    """Slabs either way, the default, and blocks of one cell and of none."""
    found = [mb.Grid(shape, **options), mb.Grid(shape, topology=(1, SIZE), **options)]
    thin = [1] * (SIZE - 1) + [shape[0] - SIZE + 1]
    found.append(mb.Grid(shape, topology=(SIZE, 1), sizes=(thin, None), **options))
    if SIZE > 1:
        found.append(mb.Grid(shape, topology=(SIZE, 1), sizes=([0, *thin[1:-1], thin[-1] + 1], None), **options))
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_every_mode_and_block_gives_the_serial_result(mode: str, dtype: str) -> None:
    whole = whole_of((13, 17), dtype)
    around = padded(whole, [(2, 2)] * 2, [mode] * 2, 0.75)
    for grid in grids(whole.shape):
        u = scattered(whole, grid, 2)
        for kernel, expected, args in ((star, star_of(around, 0.1), (0.1,)), (box, box_of(around), ())):
            for options in ({}, {"overlap": True}, {"threads": 2}, {"backend": "numpy"}):
                w = kernel.using(**options)(u, *args, walls=mode, cval=0.75)
                assert_is(w, expected)
                assert w.halo == u.halo


@pytest.mark.parametrize("halo", [0, 1, ((2, 0), (3, 1)), 3])
def test_the_halo_may_be_narrower_or_wider_than_the_reach(halo: Any) -> None:
    whole = whole_of((9, 11))
    for grid in grids(whole.shape, periodic=(True, False)):
        u = scattered(whole, grid, halo)
        before = u.owned.copy()
        expected = star_of(padded(whole, [(2, 2)] * 2, ["wrap", "mirror"]), 0.3)
        assert_is(star(u, k=0.3, walls=["nearest", "mirror"]), expected)
        np.testing.assert_array_equal(u.owned, before)


def with_walls(whole: np.ndarray, sides: list[list[Any]], widths: list[tuple[int, int]]) -> np.ndarray:
    """The array with halo cells, written anew from the definitions in `mpibatch.stencil.walls`."""
    raw = {"dirichlet": "reflect", "neumann": "reflect", "reflect": "reflect", "constant": "nearest"}
    array = whole
    for axis, entries in enumerate(sides):
        for side, entry in enumerate(entries):
            widening = [(0, 0)] * array.ndim
            widening[axis] = (widths[axis][0], 0) if side == 0 else (0, widths[axis][1])
            mode = entry if isinstance(entry, str) else "nearest" if callable(entry) else raw[entry[0]]
            array = padded(array, widening, [mode] * array.ndim)
    for axis, entries in enumerate(sides):
        for side, entry in enumerate(entries):
            if isinstance(entry, str):
                continue
            for m in range(widths[axis][side]):
                at: list[Any] = [slice(None)] * array.ndim
                at[axis] = widths[axis][0] - 1 - m if side == 0 else widths[axis][0] + whole.shape[axis] + m
                if callable(entry):
                    lines = [STEP[a] * (np.arange(n) - widths[a][0]) for a, n in enumerate(array.shape)]
                    array[tuple(at)] = entry(*np.ix_(*lines), 2.5)[tuple(at)]
                else:
                    put_behind(array[tuple(at)], entry[0], entry[1], (2 * m + 1) * STEP[axis])
    return array


def put_behind(plane: np.ndarray, name: str, value: float, distance: float) -> None:
    """Make of the raw values behind a wall those that a condition wants, so far from their mirror image."""
    if name == "constant":
        plane[...] = value
    elif name == "dirichlet":
        plane[...] = 2 * value - plane
    elif name == "neumann":
        plane += value * distance
    else:
        plane *= value


def tide(y: Any, x: Any, t: float) -> Any:
    return y * 0.5 + 3.0 * x - t


@pytest.mark.parametrize(
    "sides",
    [
        [[("dirichlet", 1.5), ("neumann", -0.5)], ["reflect", "nearest"]],
        [[("reflect", -1), ("constant", 7.0)], [("dirichlet", -2.0), ("reflect", -1)]],
        [[tide, "mirror"], [("neumann", 2.0), tide]],
        [["wrap", ("dirichlet", 0.0)], ["nearest", ("constant", 1.0)]],
    ],
    ids=["values", "signs", "function", "mixed"],
)
def test_walls_per_side(sides: list[list[Any]]) -> None:
    whole = whole_of((11, 12))
    around = with_walls(whole, sides, [(2, 2)] * 2)
    for grid in grids(whole.shape, spacing=STEP):
        u = scattered(whole, grid, 2)
        for overlap in (False, True):
            assert_is(star.using(overlap=overlap)(u, 0.2, walls=sides, time=2.5), star_of(around, 0.2))
        assert_is(box(u, walls=sides, time=2.5), box_of(around))


def test_walls_per_field_and_component() -> None:
    @stencil(components={"q": ("p", "v")})
    def step(q, s):
        return [q.p[0, 0] - q.v[1, 0] + q.v[-1, 0], q.v[0, 0] - q.p[0, 1]], s[1, 0] + q.p[0, 0]

    q, s = whole_of((9, 7, 2)), whole_of((9, 7), seed=1)
    signs = [("reflect", (1, -1)), "nearest"]
    above = padded(q, [(1, 1), (1, 1), (0, 0)], ["reflect", "nearest", "wrap"])
    above[[0, -1], :, 1] *= -1
    below = padded(s, [(0, 1), (0, 0)], ["constant", "wrap"], 4.0)
    p, v = above[..., 0], above[..., 1]
    c = (slice(1, -1), slice(1, -1))
    expected = np.stack([p[c] - v[2:, 1:-1] + v[:-2, 1:-1], v[c] - p[1:-1, 2:]], axis=-1)
    for grid in grids((9, 7)):
        new, other = step(scattered(q, grid, 1), scattered(s, grid), walls={"q": signs, "s": ("constant", 4.0)})
        assert new.components == (2,)
        assert_is(new, expected)
        assert_is(other, below[1:] + q[..., 0])


def test_one_field_given_twice_with_different_walls() -> None:
    @stencil
    def difference(a, b):
        return a[-1, 0] - b[-1, 0] + b[1, 0]

    whole = whole_of((8, 5))
    for grid in grids(whole.shape):
        u = scattered(whole, grid, 1)
        assert_is(difference(u, u, walls=("dirichlet", 1.0)), _odd(whole))
        got = difference(u, u, walls={"a": ("dirichlet", 1.0), "b": "nearest"})
        low = np.concatenate([2.0 - whole[:1], whole[:-1]])
        near = np.concatenate([whole[:1], whole[:-1]])
        assert_is(got, low - near + np.concatenate([whole[1:], whole[-1:]]))


def _odd(a: np.ndarray) -> np.ndarray:
    below = np.concatenate([2.0 - a[:1], a[:-1]])
    return below - below + np.concatenate([a[1:], 2.0 - a[-1:]])


def test_coordinates_and_indices_are_global() -> None:
    @stencil
    def located(u):
        return u[0, 0] * coordinate(0) + index(1) * 10 + coordinate(1)

    whole = whole_of((9, 8))
    y, x = np.ix_(0.1 + 0.5 * np.arange(9.0), -2.0 + 0.25 * np.arange(8.0))
    expected = whole * y + (np.arange(8) * 10).astype("f8") + x
    for grid in grids(whole.shape, spacing=STEP, origin=(0.1, -2.0)):
        assert_is(located(scattered(whole, grid)), expected)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_steps_that_take_turns_in_two_fields(dtype: str) -> None:
    whole, m = whole_of((10, 9, 11), dtype), whole_of((10, 9, 11), dtype, 1)
    expected = whole
    for _ in range(4):
        p = padded(expected, [(1, 1)] * 3, ["wrap", "nearest", "reflect"])
        c = slice(1, -1)
        around = p[:-2, c, c] + p[2:, c, c] + p[c, :-2, c] + p[c, 2:, c] + p[c, c, 2:] - p[c, c, :-2]
        expected = expected + np.dtype(dtype).type(0.1) * m * around
    grid = mb.Grid(whole.shape, periodic=(True, False, False))
    u, out = scattered(whole, grid, 1), grid.full(np.nan, dtype, 2)
    kept = scattered(m, grid)
    for _ in range(4):
        assert step3(u, kept, 0.1, out=out, walls=["reflect", "nearest", "reflect"]) is out
        u, out = out, u
    assert_is(u, expected)
    assert len(state_of(step3).plans) == 2


def test_out_may_be_an_input_that_is_read_at_the_cell_only() -> None:
    @stencil
    def leapfrog(u, before, other):
        return 2.0 * u[0, 0] - before[0, 0] + u[1, 0], before[0, 0]

    whole, old = whole_of((9, 40)), whole_of((9, 40), seed=1)
    for grid in grids(whole.shape):
        for backend in ("numba", "numpy"):
            u, before, last = scattered(whole, grid, 1), scattered(old, grid, 2), grid.zeros()
            leapfrog.using(backend=backend)(u, before, 0, out=(before, last), walls="nearest")
            assert_is(before, 2.0 * whole - old + np.concatenate([whole[1:], whole[-1:]]))
            assert_is(last, old)


def test_out_may_be_an_input_twice() -> None:
    # Then the compiler must not take it that what is written is read nowhere else.
    @stencil
    def both(u, v, w):
        return u[0, 0] + 2.0 * v[0, 0], w[0, 0] - v[0, 0]

    whole, old = whole_of((9, 67)), whole_of((9, 67), seed=1)
    for grid in grids(whole.shape):
        u, w = scattered(whole, grid, 0), scattered(old, grid, 0)
        both(u, u, w, out=(u, w))
        assert_is(u, whole + 2.0 * whole)
        assert_is(w, old - whole)


def test_plans_end_with_their_memory() -> None:
    @stencil
    def local(u, v):
        return u[1] - v[0]

    grid = mb.Grid((4 * SIZE,))
    v = grid.zeros()
    for _ in range(3):
        local(grid.zeros(halo=1), v)
        assert len(state_of(local).plans) == 1  # the memory waits for the next field, and the plan with it
        local(grid.zeros(halo=1).frozen(), v)
        assert len(state_of(local).plans) == 1
    del grid, v
    gc.collect()
    assert not state_of(local).plans
    grid = mb.Grid((4 * SIZE,))
    u, v = grid.zeros(halo=1), grid.zeros()
    for number in range(40):
        local(u, v, walls=lambda x, t, n=number: x + n)
    assert len(state_of(local).plans) <= 16


def test_what_does_not_fit_is_refused_on_every_rank() -> None:
    grid = mb.Grid((8, 8))
    u = grid.zeros(halo=2)
    cases = [
        (lambda: star(u, 0.1, out=u), "out is also 'u'"),
        (lambda: star(u, 0.1, out=grid.zeros("i4")), "cast in the kernel"),
        (lambda: star(u, 0.1, out=mb.Grid((9, 8)).zeros()), "use that grid"),
        (lambda: star(u), "missing a required argument: 'k'"),
        (lambda: star(u, 0.1, wall="wrap"), "unexpected keyword argument 'wall'"),
        (lambda: star(0.1, u), "give a Field"),
        (lambda: star(u, u), "give a number"),
        (lambda: star(mb.Grid((8, 8, 8)).zeros(), 0.1), "one index per axis"),
        (lambda: star(grid.zeros("c16"), 0.1), "real and imaginary"),
        (lambda: star(u, 0.1, walls="reflected"), "did you mean 'reflect'"),
        (lambda: star(u, 0.1, walls={"v": "reflect"}), "known: u"),
        (lambda: star(u, 0.1, walls=["reflect"]), "one per axis"),
        (lambda: star(u, 0.1, walls=("dirichlet", "x")), "needs a value"),
        (lambda: star(u, 0.1, walls="dirichlet"), "needs a value"),
        (lambda: star(u, 0.1, walls=("neuman", 1.0)), "did you mean 'neumann'"),
        (lambda: star(u, 0.1, walls=("dirichlet", (1.0, 2.0))), "one per component"),
        (lambda: star(grid.zeros("i4"), 0.1, walls=("dirichlet", 1)), "computed with floats"),
        (lambda: star(mb.Grid((8, 1)).zeros(), 0.1, walls=("dirichlet", 1.0)), "opposite wall"),
    ]
    for call, message in cases:
        with pytest.raises(mb.UsageError, match=message):
            call()


def test_the_exchange_takes_a_mode_for_each_side() -> None:
    whole = np.arange(9.0 * 7).reshape(9, 7)
    expected = padded(padded(whole, [(2, 0), (0, 0)], ["reflect"] * 2), [(0, 2), (1, 1)], ["nearest", "wrap"])
    for grid in grids(whole.shape):
        u = scattered(whole, grid, ((2, 2), (1, 1)))
        mb.exchange(u, mode=[["reflect", "nearest"], "wrap"])
        if u.box.size:
            np.testing.assert_array_equal(u.padded, expected[u.box.grow(u.halo).slices((-2, -1))])
        with pytest.raises(mb.UsageError, match="pair"):
            mb.exchange(u, mode=[["reflect"], "wrap"])


@stencil
def cube(u, k):
    """Reads corners, further below than above."""
    return u[-2, -1, -3] + k * (u[1, 2, 1] - u[0, -1, 1]) - u[-1, 0, 0] * u[0, 2, -3] + u[1, 0, 1]


SIGNED = ("reflect", -1)
FACES = [
    ["reflect", "nearest", "mirror"],
    ["wrap", "constant", ("dirichlet", 1.5)],
    [[("neumann", 0.5), SIGNED], "wrap", [("constant", 2.0), "mirror"]],
    [["mirror", ("dirichlet", 0.25)], [SIGNED, "reflect"], "wrap"],
]


@pytest.mark.parametrize("walls", FACES, ids=str)
@pytest.mark.parametrize("kernel", [step3, cube], ids=["star", "corners"])
def test_walls_filled_by_the_sweep_are_those_filled_before_it(
    kernel: Any, walls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Strips of a few rows, so that walls of a plane are filled in parts.
    strips_of = strips.strips_of.__wrapped__
    monkeypatch.setattr(strips, "LEAST_STRIP", 4)
    monkeypatch.setattr(strips, "caches", lambda: Caches(1, 1))
    monkeypatch.setattr("mpibatch.stencil.compiled.numba_run.strips_of", strips_of)
    whole, m = whole_of((4 * SIZE + 3, 11, 9)), whole_of((4 * SIZE + 3, 11, 9), seed=1)
    topologies: list[tuple[int | None, ...]] = [(SIZE, 1, 1), (1, None, None), (None, None, 1)]
    for topology in topologies:
        grid = mb.Grid(whole.shape, topology=topology, spacing=0.5, periodic=(False, False, topology[0] == 1))
        u, other = scattered(whole, grid, 3), scattered(m, grid)
        given = (u, other, 0.3) if kernel is step3 else (u, 0.3)
        expected = kernel.using(backend="numpy")(*given, walls=walls, cval=0.75).owned
        for options in ({}, {"threads": 3}, {"overlap": True}):
            found = kernel.using(**options)(*given, walls=walls, cval=0.75)
            np.testing.assert_array_equal(found.owned, expected)
            u = scattered(whole, grid, 3)
            given = (u, *given[1:])


def test_one_rank_fills_its_walls_without_an_exchange() -> None:
    grid = mb.Grid((8 * SIZE, 6), periodic=(False, True))
    u = grid.zeros(halo=2)
    kernel = star.using()
    kernel(u, 0.1, walls="reflect")
    (plan,) = state_of(kernel).plans.values()
    assert len(plan.exchanges) == (SIZE > 1)
    assert not plan.tasks
    assert [edges is not None for edges in plan.edges] == [True]


def test_large_fields_begin_at_different_lines_of_their_pages() -> None:
    grid = mb.Grid((64 * SIZE, 80))
    fields = [grid.zeros(halo=1) for _ in range(9)]
    places = [u.padded.ctypes.data % 4096 for u in fields]
    assert len(set(places)) == len(fields)
    assert not any(place % 64 for place in places)
    assert all(u.padded.flags.c_contiguous and u.owned.base is u.padded for u in fields)


def test_overlap_is_chosen_by_all_ranks_alike_and_never_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choices, "_folder", lambda: tmp_path)
    whole = whole_of((23, 17))
    grid, kernel = mb.Grid(whole.shape), star.using(overlap="auto")
    u = scattered(whole, grid, 2)
    expected = star_of(np.pad(whole, 2, "symmetric"), 0.2)
    for _ in range(15):
        assert_is(kernel(u, 0.2), expected)
    trials = state_of(kernel).trials.get(grid)
    chosen = MPI.COMM_WORLD.allgather(None if trials is None else trials._chosen)
    # On one rank there is nothing to try; on more, all have chosen.
    assert set(chosen) == ({None} if SIZE == 1 else {chosen[0]})
    assert SIZE == 1 or chosen[0] in (True, False)
    again = mb.Grid(whole.shape)
    assert_is(kernel(scattered(whole, again, 2), 0.2), expected)
    assert SIZE == 1 or state_of(kernel).trials[again]._chosen is chosen[0]
    with pytest.raises(mb.UsageError, match="overlap='sometimes'"):
        star.using(overlap="sometimes")
