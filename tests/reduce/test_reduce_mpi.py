"""Reductions on real ranks: what NumPy and `math.fsum` say of the whole array, on every rank."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.mpi import MPI
from mpibatch.reduce.arrays import CHUNK
from tests.reduce.test_reduce import same_bits, true_sum

pytestmark = pytest.mark.mpi
same_on_all_ranks = settings(derandomize=True, deadline=None, database=None, max_examples=60)
DTYPES = ["f8", "f4", "f2", "?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


def field(whole: np.ndarray, axes: int | None = None, halo: int = 0, cut: int | None = None) -> mb.Field:
    """`whole` as a field over the world, its halo full of what must not be read; cut along axis `cut` only."""
    axes = whole.ndim if axes is None else axes
    topology = None if cut is None else [MPI.COMM_WORLD.size if a == cut else 1 for a in range(axes)]
    grid = mb.Grid(whole.shape[:axes], topology=topology)
    poison: Any = np.nan if whole.dtype.kind == "f" else np.array(99).astype(whole.dtype)
    u = grid.full(poison, whole.dtype, halo, whole.shape[axes:])
    u.owned[...] = whole[grid.box.slices()]
    return u


@st.composite
def wholes(draw: st.DrawFn, empty: bool = False) -> tuple[np.ndarray, mb.Field]:
    """An array with many ties, zeros of both signs and, at times, NaN; and the field of it."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    components = draw(st.sampled_from([(), (3,), (2, 2), *([(0,)] if empty else [])]))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind == "f":
        values = np.concatenate(
            [[0.0, -0.0, 1.5, -1.5, 300.0], np.ldexp(rng.standard_normal(5), rng.integers(-14, 14, 5))]
        )
        values = np.append(values, draw(st.sampled_from([[], [], [np.nan], [np.inf], [-np.inf], [np.inf, -np.inf]])))
    elif dtype.kind == "b":
        values = np.array([False, True])
    else:
        info: Any = np.iinfo(dtype.str)
        values = np.append(np.array([0, 0, 1, info.max, info.min], dtype), rng.integers(info.min, info.max, 5, dtype))
    few = draw(st.integers(1, len(values)))
    whole = rng.choice(values.astype(dtype)[rng.permutation(len(values))[:few]], shape + components)
    cut = draw(st.sampled_from([None, *range(len(shape))]))
    return whole, field(whole, len(shape), draw(st.integers(0, 2)), cut)


@given(case=wholes(empty=True))
@same_on_all_ranks
def test_sum_and_count(case: tuple[np.ndarray, mb.Field]) -> None:
    whole, u = case
    total = mb.sum(u)
    if whole.dtype.kind == "f":
        assert type(total) is float
        same_bits(total, oracle_sum(whole))
    else:
        assert type(total) is int
        assert total == sum(map(int, whole.flat))
    count = mb.count_nonzero(u)
    assert (type(count), count) == (int, np.count_nonzero(whole))


def oracle_sum(whole: np.ndarray) -> float:
    if np.isposinf(whole).any() and np.isneginf(whole).any():
        return math.nan
    return true_sum(whole.flat)


@given(case=wholes())
@same_on_all_ranks
def test_mean(case: tuple[np.ndarray, mb.Field]) -> None:
    whole, u = case
    mean = mb.mean(u)
    assert type(mean) is float
    if whole.dtype.kind == "f" and not np.isfinite(whole).all():
        same_bits(mean, oracle_sum(whole))
    else:
        total = sum(Fraction(value) for value in whole.ravel().tolist())
        same_bits(mean, float(total / whole.size) if total or whole.dtype.kind != "f" else oracle_sum(whole))


