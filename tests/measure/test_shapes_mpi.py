"""Shapes, moments and medians of regions: scikit-image's on the whole array, and the same bits on any ranks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
import skimage.measure
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.measure._engine import rows
from mpibatch.measure._properties import moments, patterns
from mpibatch.mpi import MPI
from tests.support.components import cuts, field

pytestmark = pytest.mark.mpi
RANKS = MPI.COMM_WORLD.size

MOMENTS = ("moments", "moments_central", "moments_normalized")
WEIGHTED = ("moments_weighted", "moments_weighted_central", "moments_weighted_normalized")
EXACT = ("label", "euler_number", "area_convex", "solidity", "centroid_local")
PLANE = ("perimeter", "perimeter_crofton", "feret_diameter_max", "moments_hu", "moments_weighted_hu")
VALUES = ("centroid_weighted_local", "intensity_median")


def regions(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Components of noise, smooth or not, or labels that are scattered all over."""
    rng = np.random.default_rng(seed)
    noise = rng.random(shape)
    if seed % 3 == 0:
        return rng.choice([-2, 0, 1, 2, 70], shape).astype("i8")
    smooth = ndi.gaussian_filter(noise, 1.2) if seed % 3 == 1 else noise
    return ndi.label(smooth > np.quantile(smooth, 0.4), np.ones((3,) * len(shape)))[0]


def compare(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], is_even: bool = True) -> None:
    assert list(ours) == list(theirs)
    greatest: dict[str, float] = {}  # of what has one name, but for its numbers
    for name, column in theirs.items():
        kind = name.split("-")[0]
        greatest[kind] = max(greatest.get(kind, 0), np.abs(column[np.isfinite(column)]).max(initial=0))
    for name, column in theirs.items():
        kind = name.split("-")[0]
        assert ours[name].dtype == column.dtype, name
        if is_even and kind in (*EXACT, "feret_diameter_max", "intensity_median"):
            np.testing.assert_array_equal(ours[name], column, name)
            continue
        # Their sums about the centroid round where ours do not: so many times the size of what is summed up.
        family = [size for other, size in greatest.items() if other.startswith(kind)]
        near = 1e-11 * max(family) if "moments" in kind else 0
        np.testing.assert_allclose(ours[name], column, 1e-12 if not near else 1e-9, near, err_msg=name)


def table(labels: np.ndarray, values: np.ndarray, names: tuple[str, ...], spacing: Any, **cut: Any) -> dict[str, Any]:
    """The table on all ranks, which has the bits of that on one rank."""
    whole, alone = (
        mb.regionprops_table(field(labels, grid), field(values, grid), names, spacing).gather()
        for grid in (mb.Grid(labels.shape, **cut), mb.Grid(labels.shape, comm=MPI.COMM_SELF))
    )
    for name, column in alone.items():
        assert whole[name].tobytes() == column.tobytes(), name
    return whole


