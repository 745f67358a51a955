"""Reconstruction, propagation and floods against scikit-image and scipy on the whole array, on any decomposition."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import filters as skfilters
from skimage import morphology, segmentation

import mpibatch as mb
from mpibatch import segment
from mpibatch.mpi import MPI
from tests.support.pieces import RANKS, grids, piece, same_cells, topologies

pytestmark = pytest.mark.mpi

DTYPES = ["?", "u1", "i4", "i8", "f4", "f8"]
SHAPES = [(1,), (37,), (1, 1), (9, 14), (23, 8), (1, 30), (5, 6, 7), (9, 3, 8), (3, 4, 5, 4)]


def levels(shape: tuple[int, ...], dtype: str, seed: int, count: int) -> np.ndarray:
    """Smoothed noise of few or many levels, so that there are plateaus and paths."""
    rng = np.random.default_rng(seed)
    noise = ndimage.uniform_filter(rng.random(shape), 1 + seed % 3, mode="wrap")
    steps = np.floor(noise * count)
    if dtype == "?":
        return noise > 0.45
    if dtype[0] == "i":
        return (steps - count // 2).astype(dtype)
    return steps.astype(dtype) if dtype[0] == "u" else (noise * 4 - 2 if seed % 2 else steps).astype(dtype)


@st.composite
def pictures(draw: st.DrawFn, dtypes: list[str] = DTYPES, shapes: Any = SHAPES) -> tuple[np.ndarray, mb.Grid, int]:
    shape = draw(st.sampled_from(shapes))
    seed = draw(st.integers(0, 999))
    whole = levels(shape, draw(st.sampled_from(dtypes)), seed, draw(st.sampled_from([3, 8, 100])))
    return whole, draw(grids(shape)), seed


@st.composite
def footprints(draw: st.DrawFn, ndim: int, is_symmetric: bool = False) -> np.ndarray:
    shape = tuple(draw(st.sampled_from([1, 3, 3, 5])) for _ in range(ndim))
    form = np.random.default_rng(draw(st.integers(0, 99))).random(shape) < 0.5
    return form | np.flip(form) if is_symmetric else form


@given(picture=pictures(), draws=st.data(), method=st.sampled_from(["dilation", "erosion"]))
@settings(max_examples=40)
def test_reconstruction(picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject, method: str) -> None:
    mask, grid, seed = picture
    rng = np.random.default_rng(seed)
    other = rng.permutation(mask.reshape(-1)).reshape(mask.shape)
    start = np.minimum(mask, other) if method == "dilation" else np.maximum(mask, other)
    form = draws.draw(st.one_of(st.none(), footprints(mask.ndim)))
    wanted = morphology.reconstruction(start, mask, method, form)
    found = segment.reconstruction(piece(start, grid, seed % 3), piece(mask, grid), method, form)
    same_cells(found, wanted, mask.dtype)


@pytest.mark.parametrize("topology", topologies(2), ids=str)
@pytest.mark.parametrize("connectivity", [1, 2])
def test_reconstruction_runs_through_a_labyrinth(topology: tuple[int, ...], connectivity: int) -> None:
    """One path of many turns, lower and lower: through every block, many times."""
    y, x = np.mgrid[:41, :41]
    ring = np.maximum(abs(y - 20), abs(x - 20))
    walls = (ring % 2 == 1) & ~((y == 20) & (x > 20) & (ring % 4 == 1)) & ~((y == 20) & (x < 20) & (ring % 4 == 3))
    mask = np.where(walls, 0, 1000 - 10 * ring)
    start = np.where((y == 20) & (x == 20), 1000, 0)
    form = ndimage.generate_binary_structure(2, connectivity)
    wanted = morphology.reconstruction(start, mask, footprint=form)
    assert wanted[0, 0] == 800
    grid = mb.Grid(mask.shape, topology=topology)
    same_cells(segment.reconstruction(piece(start, grid), piece(mask, grid), footprint=form), wanted, mask.dtype)


def test_reconstruction_keeps_large_integers_and_takes_both_dtypes() -> None:
    mask = np.array([2**60 + 1, 2**60 + 3, 5, 2**60 + 7])
    start = np.array([0, 3, 0, 100], "i2")
    grid = mb.Grid(4)
    found = segment.reconstruction(piece(start, grid), piece(mask, grid))
    same_cells(found, np.array([5, 5, 5, 100]))
    low = piece(mask - 1, grid)
    same_cells(segment.reconstruction(low, piece(mask, grid)), np.array([2**60 + 1, 2**60 + 2, 5, 2**60 + 6]))


def test_reconstruction_has_one_zero_and_takes_infinity() -> None:
    mask = np.array([[0.0, -0.0, np.inf, 1.0, -np.inf, 2.0]])
    start = np.array([[-0.0, -0.0, np.inf, -np.inf, -np.inf, -0.0]])
    grid = mb.Grid(mask.shape)
    found = segment.reconstruction(piece(start, grid), piece(mask, grid))
    same_cells(found, np.array([[0, 0, np.inf, 1, -np.inf, 0]]))
    assert not np.signbit(found.owned[found.owned == 0]).any()


def test_reconstruction_offset_is_the_center_of_the_footprint() -> None:
    mask, start = np.ones(9, "u1"), np.eye(1, 9, 4, dtype="u1")[0]
    grid = mb.Grid(9)
    for form, offset in (([1, 1], 0), ([1, 1], [1]), ([1, 0, 1, 0], 2)):
        wanted = morphology.reconstruction(start, mask, footprint=np.array(form), offset=np.atleast_1d(offset))
        found = segment.reconstruction(piece(start, grid), piece(mask, grid), footprint=form, offset=offset)
        same_cells(found, wanted, "u1")


def test_reconstruction_goes_around_a_periodic_axis() -> None:
    mask = np.array([5, 5, 0, 5, 5, 5, 5, 5])
    start = np.where(np.arange(8) == 1, 4, 0)
    grid = mb.Grid(8, periodic=True)
    same_cells(segment.reconstruction(piece(start, grid), piece(mask, grid)), np.where(mask, 4, 0))


@pytest.mark.filterwarnings("ignore:possible precision loss")
@given(picture=pictures(["u1", "u2", "i4", "f4", "f8"]), draws=st.data(), lowest=st.booleans())
@settings(max_examples=40)
def test_maxima_and_minima_of_a_height(
    picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject, lowest: bool
) -> None:
    whole, grid, _ = picture
    h = draws.draw(st.sampled_from([1, 2, 3, 0.25, 1.5, 2.0, 40, 1000]))
    form = draws.draw(st.one_of(st.none(), footprints(whole.ndim)))
    name = "h_minima" if lowest else "h_maxima"
    same_cells(getattr(segment, name)(piece(whole, grid), h, form), getattr(morphology, name)(whole, h, form))


def test_heights_of_narrow_integers_do_not_overflow() -> None:
    """scikit-image takes the range of -128 … 127 for -1, and finds nothing."""
    whole = np.array([-128, 127, -128, 100, -128, -100, 127, 127], "i1")
    grid = mb.Grid(8)
    for h in (1, 27, 28, 200, 228, 229, 255):
        wide = morphology.h_maxima(whole.astype("i4"), h)
        same_cells(segment.h_maxima(piece(whole, grid), h), wide)
        same_cells(segment.h_minima(piece(~whole, grid), h), wide)


@st.composite
def structures(draw: st.DrawFn, ndim: int) -> tuple[np.ndarray | None, Any]:
    if draw(st.booleans()):
        return None, 0
    form = draw(footprints(ndim))
    form[tuple(n // 2 for n in form.shape)] |= draw(st.booleans())
    return form, [draw(st.integers(-(n // 2), n // 2)) for n in form.shape]


def spread_by_scipy(start: np.ndarray, form: Any, mask: Any, beyond: int, origin: Any) -> np.ndarray:
    """binary_propagation, by the algorithm that does not write past its arrays where structures are larger."""
    return ndimage.binary_dilation(start, form, -1, mask, None, beyond, origin, brute_force=True)


@given(picture=pictures(["?", "u1", "f4"]), draws=st.data())
@settings(max_examples=40)
def test_binary_propagation(picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject) -> None:
    whole, grid, seed = picture
    rng = np.random.default_rng(seed)
    start = (rng.random(whole.shape) < 0.1).astype(whole.dtype)
    form, origin = draws.draw(structures(whole.ndim))
    masked, beyond = draws.draw(st.booleans()), draws.draw(st.sampled_from([0, 0, 1]))
    center = None if form is None else tuple(n // 2 + o for n, o in zip(form.shape, origin, strict=True))
    if form is not None and not form[center]:
        form[center] = True  # without it there may be no end
    wanted = spread_by_scipy(start, form, whole if masked else None, beyond, origin)
    mask = piece(whole, grid) if masked else None
    same_cells(segment.binary_propagation(piece(start, grid), form, mask, beyond, origin), wanted)


@given(picture=pictures(["?", "u1", "f4"]), draws=st.data())
@settings(max_examples=40)
def test_binary_fill_holes(picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject) -> None:
    whole, grid, _ = picture
    form, origin = draws.draw(structures(whole.ndim))
    if form is not None:
        form[tuple(n // 2 + o for n, o in zip(form.shape, origin, strict=True))] = True
    wanted = ~spread_by_scipy(np.zeros_like(whole), form, whole == 0, 1, origin)
    if form is None:
        np.testing.assert_array_equal(wanted, ndimage.binary_fill_holes(whole))
    same_cells(segment.binary_fill_holes(piece(whole, grid), form, origin), wanted)


def test_fields_with_components_and_single_axes_are_filled_one_by_one() -> None:
    whole = levels((9, 10, 3), "?", 5, 3)
    grid = mb.Grid((9, 10))
    wanted = np.stack([ndimage.binary_fill_holes(whole[..., c]) for c in range(3)], axis=-1)
    same_cells(segment.binary_fill_holes(piece(whole, grid)), wanted)
    flat = np.ascontiguousarray(whole[..., 0])
    same_cells(segment.binary_fill_holes(piece(flat, grid), axes=1), ndimage.binary_fill_holes(flat, axes=(1,)))


@given(picture=pictures(), draws=st.data())
@settings(max_examples=50)
def test_flood(picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject) -> None:
    whole, grid, seed = picture
    point = tuple(draws.draw(st.integers(-n, n - 1)) for n in whole.shape)
    options: dict[str, Any] = {"tolerance": draws.draw(st.sampled_from([None, None, 0, 1, -2, 0.6, 1e6]))}
    if draws.draw(st.booleans()):
        options["connectivity"] = draws.draw(st.integers(1, whole.ndim))
    else:
        options["footprint"] = draws.draw(footprints(whole.ndim, is_symmetric=True))
        options["footprint"][tuple(n // 2 for n in options["footprint"].shape)] = True
    if whole.dtype.kind in "biu" and isinstance(options["tolerance"], float):
        options["tolerance"] = int(options["tolerance"])
    if whole.dtype.kind == "b":
        options["tolerance"] = None
    wanted = segmentation.flood(whole, point, **options)
    same_cells(segment.flood(piece(whole, grid), point, **options), wanted)
    u = piece(whole, grid, seed % 2)
    value = whole.max()
    result = segment.flood_fill(u, point, value, in_place=seed % 5 == 0, **options)
    same_cells(result, segmentation.flood_fill(whole, point, value, **options))
    assert (result is u) == (seed % 5 == 0)


@given(picture=pictures(), low=st.sampled_from([0.1, 1, 3]), high=st.sampled_from([0.5, 2, 4]), fields=st.booleans())
@settings(max_examples=50)
def test_hysteresis(picture: tuple[np.ndarray, mb.Grid, int], low: float, high: float, fields: bool) -> None:
    whole, grid, seed = picture
    levels_of: Any = (low, high)
    if fields:
        levels_of = tuple(one + np.random.default_rng(seed).random(whole.shape) for one in levels_of)
    wanted = skfilters.apply_hysteresis_threshold(whole, *levels_of)
    given_levels = [piece(one, grid) for one in levels_of] if fields else levels_of
    same_cells(segment.apply_hysteresis_threshold(piece(whole, grid), *given_levels), wanted)


@given(picture=pictures(["?", "u1", "i1", "i4", "u4", "i8"], SHAPES[:-1]), draws=st.data())
@settings(max_examples=40)
def test_clear_border(picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject) -> None:
    whole, grid, seed = picture
    width = draws.draw(st.integers(0, min(3, min(whole.shape) - 1)))
    value = draws.draw(st.sampled_from([0, 0, 1]))
    mask = draws.draw(st.sampled_from([None, np.random.default_rng(seed).random(whole.shape) < 0.9]))
    wanted = segmentation.clear_border(whole, width, value, mask)
    part = None if mask is None else piece(mask, grid)
    same_cells(segment.clear_border(piece(whole, grid), width, value, part), wanted)


@given(picture=pictures(), draws=st.data(), borders=st.booleans(), lowest=st.booleans())
@settings(max_examples=40)
def test_local_maxima_and_minima(
    picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject, borders: bool, lowest: bool
) -> None:
    whole, grid, _ = picture
    options: dict[str, Any] = {"allow_borders": borders}
    if draws.draw(st.booleans()):
        options["connectivity"] = draws.draw(st.integers(1, whole.ndim))
    elif draws.draw(st.booleans()):
        form = np.random.default_rng(draws.draw(st.integers(0, 99))).random((3,) * whole.ndim) < 0.4
        form |= np.flip(form)
        form[(1,) * whole.ndim] = True
        options["footprint"] = form
    name = "local_minima" if lowest else "local_maxima"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = getattr(morphology, name)(whole, **options)
    same_cells(getattr(segment, name)(piece(whole, grid), **options), wanted)
    found = getattr(segment, name)(piece(whole, grid), indices=True, **options)
    for axis, places in zip(found, np.nonzero(wanted), strict=True):
        np.testing.assert_array_equal(axis, places)


def test_a_plateau_through_all_blocks_is_no_maximum() -> None:
    """A winding plateau with one higher cell at its end: the news must cross every block."""
    y, x = np.mgrid[:30, :31]
    whole = np.where((y % 4 == 1) | ((y % 8 == 3) & (x == 30)) | ((y % 8 == 7) & (x == 0)), 5, 0)
    whole[(y % 4 == 2) & (x == np.where(y % 8 == 2, 30, 0))] = 5
    whole[(y % 4 == 0) & (y > 0) & (x == np.where(y % 8 == 4, 30, 0))] = 5
    open_end = whole.copy()
    open_end[29, 0 if whole[28, 0] else 30] = 6
    for one in (whole, open_end):
        for topology in topologies(2):
            u = piece(one, mb.Grid(one.shape, topology=topology))
            same_cells(segment.local_maxima(u), morphology.local_maxima(one))


def test_what_cannot_be_meant_is_refused_by_all_ranks() -> None:
    whole = levels((6, 5), "f8", 2, 9)
    grid = mb.Grid(whole.shape)
    u = piece(whole, grid)
    above, holed, last = piece(whole, grid), piece(whole, grid), grid.rank == RANKS - 1
    if last:
        above.owned[...] += 1
        holed.owned[...] = np.nan
    other = mb.Grid(whole.shape, topology=(RANKS, 1) if grid.topology != (RANKS, 1) else (1, RANKS))
    calls: list[tuple[Any, str]] = [
        (lambda: segment.reconstruction(above, u), "above the mask"),
        (lambda: segment.reconstruction(u, above, "erosion"), "below the mask"),
        (lambda: segment.reconstruction(holed, u), "NaN"),
        (lambda: segment.reconstruction(u, u, "delation"), "did you mean 'dilation'"),
        (lambda: segment.reconstruction(u, u, footprint=3.0), "0 axes"),
        (lambda: segment.reconstruction(u, u, footprint=np.full((3, 3), 0.5)), "more than 0 and 1"),
        (lambda: segment.reconstruction(u, u, footprint=np.ones((2, 3))), "no center"),
        (lambda: segment.reconstruction(u, u, footprint=np.ones((3, 3)), offset=(3, 0)), "no place"),
        (lambda: segment.reconstruction(u, whole), "not a Field"),
        (lambda: segment.reconstruction(grid.zeros("f8", components=(3,)), u), "components"),
        (lambda: segment.reconstruction(grid.zeros("i8"), grid.zeros("u8")), "no integers hold"),
        (lambda: segment.h_maxima(u, 0), "above 0"),
        (lambda: segment.h_minima(holed, 1), "NaN"),
        (lambda: segment.flood(u, (6, 0)), "no cell of a grid"),
        (lambda: segment.flood(u, (1, 1), connectivity=3), "from 1 to 2"),
        (lambda: segment.flood(u, (1, 1), footprint=[[1, 1, 0]]), "not symmetric"),
        (lambda: segment.flood_fill(u.astype("u1"), (1, 1), 256), "no value of uint8"),
        (lambda: segment.flood_fill(u.frozen(), (1, 1), 2.0, in_place=True), "frozen"),
        (lambda: segment.clear_border(u), "whole numbers"),
        (lambda: segment.clear_border(u > 0, 5), "least extent"),
        (lambda: segment.clear_border(u > 0, mask=u), "one of bool"),
        (lambda: segment.local_maxima(u, np.ones((5, 5))), "give 3 cells"),
        (lambda: segment.local_maxima(u.astype("c16")), "complex"),
    ]
    if RANKS > 1:
        calls.append((lambda: segment.reconstruction(u, piece(whole, other)), "other cells than"))
    for call, message in calls:
        with pytest.raises(mb.UsageError, match=message) as caught:
            call()
        assert len(set(MPI.COMM_WORLD.allgather(str(caught.value)))) == 1


@pytest.mark.parametrize("module", ["reconstructions", "propagation", "floods", "peaks"])
def test_examples_are_true(module: str) -> None:
    import doctest
    import importlib

    failed, tried = doctest.testmod(importlib.import_module(f"mpibatch.segment.{module}"))
    assert tried > 3
    assert not failed
