"""When to exercise: what an option is worth that is held on, as a polynomial of the price, by regression on paths.

F. A. Longstaff and E. S. Schwartz 2001, doi:10.1093/rfs/14.1.113; its normal equations from exact sums, solved by
every rank alike. These paths are others than those that the price is the mean of: it is never above the true one, but
by chance, and more paths do not change the rule.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.mpi import MPI, agreed
from mpibatch.reduce.exact_sums import rounded
from mpibatch.reduce.operands import add_up

if TYPE_CHECKING:
    from mpibatch.apps.risk.positions import Position

__all__ = ["scale_of", "worth_of_holding"]

Values = npt.NDArray[np.float64]


def scale_of(position: Position) -> float:
    """Return what brings prices over the strike, less 1, to the size of 1. Local."""
    return 1.0 / (position.sigma * math.sqrt(position.expiry))


def worth_of_holding(comm: MPI.Intracomm, position: Position, paths: int, seed: int) -> Values:
    """Return a polynomial, over the strike, for each date but the last. Collective."""
    from mpibatch.apps.risk._loops import american_options as loops
    from mpibatch.apps.risk._loops import arithmetic
    from mpibatch.apps.risk._loops import rows as of
    from mpibatch.apps.risk._loops.sums import PARTS, sum_rows

    low, high = (paths * rank // comm.size for rank in (comm.rank, comm.rank + 1))
    dates, sign, scale = position.fixings, position.sign, scale_of(position)
    coefficients = np.zeros((dates - 1, loops.BASIS))
    with agreed(comm, f"{position.where}: room for {paths} paths of {dates} dates"):
        prices = np.empty((dates, high - low))
        rows = np.empty((loops.ROWS, high - low))
    work = np.empty(of.DRAWS), np.empty(of.STATE)
    loops.follow(np.uint64(low), np.uint64(seed), position.numbers(), *work, prices)
    values = np.maximum(sign * (prices[-1] - 1.0), 0.0)
    discount = arithmetic.exp(-position.rate * position.expiry / dates)
    for date in range(dates - 2, -1, -1):
        values *= discount
        loops.powers(prices[date], values, sign, scale, rows)
        mine = np.zeros((loops.ROWS, PARTS), np.int64)
        sum_rows(rows, mine)
        whole = add_up(comm, mine.reshape(-1), f"regression of {position.where}").reshape(mine.shape)
        coefficients[date] = solved([rounded(sums) for sums in whole])
        loops.exercise(prices[date], sign, scale, coefficients[date], values)
    return coefficients


def solved(sums: list[float]) -> list[float]:
    """Return the coefficients from the sums of powers 0 ... 2 n - 2, and of values times powers 0 ... n - 1. Local.

    By elimination with pivots on the diagonal, of as many powers as the paths tell apart; the others are 0. Where no
    path is in the money the option is held.
    """
    size = (len(sums) + 1) // 3
    matrix = [[sums[i + j] for j in range(size)] + [sums[2 * size - 1 + i]] for i in range(size)]
    if matrix[0][0] == 0.0:
        return [math.inf] + [0.0] * (size - 1)
    used = 0
    while used < size and matrix[used][used] > 1e-12 * sums[2 * used]:
        for below in range(used + 1, size):
            factor = matrix[below][used] / matrix[used][used]
            matrix[below] = [a - factor * b for a, b in zip(matrix[below], matrix[used], strict=True)]
        used += 1
    result = [0.0] * size
    for i in range(used - 1, -1, -1):
        rest = matrix[i][size] - math.fsum(matrix[i][j] * result[j] for j in range(i + 1, used))
        result[i] = rest / matrix[i][i]
    return result
