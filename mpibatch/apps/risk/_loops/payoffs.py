"""What an option pays on each path of a block, with its derivatives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpibatch.apps.risk._loops.arithmetic import exp, log
from mpibatch.apps.risk._loops.rows import (
    ALIVE,
    ASIAN,
    BARRIER,
    BLOCK,
    BRIDGE_IN,
    DATES_OUT,
    EXPIRY,
    GEOMETRIC,
    LIKELY,
    PAID_CONTROL,
    PAID_DELTA,
    PAID_GAMMA,
    PAID_VALUE,
    PAID_VEGA,
    RATE,
    SCORE,
    SPOT,
    SPREAD,
    STRIKE,
    SUM,
    SUM_X,
    TANGENT,
    TANGENT_X,
    VOLATILITY,
    W,
    X,
)
from mpibatch.base.compiled import compiled_lean

__all__ = ["pay", "pay_bridge", "pay_dates"]

Values = npt.NDArray[np.float64]


@compiled_lean
def pay(style: int, sign: float, is_heston: bool, dates: int, p: Values, state: Values) -> None:
    """Write what is paid on the final price, or on a mean of prices: all derivatives path by path. Local.

    Of delta the derivative is taken of the density up to the first date (its score), which leaves the strike times it.
    """
    spot, strike = p[SPOT], p[STRIKE]
    discount, share = exp(-p[RATE] * p[EXPIRY]), 1.0 / dates
    # What is paid on, its derivative by volatility, and the control: in a loop for each style.
    if style == ASIAN:
        for i in range(BLOCK):
            state[SUM + i] *= share
            state[TANGENT + i] *= share
        if is_heston:
            for i in range(BLOCK):
                state[PAID_CONTROL + i] = discount * (spot * state[SUM + i])
        else:
            for i in range(BLOCK):
                geometric = exp(state[SUM_X + i] * share)
                state[PAID_CONTROL + i] = discount * max(sign * (spot * geometric - strike), 0.0)
    else:
        for i in range(BLOCK):
            end = exp(state[X + i])
            state[SUM + i] = end
            state[TANGENT + i] = end * state[W + i]
            state[PAID_CONTROL + i] = discount * spot * end
    if style == GEOMETRIC:
        for i in range(BLOCK):
            state[SUM + i] = exp(state[SUM_X + i] * share)
            state[TANGENT + i] = state[SUM + i] * state[TANGENT_X + i] * share
    factor = discount * sign * strike / (spot * spot)
    for i in range(BLOCK):
        mean, spread = state[SUM + i], state[SPREAD + i]
        won = sign * (spot * mean - strike)
        paid = discount if won > 0.0 else 0.0
        state[PAID_VALUE + i] = paid * max(won, 0.0)
        state[PAID_DELTA + i] = paid * sign * mean
        # A variance of 0 up to the first date has no density.
        h = state[SCORE + i] / (spread if spread > 0.0 else np.inf)
        state[PAID_GAMMA + i] = (factor if won > 0.0 else 0.0) * h
        state[PAID_VEGA + i] = paid * sign * spot * state[TANGENT + i]


@compiled_lean
def pay_dates(style: int, sign: float, p: Values, state: Values) -> None:
    """Write what is paid if the barrier was, or was not, reached at a date: derivatives by likelihood ratios. Local."""
    spot, strike, discount = p[SPOT], p[STRIKE], exp(-p[RATE] * p[EXPIRY])
    for i in range(BLOCK):
        end = spot * exp(state[X + i])
        alive, spread = state[ALIVE + i], state[SPREAD + i]
        chosen = alive if style == DATES_OUT else 1.0 - alive
        value = chosen * discount * max(sign * (end - strike), 0.0)
        # A variance of 0 up to the first date has no density.
        spread = spread if spread > 0.0 else np.inf
        h, bend = state[SCORE + i] / spread, 1.0 / spread
        state[PAID_VALUE + i] = value
        state[PAID_DELTA + i] = value * h / spot
        state[PAID_GAMMA + i] = value * (h * h - bend - h) / (spot * spot)
        state[PAID_VEGA + i] = value * state[LIKELY + i]
        state[PAID_CONTROL + i] = discount * end


@compiled_lean
def pay_bridge(style: int, sign: float, p: Values, state: Values) -> None:
    """Write what is paid if the barrier was never, or ever, reached: times that chance of a Brownian bridge. Local.

    The chance to stay away from it, given both ends, is 1 - exp(-a), a = 2 b (b - x) / (σ² T), b = ln(B / S).
    """
    spot, strike, sigma, discount = p[SPOT], p[STRIKE], p[VOLATILITY], exp(-p[RATE] * p[EXPIRY])
    b = log(p[BARRIER] / spot)
    c = 2.0 / (sigma * sigma * p[EXPIRY])
    is_in = style == BRIDGE_IN
    for i in range(BLOCK):
        x, w = state[X + i], state[W + i]
        end = spot * exp(x)
        won = sign * (end - strike)
        f = discount * max(won, 0.0)
        by_x = discount * sign * end if won > 0.0 else 0.0  # derivative by x, and again
        h = state[SCORE + i] / state[SPREAD + i]
        a = c * b * (b - x)
        decay = exp(-max(a, 0.0))
        slope = decay if a > 0.0 else 0.0  # beyond the barrier the chance is 0, with all its derivatives
        chance = 1.0 - decay
        # Derivatives of the chance by the logarithms of both prices (near, far), of a by volatility.
        a_near, a_far = -c * (b - x), -c * b
        near, far = a_near * slope, a_far * slope
        near_near, near_far = -a_near * near, (c - a_near * a_far) * slope
        by_sigma = (-2.0 * a / sigma + a_far * w) * slope
        value = f * chance
        first = f * (near + far) + by_x * chance
        second = f * (near_near + near_far) + by_x * near + first * h
        vega = by_x * w * chance + f * by_sigma
        value = f - value if is_in else value
        second = by_x * h - second if is_in else second
        vega = by_x * w - vega if is_in else vega
        first = by_x - first if is_in else first
        state[PAID_VALUE + i] = value
        state[PAID_DELTA + i] = first / spot
        state[PAID_GAMMA + i] = (second - first) / (spot * spot)
        state[PAID_VEGA + i] = vega
        state[PAID_CONTROL + i] = discount * end
