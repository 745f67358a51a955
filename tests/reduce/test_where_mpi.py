"""Reductions of chosen elements, and of those that are not NaN, against NumPy and rational arithmetic."""

from __future__ import annotations

import itertools
import math
import statistics
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.mpi import MPI
from mpibatch.reduce.exact_sums import ratio
from tests.reduce.test_reduce import same_bits, spread, true_sum
from tests.reduce.test_reduce_mpi import field, oracle_sum, refused, same_on_all_ranks, wholes

pytestmark = pytest.mark.mpi
few = settings(same_on_all_ranks, max_examples=50)


class Case(tuple):
    def __repr__(self) -> str:
        return f"Case of {self[1]}, {np.count_nonzero(self[2])} elements"


@st.composite
def chosen(draw: st.DrawFn) -> Case:
    """An array and its field; a mask, at times without components, at times true nowhere, and its field."""
    whole, u = draw(wholes())
    shape = whole.shape if draw(st.booleans()) else u.grid.shape
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    mask = np.random.default_rng(draw(st.integers(0, 99))).random(shape) < share
    where = u.like("?", components=shape[u.grid.ndim :])
    where.owned[...] = mask[u.grid.box.slices()]
    mask = np.broadcast_to(mask.reshape(mask.shape + (1,) * (whole.ndim - mask.ndim)), whole.shape)
    return Case((whole, u, mask, where))


def not_nan(values: np.ndarray) -> np.ndarray:
    return values[values == values]


def true_mean(values: np.ndarray) -> float:
    if not values.size:
        return math.nan
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return oracle_sum(values)
    total = sum(map(Fraction, values.tolist()))
    return float(total / values.size) if total or values.dtype.kind != "f" else true_sum(values)


def true_variance(values: np.ndarray, ddof: int = 0) -> Fraction | float:
    if values.size <= ddof or (values.dtype.kind == "f" and not np.isfinite(values).all()):
        return math.nan
    exact = [Fraction(value) for value in values.ravel().tolist()]
    mean = sum(exact) / len(exact)
    return sum((value - mean) ** 2 for value in exact) / (len(exact) - ddof)


def true_root(square: Fraction | float) -> float:
    """The float whose neighbors' midpoints enclose the root."""
    if not isinstance(square, Fraction):
        return square
    half = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    exact = Fraction(math.sqrt(square / Fraction(4) ** half)) * Fraction(2) ** half
    if exact > Fraction(sys.float_info.max):
        return math.inf
    near = float(exact)
    for candidate in (math.nextafter(near, 0), near, math.nextafter(near, math.inf)):
        low = (Fraction(candidate) + Fraction(math.nextafter(candidate, 0))) / 2 if candidate else Fraction(0)
        high = (Fraction(candidate) + Fraction(math.nextafter(candidate, math.inf))) / 2
        if low * low <= square <= high * high:
            return candidate
    raise AssertionError(square)


@given(case=chosen())
@few
def test_sums_and_counts(case: Any) -> None:
    whole, u, mask, where = case
    values = whole[mask]
    for ours, expected in ((mb.sum(u, where=where), values), (mb.nansum(u, where=where), not_nan(values))):
        if whole.dtype.kind == "f":
            same_bits(ours, oracle_sum(expected))
        else:
            assert ours == sum(expected.tolist())
    same_bits(mb.mean(u, where=where), true_mean(values))
    same_bits(mb.nanmean(u, where=where), true_mean(not_nan(values)))
    assert mb.count_nonzero(u, where=where) == np.count_nonzero(values)
    assert mb.any(u, where=where) is bool(values.any())
    assert mb.all(u, where=where) is bool(values.all())


@given(case=chosen(), ddof=st.integers(0, 2))
@few
def test_variances_are_rounded_once(case: Any, ddof: int) -> None:
    whole, u, mask, where = case
    same_bits(mb.var(u, ddof=ddof), float(true_variance(whole, ddof)))
    for suffix, values in (("", whole[mask]), ("nan", not_nan(whole[mask]))):
        expected = true_variance(values, ddof)
        same_bits(getattr(mb, f"{suffix}var")(u, ddof=ddof, where=where), float(expected))
        same_bits(getattr(mb, f"{suffix}std")(u, ddof=ddof, where=where), true_root(expected))


def test_variances_of_any_magnitude() -> None:
    for low, high, seed in ((-1074, -1000, 1), (-1074, 500, 2), (900, 1023, 3), (-600, -500, 4), (400, 511, 5)):
        whole = spread(3000, low, high, seed)
        u = field(whole)
        exact = true_variance(whole)
        same_bits(mb.var(u), ratio(exact.numerator, exact.denominator))
        same_bits(mb.std(u), true_root(exact))
        same_bits(mb.norm(u), true_root(sum(Fraction(value) ** 2 for value in whole.tolist())))
    large = np.random.default_rng(0).standard_normal((50, 60, 4)) + 1e9
    assert mb.var(field(large, 2, halo=1)) == statistics.pvariance(large.ravel().tolist())
    assert mb.std(field(large, 2, halo=1)) == statistics.pstdev(large.ravel().tolist())