@given(case=wholes())
@same_on_all_ranks
def test_extremes(case: tuple[np.ndarray, mb.Field]) -> None:
    whole, u = case
    for got, expected, prefers_negative in ((mb.min(u), whole.min(), True), (mb.max(u), whole.max(), False)):
        assert got.dtype == whole.dtype
        np.testing.assert_array_equal(got, expected)
        if whole.dtype.kind == "f" and got == 0:
            negative = np.signbit(whole[whole == 0])
            assert np.signbit(got) == (negative.any() if prefers_negative else negative.all())


@given(case=wholes())
@same_on_all_ranks
def test_places_of_extremes(case: tuple[np.ndarray, mb.Field]) -> None:
    whole, u = case
    assert (type(mb.argmin(u)), mb.argmin(u)) == (int, whole.argmin())
    assert (type(mb.argmax(u)), mb.argmax(u)) == (int, whole.argmax())


def test_places_behind_a_buffer() -> None:
    shape = (4, CHUNK // 2 + 1)
    for place in (0, CHUNK, 4 * shape[1] - 1):
        whole = np.zeros(shape, "f4")
        whole.flat[place:] = -1
        assert mb.argmin(field(whole, halo=1)) == place
        whole.flat[place:] = np.nan
        assert mb.argmax(field(whole, halo=1)) == place


def test_a_large_sum_is_that_of_fsum_for_every_cut() -> None:
    rng = np.random.default_rng(5)
    for dtype in ("f4", "f8"):
        whole = np.ldexp(rng.standard_normal((40, 50, 70)), rng.integers(-60, 60, (40, 50, 70))).astype(dtype)
        for cut in (None, 0, 1, 2):
            for halo in (0, 2):
                same_bits(float(mb.sum(field(whole, halo=halo, cut=cut))), math.fsum(whole.flat))


def check_histogram(whole: np.ndarray, u: mb.Field, bins: Any, bounds: Any) -> None:
    plain = whole.view("u1") if whole.dtype.kind == "b" else whole
    try:
        counts, edges = np.histogram(plain, bins, bounds)
    except ValueError:
        with pytest.raises(mb.UsageError):
            mb.histogram(u, bins, bounds)
        return
    got, got_edges = mb.histogram(u, bins, bounds)
    assert (got.dtype, got_edges.dtype) == (np.int64, edges.dtype)
    np.testing.assert_array_equal(got_edges, edges)
    np.testing.assert_array_equal(got, counts)


BOUNDS = st.sampled_from([None, None, (-1.5, 1.5), (0, 1), (0, 100), (-7, 300), (0.1, 0.1), (np.float64(0.1), 0.7)])
EDGES = st.sampled_from(
    [[0, 1], [-1.5, 0, 1.5, 300], [0, 0, 1, 1], [0.1, 0.25, 7.0, 1e30], np.array([0, 3, 127], "i8")]
)


@given(case=wholes(empty=True), bins=st.one_of(st.integers(1, 40), EDGES), bounds=BOUNDS)
@settings(same_on_all_ranks, max_examples=150)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_histogram(case: tuple[np.ndarray, mb.Field], bins: Any, bounds: Any) -> None:
    check_histogram(*case, bins, bounds)


@given(
    dtype=st.sampled_from(["f4", "f8", "i8", "u8"]),
    low=st.sampled_from([0.0, -1.0, 0.1, 1e6, 2.0**53]),
    width=st.sampled_from([1e-3, 0.3, 1.0, 10.0, 1000.0]),
    bins=st.sampled_from([1, 3, 10, 100, 256, 1000]),
    seed=st.integers(0, 99),
)
@example(dtype="f4", low=1e6, width=10.0, bins=100, seed=0)
@same_on_all_ranks
def test_histogram_of_values_on_and_beside_edges(dtype: str, low: float, width: float, bins: int, seed: int) -> None:
    edges = np.linspace(low, low + width, bins + 1)
    beside = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf), edges.astype("f4")])
    values = np.abs(beside) if dtype == "u8" else beside
    whole = np.random.default_rng(seed).choice(values.astype(dtype), (12, 31))
    u = field(whole, halo=1)
    for bounds in (None, (low, low + width), (np.float64(low), np.float64(low + width))):
        check_histogram(whole, u, bins, bounds)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8", "i8"])
