"""Moments of whole fields: scikit-image's on the whole array, but exact, on any number of ranks."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure

import mpibatch as mb
from mpibatch.measure._engine import power_sums
from tests.reduce.test_reduce import spread
from tests.reduce.test_reduce_mpi import field, refused, same_on_all_ranks, wholes
from tests.support.shares import shared_out

pytestmark = [pytest.mark.mpi, pytest.mark.filterwarnings("ignore::RuntimeWarning")]
few = settings(same_on_all_ranks, max_examples=25)


def true_moments(whole: np.ndarray, order: int, center: list[Fraction] | None = None, spacing: Any = None) -> Any:
    """From Python's integers and rational numbers, with as many multiplications as there are."""
    scale = [Fraction(s) for s in (spacing or [1] * whole.ndim)]
    origin = center or [Fraction(0)] * whole.ndim
    cells = [(index, Fraction(value)) for index, value in np.ndenumerate(whole.astype(object))]
    out = np.zeros((order + 1,) * whole.ndim, object)

    def entry(key: tuple[int, ...]) -> Any:
        return sum(
            (v * math.prod((i * s - c) ** p for i, s, c, p in zip(index, scale, origin, key, strict=True)))
            for index, v in cells
        )

    out[...] = np.reshape(np.array([*shared_out(entry, np.ndindex(out.shape)), None], object)[:-1], out.shape)
    return out


def rounded(exact: Any) -> np.ndarray:
    return np.array([float(value) for value in exact.ravel()]).reshape(exact.shape)


@given(case=wholes(), order=st.integers(0, 3), is_spaced=st.booleans())
@few
def test_moments_are_rounded_once(case: Any, order: int, is_spaced: bool) -> None:
    whole, u = case
    if whole.size > 400 or whole.ndim > 3 or not np.isfinite(whole.astype("f8")).all():
        return
    spacing = [0.5, 0.1, 3.0][: whole.ndim] if is_spaced else None
    exact = true_moments(whole, order, None, spacing)
    np.testing.assert_array_equal(mb.moments(u, order, spacing=spacing), rounded(exact))
    center = [0.1, 2.0, -1.5][: whole.ndim]
    expected = rounded(true_moments(whole, order, [Fraction(c) for c in center], spacing))
    np.testing.assert_array_equal(mb.moments_central(u, center, order, spacing=spacing), expected)
    first = true_moments(whole, 1, None, spacing)
    mass = first[(0,) * whole.ndim]
    ours = mb.moments_central(u, order=order, spacing=spacing)
    if not mass:
        assert ours.flat[0] == 0
        assert np.isnan(ours.flat[1:]).sum() == sum(0 < sum(key) <= order for key in np.ndindex(ours.shape))
        return
    units = [tuple(int(a == b) for b in range(whole.ndim)) for a in range(whole.ndim)]
    exact = true_moments(whole, order, [first[unit] / mass for unit in units], spacing)
    for key in itertools.product(range(order + 1), repeat=whole.ndim):
        assert ours[key] == (float(exact[key]) if sum(key) <= order else 0)


@pytest.mark.parametrize("shape", [(40,), (30, 20), (12, 9, 10), (300, 17), (3, 700)])
@pytest.mark.parametrize("dtype", ["f8", "f4", "u1", "i8", "?"])
def test_scikit_images_answers(shape: tuple[int, ...], dtype: str) -> None:
    whole = (np.random.default_rng(3).random(shape) * 200).astype(dtype)
    u = field(whole, halo=1)
    plain = whole.astype("f8")
    np.testing.assert_allclose(mb.moments(u), measure.moments(plain), rtol=1e-12)
    spacing = (0.5, 2.0, 3.0)[: len(shape)]
    theirs = measure.moments_central(plain, order=2, spacing=spacing)
    ours = mb.moments_central(u, order=2, spacing=spacing)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())
    np.testing.assert_allclose(mb.center_of_mass(u), ndimage.center_of_mass(plain), rtol=1e-13)


def test_rows_that_four_doubles_do_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = spread(6 * 5 * 9, -1000, 900, 3).reshape(6, 5, 9)
    whole[2:] = np.random.default_rng(2).standard_normal((4, 5, 9))
    large = np.random.default_rng(4).integers(-(2**63), 2**63 - 1, (5, 12))
    known = [(values, rounded(true_moments(values, 2))) for values in (whole, large)]
    for exact_below in (power_sums.EXACT, 100, 2):
        monkeypatch.setattr(power_sums, "EXACT", exact_below)
        for (values, expected), cut in itertools.product(known, (None, 0, 1)):
            np.testing.assert_array_equal(mb.moments(field(values, halo=1, cut=cut), 2), expected)


def test_far_from_the_origin() -> None:
    u = mb.Grid((250_000,)).zeros("f8")
    low, high = u.grid.box.start[0], u.grid.box.stop[0]
    expected = Fraction(0)
    for place, value in ((5, 1.5), (249_999, -0.1), (234_567, 3.0)):
        expected += Fraction(value) * place**3
        if low <= place < high:
            u.owned[place - low] = value
    assert mb.moments(u)[3] == float(expected)


def test_what_is_not_finite() -> None:
    whole = np.ones((4, 5))
    whole[1, 2] = np.inf
    ours = mb.moments(field(whole), 1)
    assert ours.tolist() == [[math.inf, math.inf], [math.inf, math.inf]]
    central = mb.moments_central(field(whole), (0, 0), 1)
    assert central[0, 0] == math.inf
    assert np.isnan(central.ravel()[1:]).all()
    assert all(map(math.isnan, mb.center_of_mass(field(whole))))
    whole[1, 2] = np.nan
    assert np.isnan(mb.moments(field(whole), 2)).all()


def test_what_is_refused() -> None:
    u = field(np.arange(12.0).reshape(3, 4))
    for order in (-1, 1.5, "two", None):
        assert "order" in refused(lambda o=order: mb.moments(u, o))
    for vector in ((1,), (1, 2, 3), (1, math.nan), (1, "x"), 1.0):
        assert "spacing" in refused(lambda v=vector: mb.moments(u, spacing=v))
        assert "center" in refused(lambda v=vector: mb.moments_central(u, v))
    assert "complex128" in refused(mb.moments, u.astype("c16"))
    assert "complex128" in refused(mb.center_of_mass, u.astype("c16"))
