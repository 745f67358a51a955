"""Estimates from exact sums over paths: means, with a control, and their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.mpi import MPI
from mpibatch.reduce.exact_sums import SUM_UNIT, float_total, ratio
from mpibatch.reduce.operands import add_up

__all__ = ["FIGURES", "OUTPUTS", "SUMS", "Estimate", "estimate", "exact_sums", "totals"]

Values = npt.NDArray[np.float64]

OUTPUTS = 5  # value, delta, gamma, vega, control
SUMS = 2 * OUTPUTS + 1  # of the outputs, of their squares, and of value times control
FIGURES = ("price", "error", "delta", "delta_error", "gamma", "gamma_error", "vega", "vega_error")


@dataclass(frozen=True)
class Estimate:
    """What is known of a position, per unit, with standard errors."""

    price: float
    error: float
    delta: float
    delta_error: float
    gamma: float
    gamma_error: float
    vega: float
    vega_error: float


def exact_sums(outputs: Values) -> npt.NDArray[np.int64]:
    """Return the exact sums, over paths, of all outputs and their products, as integers that add up. Local."""
    from mpibatch.apps.risk._loops.sums import PARTS, sum_outputs

    parts = np.zeros((SUMS, PARTS), np.int64)
    sum_outputs(outputs, parts)
    return parts


def totals(comm: MPI.Intracomm, parts: npt.NDArray[np.int64], where: list[str]) -> list[list[int]]:
    """Return the sums of all ranks, in units of 2^-1074: of each of some positions, of each of its rows. Collective."""
    whole = add_up(comm, parts.reshape(-1), f"sums over the paths of {where[0]}").reshape(parts.shape)
    result = []
    for name, of_position in zip(where, whole, strict=True):
        rows = [float_total(row) for row in of_position]
        if any(special is not None for special, _ in rows):
            raise mb.RunError(f"{name}: prices on its paths are too large for numbers of 8 bytes; check its parameters")
        result.append([total for _, total in rows])
    return result


def estimate(sums: list[int], paths: int, control_mean: float) -> Estimate:
    """Return means and errors; of the price with the best multiple of the control. Local."""
    unit = 1 << SUM_UNIT
    outputs, squares, crossed = sums[:OUTPUTS], sums[OUTPUTS : 2 * OUTPUTS], sums[-1]
    # Of paths times paths the variances and the covariance, exactly: differences of nearly equal numbers.
    spreads = [max(paths * square * unit - total * total, 0) for total, square in zip(outputs, squares, strict=True)]
    covariance = paths * crossed * unit - outputs[0] * outputs[-1]
    means = [ratio(total, paths * unit) for total in outputs]
    slope = ratio(covariance, spreads[-1]) if spreads[-1] else 0.0
    count = paths * paths * (paths - 1) * unit * unit if paths > 1 else 0
    errors = [math.sqrt(ratio(spread, count)) if count else math.nan for spread in spreads]
    error = errors[0]
    if count and spreads[-1]:
        error = math.sqrt(ratio(max(spreads[0] * spreads[-1] - covariance * covariance, 0), spreads[-1] * count))
    price = means[0] - slope * (means[-1] - control_mean)
    figures: list[Any] = [price, error]
    for mean, deviation in zip(means[1:-1], errors[1:-1], strict=True):
        figures += [mean, deviation]
    return Estimate(*figures)
