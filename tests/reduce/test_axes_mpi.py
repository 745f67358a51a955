"""Reductions along some axes: a Field on the others, each element of it rounded once, on any number of ranks."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.reduce import axes as lines_along
from mpibatch.reduce.exact_sums import ratio
from mpibatch.reduce.lines import sums as line_sums
from tests.reduce.test_reduce import same_bits, spread
from tests.reduce.test_reduce_mpi import field, oracle_sum, refused, same_on_all_ranks, wholes
from tests.reduce.test_where_mpi import Case, chosen, not_nan, true_mean, true_root, true_variance
from tests.support.shares import shared_out

pytestmark = [pytest.mark.mpi, pytest.mark.filterwarnings("ignore::RuntimeWarning")]
few = settings(same_on_all_ranks, max_examples=15)


@st.composite
def lines(draw: st.DrawFn) -> Case:
    """What `chosen` draws, and some axes."""
    whole, u, mask, where = draw(chosen())
    axes = draw(st.lists(st.integers(0, whole.ndim - 1), min_size=1, max_size=3, unique=True))
    signed = tuple(a - whole.ndim if draw(st.booleans()) else a for a in axes)
    return Case((whole, u, mask, where, signed[0] if len(signed) == 1 else signed))


def everywhere(result: Any, whole: np.ndarray, axis: Any, u: mb.Field | None, dtype: Any = None) -> np.ndarray:
    """The result as an array on all ranks, after checks of its grid."""
    reduced = {a % whole.ndim for a in (axis if isinstance(axis, tuple) else (axis,))}
    if u is None:
        return mb.gather_all(result)
    kept = [a for a in range(u.grid.ndim) if a not in reduced]
    assert isinstance(result, mb.Field) == bool(kept)
    if kept:
        assert result.grid.shape == tuple(whole.shape[a] for a in kept)
        if len(kept) < u.grid.ndim:
            assert result.grid.matches(mb.Grid(result.grid.shape))
            assert result.grid.axes == tuple(u.grid.axes[a] for a in kept)
        else:
            assert result.grid.matches(u.grid)
        result = mb.gather_all(result)
    assert dtype is None or result.dtype == dtype
    return np.asarray(result)


def rows(whole: np.ndarray, axis: Any) -> np.ndarray:
    """The array with the lines as its rows."""
    reduced = [a % whole.ndim for a in (axis if isinstance(axis, tuple) else (axis,))]
    kept = [a for a in range(whole.ndim) if a not in reduced]
    shape = [whole.shape[a] for a in kept]
    return whole.transpose(*kept, *sorted(reduced)).reshape(math.prod(shape), -1)


def check(ours: np.ndarray, expected: list[float]) -> None:
    for one, other in zip(ours.ravel().tolist(), expected, strict=True):
        same_bits(float(one), float(other))


@given(case=lines())
@few
def test_sums_means_and_counts(case: Any) -> None:
    whole, u, mask, where, axis = case
    for options, masked in (({}, np.ones_like(mask)), ({"where": where}, mask)):
        parts = [line[some] for line, some in zip(rows(whole, axis), rows(masked, axis), strict=True)]
        sums = everywhere(mb.sum(u, axis, **options), whole, axis, u)
        if whole.dtype.kind == "f":
            check(sums, shared_out(oracle_sum, parts))
            check(
                everywhere(mb.nansum(u, axis, **options), whole, axis, u), [oracle_sum(not_nan(part)) for part in parts]
            )
        else:
            expected = np.sum(whole, axis, where=masked)
            assert sums.dtype == expected.dtype
            np.testing.assert_array_equal(sums, expected)
        check(everywhere(mb.mean(u, axis, **options), whole, axis, u, "f8"), shared_out(true_mean, parts))
        check(everywhere(mb.nanmean(u, axis, **options), whole, axis, u), shared_out(true_mean, map(not_nan, parts)))
        counts = everywhere(mb.count_nonzero(u, axis, **options), whole, axis, u, "i8").ravel()
        np.testing.assert_array_equal(counts, [np.count_nonzero(part) for part in parts])
        truths = everywhere(mb.any(u, axis, **options), whole, axis, u, bool).ravel()
        np.testing.assert_array_equal(truths, [part.any() for part in parts])
        truths = everywhere(mb.all(u, axis, **options), whole, axis, u, bool).ravel()
        np.testing.assert_array_equal(truths, [part.all() for part in parts])


@given(case=lines(), ddof=st.integers(0, 2))
@few
def test_variances(case: Any, ddof: int) -> None:
    whole, u, mask, where, axis = case
    parts = [line[some] for line, some in zip(rows(whole, axis), rows(mask, axis), strict=True)]
    for prefix, some in (("", parts), ("nan", [not_nan(part) for part in parts])):
        exact = shared_out(lambda part: true_variance(part, ddof), some)
        ours = getattr(mb, f"{prefix}var")(u, axis, ddof=ddof, where=where)
        check(everywhere(ours, whole, axis, u, "f8"), [float(value) for value in exact])
        ours = getattr(mb, f"{prefix}std")(u, axis, ddof=ddof, where=where)
        check(everywhere(ours, whole, axis, u, "f8"), shared_out(true_root, exact))


@given(case=lines())
@few
def test_extremes(case: Any) -> None:
    whole, u, mask, where, axis = case
    low, high = mb.minmax(u, axis)
    for ours, theirs in ((mb.min(u, axis), whole.min(axis)), (high, whole.max(axis)), (low, whole.min(axis))):
        np.testing.assert_array_equal(everywhere(ours, whole, axis, u, whole.dtype), theirs)
    if not isinstance(axis, tuple):
        for call, numpy in ((mb.argmin, np.argmin), (mb.argmax, np.argmax)):
            np.testing.assert_array_equal(everywhere(call(u, axis), whole, axis, u, "i8"), numpy(whole, axis))
    parts = [line[some] for line, some in zip(rows(whole, axis), rows(mask, axis), strict=True)]
    if whole.dtype.kind == "f":
        known = [not_nan(part) for part in parts]
        for ours, some in ((mb.max(u, axis, where=where), parts), (mb.nanmax(u, axis, where=where), known)):
            expected = [part.max() if part.size else np.nan for part in some]
            np.testing.assert_array_equal(everywhere(ours, whole, axis, u, whole.dtype).ravel(), expected)
    elif min(map(len, parts)):
        ours = everywhere(mb.min(u, axis, where=where), whole, axis, u, whole.dtype)
        np.testing.assert_array_equal(ours.ravel(), [part.min() for part in parts])
    else:
        assert "lines of no elements" in refused(lambda: mb.min(u, axis, where=where))
    if not isinstance(axis, tuple) and min(map(len, parts)):
        ours = everywhere(mb.argmax(u, axis, where=where), whole, axis, u, "i8")
        pairs = zip(rows(whole, axis), rows(mask, axis), strict=True)
        np.testing.assert_array_equal(ours.ravel(), [np.flatnonzero(some)[line[some].argmax()] for line, some in pairs])
    if not isinstance(axis, tuple) and not np.isnan(whole).all(axis).any():
        for call, numpy in ((mb.nanargmin, np.nanargmin), (mb.nanargmax, np.nanargmax)):
            np.testing.assert_array_equal(everywhere(call(u, axis), whole, axis, u, "i8"), numpy(whole, axis))


@given(
    case=lines(), q=st.sampled_from([0.3, [0.0, 0.5, 0.9], 1.0]), method=st.sampled_from(["linear", "hazen", "lower"])
)
@few
def test_quantiles(case: Any, q: Any, method: str) -> None:
    whole, u, _, _, axis = case
    if whole.dtype.kind in "bi":
        return  # NumPy's differences of signed integers wrap around
    expected = np.quantile(whole, q, axis=axis, method=method)
    expected = np.moveaxis(expected, range(np.ndim(q)), range(expected.ndim - np.ndim(q), expected.ndim))
    ours = everywhere(mb.quantile(u, q, axis, method=method), whole, axis, u, expected.dtype)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(everywhere(mb.median(u, axis), whole, axis, u), np.median(whole, axis))
    np.testing.assert_array_equal(everywhere(mb.nanmedian(u, axis), whole, axis, u), np.nanmedian(whole, axis))


@given(
    case=lines(), q=st.sampled_from([0.3, [0.0, 0.5, 0.9], []]), method=st.sampled_from(["linear", "hazen", "lower"])
)
@few
def test_quantiles_of_chosen_elements(case: Any, q: Any, method: str) -> None:
    whole, u, mask, where, axis = case
    if whole.dtype.kind in "bi":
        return
    parts = [line[some] for line, some in zip(rows(whole, axis), rows(mask, axis), strict=True)]
    for prefix in ("", "nan"):
        some = [not_nan(part) for part in parts] if prefix else parts
        nothing = np.full(np.shape(q), np.nan)
        if whole.dtype.kind != "f" and method == "lower" and not min(map(len, some), default=1):
            call = getattr(mb, f"{prefix}quantile")
            assert "lines of no elements" in refused(lambda c=call: c(u, q, axis, method=method, where=where))
            continue
        expected = np.array([np.quantile(part, q, method=method) if part.size else nothing for part in some])
        ours = everywhere(getattr(mb, f"{prefix}quantile")(u, q, axis, method=method, where=where), whole, axis, u)
        np.testing.assert_array_equal(ours.ravel(), expected.ravel())
        percents = getattr(mb, f"{prefix}percentile")(u, np.multiply(q, 100), axis, method=method, where=where)
        assert everywhere(percents, whole, axis, u).shape == ours.shape
        expected = np.array([np.median(part) if part.size else np.nan for part in some])
        ours = everywhere(getattr(mb, f"{prefix}median")(u, axis, where=where), whole, axis, u)
        np.testing.assert_array_equal(ours.ravel(), expected)
        if whole.dtype.kind == "f":
            assert ours.dtype == whole.dtype


def test_lines_that_four_doubles_do_not_hold() -> None:
    for low, high, seed in ((-1074, 1000, 1), (-1074, -900, 2), (900, 1020, 3), (-300, 300, 4), (-20, 20, 5)):
        whole = spread(6 * 7 * 8, low, high, seed).reshape(6, 7, 8)
        for axis in (0, 1, (0, 2)):
            parts = rows(whole, axis)
            sums, means = shared_out(oracle_sum, parts), shared_out(true_mean, parts)
            exact = [Fraction(value) for value in shared_out(true_variance, parts)]
            variances = [ratio(v.numerator, v.denominator) for v in exact]
            deviations = shared_out(true_root, exact)
            for cut in (None, 0, 1, 2):
                u = field(whole, halo=1, cut=cut)
                check(everywhere(mb.sum(u, axis), whole, axis, u), sums)
                check(everywhere(mb.mean(u, axis), whole, axis, u), means)
                check(everywhere(mb.var(u, axis), whole, axis, u), variances)
                check(everywhere(mb.std(u, axis), whole, axis, u), deviations)


@pytest.mark.parametrize("shape", [(70, 300), (300, 70), (3, 3000), (2, 5, 600), (520, 3)])
def test_long_lines_are_rounded_once(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(8)
    for dtype in ("f8", "f4", "u1"):
        whole = (rng.standard_normal(shape) * 60 + 100).astype(dtype)
        if dtype == "f8":
            whole[whole > 200] *= 2.0**70  # ties and second levels
        for axis in (0, len(shape) - 1):
            u = field(whole, halo=1)
            parts = rows(whole, axis)
            if dtype != "u1":
                check(everywhere(mb.sum(u, axis), whole, axis, u), shared_out(math.fsum, parts))
            check(everywhere(mb.mean(u, axis), whole, axis, u), shared_out(true_mean, parts))
            some = slice(0, 40)
            exact = shared_out(true_variance, parts[some])
            check(
                everywhere(mb.var(u, axis), whole, axis, u)[some]
                if whole.ndim == 2
                else everywhere(mb.var(u, axis), whole, axis, u).ravel()[some],
                [float(value) for value in exact],
            )


@pytest.mark.parametrize("axis", [0, 1])
def test_neighbors_of_any_spread(axis: int) -> None:
    spans = ((-20, 20), (-60, 60), (-120, -60), (-1074, 0), (-3, 1020), (600, 900), (-1074, -1000))
    lines = [spread(300, low, high, seed) for seed, (low, high) in enumerate(spans)]
    lines += [np.zeros(300), np.full(300, -0.0), np.where(np.arange(300) == 7, 0.0, -0.0)]
    lines += [np.where(np.arange(300) == 200, special, lines[0]) for special in (np.inf, -np.inf, np.nan, 1e305)]
    lines += [np.concatenate([lines[0][:150], -lines[0][:150]]), np.where(np.arange(300) % 9, lines[0], np.inf)]
    for rows_of in (lines, lines[:2], lines[7:10], lines[10:]):
        whole = np.array(rows_of) if axis else np.array(rows_of).T
        u = field(whole, halo=1)
        check(everywhere(mb.sum(u, axis), whole, axis, u), shared_out(oracle_sum, rows_of))
        check(everywhere(mb.mean(u, axis), whole, axis, u), shared_out(true_mean, rows_of))
        check(everywhere(mb.nansum(u, axis), whole, axis, u), [oracle_sum(not_nan(line)) for line in rows_of])


def test_more_lines_and_elements_than_are_sliced_at_once() -> None:
    whole = np.random.default_rng(10).standard_normal((1050, 1100))
    whole[600:, :40] *= 2.0**90
    whole[:, 1080:] *= 2.0**-900
    whole[520:530, 30:50] *= 2.0**-150
    whole[:, 50:52], whole[700, 51], whole[3, 60:62], whole[9, 61] = -0.0, 0.0, np.inf, -np.inf
    for axis, cut in ((0, 1), (1, 0)):
        u = field(whole if not axis else whole.T, cut=cut)
        check(everywhere(mb.sum(u, axis), whole, axis, None), [oracle_sum(line) for line in whole.T])


def test_means_that_are_ties() -> None:
    rng = np.random.default_rng(9)
    whole = rng.integers(1 << 52, 1 << 53, (500, 2, 3)).astype("f8")
    for axis in (1, 2, (1, 2)):
        u = field(whole, 2, cut=0)
        check(everywhere(mb.mean(u, axis), whole, axis, u), shared_out(true_mean, rows(whole, axis)))


def true_norm(line: np.ndarray, order: float | None) -> float:
    """The exact norm of a line, rounded once; of lines with infinities or NaN what floats make of them."""
    if order == 0:
        return float(np.count_nonzero(line))
    if line.dtype.kind == "f" and not np.isfinite(line).all():
        return math.nan if np.isnan(line).any() else math.inf
    sizes = [abs(Fraction(value)) for value in line.tolist()]
    if order == math.inf:
        return float(max(sizes))
    return float(sum(sizes)) if order == 1 else true_root(sum((size**2 for size in sizes), Fraction(0)))


@few
@given(case=lines())
def test_norms_along_axes(case: Any) -> None:
    whole, u, mask, where, axis = case
    parts = [line[some] for line, some in zip(rows(whole, axis), rows(mask, axis), strict=True)]
    for order in (None, 0, 1, 2):
        ours = everywhere(mb.norm(u, order, axis, where=where), whole, axis, u, "f8")
        check(ours, [true_norm(part, order) for part in parts])
    if whole.size:
        ours = everywhere(mb.norm(u, math.inf, axis), whole, axis, u, "f8")
        check(ours, [true_norm(part, math.inf) for part in rows(whole, axis)])


def test_norms_of_infinities_and_of_wide_spreads() -> None:
    whole = np.array([[np.inf, 1, 2.0**-1000], [-np.inf, 2, 2.0**1000], [1, np.nan, 2.0**-1070]])
    for order, axis, cut in itertools.product((None, 1, math.inf), (0, 1), (None, 0, 1)):
        u = field(whole, cut=cut)
        ours = everywhere(mb.norm(u, order, axis), whole, axis, u)
        check(ours, [true_norm(line, order) for line in rows(whole, axis)])
    assert "give 0, 1, 2 or inf" in refused(lambda: mb.norm(field(whole), 3, axis=0))


def test_integers_that_a_double_does_not_hold() -> None:
    whole = np.array([[2**53 + 1, 2, 3, 4], [5, -(2**53) - 1, 7, 8], [9, 10, 11, 2**63 - 1]])
    for dtype, axis in itertools.product(("i8", "u8"), (0, 1)):
        values = whole.astype(dtype)
        check(everywhere(mb.mean(field(values), axis), values, axis, None), shared_out(true_mean, rows(values, axis)))
        exact = [float(value) for value in shared_out(true_variance, rows(values, axis))]
        check(everywhere(mb.var(field(values), axis), values, axis, None), exact)


def test_only_lines_that_need_it_are_summed_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    original = line_sums.words_of

    def counted(values: np.ndarray, *, has_squares: bool) -> np.ndarray:
        counts.append(values.size)
        return original(values, has_squares=has_squares)

    monkeypatch.setattr(line_sums, "words_of", counted)
    whole = np.random.default_rng(1).standard_normal((40, 30))
    whole[:, 7] = spread(40, -1000, 1000, 7)
    whole[3, 20], whole[4, 20], whole[:, 21] = np.inf, -np.inf, np.nan
    for cut in (None, 0, 1):
        u = field(whole, cut=cut)
        counts.clear()
        check(everywhere(mb.sum(u, 0), whole, 0, u), [oracle_sum(part) for part in rows(whole, 0)])
        assert sum(size > 0 for size in counts) <= 1
    assert all(np.float64(x).view("u8") == np.float64(np.nan).view("u8") for x in mb.gather_all(mb.sum(u, 0))[20:22])


def test_axes_without_elements() -> None:
    for call in (mb.min, mb.argmax, mb.nanmax, mb.median):
        u = mb.Grid((3,)).empty("f8", components=(0,))
        assert "of no elements" in refused(lambda c=call, v=u: c(v, axis=1))
        u = mb.Grid((3,)).empty("i4", components=(0,))
        assert "of no elements" in refused(lambda c=call, v=u: c(v, axis=1))
    u = mb.Grid((3,)).empty("f8", components=(0,))
    assert mb.gather_all(mb.sum(u, axis=1)).tolist() == [0.0] * 3
    assert np.isnan(mb.gather_all(mb.mean(u, axis=1))).all()
    assert mb.sum(u, axis=0).shape == (0,)


def test_all_of_a_group_learn_what_each_has() -> None:
    comm = mb.Grid((1,)).comm
    for shape in ((0,), (1,), (5,), (40, 3)):
        whole = np.arange(math.prod(shape)).reshape(shape)
        low, high = lines_along.share(comm.size, comm.rank, shape[0])
        ours = lines_along.spread_halves(comm, comm.size, comm.rank, lambda i: i, shape[0], whole[low:high])
        np.testing.assert_array_equal(ours, whole)


def test_every_group_shares_out_its_rows() -> None:
    for size, number in itertools.product((1, 2, 3, 4, 5, 6, 7, 12, 33), (0, 1, 5, 40)):
        shares = [lines_along.share(size, index, number) for index in range(size)]
        assert [low for low, _ in shares] == [0, *(high for _, high in shares[:-1])]
        assert shares[-1][1] == number


def test_what_is_refused() -> None:
    u = field(np.arange(12.0).reshape(3, 4))
    for call in (mb.sum, mb.var, mb.any, mb.min, mb.argmax, mb.median):
        for axis in (2, -3, (0, 0), (0, -2), "x", 1.5, ()):
            assert "along axis" in refused(lambda c=call, a=axis: c(u, axis=a))
    assert "give one axis" in refused(lambda: mb.argmin(u, axis=(0, 1)))
    assert "from 0 to 1" in refused(lambda: mb.quantile(u, 2, axis=0))
    assert "ddof" in refused(lambda: mb.var(u, axis=0, ddof=0.5))


@pytest.mark.mpi(min_size=2)
def test_ranks_that_ask_for_different_axes() -> None:
    u = field(np.arange(12.0).reshape(3, 4))
    for call in (mb.sum, mb.count_nonzero, mb.max, mb.median, mb.argmin):
        for axes in ((0, 1), (None, 0)):
            with pytest.raises(mb.UsageError, match="ranks differ"):
                call(u, axis=axes[u.grid.rank % 2])
    calls: tuple[Any, ...] = (
        mb.sum,
        mb.median,
        mb.unique,
        lambda v: mb.histogram(v, 1000, (0, 1)),
        lambda v: mb.max(v, 0),
    )
    for first, second in itertools.permutations(calls, 2):
        with pytest.raises(mb.UsageError, match="ranks differ"):
            (second if u.grid.rank % 2 else first)(u)


@given(case=wholes())
@settings(same_on_all_ranks, max_examples=5)
def test_all_axes_are_a_scalar(case: Any) -> None:
    whole, u = case
    axis = tuple(range(whole.ndim))
    assert np.ndim(mb.max(u, axis)) == 0
    np.testing.assert_array_equal(mb.max(u, axis), whole.max())
    np.testing.assert_array_equal(mb.median(u, axis), np.median(whole))
