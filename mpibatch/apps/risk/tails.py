"""Value at risk and expected shortfall of profits and losses, exact, whatever their number and wherever they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import mpibatch as mb

__all__ = ["Tail", "check_confidences", "tail"]


@dataclass(frozen=True)
class Tail:
    """What the worst cases cost, in units of money."""

    value_at_risk: float
    shortfall: float


def check_confidences(confidence: float, shortfall_confidence: float) -> None:
    """Raise UsageError for confidences not between 0 and 1. Local."""
    for name, value in (("confidence", confidence), ("shortfall confidence", shortfall_confidence)):
        if not 0.0 < value < 1.0:
            raise mb.UsageError(f"{name} = {value:g} is not between 0 and 1; give 0.99, say")


def tail(profits: mb.Field, confidence: float, shortfall_confidence: float) -> Tail:
    """Return both measures of a field of one profit, or loss, for each scenario. Collective.

    The value at risk is an element of the losses L: ``numpy.quantile(L, confidence, method="higher")``. The expected
    shortfall is the mean of the worst (1 - confidence) n of the n losses, which may be no whole number: the least bad
    of them, ``numpy.sort(L)[floor(confidence n)]``, counts by its share (C. Acerbi and D. Tasche 2002,
    doi:10.1016/S0378-4266(02)00283-2). Confidences are the decimal numbers that they are written as. UsageError for
    those not between 0 and 1, or a NaN among profits.
    """
    check_confidences(confidence, shortfall_confidence)
    losses = -profits
    count = math.prod(losses.shape)
    at_risk = mb.quantile(losses, confidence, method="higher")
    if math.isnan(at_risk):
        raise mb.UsageError("profits and losses have a NaN among them; repair or leave out those scenarios")
    # Exactly: 0.7 of 10 are 7, which neither 0.7 nor 1 - 0.7 in binary knows.
    below = Fraction(str(float(shortfall_confidence))) * count
    share = count - below
    least = float(mb.quantile(losses, math.floor(below) / max(count - 1, 1), method="nearest"))
    worst = losses > least
    beyond, total = mb.count_nonzero(worst), mb.sum(losses, where=worst)
    return Tail(float(at_risk), (total + least * float(share - beyond)) / float(share))
