"""Radon transforms of any image at any angles, and back, against scikit-image's of the whole image."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import transform

import mpibatch as mb
from mpibatch import projections
from tests.support.segments import field, grids_of, same_bits

pytestmark = pytest.mark.mpi

FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann", None)
SIDES = (2, 3, 5, 7, 8, 13, 16, 17, 23)

Array = np.ndarray[Any, Any]


@st.composite
def images(draw: st.DrawFn, columns: tuple[int, ...] = SIDES) -> tuple[Array, mb.Field]:
    """An image, or a stack of up to four, of f4 or f8; ranks along any axes, blocks even or of any sizes."""
    shape: tuple[int, ...] = (draw(st.sampled_from(SIDES)), draw(st.sampled_from(columns)))
    if draw(st.booleans()):
        shape = (draw(st.integers(1, 4)), *shape)
    grid = draw(grids_of(shape))
    whole = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(shape)
    whole = whole.astype(draw(st.sampled_from(["f4", "f8", "f8"])))
    return whole, field(whole, grid)


def each(function: Any, whole: Array, *arguments: Any, **options: Any) -> Array:
    """What a function makes of an image, or of each of a stack."""
    with warnings.catch_warnings(action="ignore"):
        if whole.ndim == 2:
            return np.asarray(function(whole, *arguments, **options))
        return np.stack([function(image, *arguments, **options) for image in whole])


def angles_of(draw: Any, count: int) -> list[float] | None:
    """So many angles, of any size and in any order; None: the default ones."""
    if draw(st.booleans()):
        return None
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return [
        float(angle)
        for angle in np.where(rng.random(count) < 0.3, 45.0 * rng.integers(-9, 9, count), 400 * rng.random(count))
    ]


@given(pair=images(), circle=st.booleans(), data=st.data())
@settings(max_examples=40)
def test_radon(pair: tuple[Array, mb.Field], circle: bool, data: st.DataObject) -> None:
    whole, u = pair
    theta = angles_of(data.draw, data.draw(st.integers(1, 19)))
    expected = each(transform.radon, whole, theta, circle)
    ours = projections.radon(u, theta, circle)
    if whole.dtype == np.float64:
        same_bits(ours, expected)
        return
    assert ours.dtype == expected.dtype
    close = 1e-6 * max(whole.shape) * float(np.abs(whole).max())
    np.testing.assert_allclose(ours.owned, expected[ours.box.slices()], rtol=0, atol=close)


@given(pair=images(columns=(1, 2, 5, 9, 12, 31)), circle=st.booleans(), data=st.data())
@settings(max_examples=40)
def test_iradon(pair: tuple[Array, mb.Field], circle: bool, data: st.DataObject) -> None:
    whole, u = pair
    draw = data.draw
    way = draw(st.sampled_from(["linear", "linear", "nearest", "cubic"]))
    size = draw(st.sampled_from([None, 1, 6, 11, 30]))
    theta = angles_of(draw, whole.shape[-1])
    options = {"filter_name": draw(st.sampled_from(FILTERS)), "interpolation": way, "circle": circle}
    if way == "cubic" and whole.shape[-2] < (3 if circle else 4):
        with pytest.raises(mb.UsageError, match="too short"):
            projections.iradon(u, theta, size, **options)
        return
    expected = each(transform.iradon, whole, theta, size, **options)
    same_bits(projections.iradon(u, theta, size, **options), expected)