@given(case=chosen(), seed=st.integers(0, 99))
@few
def test_dot_and_norm(case: Any, seed: int) -> None:
    whole, u, mask, where = case
    for dtype in (whole.dtype, np.dtype("f8"), np.dtype("i8"), np.dtype("f4")):
        other = (np.random.default_rng(seed).standard_normal(whole.shape) * 100).astype(dtype)
        v = u.like(dtype)
        v.owned[...] = other[u.grid.box.slices()]
        for result, some in ((mb.dot(u, v), np.True_), (mb.dot(u, v, where=where), mask)):
            left, right = whole[some].ravel().tolist(), other[some].ravel().tolist()
            if whole.dtype.kind != "f" and dtype.kind != "f":
                assert result == sum(int(a) * int(b) for a, b in zip(left, right, strict=True))
            elif np.isfinite(whole[some]).all():
                products = (Fraction(a) * Fraction(b) for a, b in zip(left, right, strict=True))
                assert result == float(sum(products))
            else:
                with np.errstate(invalid="ignore"):
                    same_bits(result, float((whole[some].astype("f8") * other[some].astype("f8")).sum()))
    values = whole[mask]
    if values.dtype.kind != "f" or np.isfinite(values).all():
        exact = [abs(Fraction(value)) for value in values.tolist()]
        same_bits(mb.norm(u, where=where), true_root(sum((value**2 for value in exact), Fraction(0))))
        same_bits(mb.norm(u, 1, where=where), float(sum(exact)))
        assert mb.norm(u, 0, where=where) == np.count_nonzero(values)
        if values.size:
            same_bits(mb.norm(u, math.inf, where=where), float(max(exact)))


@given(case=chosen())
@few
def test_extremes(case: Any) -> None:
    whole, u, mask, where = case
    values, known = whole[mask], not_nan(whole[mask])
    if not values.size:
        for call in (mb.min, mb.max, mb.minmax, mb.argmin, mb.argmax):
            assert "where a field is True, which it is nowhere" in refused(lambda c=call: c(u, where=where))
    else:
        np.testing.assert_array_equal(mb.min(u, where=where), values.min())
        np.testing.assert_array_equal(mb.minmax(u, where=where), (values.min(), values.max()))
        for ours, theirs in ((mb.argmin, np.argmin), (mb.argmax, np.argmax)):
            assert ours(u, where=where) == np.flatnonzero(mask)[theirs(values)]
    if known.size:
        for ours, theirs in ((mb.nanargmin, np.argmin), (mb.nanargmax, np.argmax)):
            assert ours(u, where=where) == np.flatnonzero(mask & (whole == whole))[theirs(known)]
        low, high = mb.nanmin(u, where=where), mb.nanmax(u, where=where)
        np.testing.assert_array_equal((low, high), (known.min(), known.max()))
        assert low.dtype == whole.dtype
    elif whole.dtype.kind == "f":
        assert math.isnan(mb.nanmin(u, where=where))
        assert math.isnan(mb.nanmax(u, where=where))
        refused(lambda: mb.nanargmin(u, where=where))
    else:
        refused(lambda: mb.nanmin(u, where=where))


@given(case=chosen(), bins=st.sampled_from([1, 7, [-1.5, 0, 1, 300]]), density=st.booleans())
@few
def test_histograms_and_values(case: Any, bins: Any, density: bool) -> None:
    whole, u, mask, where = case
    values = whole[mask]
    plain = values.view("u1") if values.dtype.kind == "b" else values
    for bounds in (None, (-1.5, 2.0)):
        try:
            counts, edges = np.histogram(plain, bins, bounds)
        except ValueError:
            continue
        if density and counts.sum():
            counts, _ = np.histogram(plain, bins, bounds, density=True)
        ours, our_edges = mb.histogram(u, bins, bounds, density and bool(counts.sum()), where=where)
        np.testing.assert_array_equal(ours, counts)
        np.testing.assert_array_equal(our_edges, edges)
    for some, options in ((whole, {}), (values, {"where": where})):
        expected, times = np.unique(some, return_counts=True)
        ours, our_times = mb.unique(u, return_counts=True, **options)
        assert ours.dtype == whole.dtype
        np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(our_times, times)
        np.testing.assert_array_equal(mb.unique(u, **options), expected)
        assert whole.dtype.kind != "f" or not np.signbit(ours[ours == 0]).any()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_bits_of_nan_are_the_same_whatever_the_ranks(dtype: str) -> None:
    whole = np.array([1, np.nan, np.nan, 0, 1, np.nan], dtype)
    bits = whole.view(f"u{whole.itemsize}")
    bits[1] ^= 1
    bits[2] ^= bits.dtype.type(1 << (8 * whole.itemsize - 1))
    for cut in (None, 0):
        values, counts = mb.unique(field(whole, cut=cut), return_counts=True)
        assert values.tobytes() == np.array([0, 1, np.nan], dtype).tobytes()
        assert counts.tolist() == [1, 2, 3]


