"""Rows of a plane that are swept together: candidates by the caches, the fastest stays, bits do not depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base import host
from mpibatch.base.host import Caches
from mpibatch.stencil.call.evaluation import typed_for
from mpibatch.stencil.compiled import numba_run, strips, ways
from mpibatch.stencil.compiled.strips import SAMPLES, WARM_UP, Strips
from mpibatch.stencil.compiled.types import Stored

if TYPE_CHECKING:
    from pathlib import Path


def tell(root: Path, index: int, **values: str) -> None:
    folder = root / "sys/devices/system/cpu/cpu0/cache" / f"index{index}"
    folder.mkdir(parents=True)
    for name, text in values.items():
        (folder / name).write_text(text + "\n")


def test_caches_are_what_the_system_tells(tmp_path: Path) -> None:
    assert host.caches(tmp_path) == host.USUAL
    tell(tmp_path, 0, level="1", type="Data", size="48K", shared_cpu_list="0")
    tell(tmp_path, 1, level="1", type="Instruction", size="32K", shared_cpu_list="0")
    tell(tmp_path, 2, level="2", type="Unified", size="2048K", shared_cpu_list="0")
    tell(tmp_path, 3, level="3", type="Unified", size="107520K", shared_cpu_list="0-3,8-11")
    assert host.caches(tmp_path) == Caches(2 << 20, (105 << 20) // 8)
    assert min(host.caches()) > 0


@pytest.mark.parametrize(("threads", "clock"), [(1, "process_time"), (2, "perf_counter")])
def test_the_fastest_stays(threads: int, clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now, trials = [0.0], Strips((100, 30, 60), None, threads)
    monkeypatch.setattr(strips.time, clock, lambda: now[0])
    asked = []
    while not trials.is_settled:
        with trials.turn() as strip:
            asked.append(strip.rows)
            now[0] += {100: 3.0, 30: 1.0, 60: 2.0}[strip.rows]
    assert len(asked) == WARM_UP + 2 * SAMPLES * 3
    assert set(asked) == {100, 30, 60}
    assert trials.current() == (30, 0)
    with trials.turn() as strip:
        assert strip == (30, 0)
    assert Strips((7,)).is_settled


def test_the_fastest_way_is_looked_for_with_the_fastest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    now, trials = [0.0], Strips((100, 30), None, 1, (0, 1, 3))
    monkeypatch.setattr(strips.time, "process_time", lambda: now[0])
    asked = []
    while not trials.is_settled:
        with trials.turn() as strip:
            asked.append(strip)
            now[0] += {100: 3.0, 30: 1.0}[strip.rows] * {0: 1.0, 1: 0.5, 3: 0.7}[strip.way]
    assert set(asked) == {(100, 0), (30, 0), (30, 1), (30, 3)}
    assert len(asked) == 2 * WARM_UP + 2 * SAMPLES * (2 + 3)
    assert trials.current() == (30, 1)


def test_other_ways_are_for_what_no_cache_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "caches", lambda: Caches(1 << 20, 1 << 22))
    monkeypatch.setattr(ways, "has_long_vectors", lambda: True)
    make = strips.strips_of.__wrapped__
    typed = typed_for(seven, {"u": mb.Grid((8, 8, 8)).zeros(halo=1)}, {"k": 0.1}, [mb.Grid((8, 8, 8)).zeros()])
    assert make(typed, 3 * 66 * 8, 1 << 20, (66, 66, 66), 1).ways == (0,)
    assert make(typed, 3 * 66 * 8, 1 << 23, (66, 66, 66), 1).ways == (0, 1, 3)
    assert make(typed, 3 * 66 * 8, 1 << 23, (66, 66), 1).ways == (0, 2)
    monkeypatch.setattr(ways, "has_long_vectors", lambda: False)
    assert make(typed, 3 * 66 * 8, 1 << 23, (66, 66, 66), 1).ways == (0, 1)
    assert make(typed, 3 * 66 * 8, 1 << 23, (66, 66), 1).ways == (0,)


@mb.stencil
def seven(u, k):
    around = u[-1, 0, 0] + u[1, 0, 0] + u[0, -1, 0] + u[0, 1, 0] + u[0, 0, -1] + u[0, 0, 1]
    return u[0, 0, 0] + k * (around - 6.0 * u[0, 0, 0])


STRIPS = [(40, 0), (3, 0), (7, 0), (40, 1), (7, 2), (3, 3)]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_bits_do_not_depend_on_strips(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter(STRIPS)

    def strips_of(*_: object) -> Strips:
        rows, way = next(asked)
        return Strips((rows,), None, 1, (way,))

    monkeypatch.setattr(numba_run, "strips_of", strips_of)
    u = mb.Grid((9, 20, 11)).from_function(lambda z, y, x: np.sin(z * y + x), dtype, halo=1)
    results = [seven(u, 0.1) for _ in STRIPS]  # all alive, each in memory of its own, planned by itself
    assert len({field.owned.tobytes() for field in results}) == 1
    assert next(asked, None) is None


@mb.stencil
def mixed(u, v, w, k):
    return u[0, 0, 0] + k * (v[-1, 0, 1] - u[1, 1, 0]), w[0, 0, 0] + v[0, 0, 0]


@mb.stencil
def star(u, k):
    return u[0, 0] + k * (u[-2, 0] + u[0, 2] - 2.0 * u[1, 1])


@pytest.mark.parametrize("number", range(len(ways.WAYS)))
def test_every_way_has_the_bits_of_the_first(number: int) -> None:
    """Of kernels over several fields of several types and components, and in two dimensions."""
    grid, plane = mb.Grid((9, 20, 13)), mb.Grid((30, 17))
    u = grid.from_function(lambda z, y, x: np.sin(z * y + x), halo=1)
    v = grid.from_function(lambda z, y, x: np.cos(z * y - x), "f4", halo=1)
    w = grid.from_function(lambda z, y, x: z * y - x, "i4", halo=1)
    p = plane.from_function(lambda y, x: np.sin(y * x), halo=2)
    cases: list[tuple[Any, dict[str, mb.Field], list[mb.Field]]] = [
        (mixed, {"u": u, "v": v, "w": w}, list(mixed(u, v, w, 0.1))),
        (star, {"u": p}, [star(p, 0.1)]),
    ]
    for kernel, fields, expected in cases:
        out = [result.like() for result in expected]
        typed = typed_for(kernel, fields, {"k": 0.1}, out)
        compiled = [Stored(f.memory.cells, tuple(low for low, _ in f.halo)) for f in (*out, *fields.values())]
        looped = numba_run.LoopedKernel(typed, compiled[: len(out)], compiled[len(out) :], {})
        looped._strips = Strips((5,), None, 1, (number,))
        for f in fields.values():
            mb.exchange(f)
        looped.sweep({"k": 0.1})((0,) * f.grid.ndim, f.grid.box.shape)
        for result, other in zip(out, expected, strict=True):
            np.testing.assert_array_equal(result.owned, other.owned)
