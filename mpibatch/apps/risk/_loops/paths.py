"""Paths of one asset, and what an option pays on each, with its derivatives.

Paths are taken a block at a time, and a step for the whole block, in short loops that are vectorized. What happens on a
path depends on its number alone, and not on the block that it is in.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.apps.risk._loops.arithmetic import exp, fill, fill_pair, inverse, log
from mpibatch.base.compiled import compiled

__all__ = ["BLOCK", "draw", "simulate", "step"]
__all__ += ["ASIAN", "BRIDGE_IN", "BRIDGE_OUT", "DATES_IN", "DATES_OUT", "EUROPEAN", "GEOMETRIC"]
__all__ += ["CONTROL", "DELTA", "GAMMA", "OUTPUTS", "VALUE", "VEGA", "WORK"]
__all__ += ["BARRIER", "DIVIDEND", "ETA", "EXPIRY", "KAPPA", "NUMBERS", "RATE", "RHO", "SPOT", "STRIKE", "THETA"]
__all__ += ["VARIANCE", "VOLATILITY"]

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.float64]

BLOCK = 256  # paths, whose work is in the L1 cache
EUROPEAN, ASIAN, GEOMETRIC, BRIDGE_OUT, BRIDGE_IN, DATES_OUT, DATES_IN = range(7)
# The numbers of a position.
NUMBERS = 12
SPOT, STRIKE, EXPIRY, RATE, DIVIDEND, VOLATILITY, VARIANCE, KAPPA, THETA, ETA, RHO, BARRIER = range(NUMBERS)
# Rows of what is computed of each path.
OUTPUTS = 5
VALUE, DELTA, GAMMA, VEGA, CONTROL = range(OUTPUTS)
# Rows of work: uniform numbers and normal deviates; the logarithm x of the price over the spot price and its derivative
# w by volatility; the sums that scores (derivatives of the density's logarithm) are made of; the variance; sums over
# dates of the price, of x and of their derivatives; 1 where no date was beyond the barrier.
WORK = 17
U, OTHER_U, Z, OTHER_Z, SOME, PLACES, X, W, SCORE, SPREAD, LIKELY, V = range(12)
SUM, TANGENT, SUM_X, TANGENT_X, ALIVE = range(12, WORK)


@compiled
def draw(path: Any, place: Any, seed: Any, is_alone: bool, work: Table) -> None:
    """Draw two normal deviates for each path, and the uniform numbers that they are of; or one. Local."""
    if is_alone:
        fill(path, place, seed, work[U], work[OTHER_U], work[OTHER_Z])
    else:
        fill_pair(path, place, seed, work[U], work[OTHER_U])
        inverse(work[OTHER_U], work[OTHER_Z], work[SOME], work[PLACES])
    inverse(work[U], work[Z], work[SOME], work[PLACES])


@compiled
def step(z: Values, drift: float, sigma: float, dt: float, is_first: bool, work: Table) -> None:
    """Go on by `dt` with constant volatility, exactly. Local."""
    x, w, score, spread, likely = work[X], work[W], work[SCORE], work[SPREAD], work[LIKELY]
    root = math.sqrt(dt)
    sd, share, by_sigma = sigma * root, sigma * dt, 1.0 / sigma
    for i in range(z.shape[0]):
        x[i] += drift * dt + sd * z[i]
        w[i] += root * z[i] - share
        likely[i] += (z[i] * z[i] - 1.0) * by_sigma - root * z[i]
    if is_first:
        for i in range(z.shape[0]):
            score[i] += sd * z[i]
            spread[i] += sd * sd


@compiled
def step_heston(p: Values, dt: float, is_first: bool, work: Table) -> None:
    """Go on by `dt` with the variance of Heston's model: the scheme QE-M of doi:10.21314/JCF.2008.189. Local."""
    u, zv, z, x, v, score, spread = work[U], work[Z], work[OTHER_Z], work[X], work[V], work[SCORE], work[SPREAD]
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
    for i in range(u.shape[0]):
        m = theta + (v[i] - theta) * decay
        psi = (v[i] * s1 + s0) / (m * m)
        # Of both branches all that needs neither logarithm: quadratic, where the variance stays away from 0 ...
        two = 2.0 / psi
        b2 = two - 1.0 + math.sqrt(two) * math.sqrt(max(two - 1.0, 0.0))
        a = m / (1.0 + b2)
        root = math.sqrt(max(b2, 0.0)) + zv[i]
        rest = 1.0 - 2.0 * a_all * a
        # ... and exponential, with a chance of 0.
        zero = (psi - 1.0) / (psi + 1.0)
        beta = (1.0 - zero) / m
        is_quadratic = psi <= 1.5
        fits = rest > 0.0 if is_quadratic else a_all < beta
        least = 1e-300
        inside = rest if is_quadratic else zero + beta * (1.0 - zero) / max(beta - a_all, least)
        logarithm = log(max(inside, least))
        drawn = log(max((1.0 - zero) / (1.0 - u[i]), 1.0)) / beta
        after = a * root * root if is_quadratic else drawn
        k0 = 0.5 * logarithm - a_all * b2 * a / max(rest, least) if is_quadratic else -logarithm
        k0 = k0 - (k1 + 0.5 * k3) * v[i] if fits else plain
        variance = k3 * (v[i] + after)
        moved = math.sqrt(variance) * z[i]
        x[i] += growth + k0 + k1 * v[i] + k2 * after + moved
        v[i] = after
        if is_first:
            score[i] += moved
            spread[i] += variance