@given(
    data=st.data(),
    shape=st.sampled_from([(17, 23), (1, 9), (26, 5), (7, 6, 9), (4, 1, 5)]),
    seed=st.integers(0, 999),
    small=st.booleans(),
)
@settings(max_examples=10)
def test_columns_are_scikit_images(data: st.DataObject, shape: tuple[int, ...], seed: int, small: bool) -> None:
    """Also where blocks are counted in several parts."""
    labels, values = regions(shape, seed), np.random.default_rng(seed).random(shape) + 0.1
    names: tuple[str, ...] = ("label", "euler_number", "centroid_local", *MOMENTS, *WEIGHTED, *VALUES)
    if len(shape) == 2:
        names += ("area_convex", "solidity", *PLANE)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(moments, "TILE", {2: 4, 3: 2})
            patch.setattr(patterns, "ROOM", 1)
        ours = table(labels, values, names, None, **data.draw(cuts(shape, RANKS)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(ours, skimage.measure.regionprops_table(np.maximum(labels, 0), values, names))


@pytest.mark.parametrize("shape", [(21, 18), (8, 9, 10)])
def test_spacing_scales(shape: tuple[int, ...]) -> None:
    labels, values = regions(shape, 1), np.random.default_rng(5).random(shape)
    names = ("label", "centroid_local", *MOMENTS, *WEIGHTED, "centroid_weighted_local")
    for spacing in ((0.5, 2.0, 3.0)[: len(shape)], 0.3):
        even = not isinstance(spacing, tuple)
        more: tuple[str, ...] = ("area_convex", "solidity", "feret_diameter_max") if len(shape) == 2 else ()
        more += ("perimeter", "perimeter_crofton") if len(shape) == 2 and even else ()
        scale = spacing if isinstance(spacing, tuple) else (spacing,) * len(shape)
        theirs = skimage.measure.regionprops_table(labels, values, (*names, *more), spacing=scale)
        compare(table(labels, values, (*names, *more), spacing), theirs, is_even=False)


def columns_of(labels: np.ndarray, values: np.ndarray, names: tuple[str, ...], spacing: Any) -> dict[str, np.ndarray]:
    """What scikit-image's tables would hold, had they more than two or three axes: from its moments of an array."""
    known: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for label, box in enumerate(ndi.find_objects(np.maximum(labels, 0)), 1):
        if box is None:
            continue
        mask = labels[box] == label
        known["label"].append(np.array(label))
        known["area"].append(mask.sum() * np.prod(spacing))
        known["intensity_median"].append(np.median(values[box][mask]))
        images = ("", mask.astype("f8")), ("_weighted", mask * values[box])
        for end, image in images:
            prefix = f"moments{end}"
            raw = skimage.measure.moments(image, 3, spacing=spacing)
            firsts = [raw[tuple(unit)] / raw.flat[0] for unit in np.eye(labels.ndim, dtype=int)]
            central = skimage.measure.moments_central(image, firsts, 3, spacing=spacing)
            known[prefix].append(raw)
            known[f"{prefix}_central"].append(central)
            known[f"{prefix}_normalized"].append(skimage.measure.moments_normalized(central, 3, spacing))
            known[f"centroid{end}_local"].append(np.array(firsts))
    columns = {}
    for name in names:
        whole = np.array(known[name])
        for index in np.ndindex(whole.shape[1:]):
            columns["-".join([name, *map(str, index)])] = whole[(slice(None), *index)]
    return columns


@pytest.mark.parametrize("shape", [(41,), (5, 4, 3, 6)])
def test_lines_and_four_axes(shape: tuple[int, ...]) -> None:
    """Hu's moments, perimeters, hulls and the Euler number are of two or three axes; the others of any."""
    labels, values = regions(shape, 4), np.random.default_rng(4).random(shape) + 0.1
    labels[labels > 5] = 2  # scattered, too
    names = ("label", "area", "centroid_local", *MOMENTS, *WEIGHTED, *VALUES)
    for spacing in (None, (0.5, 2.0, 3.0, 1.5)[: len(shape)]):
        theirs = columns_of(labels, values, names, spacing or (1.0,) * len(shape))
        compare(table(labels, values, names, spacing), theirs, is_even=False)
    for name in ("perimeter", "euler_number", "solidity", "moments_hu", "axis_major_length"):
        with pytest.raises(mb.UsageError, match="axes, and the grid has"):
            mb.regionprops_table(mb.Grid(shape).zeros("i4"), None, (name,))


@given(data=st.data(), dtype=st.sampled_from(["?", "i1", "u2", "i8", "u8", "f4", "f8"]), seed=st.integers(0, 999))
@settings(max_examples=10)
def test_medians_are_numpys(data: st.DataObject, dtype: str, seed: int) -> None:
    shape = data.draw(st.sampled_from([(40,), (9, 11), (3, 4, 5)]))
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        values = np.ldexp(rng.standard_normal(shape), rng.integers(-9, 9, shape)).astype(kind)
        values = np.where(rng.random(shape) < 0.05, rng.choice([np.nan, np.inf, -np.inf, -0.0], shape), values)
    elif kind.kind == "b":
        values = rng.random(shape) < 0.5
    else:
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
        values = np.where(rng.random(shape) < 0.3, rng.choice(np.array([info.min, info.max], dtype), shape), values)
    values = values.astype(kind)
    labels = rng.choice(np.array([0, 3, 4, 900], "i4"), shape)  # as others have it: i8 is compiled for its own
    ours = table(labels, values, ("label", "intensity_median"), None, **data.draw(cuts(shape, RANKS)))
    for label, median in zip(ours["label"], ours["intensity_median"], strict=True):
        inside = np.sort(values[labels == label].astype("f8"))
        with np.errstate(invalid="ignore"):
            expected = (inside[(len(inside) - 1) // 2] + inside[len(inside) // 2]) / 2
        np.testing.assert_equal(median, np.nan if np.isnan(inside).any() else expected + 0.0)


def test_regions_do_not_go_on_around_a_periodic_axis() -> None:
    labels = np.ones((9, 12), "i4")
    labels[3:5, 4:7] = 0
    names = ("euler_number", "perimeter", "perimeter_crofton", "area_convex", "moments")
    compare(table(labels, labels, names, None, periodic=True), skimage.measure.regionprops_table(labels, None, names))


def test_labels_with_the_halo_that_windows_need_stay_as_they_are() -> None:
    """Their halo is that of a periodic grid, and where they are frozen nothing may be written to it."""
    whole = np.arange(99).reshape(9, 11) % 4
    names = ("euler_number", "perimeter")
    theirs = skimage.measure.regionprops_table(whole, None, names)
    for periodic in (True, (False, True), False):
        labels = mb.Grid(whole.shape, periodic=periodic).zeros("i8", halo=2)
        labels.owned[...] = whole[labels.box.slices()]
        mb.exchange(labels)
        before = labels.padded.copy()
        for field_of_labels in (labels, labels.frozen()):
            compare(mb.regionprops_table(field_of_labels, None, names).gather(), theirs)
        if periodic is True:  # walls are written to, as any exchange does
            np.testing.assert_array_equal(labels.padded, before)


def test_rows_of_tiles_are_merged_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """One label in a thousand tiles takes the room of a few rows, not of a thousand."""
    sizes = []

    def sum_rows(rows: np.ndarray) -> np.ndarray:
        sizes.append(len(rows))
        return merge(rows)

    merge = moments.sum_rows
    monkeypatch.setattr(moments, "TILE", {2: 2})
    monkeypatch.setattr(moments, "sum_rows", sum_rows)
    monkeypatch.setattr(rows, "ROOM", 1)
    labels = np.ones((64, 64), "i4")
    ours = mb.regionprops_table(field(labels, mb.Grid(labels.shape)), None, ("moments",)).gather()
    assert max(sizes) <= 4
    assert ours["moments-0-0"].tolist() == [4096]


def test_shapes_that_are_known() -> None:
    labels = np.zeros((30, 40), "i4")
    labels[2:12, 3:23] = 5  # a rectangle with two holes
    labels[4:6, 5:9] = labels[8:10, 12] = 0
    labels[20, 30] = 9
    names = ("area_convex", "solidity", "euler_number", "feret_diameter_max", "perimeter")
    ours = table(labels, labels, names, None)
    assert ours["area_convex"].tolist() == [200, 1]
    assert ours["euler_number"].tolist() == [-1, 1]
    np.testing.assert_array_equal(ours["solidity"], [190 / 200, 1])
    np.testing.assert_array_equal(ours["feret_diameter_max"], [np.hypot(20, 9), 1])


def test_weights_without_a_finite_sum_have_no_moments() -> None:
    labels = np.repeat([1, 2, 3, 4], 5).astype("i4")
    values = np.arange(20.0)
    values[6], values[11], values[15:] = np.nan, np.inf, 0
    ours = table(labels, values, ("moments_weighted", "moments_weighted_central", "centroid_weighted_local"), None)
    for name, column in ours.items():
        assert np.isfinite(column[0]), name
        assert np.isnan(column[1:3]).all(), name
    assert ours["moments_weighted-1"].tolist()[::3] == [30.0, 0.0]


def test_what_is_refused() -> None:
    plane, space = mb.Grid((4, 5)).zeros("i4"), mb.Grid((3, 4, 5)).zeros("i4")
    for labels, options, message in (
        (plane, {"properties": ("perimetr",)}, "did you mean 'perimeter'"),
        (plane, {"properties": ("coords",)}, "no number for each region"),
        (plane, {"properties": ("area_filled",)}, "binary_fill_holes"),
        (space, {"properties": ("perimeter",)}, "2 axes"),
        (space, {"properties": ("area_convex",)}, "2 axes"),
        (plane, {"properties": ("perimeter",), "spacing": (1, 2)}, "square cells"),
        (plane, {"properties": ("moments_hu",), "spacing": 2}, "leave spacing out"),
        (plane, {"properties": ("intensity_median",)}, "intensity="),
    ):
        with pytest.raises(mb.UsageError, match=message) as caught:
            mb.regionprops_table(labels, **options)
        assert len(set(MPI.COMM_WORLD.allgather(str(caught.value)))) == 1
