"""Paths of one asset, a block of them and a step at a time, in short loops that are vectorized.

What happens on a path depends on its number alone, and not on the block that it is in. Blocks are whole: of the last
one, paths that nobody asked for are computed, too, and left out. A block's rows lie in one array, at places that the
compiler knows, so that it sees that they are apart; with rows of a table it made no vectors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.apps.risk._loops.arithmetic import exp, fill, fill_pair, inverse, log
from mpibatch.apps.risk._loops.payoffs import pay, pay_bridge, pay_dates
from mpibatch.apps.risk._loops.rows import (
    ALIVE,
    ASIAN,
    BARRIER,
    BLOCK,
    BRIDGE_IN,
    BRIDGE_OUT,
    DATES_IN,
    DATES_OUT,
    DIVIDEND,
    EUROPEAN,
    EXPIRY,
    GEOMETRIC,
    LIKELY,
    OTHER_U,
    OTHER_Z,
    OUTPUTS,
    PAID,
    PLACES,
    RATE,
    SCORE,
    SOME,
    SPOT,
    SPREAD,
    SUM,
    SUM_X,
    TANGENT,
    TANGENT_X,
    VOLATILITY,
    U,
    V,
    W,
    X,
    Z,
)
from mpibatch.base.compiled import compiled_lean

__all__ = ["begin_block", "draw", "end_block", "look", "simulate", "step"]

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.float64]


@compiled_lean
def draw(path: Any, place: Any, seed: Any, is_alone: bool, draws: Values) -> None:
    """Draw two normal deviates for each path, and the uniform numbers that they are of; or one. Local."""
    u, other_u = draws[U : U + BLOCK], draws[OTHER_U : OTHER_U + BLOCK]
    z, other_z = draws[Z : Z + BLOCK], draws[OTHER_Z : OTHER_Z + BLOCK]
    some, places = draws[SOME : SOME + BLOCK], draws[PLACES : PLACES + BLOCK]
    if is_alone:
        fill(path, place, seed, u, other_u, other_z)
    else:
        fill_pair(path, place, seed, u, other_u)
        inverse(other_u, other_z, some, places)
    inverse(u, z, some, places)


@compiled_lean
def begin_block(variance: float, is_brief: bool, state: Values) -> None:
    """Put a block of paths at their beginning; `is_brief`: for what depends on the final price alone. Local."""
    if is_brief:
        state[:LIKELY] = 0.0
        return
    state[:] = 0.0
    for i in range(BLOCK):
        state[V + i] = variance
        state[ALIVE + i] = 1.0


@compiled_lean
def end_block(state: Values, begin: int, out: Table) -> None:
    """Hand over the outputs of a block, of as many paths as there is room for. Local."""
    count = min(BLOCK, out.shape[1] - begin)
    for k in range(OUTPUTS):
        row, paid = out[k, begin : begin + count], state[PAID + k * BLOCK : PAID + (k + 1) * BLOCK]
        for i in range(count):
            row[i] = paid[i]


@compiled_lean
def step(z: Values, drift: float, sigma: float, dt: float, is_first: bool, state: Values) -> None:
    """Go on by `dt` with constant volatility, exactly. Local."""
    root = math.sqrt(dt)
    sd, share = sigma * root, sigma * dt
    for i in range(BLOCK):
        state[X + i] += drift * dt + sd * z[i]
        state[W + i] += root * z[i] - share
    if is_first:
        for i in range(BLOCK):
            state[SCORE + i] += sd * z[i]
            state[SPREAD + i] += sd * sd


@compiled_lean
def _weigh(z: Values, sigma: float, dt: float, state: Values) -> None:
    """Add a step's part of the derivative of the density's logarithm by volatility."""
    root, by_sigma = math.sqrt(dt), 1.0 / sigma
    for i in range(BLOCK):
        state[LIKELY + i] += (z[i] * z[i] - 1.0) * by_sigma - root * z[i]


@compiled_lean
def look(style: int, is_up: bool, log_barrier: float, state: Values) -> None:
    """Take into account the price at a date. Local."""
    if style in (ASIAN, GEOMETRIC):
        for i in range(BLOCK):
            state[SUM_X + i] += state[X + i]
            state[TANGENT_X + i] += state[W + i]
        if style == ASIAN:
            for i in range(BLOCK):
                s = exp(state[X + i])
                state[SUM + i] += s
                state[TANGENT + i] += s * state[W + i]
    elif style in (DATES_OUT, DATES_IN):
        for i in range(BLOCK):
            is_beyond = state[X + i] >= log_barrier if is_up else state[X + i] <= log_barrier
            state[ALIVE + i] = 0.0 if is_beyond else state[ALIVE + i]


@compiled_lean
def simulate(
    first: Any, seed: Any, style: int, sign: float, is_up: bool, dates: int, p: Values, draws: Values, state: Values,
    out: Table,
) -> None:  # fmt: skip
    """Write all outputs of the paths from `first` on, with constant volatility: a column for each. Local."""
    dt = p[EXPIRY] / dates
    sigma = p[VOLATILITY]
    drift = p[RATE] - p[DIVIDEND] - 0.5 * sigma * sigma
    log_barrier = log(p[BARRIER] / p[SPOT]) if style in (DATES_OUT, DATES_IN) else 0.0
    is_brief = style in (EUROPEAN, BRIDGE_OUT, BRIDGE_IN)
    for begin in range(0, out.shape[1], BLOCK):
        begin_block(0.0, is_brief, state)
        for number in range(dates):
            # Two steps of one block of random words.
            if number % 2 == 0:
                draw(first + np.uint64(begin), np.uint64(number // 2), seed, dates == 1, draws)
                z = draws[Z : Z + BLOCK]
            else:
                z = draws[OTHER_Z : OTHER_Z + BLOCK]
            step(z, drift, sigma, dt, number == 0, state)
            if style in (DATES_OUT, DATES_IN):
                _weigh(z, sigma, dt, state)
            look(style, is_up, log_barrier, state)
        if style in (EUROPEAN, ASIAN, GEOMETRIC):
            pay(style, sign, False, dates, p, state)
        elif style in (DATES_OUT, DATES_IN):
            pay_dates(style, sign, p, state)
        else:
            pay_bridge(style, sign, p, state)
        end_block(state, begin, out)
