"""Labels on real ranks: scipy's, to the bit, for any cut, structure and dtype; a flood's where axes are periodic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
import skimage.measure
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.measure import connected_components
from mpibatch.mpi import MPI
from tests.support.components import cuts, field, flooded, spiral

pytestmark = pytest.mark.mpi
RANKS = MPI.COMM_WORLD.size
DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def check(whole: np.ndarray, grid: mb.Grid, structure: Any, expected: tuple[np.ndarray, int], **kwargs: Any) -> None:
    labels, n = mb.label(field(whole, grid, kwargs.pop("halo", 0)), structure, **kwargs)
    assert (n, labels.dtype) == (expected[1], np.int32)
    np.testing.assert_array_equal(labels.owned, expected[0][grid.box.slices()])


@st.composite
def structures(draw: st.DrawFn, ndim: int) -> np.ndarray | None:
    kind = draw(st.sampled_from(["faces", "all", "between", "any"]))
    if kind == "faces":
        return None
    if kind == "any":
        half = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((3,) * ndim) < 0.4
        return half | np.flip(half)
    return ndi.generate_binary_structure(ndim, ndim if kind == "all" else max(1, ndim - 1))


@st.composite
def pictures(draw: st.DrawFn, most: tuple[int, ...], dtypes: list[str], few: int = 2) -> np.ndarray:
    """Cells of few values, of which a drawn share is zero."""
    ndim = draw(st.integers(1, 4))
    shape = tuple(draw(st.lists(st.integers(1, most[ndim - 1]), min_size=ndim, max_size=ndim)))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share = draw(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.6, 0.9, 1.0]))
    values = rng.integers(1, few, shape, endpoint=True)
    if dtype.kind == "f":
        signs = rng.choice([1.0, -1.0, np.nan, np.inf], shape)
        return np.where(rng.random(shape) < share, values * signs, rng.choice([0.0, -0.0], shape)).astype(dtype)
    return np.where(rng.random(shape) < share, -values if dtype.kind == "i" else values, 0).astype(dtype)


@given(data=st.data(), whole=pictures((60, 17, 9, 6), DTYPES), halo=st.integers(0, 2))
@settings(max_examples=120)
def test_labels_are_scipys(data: st.DataObject, whole: np.ndarray, halo: int) -> None:
    structure = data.draw(structures(whole.ndim))
    grid = mb.Grid(whole.shape, **data.draw(cuts(whole.shape, RANKS)))
    check(whole, grid, structure, ndi.label(whole != 0, structure), halo=halo)


@given(data=st.data(), whole=pictures((12, 7, 4, 3), ["u1", "i8"], few=3), by_value=st.booleans())
@settings(max_examples=60)
def test_periodic_axes_and_values_are_those_of_a_flood(data: st.DataObject, whole: np.ndarray, by_value: bool) -> None:
    structure = data.draw(structures(whole.ndim))
    periodic = data.draw(st.lists(st.booleans(), min_size=whole.ndim, max_size=whole.ndim))
    grid = mb.Grid(whole.shape, periodic=periodic, **data.draw(cuts(whole.shape, RANKS)))
    mask = ndi.generate_binary_structure(whole.ndim, 1) if structure is None else structure
    check(whole, grid, structure, flooded(whole, mask, periodic, by_value), label_values=by_value, halo=1)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u4", "i8"])
def test_values_are_scikit_images(dtype: str) -> None:
    for shape, few in (((40, 50), 3), ((12, 14, 16), 2), ((31, 9), 200)):
        whole = np.random.default_rng(3).integers(-few, few, shape).astype(dtype)
        for connectivity in range(1, len(shape) + 1):
            structure = ndi.generate_binary_structure(len(shape), connectivity)
            # scikit-image refuses int64's lowest bits: equal values stay equal in int32.
            plain = whole.astype("i4") if dtype == "i8" else whole.astype("i8")
            labels, n = skimage.measure.label(plain, background=0, return_num=True, connectivity=connectivity)
            check(whole, mb.Grid(shape), structure, (labels, n), label_values=True)


@pytest.mark.parametrize("n", [7, 24, 61])
def test_a_spiral_through_all_blocks_is_one_object(n: int) -> None:
    whole = spiral(n)
    for axes in ([None, None], [1, RANKS], [RANKS, 1]):
        check(whole, mb.Grid(whole.shape, topology=axes), None, (whole.astype("i4"), 1))
        check(~whole, mb.Grid(whole.shape, topology=axes), None, ndi.label(~whole))


def test_one_object_everywhere_and_none() -> None:
    for shape in ((1,), (2,), (50,), (9, 11), (1, 1, 40), (3, 4, 5), (2, 3, 4, 5)):
        for value in (0, 1):
            whole = np.full(shape, value, "u1")
            check(whole, mb.Grid(shape), None, (whole.astype("i4"), value))


def test_blocks_thinner_than_objects_and_empty_blocks() -> None:
    whole = np.zeros((6, 6, 8), np.bool_)
    whole[1:5, 1:5, 1:7] = True
    whole[:, 0, 0] = whole[5, 5, :] = True
    thin = min(RANKS - 1, 7)
    cut = [1] * thin + [8 - thin] + [0] * (RANKS - 1 - thin)
    for sizes in ([0] * (RANKS - 1) + [8], [8] + [0] * (RANKS - 1), cut, cut[::-1]):
        grid = mb.Grid(whole.shape, sizes=[None, None, sizes])
        for structure in (None, np.ones((3, 3, 3))):
            check(whole, grid, structure, ndi.label(whole, structure))


def test_structures_with_gaps() -> None:
    """Diagonals of which only one belongs to the structure, where cells are joined across corners of blocks."""
    structure = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    diagonal = np.fliplr(np.eye(8, dtype="u1"))
    check(diagonal, mb.Grid((8, 8)), structure, (diagonal.astype("i4"), 1))
    noise = np.random.default_rng(1).random((24, 24)) < 0.5
    assert mb.label(field(noise, mb.Grid((24, 24))), structure)[1] == 156
    assert mb.label(field(noise, mb.Grid((24, 24))), structure | [[0, 0, 0], [1, 1, 1], [0, 0, 0]])[1] == 45


def test_a_feature_across_the_date_line_counts_once() -> None:
    whole = np.zeros((10, 36), "u1")
    whole[3:6, :2] = whole[4, 34:] = whole[8, 17] = 1
    labels, n = mb.label(field(whole, mb.Grid(whole.shape, periodic=(False, True))))
    assert n == 2
    assert mb.max(labels) == 2
    assert mb.label(field(whole, mb.Grid(whole.shape)))[1] == 3


def test_many_objects_on_fields_as_large_as_tests_can_have() -> None:
    whole = np.random.default_rng(0).random((70, 60, 50)) < 0.31
    for structure in (None, np.ones((3, 3, 3))):
        check(whole, mb.Grid(whole.shape), structure, ndi.label(whole, structure))


def test_wide_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What labels of grids of 2**31 cells go through, on a small one."""
    monkeypatch.setattr(connected_components, "wide", lambda shape: True)
    whole = np.random.default_rng(4).random((30, 31)) < 0.5
    for structure in (None, np.ones((3, 3))):
        for u in (field(whole, mb.Grid(whole.shape)), field(whole.astype("i8"), mb.Grid(whole.shape), 1)):
            labels, n = mb.label(u, structure, label_values=u.dtype == "i8")
            expected, count = ndi.label(whole, structure)
            assert (n, labels.dtype) == (count, np.int64)
            np.testing.assert_array_equal(labels.owned, expected[u.box.slices()])