def test_bincount() -> None:
    whole = np.random.default_rng(1).integers(0, 50, (40, 30, 3))
    for dtype in ("u1", "i2", "u4", "i8", "u8"):
        u = field(whole.astype(dtype), 2, halo=1)
        np.testing.assert_array_equal(mb.bincount(u), np.bincount(whole.ravel()))
        where = u.like("?")
        where.owned[...] = u.owned < 20
        np.testing.assert_array_equal(
            mb.bincount(u, minlength=30, where=where), np.bincount(whole[whole < 20], minlength=30)
        )
    np.testing.assert_array_equal(mb.bincount(field(whole > 3, 2)), np.bincount(whole.ravel() > 3))
    assert mb.bincount(u, where=u < 0).size == 0
    assert "from -1 to 49" in refused(mb.bincount, field(np.where(whole == 7, -1, whole), 2))
    assert "unique" in refused(mb.bincount, field(whole << 30, 2))
    assert "minlength=67108865" in refused(mb.bincount, u, None, 2**26 + 1)
    assert "from 0 to 4194303" in refused(mb.bincount, u, u, 2**22 + 1)
    assert "with weights" in refused(mb.bincount, field(whole << 18, 2), u)
    for wrong in (-1, 1.5, None):
        assert "minlength" in refused(mb.bincount, u, None, wrong)
    assert "histogram" in refused(mb.bincount, u.astype("f4"))


def test_what_is_refused() -> None:
    u = field(np.arange(12.0).reshape(3, 4))
    other = mb.Grid((3, 4), comm=MPI.COMM_SELF).full(True, "?")
    bare = mb.Grid((4, 3)).full(True, "?")
    many = mb.Grid((3, 4)).full(True, "?", components=(2,))
    calls: list[Any] = [mb.sum, mb.nanmean, mb.min, mb.argmax, mb.var, mb.nanstd, mb.count_nonzero, mb.unique, mb.any]
    for call in [*calls, mb.histogram, lambda u, where: mb.dot(u, u, where=where), mb.norm]:
        for where, word in ((other, "redistribute"), (bare, "redistribute"), (u, "bool"), (many, "components")):
            assert word in refused(lambda c=call, w=where: c(u, where=w))
        assert "not a Field" in refused(lambda c=call: c(u, where=np.ones((3, 4), bool)))
    for wrong in (1.5, None, "one"):
        assert "ddof" in refused(lambda w=wrong: mb.var(u, ddof=w))
    assert "give 0, 1, 2 or inf" in refused(mb.norm, u, 3)
    assert "redistribute" in refused(mb.dot, u, bare.astype("f8"))
    assert "components" in refused(mb.dot, u, many)
    empty = mb.Grid((3, 4)).zeros(components=(0,))
    for call in (mb.var, mb.nanstd, mb.nanmin, mb.minmax):
        assert "no elements" in refused(call, empty)


@pytest.mark.mpi(min_size=2)
def test_ranks_that_ask_for_different_things() -> None:
    u = field(np.arange(12.0))
    where = u > 3 if u.grid.rank else None
    for call in (mb.sum, mb.max, mb.var, mb.any):
        with pytest.raises(mb.UsageError, match="ranks differ"):
            call(u, where=where)
    with pytest.raises(mb.UsageError, match="ranks differ"):
        mb.var(u, ddof=u.grid.rank)


REDUCTIONS: dict[str, Any] = {
    "sum": mb.sum,
    "mean": mb.mean,
    "var": mb.var,
    "max": mb.max,
    "minmax": mb.minmax,
    "argmax": mb.argmax,
    "any": mb.any,
    "norm": mb.norm,
    "histogram": lambda u: mb.histogram(u, bins=4, range=(0, 1)),
}


def test_ranks_that_reduce_otherwise_are_told_apart() -> None:
    grid = mb.Grid((6, 5))
    u = grid.from_function(lambda y, x: y - x)
    for first, second in itertools.permutations(sorted(REDUCTIONS), 2):
        reduction = REDUCTIONS[first if grid.rank == 0 else second]
        if grid.size == 1:
            reduction(u)
            continue
        with pytest.raises(mb.UsageError, match=r"ranks differ: rank 0 asks for .*, rank 1 for "):
            reduction(u)


