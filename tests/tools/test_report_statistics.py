"""Statistics and fits of scaling studies, against scipy, known laws and figures by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpibatch.tools.report.fits import FitPoint, fit, fit_all
from mpibatch.tools.report.measures import serial_fraction
from mpibatch.tools.report.statistics import (
    different,
    drift,
    mann_whitney,
    median,
    quantile,
    ratio_of_medians,
    spread,
)  # fmt: skip

scipy_stats = pytest.importorskip("scipy.stats")
times = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=12)
STRICT = settings(derandomize=True, deadline=None, database=None, max_examples=60)


@STRICT
@given(times, st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values, part):
    assert quantile(values, part) == pytest.approx(np.quantile(values, part), rel=1e-12)


@settings(STRICT, max_examples=8)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_mann_whitney_counts_every_way_to_share_the_values(first, second):
    # Integers: ties in plenty. scipy's exact method knows none, its permutation method does.
    def statistic(x, y):
        return scipy_stats.mannwhitneyu(x, y).statistic

    expected = scipy_stats.permutation_test(
        (first, second), lambda x, y: abs(statistic(x, y) - len(x) * len(y) / 2), alternative="greater", n_resamples=1e5
    ).pvalue
    assert mann_whitney([float(x) for x in first], [float(y) for y in second]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (4, 7)])
def test_mann_whitney_without_ties_is_scipys(n, m):
    source = random.Random(n)
    first, second = [source.random() for _ in range(n)], [source.random() + 0.3 for _ in range(m)]
    expected = scipy_stats.mannwhitneyu(first, second, method="exact").pvalue
    assert mann_whitney(first, second) == pytest.approx(expected)


def test_mann_whitney_of_many_values_is_scipys_approximation():
    source = random.Random(2)
    first, second = [source.random() for _ in range(30)], [source.random() + 0.2 for _ in range(40)]
    expected = scipy_stats.mannwhitneyu(first, second, method="asymptotic").pvalue
    assert mann_whitney(first, second) == pytest.approx(expected, rel=1e-6)


def test_three_runs_each_can_never_be_told_apart():
    assert mann_whitney([1, 1.1, 1.2], [9, 9.1, 9.2]) == pytest.approx(0.1)
    assert not different([1, 1.1, 1.2], [9, 9.1, 9.2])
    assert different([1, 1.1, 1.2, 1.3], [9, 9.1, 9.2, 9.3])


def test_a_spread_by_hand():
    times_spread = spread([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (times_spread.count, times_spread.median.value, times_spread.least, times_spread.most) == (5, 3.0, 1.0, 10.0)
    assert (times_spread.mad, times_spread.iqr) == (1.0, 2.0)
    assert times_spread.median.low >= 1.0
    assert times_spread.median.high <= 10.0
    assert times_spread == spread([1.0, 2.0, 3.0, 4.0, 10.0])  # the same every time


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    source, inside = random.Random(7), 0
    for _ in range(60):
        numerator, denominator = ([source.gauss(mean, 0.05) for _ in range(9)] for mean in (2.0, 1.0))
        ratio = ratio_of_medians(numerator, denominator)
        inside += ratio.low <= 2.0 <= ratio.high
    assert inside >= 51  # 95 % of 60 are 57


def test_drift_is_found_where_there_is_one_and_not_in_noise():
    source = random.Random(3)
    steady = [[1 + 0.02 * source.gauss(0, 1) for _ in range(6)] for _ in range(4)]
    warming = [[time * (1 + 0.03 * place) for place, time in enumerate(group)] for group in steady]
    assert drift(steady)[1] > 0.05
    change, chance = drift(warming)
    assert 0.05 < change < 0.25
    assert chance < 0.01
    assert drift([[1.0, 2.0]]) == (0.0, 1.0)


def test_karp_flatt_by_hand():
    # ψ = 3 on p = 4: e = (1/3 − 1/4) / (1 − 1/4) = 1/9
    assert serial_fraction(3.0, 4.0, "strong") == pytest.approx(1 / 9)
    assert serial_fraction(4.0, 4.0, "strong") == pytest.approx(0.0)
    assert serial_fraction(1.0, 1.0, "strong") is None
    # Gustafson: 3.25 on 4 is s = (4 − 3.25) / 3
    assert serial_fraction(3.25, 4.0, "weak") == pytest.approx(0.25)


def samples(law, widths, runs=5, part=0.0, seed=1):
    source = random.Random(seed)
    return [FitPoint(p, tuple(law(p) * (1 + part * source.gauss(0, 1)) for _ in range(runs))) for p in widths]


WIDTHS = (1, 2, 4, 8, 16, 32)


@STRICT
@given(st.floats(0.001, 0.9), st.floats(0.01, 1e4))
def test_amdahl_is_found_again(serial, alone):
    fitted = fit("Amdahl", samples(lambda p: alone * (serial + (1 - serial) / p), WIDTHS))
    assert fitted.value("serial") == pytest.approx(serial, rel=1e-3, abs=1e-6)
    assert fitted.value("seconds") == pytest.approx(alone, rel=1e-4)


@STRICT
@given(st.floats(0.001, 0.9), st.floats(0.01, 1e4))
def test_gustafson_is_found_again(serial, alone):
    fitted = fit("Gustafson", samples(lambda p: alone / (serial + (1 - serial) * p), WIDTHS))
    assert fitted.value("serial") == pytest.approx(serial, rel=1e-3, abs=1e-6)


@STRICT
@given(st.floats(0.001, 0.5), st.floats(1e-4, 0.1))
def test_the_universal_law_is_found_again(contention, coherency):
    def law(p):
        return 3.0 * (1 + contention * (p - 1) + coherency * p * (p - 1)) / p

    fitted = fit("Universal Scalability Law", samples(law, WIDTHS))
    assert fitted.value("contention") == pytest.approx(contention, rel=1e-2, abs=1e-4)
    assert fitted.value("coherency") == pytest.approx(coherency, rel=1e-2, abs=1e-5)


def test_the_universal_law_names_its_peak():
    # √((1 − 0.04) / 0.01) ≈ 9.8
    fitted = fit("Universal Scalability Law", samples(lambda p: (1 + 0.04 * (p - 1) + 0.01 * p * (p - 1)) / p, WIDTHS))
    assert fitted.remark == f"fastest on about {math.sqrt(96):.3g}"


def test_the_error_of_a_fit_covers_the_truth():
    """Over many noisy studies the truth lies within two standard errors about as often as it should."""
    inside = 0
    for seed in range(40):
        noisy = samples(lambda p: 8 * (0.05 + 0.95 / p), WIDTHS, part=0.02, seed=seed)
        estimate = next(e for e in fit("Amdahl", noisy).estimates if e.name == "serial")
        inside += abs(estimate.value - 0.05) <= 2 * (estimate.error or 0)
    assert inside >= 34


def test_a_law_that_misses_the_points_says_so():
    def other(p):
        return 1 / p + 0.02 * p

    fitted = fit("Amdahl", samples(other, WIDTHS, part=0.005))
    assert fitted.misfit is not None
    assert fitted.misfit > 50
    good = fit("Amdahl", samples(lambda p: 0.1 + 0.9 / p, WIDTHS, part=0.005))
    assert good.misfit is not None
    assert good.misfit < 5


def test_too_few_points_are_refused_with_what_to_do():
    amdahl, universal = fit_all(samples(lambda p: 1 / p, (1, 2)), "strong")
    assert "2 parameters need at least 3 different counts, and there are 2" in amdahl.refused
    assert "3 parameters need at least 4" in universal.refused
    assert not amdahl.estimates
    amdahl, universal = fit_all(samples(lambda p: 1 / p + 0.1, (1, 2, 4)), "strong")
    assert amdahl.estimates
    assert universal.refused


def test_one_run_each_gives_a_fit_without_a_misfit():
    fitted = fit("Amdahl", samples(lambda p: 0.1 + 0.9 / p, (1, 2, 4, 8), runs=1, part=0.01))
    assert fitted.misfit is None
    assert fitted.value("serial") == pytest.approx(0.1, abs=0.03)


def test_speedups_of_a_law_are_against_the_base():
    fitted = fit("Amdahl", samples(lambda p: 0.1 + 0.9 / p, (2, 4, 8, 16)))
    assert fitted.speedup(2, base=2) == 1.0
    assert fitted.speedup(4, base=2) == pytest.approx(0.55 / 0.325, rel=1e-6)
    assert median([1.0, 2.0]) == 1.5
