"""Option prices against closed forms, published values and a binomial tree."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mpibatch.apps import options
from mpibatch.base.errors import UsageError

SCRIPT = """
import hashlib, json, sys
import mpibatch as mb
from mpibatch.apps import options

def rows(until, **given):
    with mb.Simulation(until=until, diagnostics=sys.argv[1], output=sys.argv[2]) as simulation:
        v = options.run(options.Parameters(**given), simulation)
    names, *_, last = open(sys.argv[1]).read().split()
    digest = hashlib.sha256(mb.gather_all(v).tobytes() + open(sys.argv[2], "rb").read()).hexdigest()
    return dict(zip(names.split(","), map(float, last.split(",")))) | {"digest": digest}

largest = dict(spot=(100.0, 105.0), strike=98.0, volatility=(0.11, 0.16), dividend=(0.06, 0.09), correlation=0.63,
               rate=0.05, kind="call", expiry=0.5)
benchop = dict(strike=100.0, volatility=(0.15,), rate=0.03, exercise="american")
told = {
    "put51": rows(1.0, cells=51),
    "put101": rows(1.0, cells=101),
    "put201": rows(1.0, cells=201),
    "american": rows(1.0, cells=201, exercise="american"),
    "dates": rows(1.0, cells=301, exercise="american", exercise_every=0.02),
    **{f"{spot} {n}": rows(1.0, spot=(spot,), cells=n, **benchop) for spot in (90, 100, 110) for n in (201, 401)},
    "max31": rows(0.5, cells=31, **largest),
    "max61": rows(0.5, cells=61, **largest),
}
try:
    rows(2.0, cells=51)
except mb.UsageError as error:
    told["beyond"] = str(error)
grid = mb.Grid(1)
everywhere = grid.comm.allgather(told)
if grid.rank == 0:
    assert all(one == told for one in everywhere)
    print(json.dumps(told))
"""


def test_prices_and_greeks_and_the_same_bits_on_any_ranks(launch, tmp_path):
    """European and on two assets of second order, American within 0.001."""
    found = []
    for ranks in (1, 3):
        done = launch(ranks, "-c", SCRIPT, str(tmp_path / f"{ranks}.csv"), str(tmp_path / f"{ranks}.h5"))
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    told = found[0]
    assert told == found[1]
    put = told["put201"]
    assert abs(put["error"]) < 5e-4
    assert told["put51"]["error"] / told["put101"]["error"] == pytest.approx(4, rel=0.1)
    assert told["put101"]["error"] / put["error"] == pytest.approx(4, rel=0.1)
    high = (math.log(36 / 40) + 0.06 + 0.02) / 0.2
    density = math.exp(-high * high / 2) / math.sqrt(2 * math.pi)
    theta = -36 * density * 0.2 / 2 + 0.06 * 40 * math.exp(-0.06) * options.normal(0.2 - high)
    assert put["delta1"] == pytest.approx(options.normal(high) - 1, abs=5e-4)
    assert put["gamma1"] == pytest.approx(density / (36 * 0.2), abs=1e-4)
    assert put["theta"] == pytest.approx(theta, abs=2e-3)
    # Longstaff and Schwartz 2001, table 1: finite differences, 50 dates of exercise a year.
    assert told["dates"]["price"] == pytest.approx(4.478, abs=1e-3)
    assert told["american"]["price"] == pytest.approx(american_tree(36, 40, 0.06, 0.2, 1.0, 2000), abs=1e-3)
    # BENCHOP's problem 1b (von Sydow et al. 2015), by QuantLib's QdFpAmericanEngine of high precision.
    for spot, price in ((90, 10.7265416342), (100, 4.82064378686), (110, 1.82822510436)):
        coarse, fine = (told[f"{spot} {cells}"]["price"] for cells in (201, 401))
        assert (4 * fine - coarse) / 3 == pytest.approx(price, abs=1e-4)  # of second order
    assert told["max61"]["error"] == pytest.approx(0, abs=0.02)
    assert told["max31"]["error"] / told["max61"]["error"] == pytest.approx(4, rel=0.15)
    assert "beyond expiry" in told["beyond"]


def american_tree(spot, strike, rate, volatility, time, steps):
    """An American put by the binomial tree of Cox, Ross and Rubinstein, doi:10.1016/0304-405X(79)90015-1."""
    dt = time / steps
    up = math.exp(volatility * math.sqrt(dt))
    chance = (math.exp(rate * dt) - 1 / up) / (up - 1 / up)
    prices = spot * up ** np.arange(-steps, steps + 1, 2.0)
    value = np.maximum(strike - prices, 0)
    for _ in range(steps):
        prices = prices[1:] / up
        held = math.exp(-rate * dt) * (chance * value[1:] + (1 - chance) * value[:-1])
        value = np.maximum(held, strike - prices)
    return value[0]


def test_closed_forms():
    """Of one and two assets, against published values and scipy's distribution."""
    from scipy.stats import multivariate_normal

    assert options.closed_form(options.Parameters(), 1.0) == pytest.approx(3.844, abs=5e-4)  # Longstaff and Schwartz
    for a, b, rho in ((0.3, -0.4, 0.5), (-1.0, 2.0, -0.9), (0.0, 0.0, 0.7)):
        exact = multivariate_normal.cdf([a, b], cov=[[1, rho], [rho, 1]])
        assert options.normal2(a, b, rho) == pytest.approx(exact, abs=1e-7)
    # A second asset worth next to nothing leaves the call on the first.
    one = options.Parameters(kind="call")
    two = options.Parameters(
        kind="call", spot=(36.0, 0.01), volatility=(0.2, 0.3), dividend=(0.0, 0.0), correlation=0.3, cells=2001
    )
    assert options.closed_form(two, 1.0) == pytest.approx(options.closed_form(one, 1.0), abs=1e-9)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dt": 1.0}, "not stable"),
        ({"dt": float("nan")}, "not stable"),
        ({"share": 1.5}, "not stable"),
        ({"volatility": (0.01,), "cells": 11}, "too few"),
        ({"volatility": (float("nan"),)}, "finite number above 0"),
        ({"rate": float("nan")}, "finite"),
        ({"spot": (36.0, 40.0)}, "one value for each"),
        ({"spot": ()}, "one or two"),
        ({"correlation": 1.0}, "between -1 and 1"),
        ({"cells": 3}, "5 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, told):
    with pytest.raises(UsageError, match=told):
        options.Parameters(**given)
