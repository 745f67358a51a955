"""Prices from Heston's equation against published values, parity, and options of constant volatility."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import h5py
import pytest

import mpibatch as mb
from mpibatch.apps.heston import Parameters, closed_form
from mpibatch.io import describe, digest
from mpibatch.job.execution.simulation import simulate
from mpibatch.job.file.reader import parse_any
from mpibatch.job.file.simulation import SimulationJob
from tests.support.programs import Case, ran

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

# BENCHOP's problem 4 (L. von Sydow et al. 2015, doi:10.1080/00207160.2015.1072172), the defaults of the program.
BENCHOP = {90.0: 2.302535842814927, 100.0: 7.379832496149447, 110.0: 14.974005277144057}
# F. Fang and C. W. Oosterlee 2008, doi:10.1137/080718061, where variance reaches 0.
FANG = {
    "spot": [100.0], "variance": 0.0175, "reversion": 1.5768, "mean": 0.0398, "volatility": 0.5751,
    "correlation": -0.5711, "rate": 0.0,
}  # fmt: skip
FANG_PRICE = 5.785155434
# Variance as good as constant: F. A. Longstaff's and E. S. Schwartz's put with 50 dates.
CONSTANT = {
    "spot": [36.0], "strike": 40.0, "variance": 0.04, "mean": 0.04, "volatility": 0.01, "reversion": 1.0,
    "correlation": 0.0, "rate": 0.06, "kind": "put", "exercise": "american", "dates": 50, "cells": [8, 256],
}  # fmt: skip
SMALL = {"cells": [32, 128]}
CASES: dict[str, dict[str, Any]] = {
    "benchop16": {"cells": [16, 64]}, "benchop32": SMALL, "benchop64": {}, "fang": FANG, "constant": CONSTANT,
    "put": SMALL | {"kind": "put"}, "early": SMALL | {"kind": "put", "exercise": "american"},
    "american": SMALL | {"exercise": "american"}, "dividend": SMALL | {"exercise": "american", "dividend": 0.06},
}  # fmt: skip


def last(path: Path) -> dict[str, float]:
    with h5py.File(path) as file:
        return {name: float(column[-1]) for name, column in file["diagnostics"].items()}


def test_prices_and_the_same_bits_on_any_ranks(launch: Launch, tmp_path: Path) -> None:
    cases: dict[str, Case] = {name: (given, {"until": 1.0}) for name, given in CASES.items()}
    cases["beyond"] = ({}, {"until": 2.0})
    cases["further"] = ({"cells": [8, 32], "dates": 2}, {"steps": 3})
    digests = []
    for ranks in (1, 3):
        folder = tmp_path / str(ranks)
        lines = ran(launch, folder, ranks, "heston", cases)
        words = [f"UsageError: {time} years are beyond expiry = 1" for time in ("1.5", "2")]
        assert sorted(line.partition(", ")[0] for line in lines) == sorted(words * ranks)
        made = sorted(folder.glob("*.h5"))
        digests.append({(p.stem, d.name): digest(p, d.name) for p in made for d in describe(p)})
    assert digests[0] == digests[1]
    assert {stem for stem, _ in digests[0]} == {*CASES}
    found = {name: last(tmp_path / "1" / f"{name}.h5") for name in CASES}

    for n, (spot, price) in enumerate(BENCHOP.items(), 1):
        assert closed_form(Parameters(), spot, 1.0) == pytest.approx(price, abs=2e-13)
        assert found["benchop64"][f"price{n}"] == pytest.approx(price, abs=1e-3)
        assert found["benchop64"][f"error{n}"] == pytest.approx(found["benchop64"][f"price{n}"] - price, abs=1e-12)
        # Calls and puts differ by the forward contract, but for what is cut off, and their deltas by 1.
        call, put = found["benchop32"], found["put"]
        forward = spot - 100 * math.exp(-0.03)
        assert call[f"price{n}"] - put[f"price{n}"] == pytest.approx(forward, abs=1e-6)
        assert call[f"delta{n}"] - put[f"delta{n}"] == pytest.approx(1.0, abs=1e-3)
        # A call is not exercised before expiry, unless there are dividends; a put is.
        assert found["american"][f"price{n}"] == call[f"price{n}"]
        assert found["early"][f"price{n}"] > put[f"price{n}"] + 0.01
        assert found["early"][f"price{n}"] >= 100 - spot
        assert found["dividend"][f"price{n}"] > closed_form(Parameters(dividend=0.06), spot, 1.0) + 0.01
    errors = [found[f"benchop{n}"]["error1"] for n in (16, 32, 64)]
    for first, second in pairwise(errors):
        assert abs(math.log2(first / second) - 2) < 0.2
    assert found["fang"]["price1"] == pytest.approx(FANG_PRICE, abs=1e-3)
    assert found["constant"]["price1"] == pytest.approx(4.478, abs=2e-3)

    # Delta and gamma are the price's derivatives.
    p, step = Parameters(), 0.5
    low, middle, high = (closed_form(p, 100.0 + d, 1.0) for d in (-step, 0.0, step))
    assert found["benchop64"]["delta2"] == pytest.approx((high - low) / (2 * step), abs=2e-3)
    assert found["benchop64"]["gamma2"] == pytest.approx((high - 2 * middle + low) / step**2, rel=1e-2)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"spot": ()}, "one or more"), ({"cells": (4, 64)}, "8 or more"), ({"rate": math.inf}, "finite")],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(mb.UsageError, match=message):
        Parameters(**given)


def test_a_job_sets_the_dates(tmp_path: Path) -> None:
    text = "[simulation]\nprogram = 'heston'\nuntil = 1.0\ndates = 7\ncells = [8, 32]\n"
    job = parse_any(f"{text}[output]\npath = '{tmp_path}/out.h5'\n")
    assert isinstance(job, SimulationJob)
    simulate(job)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["step"][-1] == 7


def test_the_job_beside_the_program_is_sound(launch: Launch) -> None:
    done = launch(0, "-m", "mpibatch.apps.heston", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "heston" in done.stdout