def test_histogram_of_many_values(dtype: str) -> None:
    whole = (np.random.default_rng(7).standard_normal((210, 330, 3)) * 30).astype("i1").astype(dtype)
    u = field(whole, 2, halo=1)
    for bins in (256, [-50, -3, 0, 0.5, 60]):
        check_histogram(whole, u, bins, None)


def test_histogram_without_negative_zero_edges() -> None:
    _, edges = mb.histogram(field(np.array([-0.0, 0.0, 1.0, -0.0])), 2)
    assert not np.signbit(edges).any()


def refused(call: Any, *args: Any) -> str:
    """The message of the UsageError, which is the same on every rank."""
    with pytest.raises(mb.UsageError) as error:
        call(*args)
    messages = MPI.COMM_WORLD.allgather(str(error.value))
    assert len(set(messages)) == 1
    return messages[0]


def test_fields_without_elements() -> None:
    for u in (mb.Grid((3, 4)).zeros("f4", 1, (2, 0)), mb.Grid((3, 4)).zeros("i2", components=(0,))):
        for call in (mb.mean, mb.min, mb.max, mb.argmin, mb.argmax):
            assert "no elements" in refused(call, u)
        assert mb.sum(u) == mb.count_nonzero(u) == 0
        counts, edges = mb.histogram(u, 4)
        np.testing.assert_array_equal(counts, np.zeros(4))
        np.testing.assert_array_equal(edges, [0, 0.25, 0.5, 0.75, 1])


def test_complex_numbers() -> None:
    """Of which real and imaginary parts are summed by themselves, and a norm is that of all of them."""
    parts = np.random.default_rng(4).standard_normal((2, 5, 6)) * 10.0 ** np.arange(-3, 3)
    for dtype in ("c8", "c16"):
        whole = (parts[0] + 1j * parts[1]).astype(dtype)
        u = field(whole)
        exact = complex(math.fsum(whole.real.flat), math.fsum(whole.imag.flat))
        assert mb.sum(u) == exact
        assert mb.mean(u) == complex(
            *(float(sum(map(Fraction, map(float, part.flat))) / 30) for part in (whole.real, whole.imag))
        )
        squares = sum(Fraction(float(x)) ** 2 for part in (whole.real, whole.imag) for x in part.flat)
        assert abs(Fraction(mb.norm(u)) ** 2 / squares - 1) < Fraction(1, 2**51)
        assert mb.norm(u, ord=1) == math.fsum(map(float, np.abs(whole).flat))
        assert mb.norm(u, ord=np.inf) == np.abs(whole).max()
        assert mb.norm(u, ord=0) == 30
        lines = [complex(math.fsum(line.real), math.fsum(line.imag)) for line in whole.T]
        np.testing.assert_array_equal(mb.gather_all(mb.sum(u, axis=0)), lines)
        assert mb.sum(u, axis=(0, 1)) == exact
        chosen = whole[whole.real > 0]
        assert mb.sum(u, where=np.real(u) > 0) == complex(math.fsum(chosen.real), math.fsum(chosen.imag))


def test_what_is_refused() -> None:
    u = field(np.arange(12.0).reshape(3, 4))
    for call in (mb.nansum, mb.std, mb.min, mb.argmax, mb.histogram):
        assert "complex128" in refused(call, u.astype("c16"))
    for bins in (0, -3, 2.5, "auto", [], [1.0], [2.0, 1.0], [[1.0], [2.0]], None):
        refused(mb.histogram, u, bins)
    for bounds in ((1, 0), (0, np.inf), (np.nan, 1), (0,), 3):
        refused(mb.histogram, u, 10, bounds)
    u.owned[u.owned == 5] = np.nan
    assert "range=(low, high)" in refused(mb.histogram, u)
    assert mb.histogram(u, 2, (0, 11))[0].sum() == 11