@compiled
def look(style: int, is_up: bool, log_barrier: float, work: Table) -> None:
    """Take into account the price at a date. Local."""
    x, w = work[X], work[W]
    if style in (ASIAN, GEOMETRIC):
        total, tangent, sum_x, tangent_x = work[SUM], work[TANGENT], work[SUM_X], work[TANGENT_X]
        for i in range(x.shape[0]):
            sum_x[i] += x[i]
            tangent_x[i] += w[i]
        if style == ASIAN:
            for i in range(x.shape[0]):
                s = exp(x[i])
                total[i] += s
                tangent[i] += s * w[i]
    elif style in (DATES_OUT, DATES_IN):
        alive = work[ALIVE]
        for i in range(x.shape[0]):
            is_beyond = x[i] >= log_barrier if is_up else x[i] <= log_barrier
            alive[i] = 0.0 if is_beyond else alive[i]


@compiled
def pay(style: int, sign: float, is_heston: bool, dates: int, p: Values, work: Table, out: Table) -> None:
    """Write what is paid on the final price, or on a mean of prices: all derivatives path by path. Local.

    Of delta the derivative is taken of the density up to the first date (its score), which leaves the strike times it.
    """
    x, w, score, spread = work[X], work[W], work[SCORE], work[SPREAD]
    spot, strike = p[SPOT], p[STRIKE]
    discount, share = exp(-p[RATE] * p[EXPIRY]), 1.0 / dates
    means, tangents, controls = work[SUM], work[TANGENT], out[CONTROL]
    # What is paid on, its derivative by volatility, and the control: in a loop for each style.
    if style in (EUROPEAN, GEOMETRIC):
        for i in range(x.shape[0]):
            end = exp(x[i])
            means[i], tangents[i], controls[i] = end, end * w[i], discount * spot * end
    if style == GEOMETRIC:
        for i in range(x.shape[0]):
            means[i] = exp(work[SUM_X, i] * share)
            tangents[i] = means[i] * work[TANGENT_X, i] * share
    if style == ASIAN:
        for i in range(x.shape[0]):
            geometric = exp(work[SUM_X, i] * share)
            means[i], tangents[i] = means[i] * share, tangents[i] * share
            control = spot * means[i] if is_heston else max(sign * (spot * geometric - strike), 0.0)
            controls[i] = discount * control
    factor = discount * sign * strike / (spot * spot)
    for i in range(x.shape[0]):
        mean = means[i]
        won = sign * (spot * mean - strike)
        paid = discount if won > 0.0 else 0.0
        out[VALUE, i] = paid * max(won, 0.0)
        out[DELTA, i] = paid * sign * mean
        h = score[i] / spread[i] if spread[i] > 0.0 else 0.0  # a variance of 0 up to the first date has no density
        out[GAMMA, i] = (factor if won > 0.0 else 0.0) * h
        out[VEGA, i] = paid * sign * spot * tangents[i]


