"""What a handful of times tells, and what it does not: medians, spreads, intervals and a test, in plain Python.

Times of runs are skewed and have outliers (another program woke up), so that everything here rests on ranks and
medians. Intervals are of the bootstrap (Efron, The Annals of Statistics 7 (1979) 1, doi:10.1214/aos/1176344552) with a
fixed seed: equal times give equal intervals. For few runs they are too narrow rather than too wide; who reads them is
told the number of runs.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Interval", "Spread", "different", "drift", "mann_whitney", "median", "quantile", "ratio_of_medians", "spread",
]  # fmt: skip

SEED = 20_260_101
RESAMPLES = 2000
LEVEL = 0.95
# Above this many ways to share the values between two groups, the normal approximation is as good.
_EXACT = 20_000


@dataclass(frozen=True)
class Interval:
    """A value, and between what it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """The interval's width as a part of the value."""
        return (self.high - self.low) / self.value if self.value else math.inf


@dataclass(frozen=True)
class Spread:
    """What is told of one point's times."""

    count: int
    median: Interval
    least: float
    most: float
    mad: float  # median absolute deviation from the median, as it is: not scaled to a standard deviation
    iqr: float  # between the quartiles

    @property
    def relative(self) -> float:
        """The distance of the quartiles as a part of the median; zero for a single run, which has none."""
        return self.iqr / self.median.value if self.median.value else 0.0


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two in the middle. Local."""
    return quantile(values, 0.5)


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which this part of the values lies, by linear interpolation as NumPy's. Local."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(times: Sequence[float]) -> Spread:
    """Return the median of some times with its interval, their range and deviations. Local."""
    middle = median(times)
    drawn = _redrawn(tuple(times), SEED)
    low, high = _limits(drawn)
    return Spread(
        count=len(times),
        median=Interval(middle, low, high),
        least=min(times),
        most=max(times),
        mad=median([abs(time - middle) for time in times]),
        iqr=quantile(times, 0.75) - quantile(times, 0.25),
    )


def ratio_of_medians(above: Sequence[float], below: Sequence[float], scale: float = 1.0) -> Interval:
    """Return scale × median(above) / median(below), both redrawn for its interval. Local."""
    value = scale * median(above) / median(below)
    if above is below:  # a point against itself: no noise can part them
        return Interval(value, value, value)
    # Two streams of numbers: with one, groups of the same size would be redrawn alike.
    pairs = zip(_redrawn(tuple(above), SEED), _redrawn(tuple(below), SEED + 1), strict=True)
    low, high = _limits([scale * numerator / denominator for numerator, denominator in pairs])
    return Interval(value, low, high)


def mann_whitney(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the two-sided p of Mann and Whitney's test, exact for few values, with ties. Local.

    The Annals of Mathematical Statistics 18 (1947) 50, doi:10.1214/aoms/1177730491. p is how often two groups from
    the same source are at least as different as these.
    """
    pool = [*x, *y]
    ranks = _mid_ranks(pool)
    n, m = len(x), len(y)
    expected = n * (n + m + 1) / 2
    distance = abs(sum(ranks[:n]) - expected) - 1e-9
    if math.comb(n + m, n) <= _EXACT:
        ways = [abs(sum(chosen) - expected) >= distance for chosen in itertools.combinations(ranks, n)]
        return sum(ways) / len(ways)
    mean = sum(ranks) / (n + m)
    variance = n * m / ((n + m) * (n + m - 1)) * sum((rank - mean) ** 2 for rank in ranks)
    if variance == 0:
        return 1.0
    return math.erfc(max(distance - 0.5, 0.0) / math.sqrt(2 * variance))


def different(x: Sequence[float], y: Sequence[float]) -> bool:
    """Return whether two groups of times differ by more than their noise, at 5 %. Local."""
    return mann_whitney(x, y) <= 1 - LEVEL


def drift(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return (change, p): by which part times grow from first to last run, and how often chance does as much. Local.

    Each group holds the times of one point in the order in which they were run; only runs of the same point are
    compared (Kendall's score, summed over points; p from redrawn orders).
    """
    groups = [group for group in groups if len(group) > 2]
    if not groups:
        return 0.0, 1.0
    halves = [_halves(group) for group in groups]
    change = median([late / early - 1 for early, late in halves])
    score = abs(sum(_score(group) for group in groups))
    source = random.Random(SEED)
    hits = sum(abs(sum(_score(_shuffled(group, source)) for group in groups)) >= score for _ in range(RESAMPLES))
    return change, (hits + 1) / (RESAMPLES + 1)


@functools.lru_cache(maxsize=256)
def _redrawn(values: tuple[float, ...], seed: int) -> tuple[float, ...]:
    """The medians of as many values, drawn from them with replacement, many times."""
    # random() alone is promised to give the same numbers in every version of Python.
    draw, count = random.Random(seed).random, len(values)
    return tuple(median([values[int(draw() * count)] for _ in values]) for _ in range(RESAMPLES))


def _limits(drawn: Sequence[float]) -> tuple[float, float]:
    """Between what the middle 95 % of redrawn values lie."""
    ordered = sorted(drawn)
    return quantile(ordered, (1 - LEVEL) / 2), quantile(ordered, (1 + LEVEL) / 2)


def _mid_ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value from 1; equal ones share the mean of theirs."""
    ordered = sorted(values)
    return [(2 * ordered.index(value) + ordered.count(value) + 1) / 2 for value in values]


def _score(group: Sequence[float]) -> int:
    """Pairs that grow less pairs that shrink."""
    return sum((late > early) - (late < early) for early, late in itertools.combinations(group, 2))


def _halves(group: Sequence[float]) -> tuple[float, float]:
    half = len(group) // 2
    return median(group[:half]), median(group[-half:])


def _shuffled(group: Sequence[float], source: random.Random) -> list[float]:
    keyed = [(source.random(), place) for place in range(len(group))]
    return [group[place] for _, place in sorted(keyed)]
