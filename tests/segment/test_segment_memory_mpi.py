"""What segments declare of memory, before anything of its size is made, against what they take; on any ranks."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch import segment
from mpibatch.fields.memory import Pools
from mpibatch.filters._engine import memory
from mpibatch.mpi import MPI

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD
# Python's own objects, plans, and faces on their way.
SLACK = 400_000

Call = Callable[[mb.Field], Any]
# Calls, and between which multiples of what is declared the measured peak lies, beside what is returned. Of an axis
# that is cut, the room for the farthest distance is declared, and here less is taken. Not declared are lists that are
# as long as there are cells at most, and hardly written to: of runs, and of a watershed's ways to other ranks.
CASES: dict[str, tuple[Call, float, float]] = {
    "distance_transform_edt": (lambda u: segment.distance_transform_edt(u > 0), 0.9, 1),
    "distance_transform_edt of numbers": (segment.distance_transform_edt, 0.9, 1),
    "distance_transform_edt with sampling": (lambda u: segment.distance_transform_edt(u, (1, 2, 1)), 0.5, 1),
    "distance_transform_edt with indices": (lambda u: segment.distance_transform_edt(u, return_indices=True), 0.3, 1),
    "distance_transform_edt's indices": (
        lambda u: segment.distance_transform_edt(u, return_distances=False, return_indices=True),
        0.3,
        1,
    ),
    "expand_labels": (lambda u: segment.expand_labels(u, 3), 0.3, 1),
    "distance_transform_cdt": (segment.distance_transform_cdt, 0.9, 1),
    "distance_transform_cdt with indices": (lambda u: segment.distance_transform_cdt(u, return_indices=True), 0.9, 1),
    "watershed": (lambda u: segment.watershed(u, u), 0.9, 1.3),
    "watershed from minima": (segment.watershed, 0.9, 1.3),
    "watershed from 50 markers": (lambda u: segment.watershed(u, 50), 0.9, 1.3),
    "reconstruction": (lambda u: segment.reconstruction(u, u), 0.9, 1),
    "h_maxima": (lambda u: segment.h_maxima(u, 1), 0.9, 1),
    "join_segmentations": (lambda u: segment.join_segmentations(u, u), 0.9, 1),
    "remove_small_holes": (lambda u: segment.remove_small_holes(u, max_size=3), 1, 3),
    "binary_fill_holes": (segment.binary_fill_holes, 1, 3),
    "clear_border": (segment.clear_border, 1, 5),
    "binary_propagation": (lambda u: segment.binary_propagation(u == 1, mask=u), 0.9, 3),
    "skeletonize": (segment.skeletonize, 0.9, 3),
}


def labels(axis: int, periodic: bool = False) -> mb.Field:
    shape, topology = [60, 60, 60], [1, 1, 1]
    shape[axis], topology[axis] = 60 * WORLD.size, WORLD.size
    grid = mb.Grid(shape, topology=topology, periodic=periodic)
    return grid.from_function(lambda z, y, x: np.where((z // 9 + y // 9 + x // 9) % 3, z // 9 + 1, 0), "i4")


def declared(call: Call, u: mb.Field, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """What a call says that it needs where it may take nothing, in bytes, and its message."""
    monkeypatch.setenv(memory.LIMIT_VARIABLE, "1")
    with pytest.raises(mb.UsageError, match=r"needs \d+ bytes per rank for .*allows 1 bytes") as caught:
        call(u)
    return int(re.findall(r"needs (\d+) bytes", str(caught.value))[0]), str(caught.value)


@pytest.mark.parametrize("axis", [0, 2], ids=["first axis cut", "last axis cut"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_declared_is_taken(name: str, axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, axis, False, monkeypatch)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("distance", "expand"))])
def test_what_is_declared_is_taken_around_rings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, 2, True, monkeypatch)


def check(name: str, axis: int, periodic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold what a call declares against what it takes, and that it runs where this is allowed, and not with less."""
    monkeypatch.setattr(memory, "_SMALL", 0)
    monkeypatch.setattr(memory, "bytes_text", lambda n: f"{n} bytes")
    call, least, most = CASES[name]
    monkeypatch.setattr("mpibatch.fields.memory.SMALL", 100)
    monkeypatch.setattr("mpibatch.fields.memory._ALL", Pools())
    monkeypatch.setattr("mpibatch.halo.surroundings.MOST_BYTES", 0)
    u = labels(axis, periodic)
    needed, message = declared(call, u, monkeypatch)
    assert message.startswith(name.split("'")[0].split()[0])
    assert WORLD.allgather(message) == [message] * WORLD.size
    monkeypatch.setenv(memory.LIMIT_VARIABLE, str(needed - 1))
    with pytest.raises(mb.UsageError, match=f"needs {needed} bytes"):
        call(u)
    monkeypatch.setenv(memory.LIMIT_VARIABLE, str(needed))
    call(u)  # loops are compiled, and plans made
    u.grid.memories.together.release()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = call(u)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    results = result if isinstance(result, tuple) else (result,)
    taken = WORLD.allreduce(peak - sum(field.owned.nbytes for field in results), op=MPI.MAX)
    least = least / 5 if periodic else least
    assert least * needed - SLACK <= taken <= most * needed + SLACK, (taken / needed, taken / 60**3, needed / 60**3)