@compiled
def pay_dates(style: int, sign: float, p: Values, work: Table, out: Table) -> None:
    """Write what is paid if the barrier was, or was not, reached at a date: derivatives by likelihood ratios. Local."""
    x, score, spread, likely, alive = work[X], work[SCORE], work[SPREAD], work[LIKELY], work[ALIVE]
    spot, discount = p[SPOT], exp(-p[RATE] * p[EXPIRY])
    for i in range(x.shape[0]):
        end = spot * exp(x[i])
        chosen = alive[i] if style == DATES_OUT else 1.0 - alive[i]
        value = chosen * discount * max(sign * (end - p[STRIKE]), 0.0)
        # A variance of 0 up to the first date has no density.
        h = score[i] / spread[i] if spread[i] > 0.0 else 0.0
        bend = 1.0 / spread[i] if spread[i] > 0.0 else 0.0
        out[VALUE, i] = value
        out[DELTA, i] = value * h / spot
        out[GAMMA, i] = value * (h * h - bend - h) / (spot * spot)
        out[VEGA, i] = value * likely[i]
        out[CONTROL, i] = discount * end


@compiled
def pay_bridge(style: int, sign: float, p: Values, work: Table, out: Table) -> None:
    """Write what is paid if the barrier was never, or ever, reached: times that chance of a Brownian bridge. Local.

    The chance to stay away from it, given both ends, is 1 - exp(-a), a = 2 b (b - x) / (σ² T), b = ln(B / S).
    """
    x, w, score, spread = work[X], work[W], work[SCORE], work[SPREAD]
    spot, discount = p[SPOT], exp(-p[RATE] * p[EXPIRY])
    b = log(p[BARRIER] / spot)
    c = 2.0 / (p[VOLATILITY] * p[VOLATILITY] * p[EXPIRY])
    for i in range(x.shape[0]):
        end = spot * exp(x[i])
        won = sign * (end - p[STRIKE])
        f = discount * max(won, 0.0)
        by_x = discount * sign * end if won > 0.0 else 0.0  # derivative by x, and again
        h = score[i] / spread[i]
        a = c * b * (b - x[i])
        decay = exp(-a) if a > 0.0 else 1.0
        slope = decay if a > 0.0 else 0.0  # beyond the barrier the chance is 0, with all its derivatives
        chance = 1.0 - decay
        # Derivatives of the chance by the logarithms of both prices (near, far), of a by volatility.
        a_near, a_far = -c * (b - x[i]), -c * b
        near, far = a_near * slope, a_far * slope
        near_near, near_far = -a_near * near, (c - a_near * a_far) * slope
        by_sigma = (-2.0 * a / p[VOLATILITY] + a_far * w[i]) * slope
        value = f * chance
        first = f * (near + far) + by_x * chance
        second = f * (near_near + near_far) + by_x * near + first * h
        vega = by_x * w[i] * chance + f * by_sigma
        if style == BRIDGE_IN:
            value, first, second, vega = f - value, by_x - first, by_x * h - second, by_x * w[i] - vega
        out[VALUE, i] = value
        out[DELTA, i] = first / spot
        out[GAMMA, i] = (second - first) / (spot * spot)
        out[VEGA, i] = vega
        out[CONTROL, i] = discount * end


@compiled
def simulate(
    first: Any, seed: Any, style: int, sign: float, is_heston: bool, is_up: bool, dates: int, parts: int, p: Values,
    work: Table, out: Table,
) -> None:  # fmt: skip
    """Write all outputs of the paths from `first` on: a column for each, `parts` steps from date to date. Local."""
    dt = p[EXPIRY] / (dates * parts)
    drift = p[RATE] - p[DIVIDEND] - 0.5 * p[VOLATILITY] * p[VOLATILITY]
    log_barrier = log(p[BARRIER] / p[SPOT]) if style in (DATES_OUT, DATES_IN) else 0.0
    for begin in range(0, out.shape[1], BLOCK):
        some = out[:, begin : begin + BLOCK]
        part = work[:, : some.shape[1]]
        part[X:] = 0.0
        part[V] = p[VARIANCE]
        part[ALIVE] = 1.0
        path = first + np.uint64(begin)
        for number in range(dates * parts):
            if is_heston:
                draw(path, np.uint64(number), seed, False, part)
                step_heston(p, dt, number < parts, part)
            else:
                # Two steps of one block of random words.
                if number % 2 == 0:
                    draw(path, np.uint64(number // 2), seed, dates * parts == 1, part)
                step(part[Z + number % 2], drift, p[VOLATILITY], dt, number < parts, part)
            if (number + 1) % parts == 0:
                look(style, is_up, log_barrier, part)
        if style in (EUROPEAN, ASIAN, GEOMETRIC):
            pay(style, sign, is_heston, dates, p, part, some)
        elif style in (DATES_OUT, DATES_IN):
            pay_dates(style, sign, p, part, some)
        else:
            pay_bridge(style, sign, p, part, some)
