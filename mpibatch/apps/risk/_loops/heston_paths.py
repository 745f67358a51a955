"""Paths in Heston's model: from several variances of the beginning, with the same random numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.apps.risk._loops.arithmetic import exp, log
from mpibatch.apps.risk._loops.paths import begin_block, draw, end_block, look
from mpibatch.apps.risk._loops.payoffs import pay, pay_dates
from mpibatch.apps.risk._loops.rows import (
    BARRIER,
    BLOCK,
    DATES_IN,
    DATES_OUT,
    DIVIDEND,
    ETA,
    EXPIRY,
    KAPPA,
    OTHER_Z,
    PAID_VALUE,
    PAID_VEGA,
    RATE,
    RHO,
    SCORE,
    SPOT,
    SPREAD,
    THETA,
    U,
    V,
    X,
    Z,
)
from mpibatch.base.compiled import compiled

__all__ = ["simulate_heston"]

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.float64]


@compiled
def step_heston(p: Values, dt: float, is_first: bool, draws: Values, state: Values) -> None:
    """Go on by `dt` with the variance of Heston's model: the scheme QE-M of doi:10.21314/JCF.2008.189. Local."""
    kappa, theta, eta, rho = p[KAPPA], p[THETA], p[ETA], p[RHO]
    decay = exp(-kappa * dt)
    s1 = eta * eta * decay / kappa * (1.0 - decay)
    s0 = theta * eta * eta / (2.0 * kappa) * (1.0 - decay) * (1.0 - decay)
    k1 = 0.5 * dt * (kappa * rho / eta - 0.5) - rho / eta
    k2 = 0.5 * dt * (kappa * rho / eta - 0.5) + rho / eta
    k3 = 0.5 * dt * (1.0 - rho * rho)
    a_all = k2 + 0.5 * k3
    growth = (p[RATE] - p[DIVIDEND]) * dt
    plain = -rho * kappa * theta * dt / eta
    least = 1e-300
    for i in range(BLOCK):
        u, zv, z, v = draws[U + i], draws[Z + i], draws[OTHER_Z + i], state[V + i]
        mean = theta + (v - theta) * decay
        square, spread = mean * mean, v * s1 + s0
        # Two schemes: quadratic, where the variance stays away from 0, and exponential, with a chance of 0. They share
        # divisions, which take most of the time, as roots do.
        is_quadratic = spread <= 1.5 * square
        both = square + spread
        ratio = (2.0 * square if is_quadratic else 2.0) / (spread if is_quadratic else mean * both)
        b2 = ratio - 1.0 + math.sqrt(max(ratio * (ratio - 1.0), 0.0))
        root = math.sqrt(max(b2, 0.0)) + zv
        beta = square * ratio
        rate, share = 0.25 * both * both * ratio, mean * beta  # 1 / beta, and the chance of more than 0
        first = (mean if is_quadratic else beta * share) / (1.0 + b2 if is_quadratic else max(beta - a_all, least))
        rest = 1.0 - 2.0 * a_all * first
        second = (a_all * b2 * first if is_quadratic else share) / (max(rest, least) if is_quadratic else 1.0 - u)
        logarithm = log(max(rest if is_quadratic else 1.0 - share + first, least))
        drawn = log(max(second, 1.0)) * rate
        after = first * root * root if is_quadratic else drawn
        fits = rest > 0.0 if is_quadratic else a_all < beta
        k0 = 0.5 * logarithm - second if is_quadratic else -logarithm
        k0 = k0 - (k1 + 0.5 * k3) * v if fits else plain
        variance = k3 * (v + after)
        moved = math.sqrt(variance) * z
        state[X + i] += growth + k0 + k1 * v + k2 * after + moved
        state[V + i] = after
        if is_first:
            state[SCORE + i] += moved
            state[SPREAD + i] += variance


@compiled
def simulate_heston(
    first: Any, seed: Any, style: int, sign: float, is_up: bool, dates: int, parts: int, variances: Values,
    width: float, p: Values, draws: Values, states: Table, out: Table,
) -> None:  # fmt: skip
    """Write all outputs of the paths from `first` on: a column for each, `parts` steps from date to date. Local.

    Of three variances now: the position's, less and more, whose roots are `width` apart and whose values make vega. A
    row of `states` for each.
    """
    dt = p[EXPIRY] / (dates * parts)
    is_by_dates = style in (DATES_OUT, DATES_IN)
    log_barrier = log(p[BARRIER] / p[SPOT]) if is_by_dates else 0.0
    for begin in range(0, out.shape[1], BLOCK):
        for k in range(variances.shape[0]):
            begin_block(variances[k], states[k])
        for number in range(dates * parts):
            draw(first + np.uint64(begin), np.uint64(number), seed, False, draws)
            for k in range(variances.shape[0]):
                step_heston(p, dt, number < parts, draws, states[k])
                if (number + 1) % parts == 0:
                    look(style, is_up, log_barrier, states[k])
        for k in range(variances.shape[0]):
            if is_by_dates:
                pay_dates(style, sign, p, states[k])
            else:
                pay(style, sign, True, dates, p, states[k])
        state, less, more = states[0], states[1], states[2]
        for i in range(BLOCK):
            state[PAID_VEGA + i] = (more[PAID_VALUE + i] - less[PAID_VALUE + i]) / width
        end_block(state, begin, out)
