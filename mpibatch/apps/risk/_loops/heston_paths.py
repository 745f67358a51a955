"""Paths in Heston's model: with derivatives by the root of the variance now, or from several variances at once."""

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
    DIVIDEND,
    ETA,
    EXPIRY,
    KAPPA,
    LIKELY,
    OTHER_Z,
    PAID_VALUE,
    PAID_VEGA,
    PLACES,
    RATE,
    RHO,
    SCORE,
    SOME,
    SPOT,
    SPREAD,
    THETA,
    VARIANCE,
    U,
    V,
    W,
    X,
    Z,
)
from mpibatch.base._loops.operations import fused
from mpibatch.base.compiled import compiled_inline, compiled_lean

__all__ = ["simulate_heston", "simulate_heston_dates"]

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.float64]

BY_ROOT = LIKELY  # the variance's derivative, where there are no likelihoods
LEAST = 1e-300  # keeps what is not chosen from dividing by 0


@compiled_inline
def _constants(p: Values, dt: float) -> Any:
    """The constants of a step: of the variance's mean and spread, and of the price's logarithm."""
    kappa, theta, eta, rho = p[KAPPA], p[THETA], p[ETA], p[RHO]
    decay = exp(-kappa * dt)
    s1 = eta * eta * decay / kappa * (1.0 - decay)
    s0 = theta * eta * eta / (2.0 * kappa) * (1.0 - decay) * (1.0 - decay)
    k1 = 0.5 * dt * (kappa * rho / eta - 0.5) - rho / eta
    k2 = 0.5 * dt * (kappa * rho / eta - 0.5) + rho / eta
    k3 = 0.5 * dt * (1.0 - rho * rho)
    return theta, decay, s1, s0, k1, k2, k3, (p[RATE] - p[DIVIDEND]) * dt, -rho * kappa * theta * dt / eta


@compiled_inline
def _advance(u: float, zv: float, v: float, theta: float, decay: float, s1: float, s0: float, power: float) -> Any:
    """The next variance, what makes its exponential a martingale and whether it can, and what derivatives are made of.

    By the scheme QE-M of doi:10.21314/JCF.2008.189. It is two: quadratic, where the variance stays away from 0, and
    exponential, with a chance of 0. They share divisions, which take most of the time, as roots do.
    """
    mean = fused(v - theta, decay, theta)
    square, spread = mean * mean, fused(v, s1, s0)
    both = square + spread
    is_quadratic = spread <= 1.5 * square
    inverse = 1.0 / (spread if is_quadratic else mean * both)
    ratio = 2.0 * square * inverse  # of the exponential scheme: beta, rate is 1 / beta, share the chance of more than 0
    level = math.sqrt(max(ratio * (ratio - 1.0), 0.0))
    b2 = max(ratio - 1.0 + level, 0.0)
    b = math.sqrt(b2)
    rate, share = 0.5 * both * both * inverse, mean * ratio
    inverse_1 = 1.0 / (1.0 + b2 if is_quadratic else max(ratio - power, LEAST))
    first = (mean if is_quadratic else ratio * share) * inverse_1
    rest = fused(-2.0 * power, first, 1.0)
    inverse_2 = 1.0 / (max(rest, LEAST) if is_quadratic else 1.0 - u)
    second = (power * b2 * first if is_quadratic else share) * inverse_2
    inside = max(rest if is_quadratic else 1.0 - share + first, LEAST)
    drawn, root = log(max(second, 1.0)), b + zv
    after = first * root * root if is_quadratic else drawn * rate
    fits = rest > 0.0 if is_quadratic else power < ratio
    logarithm = log(inside)
    k0 = 0.5 * logarithm - second if is_quadratic else -logarithm
    parts = (is_quadratic, mean, both, inverse, ratio, level, b, rate, share, inverse_1, first, inverse_2, second)
    return after, k0, fits, parts, (inside, drawn, root)


@compiled_lean
def _step(p: Values, dt: float, draws: Values, state: Values) -> None:
    """Go on by `dt`; leave in the draws what the price moved by at random, and the variance of that."""
    theta, decay, s1, s0, k1, k2, k3, growth, plain = _constants(p, dt)
    power = k2 + 0.5 * k3
    for i in range(BLOCK):
        v = state[V + i]
        after, k0, fits, _, _ = _advance(draws[U + i], draws[Z + i], v, theta, decay, s1, s0, power)
        k0 = k0 - (k1 + 0.5 * k3) * v if fits else plain
        variance = k3 * (v + after)
        moved = math.sqrt(variance) * draws[OTHER_Z + i]
        state[X + i] += growth + k0 + k1 * v + k2 * after + moved
        state[V + i] = after
        draws[SOME + i], draws[PLACES + i] = moved, variance


