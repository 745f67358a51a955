"""Rolling balls and filters by a user's function against scikit-image and scipy on the whole array."""

from __future__ import annotations

import doctest
import importlib
import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import restoration

import mpibatch as mb
from mpibatch import filters
from mpibatch.mpi import MPI
from tests.support.pieces import RANKS, grids, piece, same_cells

pytestmark = pytest.mark.mpi

SHAPES = [(1,), (23,), (9, 14), (1, 17), (6, 5, 7)]


@mb.stencil
def slopes(u: Any, k: Any = 0.5) -> Any:
    return k * (u[-1] + u[1]) - u[0] * u[2]


@mb.stencil
def corners(u: Any) -> Any:
    return max(u[-1, -1], u[1, 2]) - min(u[0, 1], u[-2, 0]) / 3.0


@mb.stencil
def pair(u: Any, v: Any) -> Any:
    return u[0] + v[0]


@mb.stencil
def both(u: Any) -> Any:
    return u[0], u[1]


@st.composite
def pictures(draw: st.DrawFn, shapes: Any = SHAPES) -> tuple[np.ndarray, mb.Grid, int]:
    shape, seed = draw(st.sampled_from(shapes)), draw(st.integers(0, 999))
    dtype = draw(st.sampled_from(["u1", "i2", "i8", "f4", "f8"]))
    whole = (np.random.default_rng(seed).random(shape) * 200 - 40 * (dtype[0] != "u")).astype(dtype)
    return whole, draw(grids(shape)), seed


@given(picture=pictures(), draws=st.data(), nansafe=st.booleans())
@settings(max_examples=25)
def test_rolling_ball(picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject, nansafe: bool) -> None:
    whole, grid, seed = picture
    kind = draws.draw(st.sampled_from(["radius", "ellipsoid", "any"]))
    rng = np.random.default_rng(seed)
    if whole.dtype.kind == "f":
        whole[rng.random(whole.shape) < 0.1 * (seed % 3)] = np.nan
    options: dict[str, Any] = {"nansafe": nansafe}
    if kind == "radius":
        options["radius"] = draws.draw(st.sampled_from([0, 1, 2.5, 7]))
    elif kind == "ellipsoid":
        widths, height = draws.draw(st.sampled_from([1, 4, 5])), draws.draw(st.sampled_from([3, 40.5]))
        options["kernel"] = filters.ellipsoid_kernel((widths,) * whole.ndim, height)
        np.testing.assert_array_equal(options["kernel"], restoration.ellipsoid_kernel((widths,) * whole.ndim, height))
    else:
        kernel = rng.random((1 + seed % 4, 3, 2)[: whole.ndim]) * 30
        kernel[rng.random(kernel.shape) < 0.3] = np.inf
        kernel[tuple(n // 2 for n in kernel.shape)] = 20
        options["kernel"] = kernel
    same_cells(
        filters.rolling_ball(piece(whole, grid, seed % 2), **options), restoration.rolling_ball(whole, **options)
    )


@given(
    picture=pictures([(17,), (9, 14)]),
    mode=st.sampled_from(["reflect", "mirror", "nearest", "wrap", "constant"]),
    output=st.sampled_from([None, "f4", "i4"]),
)
@settings(max_examples=20)
def test_generic_filter(picture: tuple[np.ndarray, mb.Grid, int], mode: str, output: str | None) -> None:
    whole, grid, seed = picture
    u = piece(whole, grid, seed % 2)
    options: dict[str, Any] = {"mode": mode, "cval": 2.5, "output": output}
    if whole.dtype.kind == "u" or (output == "i4" and whole.dtype.itemsize > 4):
        options["output"] = "f8"  # what a cast of large or negative numbers gives is the processor's
    if whole.ndim == 1:
        expected = ndimage.generic_filter(whole, lambda w: 0.25 * (w[1] + w[3]) - w[2] * w[4], 5, **options)
        if np.dtype(options["output"] or whole.dtype) != np.int16:
            found = filters.generic_filter(u, slopes, **options, extra_arguments=(0.25,))
            same_cells(found, expected)
            same_cells(filters.generic_filter(u, slopes, **options, extra_keywords={"k": 0.25}), expected)
    else:
        expected = ndimage.generic_filter(whole, lambda w: max(w[6], w[19]) - min(w[13], w[2]) / 3.0, 5, **options)
        same_cells(filters.generic_filter(u, corners, **options), expected)


def test_generic_filter_goes_around_a_periodic_axis() -> None:
    whole = np.arange(7.0) ** 2
    u = piece(whole, mb.Grid(7, periodic=True))
    expected = 0.5 * (np.roll(whole, 1) + np.roll(whole, -1)) - whole * np.roll(whole, -2)
    same_cells(filters.generic_filter(u, slopes, mode="constant"), expected)


@pytest.mark.parametrize("name", ["binary_erosion", "binary_dilation", "binary_opening", "binary_closing"])
def test_binary_filters_have_scipys_parameters(name: str) -> None:
    ours = inspect.signature(getattr(filters, name)).parameters
    theirs = inspect.signature(getattr(ndimage, name)).parameters
    # Arrays to write to, and a way of computing that changes no result.
    known = [parameter for parameter in theirs if parameter not in ("input", "output", "brute_force")]
    assert list(ours)[1:] == known
    assert [ours[parameter].default for parameter in known] == [theirs[parameter].default for parameter in known]


def test_what_cannot_be_meant_is_refused_by_all_ranks() -> None:
    grid = mb.Grid((6, 5))
    u = grid.zeros("f8")
    calls: list[tuple[Any, str]] = [
        (lambda: filters.rolling_ball(u, radius=-1), "too small"),
        (lambda: filters.rolling_ball(u, kernel=np.ones(3)), "2 axes"),
        (lambda: filters.rolling_ball(u, kernel=np.full((3, 3), np.inf)), "center"),
        (lambda: filters.rolling_ball(u.astype("c16")), "complex"),
        (lambda: filters.ellipsoid_kernel((3, 2.5), 1), "whole number"),
        (lambda: filters.generic_filter(u, np.median), "give a stencil"),
        (lambda: filters.generic_filter(u, corners, size=3), "leave them out"),
        (lambda: filters.generic_filter(u, pair), "reads 2 fields"),
        (lambda: filters.generic_filter(grid.zeros("f8", components=(2,)), corners), "components"),
        (lambda: filters.generic_filter(u, corners, mode="around"), "unknown"),
        (lambda: filters.generic_filter(mb.Grid(6).zeros("f8"), both), "2 values"),
    ]
    if RANKS > 1:
        calls.append((lambda: filters.rolling_ball(u, radius=grid.rank), "ranks differ"))
    for call, message in calls:
        with pytest.raises(mb.UsageError, match=message) as caught:
            call()
        assert len(set(MPI.COMM_WORLD.allgather(str(caught.value)))) == 1


@pytest.mark.parametrize("module", ["backgrounds", "generic_filters"])
def test_examples_are_true(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"mpibatch.filters.{module}"))
    assert tried > 2
    assert not failed
