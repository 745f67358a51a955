"""What a plan keeps for sweeps into memory that comes again: no longer than the memory, and not without bound."""

from __future__ import annotations

import gc

import numpy as np

import mpibatch as mb
from mpibatch.stencil.call.plan import MOST_LOOPS
from mpibatch.stencil.call.state import state_of


@mb.stencil
def moved(u, k):
    return u[-1] + k * u[1]


def test_loops_go_with_the_memory_that_they_write() -> None:
    grid = mb.Grid(12)
    u = grid.from_function(lambda x: x * x, halo=1)
    outputs = [u.like() for _ in range(MOST_LOOPS + 3)]
    for turn in range(2):
        for number, out in enumerate(outputs):
            out.owned[...] = -1
            assert moved(u, k=number, out=out, walls="nearest") is out
            cells = np.pad(np.arange(12.0) ** 2, 1, mode="edge")
            assert np.array_equal(mb.gather_all(out), cells[:-2] + number * cells[2:]), turn
    (plan,) = state_of(moved).plans.values()
    assert len(plan.loops) == MOST_LOOPS
    for out in outputs:
        out.memory.is_reused = False
    del out, outputs
    gc.collect()
    assert not plan.loops
    moved(u, k=0.5, out=u.like(), walls="nearest")
    u.memory.is_reused = False
    del u
    gc.collect()
    assert plan.is_free
    assert not plan.loops