@given(case=chosen(), seed=st.integers(0, 99), kind=st.sampled_from(["f8", "f4", "i8", "?"]))
@few
def test_weights_are_summed_exactly(case: Any, seed: int, kind: str) -> None:
    whole, u, mask, where = case
    rng = np.random.default_rng(seed)
    heavy = np.ldexp(
        rng.standard_normal(whole.shape), rng.integers(-30, [30, 600][seed % 2 and kind == "f8"], whole.shape)
    )
    heavy = np.clip(heavy, -(2.0**60), 2.0**60).astype(kind) if kind != "f8" else heavy
    weights = u.like(kind)
    weights.owned[...] = heavy[u.grid.box.slices()]
    plain = whole.view("u1") if whole.dtype.kind == "b" else whole
    for bins, span in ((5, (-2, 2)), ([-1.5, -0.25, 0.0, 3.0, 1000.0], None)):
        ours, edges = mb.histogram(u, bins, span, weights=weights, where=where)
        assert ours.dtype == "f8"
        for i, value in enumerate(ours):
            values, some = plain[mask], heavy[mask]
            inside = (values >= edges[i]) & (
                (values <= edges[i + 1]) if i + 2 == len(edges) else (values < edges[i + 1])
            )
            same_bits(value, float(sum(map(Fraction, some[inside].tolist()))))
    numbers = (np.abs(np.nan_to_num(whole.astype("f8"))) % 7).astype("u1")
    v = u.like("u1")
    v.owned[...] = numbers[u.grid.box.slices()]
    ours = mb.bincount(v, weights, minlength=9, where=where)
    assert ours.dtype == "f8"
    assert ours.size == max(9, numbers[mask].max(initial=0) + 1)
    for number, value in enumerate(ours):
        same_bits(value, float(sum(map(Fraction, heavy[mask & (numbers == number)].tolist()))))


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_weights_of_integers_that_floats_do_not_hold(dtype: str) -> None:
    """The first edge is rounded, and NumPy compares with the exact bound: in blocks of any size."""
    low = 2**53
    whole, heavy = np.array([low, low + 1, low + 2, low + 8], dtype), np.array([1, 10, 100, 1000])
    for bins, span in ((2, (low + 1, low + 9)), ([low + 1, low + 2, low + 9], None), (3, None)):
        theirs = np.histogram(whole, bins, span, weights=heavy)[0]
        for cut in (None, 0):
            u, weights = field(whole, cut=cut), field(heavy, cut=cut)
            np.testing.assert_array_equal(mb.histogram(u, bins, span, weights=weights)[0], theirs)
    assert mb.histogram(u, 2, (low + 1, low + 9), weights=weights)[0].tolist() == [110, 1000]
    near = field(np.array([4.4, 4.7, 5.0, 5.5]))  # bins around the only number of a range
    assert mb.histogram(near, 1, (5, 5), weights=weights)[0].tolist() == [1110]


def test_weights_that_do_not_fit() -> None:
    u = field(np.arange(12).reshape(3, 4))
    for call in (mb.bincount, mb.histogram):
        assert "complex128" in refused(lambda c=call: c(u, weights=u.astype("c16")))
        assert "redistribute" in refused(lambda c=call: c(u, weights=mb.Grid((4, 3)).zeros()))
        assert "components" in refused(lambda c=call: c(u, weights=u.like("f8", components=(2,))))
    theirs = np.histogram(np.arange(12), 5, weights=np.arange(12.0), density=True)[0]
    np.testing.assert_allclose(mb.histogram(u, 5, weights=u, density=True)[0], theirs)


@pytest.mark.parametrize("shape", [(3, 90000), (450, 1000)])
def test_fields_with_other_halos_stay_in_step(shape: tuple[int, ...]) -> None:
    """Which elements are taken at once depends on the halo around them."""
    rng = np.random.default_rng(3)
    numbers, heavy, mask = rng.integers(0, 7, shape), rng.integers(-9, 99, shape), rng.random(shape) < 0.5
    grid = mb.Grid(shape)
    u, weights, where = grid.zeros("i4", halo=1), grid.zeros("f8"), grid.zeros("?", halo=(0, 2))
    for one, whole in ((u, numbers), (weights, heavy), (where, mask)):
        one.owned[...] = whole[grid.box.slices()]
    for some, chosen in ((None, np.ones(shape, bool)), (where, mask)):
        theirs = np.bincount(numbers[chosen], heavy[chosen])
        np.testing.assert_array_equal(mb.bincount(u, weights, where=some), theirs)
        np.testing.assert_array_equal(mb.histogram(u, 7, (0, 7), weights=weights, where=some)[0], theirs)
        assert mb.dot(u, weights, where=some) == np.sum(numbers * heavy, where=chosen)
