"""Medians and quantiles of the whole field: NumPy's, to the bit but for the sign of zero, on any number of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.reduce.order import selection
from mpibatch.reduce.quantiles import METHODS
from tests.reduce.test_reduce_mpi import field, refused, same_on_all_ranks, wholes
from tests.reduce.test_where_mpi import chosen, not_nan

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # NumPy's, of NaN, infinities and wrapped integers
]
few = settings(same_on_all_ranks, max_examples=60)
QUANTILES = st.one_of(
    st.sampled_from([0, 1, 0.5, 0.0, 1.0, 1 / 3]),
    st.floats(0, 1),
    st.lists(st.floats(0, 1), max_size=6),
    st.sampled_from([[[0.1, 0.9], [0.5, 0.25]], np.float64(0.3)]),
)


def same_values(ours: Any, theirs: Any) -> None:
    assert np.asarray(ours).dtype == np.asarray(theirs).dtype
    np.testing.assert_array_equal(ours, theirs)


def widened(values: np.ndarray) -> np.ndarray:
    """Values whose differences NumPy's interpolation does not wrap."""
    if values.dtype.kind == "b":
        return values.view("u1")
    return values.astype("i8") if values.dtype.kind == "i" else values


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_weights_of_a_python_float_are_rounded_one_by_one(dtype: str) -> None:
    """1 - q of a q that has been rounded to the field's type would be another number."""
    for values in ([0, 3], [-0.44642004, 0.7303221, 4.596393]):
        whole = np.array(values, dtype)
        u = field(whole)
        for q in (0.3, 0.6, 0.7, 0.8, 0.9, 0.99):
            same_values(mb.quantile(u, q), np.quantile(whole, q))


@given(case=wholes(), q=QUANTILES, method=st.sampled_from(sorted(METHODS)))
@settings(few, max_examples=150)
def test_quantiles(case: Any, q: Any, method: str) -> None:
    whole, u = case
    values = widened(whole)
    if whole.dtype.kind in "iu" and whole.dtype.itemsize == 8:
        values, u = values % 1000, u.like()  # without differences beyond the type
        u.owned[...] = values[u.grid.box.slices()]
    expected = np.quantile(values, q, method=method)
    ours = mb.quantile(u, q, method=method)
    if whole.dtype.kind == "f":
        # NumPy's type for a NaN that is a number of its own is another one.
        same_values(ours, expected.astype(np.quantile(np.zeros(2, whole.dtype), q, method=method).dtype))
    else:
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(
        mb.percentile(u, np.multiply(q, 100), method=method), np.percentile(values, np.multiply(q, 100), method=method)
    )


