"""Paths on which an option may be exercised at dates: what regression needs of them, and what they pay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.apps.risk._loops.arithmetic import distribution, exp, log
from mpibatch.apps.risk._loops.paths import begin_block, draw, end_block, step
from mpibatch.apps.risk._loops.rows import (
    ALIVE,
    BLOCK,
    DIVIDEND,
    EXPIRY,
    OTHER_Z,
    PAID_CONTROL,
    PAID_DELTA,
    PAID_GAMMA,
    PAID_VALUE,
    PAID_VEGA,
    PLACES,
    RATE,
    SCORE,
    SPOT,
    SPREAD,
    STRIKE,
    SUM,
    VOLATILITY,
    V,
    W,
    X,
    Z,
)
from mpibatch.base.compiled import compiled_lean

__all__ = ["BASIS", "ROWS", "black", "exercise", "follow", "powers", "simulate_american"]

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.float64]

BASIS = 4  # powers of the price, from 0 on
ROWS = 3 * BASIS - 1  # sums of the normal equations: of powers from 0 on, and of values times powers
REGRESSION = np.uint64(1 << 32)  # the purpose of random numbers, other than that of pricing


@compiled_lean
def black(forward: float, strike: float, spread: float, sign: float) -> Any:
    """Return the mean of (sign (F - K))⁺ of a lognormal price, by Black's formula, doi:10.1086/260062. Local."""
    high = log(forward / strike) / spread + 0.5 * spread
    return sign * (forward * distribution(sign * high) - strike * distribution(sign * (high - spread)))


@compiled_lean
def _walk(path: Any, number: int, purpose: Any, seed: Any, dt: float, p: Values, draws: Values, state: Values) -> None:
    """Go on to the next date. Local."""
    drift = p[RATE] - p[DIVIDEND] - 0.5 * p[VOLATILITY] * p[VOLATILITY]
    z = draws[OTHER_Z : OTHER_Z + BLOCK]
    if number % 2 == 0:
        draw(path, np.uint64(number // 2) + purpose, seed, False, draws)
        z = draws[Z : Z + BLOCK]
    step(z, drift, p[VOLATILITY], dt, number == 0, state)


@compiled_lean
def follow(first: Any, seed: Any, p: Values, draws: Values, state: Values, prices: Table) -> None:
    """Write the prices, over the strike, of paths for the regression: a row for each date. Local."""
    dates = prices.shape[0]
    dt, scale = p[EXPIRY] / dates, p[SPOT] / p[STRIKE]
    for begin in range(0, prices.shape[1], BLOCK):
        begin_block(0.0, False, state)
        count = min(BLOCK, prices.shape[1] - begin)
        for number in range(dates):
            _walk(first + np.uint64(begin), number, REGRESSION, seed, dt, p, draws, state)
            row, some = prices[number, begin : begin + count], state[SUM : SUM + BLOCK]
            for i in range(BLOCK):
                some[i] = scale * exp(state[X + i])
            for i in range(count):
                row[i] = some[i]


@compiled_lean
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


@compiled_lean
def _held(t: float, coefficients: Values) -> Any:
    """What an option is worth, over the strike, that is not exercised now."""
    worth = coefficients[BASIS - 1]
    for k in range(BASIS - 2, -1, -1):
        worth = worth * t + coefficients[k]
    return worth


@compiled_lean
def exercise(prices: Values, sign: float, scale: float, coefficients: Values, values: Values) -> None:
    """Replace the value, over the strike, of what is exercised. Local."""
    for i in range(prices.shape[0]):
        t = (prices[i] - 1.0) * scale
        won = sign * (prices[i] - 1.0)
        if won > 0.0 and won >= _held(t, coefficients):
            values[i] = won


@compiled_lean
def _end(number: int, sign: float, scale: float, rules: Table, p: Values, state: Values, places: Values) -> Any:
    """Compute the prices, and list the paths that are exercised at a date: return how many."""
    spot, strike = p[SPOT], p[STRIKE]
    for i in range(BLOCK):
        state[SUM + i] = spot * exp(state[X + i])
    if number == rules.shape[0]:  # the last
        for i in range(BLOCK):
            state[V + i] = state[ALIVE + i] if sign * (state[SUM + i] - strike) > 0.0 else 0.0
    else:
        rule = rules[number]
        for i in range(BLOCK):
            price = state[SUM + i]
            won = sign * (price - strike)
            held = strike * _held((price / strike - 1.0) * scale, rule)
            state[V + i] = state[ALIVE + i] if won > 0.0 and won >= held else 0.0
    count = 0
    for i in range(BLOCK):
        places[count] = np.int64(i).view(np.float64)  # its bits, as all work is of floats
        count += state[V + i] != 0.0
    return count


@compiled_lean
def simulate_american(
    first: Any, seed: Any, sign: float, scale: float, coefficients: Table, p: Values, draws: Values, state: Values,
    out: Table,
) -> None:  # fmt: skip
    """Write all outputs of the paths from `first` on, exercised where the regression says so. Local.

    A row of coefficients for each date but the last. The control is the European option at the time of exercise.
    """
    dates = coefficients.shape[0] + 1
    dt, spot, strike, sigma = p[EXPIRY] / dates, p[SPOT], p[STRIKE], p[VOLATILITY]
    growth, places = p[RATE] - p[DIVIDEND], draws[PLACES : PLACES + BLOCK]
    for begin in range(0, out.shape[1], BLOCK):
        begin_block(0.0, False, state)
        for number in range(dates):
            _walk(first + np.uint64(begin), number, np.uint64(0), seed, dt, p, draws, state)
            left = p[EXPIRY] - (number + 1) * dt
            discount, is_last = exp(-p[RATE] * (number + 1) * dt), number == dates - 1
            carried, now = exp(growth * left), exp(-p[RATE] * left)
            spread = sigma * math.sqrt(max(left, 0.0))
            for k in range(_end(number, sign, scale, coefficients, p, state, places)):
                i = np.float64(places[k]).view(np.int64)
                price = state[SUM + i]
                state[ALIVE + i] = 0.0
                won = sign * (price - strike)
                european = won if is_last else now * black(price * carried, strike, spread, sign)
                state[PAID_VALUE + i] = discount * won
                state[PAID_DELTA + i] = discount * sign * price / spot
                state[PAID_GAMMA + i] = discount * sign * strike * state[SCORE + i] / (spot * spot * state[SPREAD + i])
                state[PAID_VEGA + i] = discount * sign * price * state[W + i]
                state[PAID_CONTROL + i] = discount * european
        end_block(state, begin, out)
