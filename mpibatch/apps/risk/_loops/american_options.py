"""Paths on which an option may be exercised at dates: what regression needs of them, and what they pay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.apps.risk._loops.arithmetic import distribution, exp, log
from mpibatch.apps.risk._loops.paths import (
    ALIVE,
    BLOCK,
    CONTROL,
    DELTA,
    DIVIDEND,
    EXPIRY,
    GAMMA,
    RATE,
    SCORE,
    SPOT,
    SPREAD,
    STRIKE,
    SUM,
    VALUE,
    VEGA,
    VOLATILITY,
    W,
    X,
    Z,
    draw,
    step,
)
from mpibatch.base.compiled import compiled

__all__ = ["BASIS", "ROWS", "black", "exercise", "follow", "powers", "simulate_american"]

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.float64]

BASIS = 4  # powers of the price, from 0 on
ROWS = 3 * BASIS - 1  # sums of the normal equations: of powers from 0 on, and of values times powers
REGRESSION = np.uint64(1 << 32)  # the purpose of random numbers, other than that of pricing


@compiled
def black(forward: float, strike: float, spread: float, sign: float) -> Any:
    """Return the mean of (sign (F - K))⁺ of a lognormal price, by Black's formula, doi:10.1086/260062. Local."""
    high = log(forward / strike) / spread + 0.5 * spread
    return sign * (forward * distribution(sign * high) - strike * distribution(sign * (high - spread)))


@compiled
def _walk(path: Any, number: int, purpose: Any, seed: Any, dt: float, p: Values, work: Table) -> None:
    """Go on to the next date. Local."""
    drift = p[RATE] - p[DIVIDEND] - 0.5 * p[VOLATILITY] * p[VOLATILITY]
    if number % 2 == 0:
        place = np.uint64(number // 2) + purpose
        draw(path, place, seed, False, work)
    step(work[Z + number % 2], drift, p[VOLATILITY], dt, number == 0, work)


@compiled
def follow(first: Any, seed: Any, p: Values, work: Table, prices: Table) -> None:
    """Write the prices, over the strike, of paths for the regression: a row for each date. Local."""
    dates = prices.shape[0]
    dt, scale = p[EXPIRY] / dates, p[SPOT] / p[STRIKE]
    for begin in range(0, prices.shape[1], BLOCK):
        some = prices[:, begin : begin + BLOCK]
        part = work[:, : some.shape[1]]
        part[X:] = 0.0
        for number in range(dates):
            _walk(first + np.uint64(begin), number, REGRESSION, seed, dt, p, part)
            row, x = some[number], part[X]
            for i in range(row.shape[0]):
                row[i] = scale * exp(x[i])


@compiled
def powers(prices: Values, values: Values, sign: float, scale: float, rows: Table) -> None:
    """Write what the normal equations sum up, of paths on which exercise would pay; of others zeros. Local."""
    for i in range(prices.shape[0]):
        t = (prices[i] - 1.0) * scale
        power = 1.0 if sign * t > 0.0 else 0.0
        for k in range(2 * BASIS - 1):
            rows[k, i] = power
            if k < BASIS:
                rows[2 * BASIS - 1 + k, i] = power * values[i]
            power *= t


@compiled
def _held(t: float, coefficients: Values) -> Any:
    """What an option is worth, over the strike, that is not exercised now."""
    worth = coefficients[BASIS - 1]
    for k in range(BASIS - 2, -1, -1):
        worth = worth * t + coefficients[k]
    return worth


@compiled
def exercise(prices: Values, sign: float, scale: float, coefficients: Values, values: Values) -> None:
    """Replace the value, over the strike, of what is exercised. Local."""
    for i in range(prices.shape[0]):
        t = (prices[i] - 1.0) * scale
        won = sign * (prices[i] - 1.0)
        if won > 0.0 and won >= _held(t, coefficients):
            values[i] = won


@compiled
def simulate_american(
    first: Any, seed: Any, sign: float, scale: float, coefficients: Table, p: Values, work: Table, out: Table
) -> None:
    """Write all outputs of the paths from `first` on, exercised where the regression says so. Local.

    A row of coefficients for each date but the last. The control is the European option at the time of exercise.
    """
    dates = coefficients.shape[0] + 1
    dt, spot, strike, sigma = p[EXPIRY] / dates, p[SPOT], p[STRIKE], p[VOLATILITY]
    growth = p[RATE] - p[DIVIDEND]
    for begin in range(0, out.shape[1], BLOCK):
        some = out[:, begin : begin + BLOCK]
        part = work[:, : some.shape[1]]
        part[X:] = 0.0
        part[ALIVE] = 1.0
        some[:] = 0.0
        x, price, alive, score, spread = part[X], part[SUM], part[ALIVE], part[SCORE], part[SPREAD]
        for number in range(dates):
            _walk(first + np.uint64(begin), number, np.uint64(0), seed, dt, p, part)
            left = p[EXPIRY] - (number + 1) * dt
            discount, is_last = exp(-p[RATE] * (number + 1) * dt), number == dates - 1
            for i in range(x.shape[0]):
                price[i] = spot * exp(x[i])
            for i in range(x.shape[0]):
                won = sign * (price[i] - strike)
                if alive[i] == 0.0 or won <= 0.0:
                    continue
                t = (price[i] / strike - 1.0) * scale
                if not is_last and won < strike * _held(t, coefficients[number]):
                    continue
                alive[i] = 0.0
                european = won
                if not is_last:
                    forward = price[i] * exp(growth * left)
                    european = exp(-p[RATE] * left) * black(forward, strike, sigma * math.sqrt(left), sign)
                some[VALUE, i] = discount * won
                some[DELTA, i] = discount * sign * price[i] / spot
                some[GAMMA, i] = discount * sign * strike * score[i] / (spot * spot * spread[i])
                some[VEGA, i] = discount * sign * price[i] * part[W, i]
                some[CONTROL, i] = discount * european
