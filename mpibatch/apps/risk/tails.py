"""Value at risk and expected shortfall of profits and losses, exact, whatever their number and wherever they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mpibatch as mb

__all__ = ["Tail", "tail"]


@dataclass(frozen=True)
class Tail:
    """What the worst cases cost, in units of money."""

    value_at_risk: float
    shortfall: float


def tail(profits: mb.Field, confidence: float, shortfall_confidence: float) -> Tail:
    """Return both measures of a field of one profit, or loss, for each scenario. Collective.

    The value at risk is an element of the losses L: ``numpy.quantile(L, confidence, method="higher")``. The expected
    shortfall is the mean of the worst 1 - confidence of them, the last of them by its share (C. Acerbi and D. Tasche
    2002, doi:10.1016/S0378-4266(02)00283-2). UsageError for confidences not between 0 and 1, or a NaN among profits.
    """
    for name, value in (("confidence", confidence), ("shortfall confidence", shortfall_confidence)):
        if not 0.0 < value < 1.0:
            raise mb.UsageError(f"{name} = {value:g} is not between 0 and 1; give 0.99, say")
    losses = -profits
    count = math.prod(losses.shape)
    at_risk, least = mb.quantile(losses, [confidence, shortfall_confidence], method="higher")
    if math.isnan(at_risk):
        raise mb.UsageError("profits and losses have a NaN among them; repair or leave out those scenarios")
    worst = losses > float(least)
    share = (1.0 - shortfall_confidence) * count
    beyond, total = mb.count_nonzero(worst), mb.sum(losses, where=worst)
    return Tail(float(at_risk), (total + float(least) * (share - beyond)) / share)