@compiled_lean
def _step_with_derivatives(p: Values, dt: float, draws: Values, state: Values) -> None:
    """As `_step`, with the derivatives of both by the root of the variance now.

    They are those of the scheme that a path takes; by where one gives way to the other, with the same mean and spread,
    the price changes no more than by the error of a step.
    """
    theta, decay, s1, s0, k1, k2, k3, growth, plain = _constants(p, dt)
    power = k2 + 0.5 * k3
    for i in range(BLOCK):
        v, dv = state[V + i], state[BY_ROOT + i]
        after, k0, fits, parts, others = _advance(draws[U + i], draws[Z + i], v, theta, decay, s1, s0, power)
        is_quadratic, mean, both, inverse, ratio, level, b, rate, share, inverse_1, first, inverse_2, second = parts
        inside, drawn, root = others
        k0 = k0 - (k1 + 0.5 * k3) * v if fits else plain
        variance = k3 * (v + after)
        moved = math.sqrt(variance) * draws[OTHER_Z + i]
        state[X + i] += growth + k0 + k1 * v + k2 * after + moved
        state[V + i] = after
        draws[SOME + i], draws[PLACES + i] = moved, variance
        d_mean, d_spread = decay * dv, s1 * dv
        d_square = 2.0 * mean * d_mean
        slope = (
            2.0 * d_square - ratio * d_spread if is_quadratic else (2.0 * d_mean - ratio * (d_square + d_spread)) * mean
        )
        d_ratio = slope * inverse
        # Exponential ...
        d_share = d_mean * ratio + mean * d_ratio
        d_inside = (d_ratio * share + ratio * d_share - first * d_ratio) * inverse_1 - d_share
        d_drawn = rate * rate * (d_share * both * inverse - drawn * d_ratio) if drawn > 0.0 else 0.0
        # ... and quadratic, the derivatives of b, b², first and rest.
        b2 = b * b
        quotient = (0.5 * d_ratio * (b2 + 0.5) if is_quadratic else d_inside) / (level * b if is_quadratic else inside)
        d_b2 = 2.0 * b * quotient
        d_first = (d_mean - first * d_b2) * inverse_1
        d_rest = -2.0 * power * d_first
        d_second = (power * (d_b2 * first + b2 * d_first) - second * d_rest) * inverse_2
        d_k0 = 0.5 * d_rest * inverse_2 - d_second if is_quadratic else -quotient
        d_k0 = d_k0 - (k1 + 0.5 * k3) * dv if fits else 0.0
        d_after = root * (d_first * root + 2.0 * first * quotient) if is_quadratic else d_drawn
        d_moved = 0.5 * k3 * (dv + d_after) * moved / max(variance, LEAST)
        state[W + i] += d_k0 + k1 * dv + k2 * d_after + d_moved
        state[BY_ROOT + i] = d_after


@compiled_lean
def _score(draws: Values, state: Values) -> None:
    """Add a step to what the density up to the first date is made of."""
    for i in range(BLOCK):
        state[SCORE + i] += draws[SOME + i]
        state[SPREAD + i] += draws[PLACES + i]


@compiled_lean
def simulate_heston(
    first: Any, seed: Any, style: int, sign: float, is_up: bool, dates: int, parts: int, p: Values, draws: Values,
    state: Values, out: Table,
) -> None:  # fmt: skip
    """Write all outputs of the paths from `first` on: a column for each, `parts` steps from date to date. Local.

    Not for barriers, which have no derivatives path by path.
    """
    dt = p[EXPIRY] / (dates * parts)
    for begin in range(0, out.shape[1], BLOCK):
        begin_block(p[VARIANCE], False, state)
        for i in range(BLOCK):
            state[BY_ROOT + i] = 2.0 * math.sqrt(p[VARIANCE])
        for number in range(dates * parts):
            draw(first + np.uint64(begin), np.uint64(number), seed, False, draws)
            _step_with_derivatives(p, dt, draws, state)
            if number < parts:
                _score(draws, state)
            if (number + 1) % parts == 0:
                look(style, is_up, 0.0, state)
        pay(style, sign, True, dates, p, state)
        end_block(state, begin, out)


@compiled_lean
def simulate_heston_dates(
    first: Any, seed: Any, style: int, sign: float, is_up: bool, dates: int, parts: int, variances: Values,
    width: float, p: Values, draws: Values, states: Table, out: Table,
) -> None:  # fmt: skip
    """As `simulate_heston`, for barriers that are watched at dates. Local.

    From three variances now: the position's, less and more, whose roots are `width` apart and whose values make vega. A
    row of `states` for each.
    """
    dt = p[EXPIRY] / (dates * parts)
    log_barrier = log(p[BARRIER] / p[SPOT])
    for begin in range(0, out.shape[1], BLOCK):
        for k in range(variances.shape[0]):
            begin_block(variances[k], False, states[k])
        for number in range(dates * parts):
            draw(first + np.uint64(begin), np.uint64(number), seed, False, draws)
            for k in range(variances.shape[0]):
                _step(p, dt, draws, states[k])
                if number < parts:
                    _score(draws, states[k])
                if (number + 1) % parts == 0:
                    look(style, is_up, log_barrier, states[k])
        for k in range(variances.shape[0]):
            pay_dates(style, sign, p, states[k])
        state, less, more = states[0], states[1], states[2]
        for i in range(BLOCK):
            state[PAID_VEGA + i] = (more[PAID_VALUE + i] - less[PAID_VALUE + i]) / width
        end_block(state, begin, out)
