"""Resampling of any field, on blocks of any sizes, against scipy.ndimage's of the whole array: to the bit."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import mpibatch as mb
from mpibatch import resample
from tests.support.segments import field, grids_of, same_bits

pytestmark = pytest.mark.mpi

MODES = ("constant", "nearest", "mirror", "reflect", "wrap", "grid-wrap", "grid-constant", "grid-mirror")
DTYPES = ("?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "c8", "c16")
LENGTHS = ((1, 2, 3, 7, 31, 127, 257, 300), (1, 2, 3, 5, 13, 37, 61), (1, 2, 3, 5, 7, 11))  # thin, and prime

Array = np.ndarray[Any, Any]


def cells(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    """Small integers of any value, others up to 1e9, which f8 holds; floats of many scales, not always finite."""
    rng = np.random.default_rng(seed)
    if dtype == "?":
        return rng.random(shape) < 0.4
    if dtype[0] in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(max(limits.min, -(10**9)), min(limits.max, 10**9), shape, dtype, endpoint=True)
    parts = [rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, shape) for _ in range(2)]
    if seed % 8 == 0:
        parts[0].flat[rng.integers(parts[0].size)] = rng.choice([np.nan, np.inf])
    return (parts[0] if dtype[0] == "f" else parts[0] + 1j * parts[1]).astype(dtype)


@st.composite
def fields(draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES, least: int = 1) -> tuple[Array, mb.Field]:
    """A whole array of 1 to 3 axes, and the same as a Field: ranks along any axes, blocks even or of any sizes."""
    ndim = draw(st.integers(least, 3))
    shape = tuple(draw(st.sampled_from(LENGTHS[ndim - 1])) for _ in range(ndim))
    grid = draw(grids_of(shape))
    whole = cells(shape, draw(st.sampled_from(dtypes)), draw(st.integers(0, 99)))
    return whole, field(whole, grid)


@st.composite
def about(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "order": draw(st.integers(0, 5)),
        "mode": draw(st.sampled_from(MODES)),
        "cval": draw(st.sampled_from([0.0, 3.0, -1.5])),
        "prefilter": draw(st.sampled_from([True, True, False])),
    }


def numbers(draw: st.DrawFn, among: list[float], count: int) -> list[float]:
    return [draw(st.sampled_from(among)) for _ in range(count)]


@given(pair=fields(), data=st.data())
@settings(max_examples=40)
def test_splines(pair: tuple[Array, mb.Field], data: st.DataObject) -> None:
    whole, u = pair
    mode, axis = data.draw(st.sampled_from(MODES)), data.draw(st.integers(-u.grid.ndim, u.grid.ndim - 1))
    order = data.draw(st.integers(0, 5))
    output = data.draw(st.sampled_from(["c16"] if whole.dtype.kind == "c" else ["f8", "f8", "f4"]))
    same_bits(
        resample.spline_filter1d(u, order, axis, output, mode),
        ndimage.spline_filter1d(whole, order, axis, output, mode),
    )
    if order > 1:
        same_bits(resample.spline_filter(u, order, output, mode), ndimage.spline_filter(whole, order, output, mode))


@given(pair=fields(), options=about(), data=st.data())
@settings(max_examples=50)
def test_zoom_and_shift(pair: tuple[Array, mb.Field], options: dict[str, Any], data: st.DataObject) -> None:
    whole, u = pair
    by = numbers(data.draw, [0, 0.5, 1.7, -2.3, 30.1, -17, 2], u.grid.ndim)
    same_bits(resample.shift(u, by, **options), ndimage.shift(whole, by, **options))
    by = numbers(data.draw, [0.3, 0.5, 1, 1.7, 2], u.grid.ndim)
    if 0 in [round(n * factor) for n, factor in zip(whole.shape, by, strict=True)]:
        return
    grid_mode = data.draw(st.booleans()) and whole.dtype.kind != "c"  # of complex arrays scipy forgets it
    with warnings.catch_warnings(action="ignore"):
        expected = ndimage.zoom(whole, by, grid_mode=grid_mode, **options)
    same_bits(resample.zoom(u, by, grid_mode=grid_mode, **options), expected)


@given(pair=fields(), options=about(), data=st.data())
@settings(max_examples=50)
def test_affine_transform(pair: tuple[Array, mb.Field], options: dict[str, Any], data: st.DataObject) -> None:
    whole, u = pair
    ndim, draw = u.grid.ndim, data.draw
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    matrix = draw(st.sampled_from(["any", "diagonal", "permutation", "homogeneous"]))
    rows = {
        "any": rng.standard_normal((ndim, ndim)),
        "diagonal": rng.uniform(0.3, 2, ndim),
        "permutation": np.eye(ndim)[rng.permutation(ndim)],
        "homogeneous": rng.standard_normal((ndim, ndim + 1)),
    }[matrix]
    offset = numbers(draw, [0.0, 1.0, -3.7, 12.25], ndim)
    shape = tuple(draw(st.integers(1, 17)) for _ in range(ndim)) if draw(st.booleans()) else None
    expected = ndimage.affine_transform(whole, rows, offset, shape, **options)
    same_bits(resample.affine_transform(u, rows, offset, shape, **options), expected)


@given(pair=fields(least=2), options=about(), data=st.data())
@settings(max_examples=50)
def test_rotate(pair: tuple[Array, mb.Field], options: dict[str, Any], data: st.DataObject) -> None:
    whole, u = pair
    draw = data.draw
    angle = draw(st.sampled_from([0.0, 17.3, 45.0, 90.0, -123.4, 180.0, 270.0, 361.0]))
    axes, reshape = draw(st.permutations(range(u.grid.ndim)))[:2], draw(st.booleans())
    expected = ndimage.rotate(whole, angle, axes, reshape, **options)
    if expected.size:
        same_bits(resample.rotate(u, angle, tuple(axes), reshape, **options), expected)


@given(
    pair=fields(), options=about(), shape=st.lists(st.integers(1, 7), min_size=1, max_size=3), seed=st.integers(0, 99)
)
@settings(max_examples=50)
def test_map_coordinates(pair: tuple[Array, mb.Field], options: dict[str, Any], shape: list[int], seed: int) -> None:
    whole, u = pair
    rng = np.random.default_rng(seed)
    longest = max(whole.shape)
    at = rng.uniform(-longest, 2 * longest, (u.grid.ndim, *shape))
    at = np.where(rng.random(at.shape) < 0.2, np.round(at), at)  # cells themselves, too
    expected = ndimage.map_coordinates(whole, at, **options)
    np.testing.assert_array_equal(resample.map_coordinates(u, at, **options), expected)
