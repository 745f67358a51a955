"""Gray–Scott: spots divide, uniform states and balances are kept, and bits do not depend on ranks."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mpibatch.apps import grayscott
from mpibatch.base.errors import UsageError

SCRIPT = """
import hashlib, json, sys
import numpy as np
import mpibatch as mb
from mpibatch.apps import grayscott

folder = sys.argv[1]
told = {}

def solve(p, **end):
    with mb.Simulation(**end) as simulation:
        u, v = grayscott.run(p, simulation)
    return u, v

u, v = solve(grayscott.Parameters(shape=(30, 41), seeds=3, seed_size=9), steps=100)
both = mb.gather_all(u).tobytes() + mb.gather_all(v).tobytes()
told["digest"] = hashlib.sha256(both).hexdigest()

# One step changes the mean of u + v by what is fed, less what decays.
p = grayscott.Parameters(shape=(30, 41), seed_size=12, dt=0.5)
before = grayscott.initial(p, mb.Grid(p.shape, periodic=True))
u, v = solve(p, steps=1)
gained = mb.mean(u + v) - mb.mean(before["u"] + before["v"])
told["balance"] = gained - p.dt * (p.feed * (1 - mb.mean(before["u"])) - (p.feed + p.kill) * mb.mean(before["v"]))

# A uniform state at rest, the stable one with F = 0.04, k = 0.05.
rate = 0.04 + 0.05
rest = 0.5 * (1 - np.sqrt(1 - 4 * rate * rate / 0.04))
p = grayscott.Parameters(shape=(6, 7), feed=0.04, kill=0.05, initial="uniform", u=rest, v=0.04 * (1 - rest) / rate)
u, v = solve(p, until=200.0)
told["rest"] = max(mb.max(abs(u - p.u)), mb.max(abs(v - p.v)))

# Without v, what is missing of u is fed again.
u, v = solve(grayscott.Parameters(shape=(6, 7), initial="uniform", u=0.25, dt=0.1), until=20.0)
told["fed"] = float(mb.max(u)), float(mb.min(u)), float(mb.max(abs(v)))

values = np.ones((12, 12, 2))
values[7, 3, 1] = np.nan
if u.grid.rank == 0:
    np.save(folder + "/broken.npy", values)
u.grid.comm.Barrier()
try:
    solve(grayscott.Parameters(shape=(12, 12), start=folder + "/broken.npy"), steps=5)
except mb.RunError as error:
    told["nan"] = str(error)
assert len(set(u.grid.comm.allgather(told["nan"]))) == 1

if "pattern" in sys.argv:
    for until in (500.0, 3000.0):
        u, v = solve(grayscott.Parameters(shape=(96, 96), length=0.9375), until=until)
        np.save(f"{folder}/{until:g}.npy", mb.gather_all(v))
    u, v = solve(grayscott.Parameters(shape=(96, 96), length=0.9375, kill=0.08), until=500.0)
    told["dies"] = float(mb.max(v))
if u.grid.rank == 0:
    print(json.dumps(told))
"""


def test_spots_divide_and_bits_do_not_depend_on_ranks(launch, tmp_path):
    alone = launch(1, "-c", SCRIPT, str(tmp_path), "pattern")
    three = launch(3, "-c", SCRIPT, str(tmp_path))
    assert (alone.returncode, three.returncode) == (0, 0), alone.stderr + three.stderr
    one, many = json.loads(alone.stdout), json.loads(three.stdout)
    assert one["digest"] == many["digest"]
    for told in (one, many):
        assert abs(told["balance"]) < 1e-15
        assert told["rest"] < 1e-12
        high, low, v = told["fed"]
        assert high == low
        assert v == 0
        assert 1 - high == pytest.approx(0.75 * (1 - 0.035 * 0.1) ** 200, rel=1e-12)  # the scheme's
        assert 1 - high == pytest.approx(0.75 * math.exp(-0.035 * 20), rel=2e-3)
        assert "NaN" in told["nan"]
        assert "cell (7, 3)" in told["nan"]
    early, late = (np.load(tmp_path / f"{until}.npy") for until in (500, 3000))
    assert spots(late) >= 2 * spots(early) >= 2
    assert np.count_nonzero(late > 0.1) > 1.5 * np.count_nonzero(early > 0.1)
    assert one["dies"] < 1e-6


def spots(v):
    """Count the connected regions with much v on the periodic plane."""
    from scipy import ndimage

    labels, count = ndimage.label(v > 0.1)
    joined = {
        tuple(sorted(pair))
        for low, high in ((labels[0], labels[-1]), (labels[:, 0], labels[:, -1]))
        for pair in zip(low.tolist(), high.tolist(), strict=True)
        if all(pair)
    }
    return count - len(joined)


def test_noise_depends_on_the_cell_only():
    cells = np.arange(10000, dtype="u8")
    whole = grayscott.uniform(cells, 2)
    assert np.array_equal(grayscott.uniform(cells[17:], 2), whole[17:])
    assert 0 <= whole.min() < whole.max() < 1
    assert whole.mean() == pytest.approx(0.5, abs=0.01)
    assert abs(np.corrcoef(whole, grayscott.uniform(cells, 3))[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dt": 2.0}, "not stable"),
        ({"dt": -1.0}, "not stable"),
        ({"share": 2.0}, "not stable"),
        ({"feed": -0.1}, "numbers from 0"),
        ({"kill": float("nan")}, "numbers from 0"),
        ({"diffusivity_u": float("inf")}, "finite number above 0"),
        ({"initial": "uniform", "u": float("nan")}, "finite numbers"),
        ({"shape": (64,)}, "along two"),
        ({"shape": (2, 64)}, "3 cells"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, told):
    with pytest.raises(UsageError, match=told):
        grayscott.Parameters(**given)
