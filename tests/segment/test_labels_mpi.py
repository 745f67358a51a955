"""Small objects and holes, relabeling, joins and boundaries against scikit-image on the whole array."""

from __future__ import annotations

import doctest
import importlib
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import morphology, segmentation

import mpibatch as mb
from mpibatch import segment
from mpibatch.measure import value_indices
from mpibatch.mpi import MPI
from tests.measure.test_label_mpi import spiral
from tests.support.pieces import RANKS, grids, piece, same_cells, topologies

pytestmark = pytest.mark.mpi

SHAPES = [(1,), (37,), (1, 1), (9, 14), (23, 8), (5, 6, 7), (3, 4, 5, 4)]
DTYPES = ["u1", "i2", "i4", "u4", "i8", "u8"]


def labels_of(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Labels of a few sizes: none, few or many, dense or far apart."""
    rng = np.random.default_rng(seed)
    if dtype == "?":
        return rng.random(shape) < 0.6
    most = min([1, 2, 9, 100, 2**40][seed % 5], np.iinfo(dtype).max)
    chosen = np.unique(rng.integers(seed % 3 == 0, most, 12, np.uint64, endpoint=True))
    return rng.choice(chosen, shape).astype(dtype) if seed % 7 else np.zeros(shape, dtype)


@st.composite
def labeled(draw: st.DrawFn, dtypes: list[str] = DTYPES) -> tuple[np.ndarray, mb.Grid, int]:
    shape = draw(st.sampled_from(SHAPES))
    seed = draw(st.integers(0, 999))
    return labels_of(shape, draw(st.sampled_from(dtypes)), seed), draw(grids(shape)), seed


@given(picture=labeled(), size=st.integers(0, 12))
@settings(max_examples=25)
@pytest.mark.filterwarnings("ignore")
def test_small_objects_and_holes(picture: tuple[np.ndarray, mb.Grid, int], size: int) -> None:
    whole, grid, seed = picture
    whole = np.minimum(whole, 200)  # scikit-image counts up to the greatest
    u = piece(whole, grid, seed % 2)
    same_cells(segment.remove_small_objects(u, max_size=size), morphology.remove_small_objects(whole, max_size=size))
    mask = np.random.default_rng(seed).random(whole.shape) < 0.55
    connectivity = 1 + seed % whole.ndim
    v = piece(mask, grid)
    for ours, theirs, less in (
        (segment.remove_small_objects, morphology.remove_small_objects, "min_size"),
        (segment.remove_small_holes, morphology.remove_small_holes, "area_threshold"),
    ):
        expected = theirs(mask, max_size=size, connectivity=connectivity)
        same_cells(ours(v, max_size=size, connectivity=connectivity), expected)
        # scikit-image 0.26.0 takes these two for max_size: its #8001.
        same_cells(ours(v, **{less: size + 1}, connectivity=connectivity), expected)
    same_cells(segment.remove_small_holes(u, max_size=size), morphology.remove_small_holes(whole, max_size=size))


@pytest.mark.parametrize("topology", topologies(2), ids=str)
def test_one_object_winds_through_all_blocks(topology: tuple[int, ...]) -> None:
    whole = spiral(33)
    grid = mb.Grid(whole.shape, topology=topology)
    u, size = piece(whole, grid), int(whole.sum())
    assert mb.count_nonzero(segment.remove_small_objects(u, max_size=size - 1)) == size
    assert mb.count_nonzero(segment.remove_small_objects(u, max_size=size)) == 0
    same_cells(segment.clear_border(u), np.zeros_like(whole))
    same_cells(segment.remove_small_holes(u, max_size=whole.size - size - 1), whole)
    same_cells(segment.remove_small_holes(u, max_size=whole.size - size), np.ones_like(whole))
    framed = np.pad(whole, 1)
    v = piece(framed, mb.Grid(framed.shape, topology=topology))
    same_cells(segment.clear_border(v), framed)
    same_cells(segment.binary_fill_holes(v), ndimage.binary_fill_holes(framed))


def test_an_object_around_a_periodic_axis_has_one_size() -> None:
    whole = np.zeros((6, 9), np.bool_)
    whole[2, [0, 1, 8]] = True
    u = piece(whole, mb.Grid(whole.shape, periodic=(False, True)))
    same_cells(segment.remove_small_objects(u, max_size=2), whole)
    same_cells(segment.clear_border(u), whole)


def test_sizes_mean_what_their_names_say() -> None:
    """scikit-image #8001, #2825 and #6471."""
    whole = np.array([[1, 2, 2]])
    u = piece(whole, mb.Grid(whole.shape))
    same_cells(segment.remove_small_objects(u, min_size=2), np.array([[0, 2, 2]]))
    same_cells(segment.remove_small_objects(u, max_size=2), np.array([[0, 0, 0]]))
    with pytest.raises(TypeError):
        segment.remove_small_objects(u, 2)  # type: ignore[call-arg]
    two = np.array([[1, 1, 0, 1]])
    v = piece(two, mb.Grid(two.shape))
    with pytest.warns(UserWarning, match="1 is the only label"):
        same_cells(segment.remove_small_objects(v, max_size=2), two)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same_cells(segment.remove_small_objects(piece(two > 0, v.grid), max_size=1), np.array([[1, 1, 0, 0]]) > 0)


@given(picture=labeled(), offset=st.sampled_from([1, 5, 120, 250, 40000]))
@settings(max_examples=25)
def test_relabel_sequential(picture: tuple[np.ndarray, mb.Grid, int], offset: int) -> None:
    whole, grid, seed = picture
    u = piece(whole, grid, seed % 2)
    expected, *their_maps = segmentation.relabel_sequential(whole, offset)
    new, forward, inverse = segment.relabel_sequential(u, offset)
    same_cells(new, expected)
    for ours, theirs in zip((forward, inverse), their_maps, strict=True):
        for part, values in zip(ours.gather(), (theirs.in_values, theirs.out_values), strict=True):
            np.testing.assert_array_equal(part, values)
            assert part.dtype == values.dtype
    same_cells(forward[u], expected)
    same_cells(inverse[new], whole)


def test_maps_grow_with_labels_and_not_with_the_greatest() -> None:
    whole = np.array([10**15, 3, 0, 0, 10**15, 2**62])
    u = piece(whole, mb.Grid(whole.shape))
    new, forward, inverse = segment.relabel_sequential(u)
    same_cells(new, np.array([2, 1, 0, 0, 2, 3]))
    assert MPI.COMM_WORLD.allreduce(len(forward.in_values)) == MPI.COMM_WORLD.allreduce(len(inverse.in_values)) == 4
    other = piece(np.array([3, 4, 2**62, 2**62 + 1, 0, 10**15]), u.grid)
    same_cells(forward[other], np.array([1, 0, 3, 0, 0, 2]))


@given(picture=labeled(), draws=st.data())
@settings(max_examples=30)
def test_join_segmentations(picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject) -> None:
    first, grid, seed = picture
    second = labels_of(first.shape, draws.draw(st.sampled_from(DTYPES)), draws.draw(st.integers(0, 999)))
    wide = (first.astype("i8"), second.astype("i8"))  # scikit-image's products overflow small types
    small = max(array.max() for array in wide) < 100 and not {first.dtype.char, second.dtype.char} & {"b", "B", "L"}
    theirs = (first, second) if small else [segmentation.relabel_sequential(array)[0] for array in wide]
    expected, *their_maps = segmentation.join_segmentations(theirs[0], theirs[1], return_mapping=True)
    s1, s2 = piece(first, grid), piece(second, grid, seed % 2)
    joined, *maps = segment.join_segmentations(s1, s2, return_mapping=True)
    if small:
        same_cells(joined, expected)
        for ours, other in zip(maps, their_maps, strict=True):
            np.testing.assert_array_equal(ours.gather(), (other.in_values, other.out_values))
    np.testing.assert_array_equal(joined.owned, expected[grid.box.slices()])
    same_cells(maps[0][joined], first)
    same_cells(maps[1][joined], second)
    np.testing.assert_array_equal(segment.join_segmentations(s1, s2).owned, joined.owned)


@given(picture=labeled(["?", "u1", "i4", "i8"]), mode=st.sampled_from(["thick", "inner", "outer"]))
@settings(max_examples=25)
def test_find_boundaries(picture: tuple[np.ndarray, mb.Grid, int], mode: str) -> None:
    whole, grid, seed = picture
    if seed % 2:
        whole = np.repeat(whole, 2, 0)[: whole.shape[0]]
    connectivity, background = 1 + seed % whole.ndim, seed % 3
    expected = segmentation.find_boundaries(whole, connectivity, mode, background)
    same_cells(segment.find_boundaries(piece(whole, grid, seed % 2), connectivity, mode, background), expected)


@given(picture=labeled(["i2", "i8", "u8"]), ignored=st.sampled_from([None, 0, 1]))
@settings(max_examples=20)
def test_value_indices(picture: tuple[np.ndarray, mb.Grid, int], ignored: int | None) -> None:
    whole, grid, _ = picture
    whole = whole - whole.dtype.type(3) if whole.dtype.kind == "i" else whole
    whole = np.minimum(whole, 90)  # scipy counts up to the greatest
    mine = value_indices(piece(whole, grid), ignore_value=ignored)
    expected = ndimage.value_indices(whole, ignore_value=ignored)
    assert list(mine) == sorted(mine)
    for value, places in mine.items():
        inside = np.ones(len(expected[value][0]), np.bool_)
        for axis, (low, high) in enumerate(zip(grid.box.start, grid.box.stop, strict=True)):
            inside &= (expected[value][axis] >= low) & (expected[value][axis] < high)
        np.testing.assert_array_equal(places, [axis[inside] for axis in expected[value]])
    assert sum(len(places[0]) for places in mine.values()) == np.count_nonzero(whole[grid.box.slices()] != ignored)


def test_what_cannot_be_meant_is_refused_by_all_ranks() -> None:
    grid = mb.Grid((6, 5))
    u = grid.zeros("i4")
    negative = grid.zeros("i4")
    negative.owned[...] -= int(grid.rank == RANKS - 1)
    floats = grid.zeros("f4")
    other = mb.Grid((5, 6)).zeros("i4")
    large = grid.full(2**63, "u8")
    calls: list[tuple[Any, str]] = [
        (lambda: segment.remove_small_objects(floats), "labels are integers"),
        (lambda: segment.remove_small_objects(negative), "label -1"),
        (lambda: segment.remove_small_objects(large), "2\\*\\*63"),
        (lambda: segment.remove_small_objects(u, max_size=-1), "0 or more"),
        (lambda: segment.remove_small_objects(u, max_size=2.5), "whole number"),
        (lambda: segment.remove_small_objects(u, max_size=2, min_size=3), "give one"),
        (lambda: segment.remove_small_objects(u > 0, connectivity=3), "from 1 to 2"),
        (lambda: segment.remove_small_holes(floats), "condition"),
        (lambda: segment.relabel_sequential(u, 0), "1 or more"),
        (lambda: segment.relabel_sequential(u > 0), "labels are integers"),
        (lambda: segment.relabel_sequential(negative), "label -1"),
        (lambda: segment.join_segmentations(u, other), "shape"),
        (lambda: segment.join_segmentations(u, negative), "s2: there is a label -1"),
        (lambda: segment.find_boundaries(u, mode="subpixel"), "between the grid's"),
        (lambda: segment.find_boundaries(u, mode="thin"), "unknown"),
        (lambda: segment.find_boundaries(u, 3), "from 1 to 2"),
        (lambda: segment.find_boundaries(floats), "whole numbers"),
        (lambda: value_indices(floats), "integers"),
    ]
    if RANKS > 1:
        calls.append((lambda: segment.remove_small_objects(u, max_size=grid.rank), "ranks differ"))
    for call, message in calls:
        with pytest.raises(mb.UsageError, match=message) as caught:
            call()
        assert len(set(MPI.COMM_WORLD.allgather(str(caught.value)))) == 1


@pytest.mark.parametrize("module", ["removals", "label_maps", "boundaries"])
def test_examples_are_true(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"mpibatch.segment.{module}"))
    assert tried > 3
    assert not failed
