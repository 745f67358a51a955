"""The case of `heston` for scripts/bench_fields.py: prices from Heston's equation, beside QuantLib's."""

from __future__ import annotations

import functools
import importlib
import math
from typing import TYPE_CHECKING, Any

from _bench_runs import COMM, kept, report, timings  # type: ignore[import-not-found]

import mpibatch as mb
from mpibatch.apps import heston
from mpibatch.apps.heston import Parameters, at, closed_form

if TYPE_CHECKING:
    from collections.abc import Callable

# The calls of BENCHOP's problem 4, and one of Fang's and Oosterlee's, where variance reaches 0.
CASES = {
    "heston-benchop": Parameters(),
    "heston-fang": Parameters(
        spot=(100.0,), variance=0.0175, reversion=1.5768, mean=0.0398, volatility=0.5751, correlation=-0.5711, rate=0.0
    ),
}
PEER_CELLS, PEER_STEPS = (200, 100), 100  # along price and variance


def ours(p: Parameters) -> list[float]:
    """Return the prices. Collective."""
    with mb.Simulation(until=p.expiry) as simulation:
        price = heston.run(p, simulation)
    grid, strike = price.grid, math.log(p.strike)
    return [at(grid, price, p.variance**0.5, strike + p.forward(spot, p.expiry)) for spot in p.spot]


def quantlib(ql: Any, p: Parameters) -> list[float]:
    """Return the prices of its FdHestonVanillaEngine. Local."""
    today = ql.Date(15, 5, 2025)
    ql.Settings.instance().evaluationDate = today
    count = ql.Actual365Fixed()
    rate, dividend = (ql.YieldTermStructureHandle(ql.FlatForward(today, r, count)) for r in (p.rate, p.dividend))
    prices = []
    for spot in p.spot:
        quote = ql.QuoteHandle(ql.SimpleQuote(spot))
        model = (p.variance, p.reversion, p.mean, p.volatility, p.correlation)
        process = ql.HestonProcess(rate, dividend, quote, *model)
        option = ql.VanillaOption(ql.PlainVanillaPayoff(ql.Option.Call, p.strike), ql.EuropeanExercise(today + 365))
        option.setPricingEngine(ql.FdHestonVanillaEngine(ql.HestonModel(process), PEER_STEPS, *PEER_CELLS))
        prices.append(option.NPV())
    return prices


def benches() -> dict[str, Callable[..., None]]:
    """Return what runs each case. Local."""
    return {name: functools.partial(bench, name, p) for name, p in CASES.items()}


def bench(name: str, p: Parameters, *, quick: bool) -> None:
    """Time a case, and report the errors. Collective."""
    calls: dict[str, Callable[[], list[float]]] = {"ours": lambda: ours(p)}
    missing = []
    if COMM.size == 1:
        try:
            ql = importlib.import_module("QuantLib")
            calls["QuantLib"] = lambda: quantlib(ql, p)
        except ImportError:
            missing = ["QuantLib"]
    timed, found = kept(calls)
    times = timings(timed, 3 if quick else 7)
    if "QuantLib" in times:  # which solves for each spot price anew
        times["QuantLib"] = [seconds / len(p.spot) for seconds in times["QuantLib"]]
    exact = [closed_form(p, spot, p.expiry) for spot in p.spot]
    errors = {f"errors_{who}": [x - y for x, y in zip(prices, exact, strict=True)] for who, prices in found.items()}
    report(name, times, missing, **errors)


HESTON = benches()
