"""The watershed against its rule, spelled out, and against scikit-image where no cell has a choice, on any ranks."""

from __future__ import annotations

import doctest
import heapq
import importlib
import itertools
import logging
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import morphology, segmentation
from skimage.util import regular_seeds

import mpibatch as mb
from mpibatch import segment
from mpibatch.mpi import MPI
from mpibatch.segment._engine.basins import Basins
from tests.segment.test_growth_mpi import SHAPES, pictures
from tests.support.pieces import RANKS, grids, piece, same_cells, topologies

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mpi

DTYPES = ["?", "u1", "i2", "u8", "f4", "f8"]


def neighbors(shape: tuple[int, ...], connectivity: Any) -> list[tuple[int, ...]]:
    if isinstance(connectivity, np.ndarray):
        far = (np.argwhere(connectivity) - np.array(connectivity.shape) // 2).tolist()
        return sorted((tuple(s) for s in far if any(s)), key=lambda s: sum(n * n for n in s))
    steps = [s for s in itertools.product((-1, 0, 1), repeat=len(shape)) if 0 < sum(map(abs, s)) <= connectivity]
    return sorted(steps, key=lambda s: sum(map(abs, s)))


class Cells:
    """The neighbors of each cell of an array, in their order, that are in the mask."""

    def __init__(self, mask: np.ndarray, connectivity: Any, wraps: bool) -> None:
        self.mask, self.wraps, self.steps = mask, wraps, neighbors(mask.shape, connectivity)

    def around(self, cell: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        shape = self.mask.shape
        for step in self.steps:
            there = tuple(i + s for i, s in zip(cell, step, strict=True))
            if self.wraps:
                there = tuple(i % n for i, n in zip(there, shape, strict=True))
            if all(0 <= i < n for i, n in zip(there, shape, strict=True)) and self.mask[there]:
                yield there


def keys_by_rule(image: np.ndarray, markers: np.ndarray, cells: Cells) -> dict[tuple[int, ...], tuple[Any, int]]:
    """Level and layer of each cell, in the order in which they are reached: one after the other, from a heap."""
    keys = {tuple(map(int, cell)): (image[tuple(cell)], 0) for cell in np.argwhere(markers)}
    heap = [(key, cell) for cell, key in keys.items()]
    heapq.heapify(heap)
    order = {}
    while heap:
        key, cell = heapq.heappop(heap)
        if keys[cell] != key:
            continue
        order[cell] = key
        for there in cells.around(cell):
            new = (image[there], 1) if image[there] > key[0] else (key[0], key[1] + 2)
            if there not in keys or new < keys[there]:
                keys[there] = new
                heapq.heappush(heap, (new, there))
    return order


def by_rule(
    image: np.ndarray, markers: np.ndarray, connectivity: Any, mask: np.ndarray, wraps: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, ties, and cells that are ties or come from one."""
    cells = Cells(mask, connectivity, wraps)
    keys = keys_by_rule(image, markers, cells)
    labels, ties, doubts = markers.copy(), np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    for cell in keys:
        if markers[cell]:
            continue
        reached = [there for there in cells.around(cell) if there in keys]
        least = min(keys[there] for there in reached)
        parents = [there for there in reached if keys[there] == least]
        labels[cell] = labels[parents[0]]
        ties[cell] = len(set(parents)) > 1
        doubts[cell] = ties[cell] or doubts[parents[0]]
    return labels, ties, doubts


@given(picture=pictures(DTYPES, SHAPES), draws=st.data(), share=st.sampled_from([0.01, 0.05, 0.3]))
@settings(max_examples=25)
def test_labels_follow_the_rule_and_are_scikit_images_where_there_is_no_tie(
    picture: tuple[np.ndarray, mb.Grid, int], draws: st.DataObject, share: float
) -> None:
    image, grid, seed = picture
    rng = np.random.default_rng(seed)
    if image.dtype.kind == "u":
        image = image + (np.iinfo(image.dtype).max - image.max())  # to the end of the range, as f8 holds it
    if image.dtype == np.uint64:
        image = image >> np.uint64(12)
    mask = rng.random(image.shape) < draws.draw(st.sampled_from([0.6, 1.0]))
    numbers = rng.integers(1, 100, image.shape) * np.where(seed % 2, rng.choice([-1, 1], image.shape), 1)
    markers = np.where(mask & (rng.random(image.shape) < share), numbers, 0)
    markers = markers.astype(draws.draw(st.sampled_from(["i1", "u2", "i4", "u8"])))
    connectivity = draws.draw(st.integers(1, image.ndim))
    labels, ties, doubts = by_rule(image, markers, connectivity, mask)
    theirs = segmentation.watershed(image, markers, connectivity, mask=mask)
    np.testing.assert_array_equal(labels[~doubts], theirs[~doubts])
    out, chosen = segment.watershed(
        piece(image, grid, seed % 2),
        piece(markers, grid, seed % 3),
        connectivity,
        mask=None if mask.all() else piece(mask.astype("i4") * 3, grid),
        return_ties=True,
    )
    same_cells(out, labels, markers.dtype)
    same_cells(chosen, ties)


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 999), draws=st.data(), dtype=st.sampled_from(["f4", "f8"]))
@settings(max_examples=25)
def test_markers_that_are_not_given_are_placed_as_by_scikit_image(
    shape: tuple[int, ...], seed: int, draws: st.DataObject, dtype: str
) -> None:
    """Every height occurs once; but a pool that fills to its pass is a plateau, on which ways may be equally long."""
    rng = np.random.default_rng(seed)
    image = (rng.permutation(int(np.prod(shape))).reshape(shape) - 7).astype(dtype)
    grid = draws.draw(grids(shape))
    connectivity = draws.draw(st.integers(1, len(shape)))
    mask = rng.random(shape) < 0.7 if seed % 2 else np.ones(shape, bool)
    mask.flat[seed % mask.size] = True
    count = draws.draw(st.sampled_from([None, 1, 5, 40]))
    if count is None:
        minima = morphology.local_minima(image, connectivity=connectivity) * mask
        seeds = ndimage.label(minima, ndimage.generate_binary_structure(len(shape), connectivity))[0]
    else:
        seeds = regular_seeds(shape, int(count / (mask.sum() / mask.size))) * mask
    labels, ties, doubts = by_rule(image, seeds, connectivity, mask)
    theirs = segmentation.watershed(image, count, connectivity, mask=mask)
    np.testing.assert_array_equal(labels[~doubts], theirs[~doubts])
    inside = piece(mask, grid) if seed % 2 else None
    out, chosen = segment.watershed(piece(image, grid), count, connectivity, mask=inside, return_ties=True)
    same_cells(out, labels, np.int32 if count is None else np.int64)
    same_cells(chosen, ties)
    if count is None and not seed % 2:
        assert not ties.any()  # all minima are marked: no pool is ever overflown
        same_cells(out, theirs)


@pytest.mark.parametrize("topology", topologies(2), ids=str)
def test_two_basins_wind_through_all_blocks(topology: tuple[int, ...]) -> None:
    """Water from one corner runs through a labyrinth of one long way, that from the other meets it."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:33, :33]
    image = np.where((x % 4 == 3) & (y != 32 * (x // 4 % 2)), 2.0, 0.0) + rng.random((33, 33))
    markers = np.zeros(image.shape, np.int32)
    markers[0, 0], markers[32, 32] = 3, 5
    grid = mb.Grid(image.shape, topology=topology)
    wanted, ties, doubts = by_rule(image, markers, 1, np.ones(image.shape, bool))
    out, chosen = segment.watershed(piece(image, grid), piece(markers, grid), return_ties=True)
    same_cells(out, wanted)
    same_cells(chosen, ties)
    theirs = segmentation.watershed(image, markers)
    assert len(np.unique(theirs[~doubts])) == 2
    np.testing.assert_array_equal(wanted[~doubts], theirs[~doubts])


def test_answers_that_users_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """scikit-image #7661: markers at both ends of a slope; #803: a plateau is shared by distance."""
    slope = segment.watershed(piece(np.arange(6), mb.Grid(6)), piece(np.array([1, 0, 0, 0, 0, 2]), mb.Grid(6)))
    same_cells(slope, np.array([1, 1, 1, 1, 1, 2]))
    grid = mb.Grid(9)
    ends = np.where(np.isin(np.arange(9), [0, 8]), np.arange(9) // 8 + 1, 0)
    with caplog.at_level(logging.INFO, logger="mpibatch"):
        plateau, ties = segment.watershed(grid.zeros("f8"), piece(ends, grid), return_ties=True)
    same_cells(plateau, np.array([1, 1, 1, 1, 1, 2, 2, 2, 2]))  # the middle: the first in raster order
    same_cells(ties, np.arange(9) == 4)
    assert "watershed: 1 cells were reached from several neighbors alike" in caplog.text


@pytest.mark.parametrize("shape", [(12,), (7, 9), (2, 11), (4, 5, 6)], ids=str)
def test_water_flows_around_periodic_axes(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(shape))
    image, markers = rng.integers(0, 40, shape), np.zeros(shape, np.int16)
    markers.flat[0], markers.flat[markers.size // 2] = 1, 2
    wanted, _, _ = by_rule(image, markers, 1, np.ones(shape, bool), wraps=True)
    grid = mb.Grid(shape, periodic=True)
    same_cells(segment.watershed(piece(image, grid), piece(markers, grid)), wanted)


def test_footprints_and_infinite_heights() -> None:
    rng = np.random.default_rng(3)
    image = rng.random((20, 17))
    image[rng.random(image.shape) < 0.05] = np.inf
    image[3, 4] = -np.inf
    markers = np.where(rng.random(image.shape) < 0.03, rng.integers(1, 9, image.shape), 0)
    form = np.array([[0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0]]) | np.eye(3, 5, 1, int)
    form = form | np.flip(form)
    theirs = segmentation.watershed(image, markers, form)
    same_share = mb.mean(
        segment.watershed(piece(image, mb.Grid((20, 17))), piece(markers, mb.Grid((20, 17))), form)
        == piece(theirs, mb.Grid((20, 17)))
    )
    assert same_share > 0.95  # infinite cells are plateaus, with ties
    finite = np.where(np.isfinite(image), image, 2 + rng.random(image.shape))
    for heights in (image, finite):
        out, ties = segment.watershed(
            piece(heights, mb.Grid((20, 17))), piece(markers, mb.Grid((20, 17))), form, return_ties=True
        )
        labels, by_choice, doubts = by_rule(heights, markers, form, np.ones(heights.shape, bool))
        same_cells(out, labels)
        same_cells(ties, by_choice)
        assert 0 < np.count_nonzero(doubts) < doubts.size
        np.testing.assert_array_equal(labels[~doubts], segmentation.watershed(heights, markers, form)[~doubts])


def test_more_neighbors_than_a_byte_can_number() -> None:
    rng = np.random.default_rng(5)
    image = rng.permutation(12 * 9 * 8).reshape(12, 9, 8).astype("f4")
    markers = np.where(rng.random(image.shape) < 0.01, rng.integers(1, 9, image.shape), 0)
    form, grid = np.ones((7, 7, 7), int), mb.Grid(image.shape)
    wanted, _, _ = by_rule(image, markers, form, np.ones(image.shape, bool))
    same_cells(segment.watershed(piece(image, grid), piece(markers, grid), form), wanted)


def test_markers_that_nobody_holds_are_gone_in_the_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = mb.Grid((12, 9))
    made = [grid.from_function(lambda y, x: (y == 3) & (x == 4), "i4")]
    cells, flood = weakref.ref(made[0].padded), Basins.flood
    are_gone = []

    def look_and_flood(basins: Basins) -> None:
        are_gone.append(cells() is None)
        flood(basins)

    monkeypatch.setattr(Basins, "flood", look_and_flood)
    segment.watershed(grid.zeros(halo=1), made.pop())
    assert are_gone == [True]


def test_masked_nan_is_no_height() -> None:
    image = np.array([[3.0, np.nan, 1.0], [2.0, np.nan, 0.0]])
    grid = mb.Grid(image.shape)
    u = piece(image, grid)
    markers = piece(np.array([[0, 0, 0], [7, 0, 9]], np.uint8), grid)
    same_cells(
        segment.watershed(u, markers, mask=piece(~np.isnan(image), grid)), np.array([[7, 0, 9], [7, 0, 9]], np.uint8)
    )


def test_what_cannot_be_meant_is_refused_by_all_ranks() -> None:
    grid = mb.Grid((6, 5))
    u = grid.from_function(lambda y, x: y * x)
    ends = grid.from_function(lambda y, x: (x == 4) & (y == 5), "?").astype("i4")
    holed = u.copy()
    holed.owned[ends.owned != 0] = np.nan
    low = grid.from_function(lambda y, x: x < 2, "?")
    far = np.ones((1, 5), int)
    for call, message in (
        (lambda: segment.watershed(holed, ends), r"NaN at \(5, 4\)"),
        (lambda: segment.watershed(u, ends, mask=low), r"marker 1 at \(5, 4\) lies outside the mask"),
        (lambda: segment.watershed(u, u), "markers are of float64"),
        (lambda: segment.watershed(u, low), "markers are of bool"),
        (lambda: segment.watershed(u, 0), "markers = 0"),
        (lambda: segment.watershed(u, 2.5), "markers = 2.5"),
        (lambda: segment.watershed(u, far), "watershed"),
        (lambda: segment.watershed(u, ends, 3), "connectivity = 3"),
        (lambda: segment.watershed(u, ends, [[0, 1, 1]]), "not symmetric"),
        (lambda: segment.watershed(u, None, far), "give markers"),
        (lambda: segment.watershed(u, ends, offset=(1, 1)), "offset"),
        (lambda: segment.watershed(u, ends, compactness=0.1), "compactness"),
        (lambda: segment.watershed(u, ends, watershed_line=True), "watershed_line"),
        (lambda: segment.watershed(u, mb.Grid((6, 6)).zeros("i4")), "markers is of shape"),
        (lambda: segment.watershed(u.astype("c16"), ends), "complex"),
    ):
        with pytest.raises(mb.UsageError, match=message) as caught:
            call()
        assert len(set(MPI.COMM_WORLD.allgather(str(caught.value)))) == 1


@pytest.mark.skipif(RANKS == 1, reason="needs ranks that differ")
def test_ranks_that_differ_get_an_error_that_names_them() -> None:
    u = mb.Grid(12).from_function(lambda x: x)
    with pytest.raises(mb.UsageError, match="rank"):
        segment.watershed(u, 2 + (MPI.COMM_WORLD.rank == RANKS - 1))


def test_objects_that_touch_are_separated_as_by_scikit_image() -> None:
    """The use of it: two discs that overlap, their distances to the background, and their peaks."""
    y, x = np.mgrid[:80, :80]
    inside = ((x - 28) ** 2 + (y - 28) ** 2 < 256) | ((x - 44) ** 2 + (y - 52) ** 2 < 400)
    heights = -ndimage.distance_transform_edt(inside)
    markers = np.zeros(inside.shape, np.int32)
    markers[28, 28], markers[52, 44] = 1, 2
    grid = mb.Grid(inside.shape)
    distance = segment.distance_transform_edt(piece(inside, grid))
    out = segment.watershed(-distance, piece(markers, grid), mask=piece(inside, grid))
    theirs = segmentation.watershed(heights, markers, mask=inside)
    assert mb.count_nonzero(out != piece(theirs, grid)) <= 0.01 * inside.sum()
    assert (mb.count_nonzero(out == 1) + mb.count_nonzero(out == 2)) == inside.sum()


def test_examples_are_true() -> None:
    failed, tried = doctest.testmod(importlib.import_module("mpibatch.segment.watersheds"))
    assert tried > 3
    assert not failed
