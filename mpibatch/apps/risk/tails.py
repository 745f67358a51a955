"""Value at risk and expected shortfall of profits and losses, exact, whatever their number and wherever they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

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
    those not between 0 and 1, profits that are no real numbers, or a NaN among them. Integers are taken as f8.
    """
    check_confidences(confidence, shortfall_confidence)
    losses = _losses(profits)
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


def _losses(profits: mb.Field) -> mb.Field:
    """Return what is lost. Collective. UsageError."""
    if profits.dtype.kind not in "iuf" or profits.components:
        raise mb.UsageError(
            f"profits and losses of shape {profits.shape} and dtype {profits.dtype} are no real number for each "
            "scenario; give integers or floats"
        )
    # As f8 integers: the least one has no opposite of its own type, nor has any unsigned one.
    losses = profits.like(profits.dtype if profits.dtype.kind == "f" else np.float64)
    np.negative(profits.owned, out=losses.owned, dtype=losses.dtype)
    return losses
