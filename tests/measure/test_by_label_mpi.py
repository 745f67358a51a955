"""Reductions by label: scipy's on the whole array, but exact, and defined where scipy's depend on an unstable sort."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import mpibatch as mb
from mpibatch.mpi import MPI
from tests.reduce.test_reduce import same_bits, spread
from tests.reduce.test_reduce_mpi import field, oracle_sum, refused, same_on_all_ranks, wholes
from tests.reduce.test_where_mpi import Case, true_mean, true_root, true_variance
from tests.support.shares import shared_out

pytestmark = [pytest.mark.mpi, pytest.mark.filterwarnings("ignore::RuntimeWarning")]
few = settings(same_on_all_ranks, max_examples=25)


@st.composite
def labeled(draw: st.DrawFn) -> Case:
    """Values, their field, labels with gaps and negative ones, their field, and an index with some that are nowhere."""
    whole, u = draw(wholes())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = np.dtype(draw(st.sampled_from(["i4", "i8", "u1", "i2", "u8"])))
    shape = whole.shape if draw(st.booleans()) else u.grid.shape
    names = np.array([0, 1, 2, 5, 7, 100] if dtype.kind == "u" else [-3, 0, 1, 2, 7, 100], dtype)
    labels = rng.choice(names[: draw(st.integers(2, 6))], shape)
    where = u.like(dtype, components=shape[u.grid.ndim :])
    where.owned[...] = labels[u.grid.box.slices()]
    labels = np.broadcast_to(labels.reshape(labels.shape + (1,) * (whole.ndim - labels.ndim)), whole.shape)
    index = draw(st.sampled_from([[1], [1, 2, 7], [7, 0, 3, 1, 1], [[100, 2], [3, 1]], [2**40, 1], []]))
    return Case((whole, u, labels, where, np.array(index, np.int64)))


def parts(whole: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[np.ndarray]:
    return [whole[labels == name] for name in index.ravel()]


def check(ours: Any, index: np.ndarray, expected: list[float]) -> None:
    assert ours.shape == index.shape
    for one, other in zip(ours.ravel().tolist(), expected, strict=True):
        same_bits(float(one), float(other))


@given(case=labeled())
@few
def test_sums(case: Any) -> None:
    whole, u, labels, where, index = case
    values = parts(whole, labels, index)
    if whole.dtype.kind == "f":
        check(mb.measure.sum_labels(u, where, index), index, shared_out(oracle_sum, values))
    else:
        check(mb.measure.sum_labels(u, where, index), index, [float(sum(map(int, part))) for part in values])
    check(mb.measure.mean(u, where, index), index, shared_out(true_mean, values))
    exact = shared_out(true_variance, values)
    check(mb.measure.variance(u, where, index), index, [float(value) for value in exact])
    check(mb.measure.standard_deviation(u, where, index), index, shared_out(true_root, exact))


@given(case=labeled())
@few
def test_extremes_and_medians(case: Any) -> None:
    whole, u, labels, where, index = case
    low, high, first, last = mb.measure.extrema(u, where, index)
    np.testing.assert_array_equal(low, mb.measure.minimum(u, where, index))
    np.testing.assert_array_equal(high, mb.measure.maximum(u, where, index))
    assert first == mb.measure.minimum_position(u, where, index)
    assert last == mb.measure.maximum_position(u, where, index)
    assert low.dtype == high.dtype == whole.dtype
    assert low.shape == index.shape
    nothing = np.nan if whole.dtype.kind == "f" else 0
    for i, name in enumerate(index.ravel()):
        mask = labels == name
        part = whole[mask]
        if not part.size:
            np.testing.assert_array_equal([low.flat[i], high.flat[i]], [nothing, nothing])
            assert first[i] == last[i] == (-1,) * whole.ndim
            continue
        np.testing.assert_array_equal([low.flat[i], high.flat[i]], [part.min(), part.max()])
        places = np.argwhere(mask)
        assert first[i] == tuple(places[part.argmin()])
        assert last[i] == tuple(places[part.argmax()])
    medians = mb.measure.median(u, where, index)
    assert medians.shape == index.shape
    expected = [np.median(part) if part.size else np.nan for part in parts(whole, labels, index)]
    np.testing.assert_array_equal(medians.ravel(), expected)


def true_center(whole: np.ndarray, mask: np.ndarray) -> list[float]:
    values = [Fraction(value) for value in whole[mask].tolist()]
    mass = sum(values)
    moments = [sum(v * int(i) for v, i in zip(values, axis, strict=True)) for axis in np.nonzero(mask)]
    if not mass:
        return [math.nan if not moment else math.copysign(math.inf, moment) for moment in moments]
    return [float(moment / mass) for moment in moments]


@given(case=labeled())
@few
def test_centers(case: Any) -> None:
    whole, u, labels, where, index = case
    ours = mb.measure.center_of_mass(u, where, index.ravel())
    for name, center in zip(index.ravel(), ours, strict=True):
        mask = labels == name
        if whole.dtype.kind != "f" or np.isfinite(whole[mask]).all():
            expected = true_center(whole, mask) if mask.any() else [math.nan] * whole.ndim
        else:
            expected = [math.nan] * whole.ndim
        np.testing.assert_array_equal(center, expected)
    if whole.dtype.kind != "f" or np.isfinite(whole).all():
        np.testing.assert_array_equal(mb.measure.center_of_mass(u), true_center(whole, np.ones(whole.shape, bool)))


@given(case=labeled(), bins=st.sampled_from([1, 4, 9]))
@few
def test_histograms(case: Any, bins: int) -> None:
    whole, u, labels, where, index = case
    ours = mb.measure.histogram(u, -2, 2, bins, where, index)
    assert ours.shape == (*index.shape, bins)
    edges = np.linspace(-2, 2, bins + 1)
    values = whole.view("u1") if whole.dtype.kind == "b" else whole
    expected = [np.histogram(part, edges)[0] for part in parts(values, labels, index)]
    np.testing.assert_array_equal(ours.reshape(-1, bins), np.array(expected).reshape(-1, bins))
    np.testing.assert_array_equal(mb.measure.histogram(u, -2, 2, bins), np.histogram(values, edges)[0])
    np.testing.assert_array_equal(
        mb.measure.histogram(u, -2, 2, bins, where), np.histogram(values[labels > 0], edges)[0]
    )


def test_scipys_answers_where_it_defines_them() -> None:
    rng = np.random.default_rng(2)
    whole = rng.permutation(40 * 30 * 7).reshape(40, 30, 7) / 8.0
    labels = np.repeat(rng.integers(0, 5, (40, 30, 1)), 7, axis=2).astype("i4")
    u, where = field(whole, halo=1), field(labels, halo=1)
    for index in (None, 2, [1, 2, 3, 4]):
        for name in ("sum_labels", "mean", "variance", "standard_deviation", "median", "minimum", "maximum"):
            ours, theirs = getattr(mb.measure, name)(u, where, index), getattr(ndimage, name)(whole, labels, index)
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        for name in ("minimum_position", "maximum_position", "extrema"):
            ours, theirs = getattr(mb.measure, name)(u, where, index), getattr(ndimage, name)(whole, labels, index)
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)
        ours, theirs = mb.measure.center_of_mass(u, where, index), ndimage.center_of_mass(whole, labels, index)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        ours, theirs = (
            mb.measure.histogram(u, 0, 900, 7, where, index),
            ndimage.histogram(whole, 0, 900, 7, labels, index),
        )
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(mb.measure.mean(u), whole.mean())


def test_right_answers() -> None:
    whole = np.random.RandomState(0).random((4, 4))
    u = field(whole)
    labels, _ = mb.label(u < 0.5)
    np.testing.assert_allclose(mb.measure.median(u, labels, [1, 100]), [0.4236548, np.nan])
    assert mb.measure.median(u.like("f8").grid.full(1.0), u.grid.full(254, "u1"), 254) == 1.0
    ones = field(np.full((3, 5), 1), halo=1)
    assert mb.measure.sum_labels(ones, ones, 10**6) == 0
    assert mb.measure.sum_labels(ones, ones, [10**6, 1]).tolist() == [0.0, 15.0]


def test_labels_and_indices_of_any_integer_type() -> None:
    whole = np.arange(6.0)
    labels = np.array([2**64 - 1, 2**63 - 1, 2**63, 3, 3, 2**63 - 1], "u8")
    u, where = field(whole), field(labels)
    assert mb.measure.sum_labels(u, where, [2**63 - 1, 3, -1]).tolist() == [6.0, 7.0, 0.0]
    for index in (3, np.uint8(3), np.array(3)):
        assert mb.measure.sum_labels(u, where, index) == 7
        assert mb.measure.median(u, where, index) == 3.5
        assert mb.measure.maximum_position(u, where, index) == (4,)


def test_labels_that_four_doubles_do_not_hold() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 6, (9, 8, 7))
    for low, high, seed in ((-1074, 1000, 1), (-1074, -900, 2), (900, 1015, 3), (-300, 300, 4)):
        whole = spread(labels.size, low, high, seed).reshape(labels.shape)
        whole[labels == 5] = 1.5
        u, where, index = field(whole), field(labels), np.arange(6)
        values = parts(whole, labels, index)
        check(mb.measure.sum_labels(u, where, index), index, shared_out(oracle_sum, values))
        check(mb.measure.mean(u, where, index), index, shared_out(true_mean, values))
        check(
            mb.measure.standard_deviation(u, where, index),
            index,
            shared_out(lambda part: true_root(true_variance(part)), values),
        )
        centers = mb.measure.center_of_mass(u, where, index)
        np.testing.assert_array_equal(centers, [true_center(whole, labels == name) for name in index])
    large = rng.integers(-(2**63), 2**63 - 1, labels.shape)
    values = parts(large, labels, index)
    check(mb.measure.sum_labels(field(large), where, index), index, [float(sum(map(int, part))) for part in values])
    check(
        mb.measure.variance(field(large), where, index),
        index,
        [float(value) for value in shared_out(true_variance, values)],
    )


def test_many_labels_of_many_elements() -> None:
    rng = np.random.default_rng(5)
    whole = np.round(rng.standard_normal((60, 70, 20)) * 1000) / 16
    labels = rng.integers(0, 5000, whole.shape)
    labels[:, :35] = 7  # on several ranks, in any cut along the first axis
    order, index = np.argsort(labels, axis=None, kind="stable"), np.arange(1, 5000)
    ends = np.searchsorted(labels.ravel()[order], np.arange(1, 5001))
    for dtype in ("f8", "f4", "i4"):
        values = whole.astype(dtype)
        parts_of = np.split(values.ravel()[order], ends)[1:-1]
        medians = shared_out(lambda part: np.median(part) if part.size else np.nan, parts_of)
        for cut in (None, 0, 1):
            ours = mb.measure.median(field(values, halo=1, cut=cut), field(labels, cut=cut), index)
            np.testing.assert_array_equal(ours, medians)


def test_what_is_refused() -> None:
    u = field(np.arange(12.0).reshape(3, 4))
    where = (u > 3).astype("i4")
    other = mb.Grid((3, 4), comm=MPI.COMM_SELF).full(1, "i4")
    for name in (
        "sum_labels",
        "mean",
        "variance",
        "minimum",
        "extrema",
        "maximum_position",
        "median",
        "center_of_mass",
    ):
        call = getattr(mb.measure, name)
        for index in (None, 1, [1, 2]):
            assert "redistribute" in refused(call, u, other, index)
            assert "give integers" in refused(call, u, u, index)
            assert "complex128" in refused(call, u.astype("c16"), where, index)
            assert "not a Field" in refused(call, u, np.ones((3, 4), int), index)
        assert "without labels" in refused(call, u, None, 1)
        for wrong in (1.5, [1.5], "one", [None], [2**64]):
            assert "give integers" in refused(call, u, where, wrong)
    for name in ("minimum", "extrema", "minimum_position"):
        assert "nowhere" in refused(getattr(mb.measure, name), u, where, 9)
    for edges in ((0, 1, 0), (1, 0, 3), (0, math.inf, 3), (0, 1, "three"), (0, math.nan, 3)):
        assert "finite numbers" in refused(mb.measure.histogram, u, *edges, where, [1])


@pytest.mark.mpi(min_size=2)
def test_ranks_that_ask_for_different_labels() -> None:
    u = field(np.arange(12.0).reshape(3, 4))
    where = (u > 3).astype("i4")
    for name in ("sum_labels", "extrema", "median", "center_of_mass"):
        with pytest.raises(mb.UsageError, match="ranks differ"):
            getattr(mb.measure, name)(u, where, [1, u.grid.rank])
    with pytest.raises(mb.UsageError, match=r"ranks differ.*float"):
        mb.measure.center_of_mass(u.astype("f4" if u.grid.rank else "f8"))
