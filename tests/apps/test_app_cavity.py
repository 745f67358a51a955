"""The lid-driven cavity against Ghia, Ghia and Shin 1982, and its refusals."""

from __future__ import annotations

import json

import pytest

from mpibatch.apps import cavity
from mpibatch.base.errors import UsageError

SCRIPT = """
import hashlib, json, sys
import mpibatch as mb
from mpibatch.apps import cavity

def solve(p, **end):
    with mb.Simulation(**end) as simulation:
        u = cavity.run(p, simulation)
    return simulation, u

def refusal(p, **end):
    try:
        solve(p, **end)
    except mb.MpibatchError as error:
        return type(error).__name__, str(error)

told = {}
_, u = solve(cavity.Parameters(reynolds=100, cells=21), steps=150)
whole = mb.gather_all(u)
told["digest"] = hashlib.sha256(whole.tobytes()).hexdigest()
told["uneven"] = u.grid.comm.allgather(refusal(cavity.Parameters(reynolds=10, cells=8), until=1.0, every=0.3))
for cells in map(int, sys.argv[1:]):
    p = cavity.Parameters(reynolds=100, cells=cells, lattice_speed=0.2)
    simulation, u = solve(p, until=12.0)
    up, across = cavity.center_lines(u)
    told[str(cells)] = {**cavity.differences(p, u), "lowest": up.min(), "highest": across.max()}
simulation, u = solve(cavity.Parameters(reynolds=10, cells=8, steady=1e-3, steady_every=50), until=100.0)
told["ended"] = simulation.time
if u.grid.rank == 0:
    print(json.dumps(told))
"""


def test_velocities_are_those_of_ghia_and_the_same_on_any_ranks(launch):
    """At Re = 100 within 0.01 of the tables on 40 cells, and second order to the extrema of a spectral solution."""
    alone, three = launch(1, "-c", SCRIPT, "24", "40"), launch(3, "-c", SCRIPT)
    assert (alone.returncode, three.returncode) == (0, 0), alone.stderr + three.stderr
    one, many = json.loads(alone.stdout), json.loads(three.stdout)
    assert one["digest"] == many["digest"]
    assert one["40"]["ghia_ux"] < 0.01
    assert one["40"]["ghia_uy"] < 0.01
    # Botella and Peyret 1998, doi:10.1016/S0045-7930(98)00002-4.
    for name, exact in (("lowest", -0.2140424), ("highest", 0.1795728)):
        coarse, fine = (abs(one[cells][name] - exact) for cells in ("24", "40"))
        assert fine < 0.003
        assert coarse / fine > (40 / 24) ** 1.7
    for told in (one, many):
        assert told["ended"] < 90
        assert all(refusal[0] == "UsageError" and "multiples" in refusal[1] for refusal in told["uneven"])


@pytest.mark.slow
@pytest.mark.parametrize(("reynolds", "cells", "until"), [(400, 64, 40), (1000, 96, 60)])
def test_higher_reynolds_numbers(launch, reynolds, cells, until):
    script = f"""
import mpibatch as mb
from mpibatch.apps import cavity
p = cavity.Parameters(reynolds={reynolds}, cells={cells}, lattice_speed=0.2, steady=1e-5)
with mb.Simulation(until={until}) as simulation:
    print(max(cavity.differences(p, cavity.run(p, simulation)).values()))
"""
    done = launch(1, "-c", script, timeout=500)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.02


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lattice_speed": 0.5}, "not stable"),
        ({"lattice_speed": float("nan")}, "not stable"),
        ({"reynolds": float("nan")}, "finite"),
        ({"reynolds": -1.0}, "above 0"),
        ({"cells": 2}, "4 or more"),
        ({"reynolds": 1000.0, "cells": 32}, "give 34 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, told):
    with pytest.raises(UsageError, match=told):
        cavity.Parameters(**given)