@given(case=chosen(), q=QUANTILES)
@few
def test_chosen_and_not_nan(case: Any, q: Any) -> None:
    whole, u, mask, where = case
    values = whole[mask]
    known = not_nan(values)
    if values.size:
        same_values(mb.median(u, where=where), np.median(values))
    else:
        assert "nowhere" in refused(lambda: mb.median(u, where=where))
        assert "nowhere" in refused(lambda: mb.quantile(u, 0.5, where=where))
    if known.size:
        same_values(mb.nanmedian(u, where=where), np.median(known))
    if known.size and whole.dtype.kind == "f":
        same_values(mb.nanquantile(u, q, where=where), np.quantile(known, q))
    elif whole.dtype.kind == "f":
        assert np.isnan(mb.nanmedian(u, where=where))
        assert np.isnan(mb.nanquantile(u, q, where=where)).all()


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i4", "u8", "u2"])
def test_many_elements_take_long_digits(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    for scale in (1, 1000):
        whole = (rng.standard_normal((20, 30, 11)) * 100 / scale).astype(dtype if dtype[0] == "f" else "i8")
        whole = np.abs(whole).astype(dtype) if dtype[0] == "u" else whole.astype(dtype)
        u = field(whole, halo=1)
        for limit in (10, 1 << 30):
            monkeypatch.setattr(selection, "FEW", limit)
            q = np.linspace(0, 1, 23)
            same_values(mb.quantile(u, q), np.quantile(whole, q))
            same_values(mb.median(u), np.median(whole))


@pytest.mark.parametrize(
    ("values", "expected"),
    [(np.arange(12.0), 5.5), ([-1, 0, 0, 0, 1, 1], 0.0), ([1, 2, 3], 2), ([7.0] * 30, 7.0), ([3.0], 3.0)],
)
def test_right_answers(values: Any, expected: float) -> None:
    assert mb.median(field(np.array(values))) == expected


def test_integers_do_not_wrap() -> None:
    assert mb.quantile(field(np.array([-128, 127], "i1")), 0.5) == -0.5
    assert mb.quantile(field(np.array([-(2**63), 2**63 - 1])), 0.5) == 0


def test_what_is_refused() -> None:
    u = field(np.arange(12.0).reshape(3, 4))
    for q in (-0.1, 1.1, np.nan, [0.5, np.nan], [0.5, 2], "half", None, np.inf):
        for call in (mb.quantile, mb.nanquantile):
            assert "from 0 to 1" in refused(call, u, q)
    assert "from 0 to 100" in refused(mb.percentile, u, 101)
    assert "linear, median_unbiased" in refused(lambda: mb.quantile(u, 0.5, method="best"))
    assert "complex128" in refused(mb.median, u.astype("c16"))
    assert "no elements" in refused(mb.median, mb.Grid((3,)).zeros(components=(0,)))
    assert "redistribute" in refused(lambda: mb.median(u, where=mb.Grid((4, 3)).full(True, "?")))


@pytest.mark.mpi(min_size=2)
def test_ranks_that_ask_for_different_quantiles() -> None:
    u = field(np.arange(12.0))
    with pytest.raises(mb.UsageError, match="ranks differ"):
        mb.quantile(u, 0.5 if u.grid.rank else 0.25)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
def test_ranks_without_lines_agree_on_what_results_are(dtype: str) -> None:
    whole = np.arange(10).reshape(2, 5).astype(dtype)
    u = mb.Grid(whole.shape).from_function(lambda y, x: 5 * y + x, dtype)
    for q in (0.25, np.array(0.25), [0.25, 0.75], [[0.5]]):
        ours = mb.nanquantile(u, q, axis=1)
        theirs = np.nanquantile(whole, q, axis=1)
        assert (ours.dtype, ours.components) == (theirs.dtype, theirs.shape[:-1])
        np.testing.assert_array_equal(mb.gather_all(ours), np.moveaxis(theirs, -1, 0))


def test_types_of_results_do_not_depend_on_the_elements() -> None:
    """NumPy's nanquantile returns the type that the first of its lines has, and NaN alone are f4, numbers f8."""
    nan = np.full((2, 3), np.nan, "f4")
    first, last, both = nan.copy(), nan.copy(), np.ones((2, 3), "f4")
    first[0], last[1] = 1, 1
    for q, dtype in ((0.3, "f4"), (np.float64(0.3), "f8"), ([0.3, 0.5], "f8")):
        for whole in (nan, first, last, both):
            u = field(whole, cut=0)
            v = u.like(components=(2,))
            v.owned[..., 0], v.owned[..., 1] = u.owned, 1
            for call in (mb.quantile, mb.nanquantile):
                for axis in (None, 0, 1, (0, 1)):
                    assert call(v, q, axis).dtype == dtype
            for where in (v > 9, v > 0):
                assert mb.quantile(v, q, (0, 1), where=where).dtype == dtype


def test_no_integer_is_made_up_for_nothing() -> None:
    u = mb.Grid((3, 4)).full(7, "i4", components=(2,))
    where = u > 0
    where.owned[..., 1] = False
    for axis in ((0, 1), (0, 1, 2), None):
        nowhere = u < 0
        for q in (0.5, [0.2, 0.5]):
            for call in (mb.quantile, mb.nanquantile):
                message = refused(lambda a=axis, c=call, n=nowhere, q=q: c(u, q, a, method="lower", where=n))
                assert "lines of no elements" in message or "nowhere" in message
    assert "lines of no elements" in refused(lambda: mb.quantile(u, 0.5, (0, 1), method="lower", where=where))
    np.testing.assert_array_equal(mb.median(u, (0, 1), where=where), [7.0, np.nan])
    assert mb.median(u, (0, 1), where=nowhere).dtype == "f8"