def refused(*args: Any, **kwargs: Any) -> str:
    """The message of the UsageError, which is the same on every rank."""
    with pytest.raises(mb.UsageError) as error:
        mb.label(*args, **kwargs)
    messages = MPI.COMM_WORLD.allgather(str(error.value))
    assert len(set(messages)) == 1
    return messages[0]


def test_what_is_refused() -> None:
    u = field(np.ones((4, 5)), mb.Grid((4, 5)))
    assert "not symmetric" in refused(u, [[0, 1, 0], [0, 1, 0], [0, 0, 0]])
    for structure in (np.ones((3, 3, 3)), np.ones((5, 5)), 3, "faces", [["a"] * 3] * 3, [[1, 2], [1]]):
        assert "structure" in refused(u, structure)
    assert "label_values" in refused(u, label_values=True)
    assert "complex" in refused(u.astype("c16"))
    assert "components" in refused(mb.Grid((4, 5)).zeros("u1", components=(3,)))
    assert "not a Field" in refused(np.ones((4, 5)))


@pytest.mark.mpi(min_size=2)
def test_ranks_that_ask_for_different_things() -> None:
    u = field(np.ones((4, 5)), mb.Grid((4, 5)))
    assert "ranks differ" in refused(u, np.ones((3, 3)) if MPI.COMM_WORLD.rank else None)
