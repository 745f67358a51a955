"""Programs that make several steps in a pass: the same bits as step by step, with steps fused and not."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable

import pytest

import mpibatch as mb
from mpibatch.apps import cavity, grayscott, heat, wave

pytestmark = pytest.mark.mpi

STEPS = 23
CASES = {
    "heat1": (heat, heat.Parameters((40,), walls="fixed", wall_temperature=0.5)),
    "heat2": (heat, heat.Parameters((26, 31))),
    "heat3": (heat, heat.Parameters((24, 9, 10), walls="periodic", dtype="f4")),
    "cavity": (cavity, cavity.Parameters(reynolds=100, cells=26, steady=1e-9, steady_every=9)),
    "grayscott": (grayscott, grayscott.Parameters(shape=(30, 32), seed_size=9)),
    "wave": (wave, wave.Parameters((36, 34), sponge=0, initial="mode", order=4)),
}


def digest(name: str, check_every: int) -> tuple[str, int]:
    """Return the digest of a program's result, and in how many passes it was computed."""
    program, parameters = CASES[name]
    told: list[int] = []
    with mb.Simulation(steps=STEPS, check_every=check_every, report=lambda done, *_: told.append(done)) as simulation:
        result = program.run(parameters, simulation)
    fields = result if isinstance(result, Iterable) else [result]
    whole = b"".join(mb.gather_all(field).tobytes() for field in fields)
    return hashlib.sha256(whole).hexdigest(), len(told) - 1


@pytest.mark.parametrize("name", CASES)
def test_bits_do_not_depend_on_how_many_steps_a_pass_makes(name, monkeypatch):
    single, passes = digest(name, check_every=1)
    assert passes == STEPS
    for fuse in (1, 3):
        monkeypatch.setattr(mb, "iterate", functools.partial(mb.iterate, fuse=fuse))
        several, passes = digest(name, check_every=0)
        assert several == single
        assert passes < 8
        monkeypatch.undo()
