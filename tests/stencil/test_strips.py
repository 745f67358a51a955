"""Rows of a plane that are swept together: candidates by the caches, the fastest stays, bits do not depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base import host
from mpibatch.base.host import Caches
from mpibatch.stencil.compiled import numba_run, strips
from mpibatch.stencil.compiled.strips import SAMPLES, WARM_UP, Strips

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
        with trials.turn() as rows:
            asked.append(rows)
            now[0] += {100: 3.0, 30: 1.0, 60: 2.0}[rows]
    assert len(asked) == WARM_UP + 2 * SAMPLES * 3
    assert set(asked) == {100, 30, 60}
    assert trials.rows() == 30
    with trials.turn() as rows:
        assert rows == 30
    assert Strips((7,)).is_settled


@mb.stencil
def seven(u, k):
    around = u[-1, 0, 0] + u[1, 0, 0] + u[0, -1, 0] + u[0, 1, 0] + u[0, 0, -1] + u[0, 0, 1]
    return u[0, 0, 0] + k * (around - 6.0 * u[0, 0, 0])


def test_bits_do_not_depend_on_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Strips] = []

    def strips_of(*_: object) -> Strips:
        made.append(Strips(made[0].candidates if made else (40, 3, 7)))
        made[-1]._sweeps = len(made) * 2 - 2
        return made[-1]

    monkeypatch.setattr(numba_run, "strips_of", strips_of)
    u = mb.Grid((9, 20, 11)).from_function(lambda z, y, x: np.sin(z * y + x), halo=1)
    results = [seven(u, 0.1).owned.tobytes() for _ in range(6)]
    assert len(set(results)) == 1
