"""Tables of regions on real ranks: rational arithmetic on each region's cells, rounded once, and scikit-image."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
import skimage.measure
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.measure._engine import tallies
from mpibatch.mpi import MPI
from tests.support.components import cuts, field

pytestmark = pytest.mark.mpi
RANKS = MPI.COMM_WORLD.size
FLOATS, INTEGERS = ["f2", "f4", "f8"], ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
VALUES = ("intensity_min", "intensity_max", "intensity_mean", "intensity_std", "centroid_weighted")
PLACES = ("label", "num_pixels", "bbox", "centroid")
MOMENTS = ("inertia_tensor", "inertia_tensor_eigvals")


def rounded(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def quotient(above: Fraction | int, below: Fraction | int) -> float:
    return rounded(Fraction(above) / below) if below else math.nan


def exact_row(cells: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """What the columns are to be, of a region with these cells (a row of indices each) and values."""
    count, ndim = len(cells), cells.shape[1]
    indices = [[int(i) for i in row] for row in cells]
    row: dict[str, float] = {"num_pixels": count}
    for a in range(ndim):
        along = [index[a] for index in indices]
        row[f"bbox-{a}"], row[f"bbox-{ndim + a}"] = min(along), max(along) + 1
        row[f"centroid-{a}"] = quotient(sum(along), count)
    low, high, mean = min(map(float, values)), max(map(float, values)), math.nan
    row |= {"intensity_std": math.nan} | {f"centroid_weighted-{a}": math.nan for a in range(ndim)}
    if np.isfinite(values).all():
        numbers = [Fraction(value) for value in values.tolist()]
        total = sum(numbers)
        mean = quotient(total, count)
        variance = quotient(count * sum(v * v for v in numbers) - total * total, count * count)
        row["intensity_std"] = math.sqrt(variance)
        for a in range(ndim):
            moment = sum(v * index[a] for v, index in zip(numbers, indices, strict=True))
            row[f"centroid_weighted-{a}"] = quotient(moment, total)
    elif np.isnan(values).any():
        low = high = math.nan
    elif not (np.isposinf(values).any() and np.isneginf(values).any()):
        mean = math.inf if np.isposinf(values).any() else -math.inf
    return row | {"intensity_min": low, "intensity_max": high, "intensity_mean": mean}


def check(labels: np.ndarray, values: np.ndarray, grid: mb.Grid, halo: int = 0) -> None:
    table = mb.regionprops_table(field(labels, grid, halo), field(values, grid, halo), (*PLACES, *VALUES))
    whole = table.gather()
    present = np.unique(labels[labels > 0])
    np.testing.assert_array_equal(whole["label"], present)
    for name, column in whole.items():
        assert len(column) == len(present)
        np.testing.assert_array_equal(column[table.first : table.first + len(table[name])], table[name])
    for number, label in enumerate(present):
        inside = labels == label
        for name, expected in exact_row(np.argwhere(inside), values[inside]).items():
            np.testing.assert_equal(float(whole[name][number]), float(expected) + 0.0, f"{name} of {label}")


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    ndim = draw(st.integers(1, 4))
    shape = tuple(draw(st.lists(st.integers(1, (40, 9, 5, 3)[ndim - 1]), min_size=ndim, max_size=ndim)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    names = np.array(draw(st.sampled_from([[0, 1], [0, 1, 2, 5], [-3, 0, 7, 10**6], list(range(60))])))
    dtype = np.dtype(draw(st.sampled_from(FLOATS + INTEGERS)))
    labels = rng.choice(names, shape).astype(draw(st.sampled_from(["i4", "i8", "u4"])) if dtype == "f8" else "i4")
    labels[labels.astype("i8") > 2**31] = 0
    if dtype.kind == "f":
        spread = draw(st.sampled_from([0, 3, 14, 900]))
        with np.errstate(over="ignore"):
            values = np.ldexp(rng.standard_normal(shape), rng.integers(-spread, spread + 1, shape)).astype(dtype)
        special = draw(st.sampled_from([[0.0], [-0.0, 5e-324], [np.nan], [np.inf], [np.inf, -np.inf]]))
        values = np.where(rng.random(shape) < 0.1, rng.choice(special, shape), values).astype(dtype)
        if spread < 900 and dtype.itemsize > 2:
            return labels, values
        return labels, np.where(np.isinf(values), np.float64(1), values).astype(dtype)
    if dtype.kind == "b":
        return labels, rng.random(shape) < 0.5
    info: Any = np.iinfo(dtype.str)
    ends = np.array([info.min, info.max, 0, 1], dtype)
    noise = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    return labels, np.where(rng.random(shape) < 0.3, rng.choice(ends, shape), noise)


@given(data=st.data(), case=cases(), halo=st.integers(0, 2), small=st.booleans())
@settings(max_examples=120)
def test_columns_are_rounded_once(data: st.DataObject, case: tuple, halo: int, small: bool) -> None:
    """Also where blocks are counted in several parts, and where sums need several limbs."""
    labels, values = case
    grid = mb.Grid(labels.shape, **data.draw(cuts(labels.shape, RANKS)))
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(tallies, "TILE", {1: 7, 2: 4, 3: 2, 4: 2})
            patch.setattr(tallies, "LARGEST", 0)
            patch.setattr(tallies, "ROOM", 1)
        check(labels, values, grid, halo)


def test_extreme_floats() -> None:
    values = np.array([1e308, 1e308, -1e308, 5e-324, 1.0, -1.0, 2.0**-1022, 1e16, 1.0, -1e16, 0.0, -0.0])
    for labels in (np.ones(12, "i4"), np.arange(12, dtype="i4") // 3, np.arange(12, dtype="i4") % 5):
        check(labels, values, mb.Grid((12,)))
    check(np.ones(12, "i4"), np.full(12, np.finfo("f8").max), mb.Grid((12,)))


@pytest.mark.parametrize("shape", [(80, 90), (20, 22, 24)])
@pytest.mark.parametrize("several", [False, True])
def test_properties_are_scikit_images(shape: tuple[int, ...], several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if several:
        monkeypatch.setattr(tallies, "LARGEST", 0)
    rng = np.random.default_rng(1)
    labels, _ = ndi.label(ndi.gaussian_filter(rng.random(shape), 1) > 0.52)
    values = rng.random(shape)
    names: tuple[str, ...] = (*PLACES, *MOMENTS, *VALUES, "area", "area_bbox", "extent", "equivalent_diameter_area")
    names += ("axis_major_length", "axis_minor_length")
    names += ("orientation", "eccentricity") if len(shape) == 2 else ()
    grid = mb.Grid(shape)
    for spacing in (None, (0.5, 2.0, 3.0)[: len(shape)], 0.3):
        ours = mb.regionprops_table(field(labels, grid), field(values, grid), names, spacing).gather()
        scale = spacing if spacing is None or isinstance(spacing, tuple) else (spacing,) * len(shape)
        theirs = skimage.measure.regionprops_table(labels, values, names, spacing=scale)
        assert list(ours) == list(theirs)
        for name, column in theirs.items():
            assert ours[name].dtype == column.dtype
            if spacing is None and name.split("-")[0] in (*PLACES, "area", "area_bbox", "extent"):
                np.testing.assert_array_equal(ours[name], column, name)
            if name == "orientation":  # a half turn is none, and which one is given may hang on a rounding
                np.testing.assert_allclose(np.sin(ours[name] - column), 0, atol=1e-9)
                continue
            # Their square roots are of what cancelled: of 1e-16 is left 1e-8.
            near = 1e-6 if name in ("axis_minor_length", "eccentricity") else 1e-11
            np.testing.assert_allclose(ours[name], column, 1e-9, near, err_msg=name)


def test_shapes_whose_axes_are_known() -> None:
    labels = np.zeros((12, 13), "i4")
    labels[2:5, 1:9] = 1
    labels[np.arange(5, 11), np.arange(5, 11)] = 2
    labels[11, 0] = 3
    grid = mb.Grid(labels.shape)
    names = ("axis_major_length", "axis_minor_length", "eccentricity", "orientation")
    table = mb.regionprops_table(field(labels, grid), properties=names).gather()
    np.testing.assert_allclose(table["axis_major_length"], [4 * math.sqrt(63 / 12), 4 * math.sqrt(70 / 12), 0], 1e-15)
    np.testing.assert_allclose(table["axis_minor_length"], [4 * math.sqrt(8 / 12), 0, 0], 1e-15)
    np.testing.assert_allclose(table["eccentricity"], [math.sqrt(1 - 8 / 63), 1, 0], 1e-15)
    np.testing.assert_allclose(table["orientation"], [math.pi / 2, math.pi / 4, -math.pi / 4], 1e-15)


def test_labels_that_occur_have_rows_and_no_others() -> None:
    labels = np.zeros((6, 7), "i8")
    labels[2, 3] = 10**6
    labels[4, :2] = 2**62
    u = field(labels, mb.Grid(labels.shape))
    table = mb.regionprops_table(u)
    assert table.rows == 2
    assert table.gather()["label"].tolist() == [10**6, 2**62]
    assert mb.find_objects(u) == {10**6: (slice(2, 3), slice(3, 4)), 2**62: (slice(4, 5), slice(0, 2))}
    none = field(np.zeros((6, 7), "i4"), mb.Grid((6, 7)))
    assert mb.find_objects(none) == {}
    whole = mb.regionprops_table(none, none, ("label", "centroid", "inertia_tensor", "intensity_std")).gather()
    assert [len(column) for column in whole.values()] == [0] * 8


def test_find_objects_are_scipys() -> None:
    labels = np.random.default_rng(2).integers(0, 9, (5, 6, 7)).astype("u1")
    expected = {number: box for number, box in enumerate(ndi.find_objects(labels), 1) if box is not None}
    for topology in (None, (1, RANKS, 1)):
        assert mb.find_objects(field(labels, mb.Grid(labels.shape, topology=topology))) == expected


def test_many_labels() -> None:
    labels = np.arange(1, 5001, dtype="i4").reshape(50, 100)
    table = mb.regionprops_table(field(labels, mb.Grid(labels.shape)), properties=("label", "centroid"))
    assert len(table["label"]) <= -(-5000 // RANKS)
    whole = table.gather()
    np.testing.assert_array_equal(whole["label"], np.arange(1, 5001))
    np.testing.assert_array_equal(whole["centroid-1"], np.arange(5000) % 100)


def refused(call: Any, *args: Any, **kwargs: Any) -> str:
    """The message of the UsageError, which is the same on every rank."""
    with pytest.raises(mb.UsageError) as error:
        call(*args, **kwargs)
    messages = MPI.COMM_WORLD.allgather(str(error.value))
    assert len(set(messages)) == 1
    return messages[0]


def test_what_is_refused() -> None:
    grid = mb.Grid((4, 5))
    labels, floats = field(np.ones((4, 5), "i4"), grid), field(np.ones((4, 5)), grid)
    for call in (mb.find_objects, mb.regionprops_table):
        assert "integers" in refused(call, floats)
        assert "not a Field" in refused(call, np.ones((4, 5), "i4"))
    assert "did you mean" in refused(mb.regionprops_table, labels, properties=("centroids",))
    assert "intensity=" in refused(mb.regionprops_table, labels, properties=("intensity_mean",))
    assert "tuple of names" in refused(mb.regionprops_table, labels, properties="label")
    line = mb.Grid((9,)).zeros("i4")
    assert "2 axes" in refused(mb.regionprops_table, line, properties=("orientation",))
    assert "same cells" in refused(mb.regionprops_table, labels, mb.Grid((4, 6)).zeros())
    assert "complex" in refused(mb.regionprops_table, labels, floats.astype("c16"))
    for spacing in (0, -1.0, (1, 2, 3), "wide", math.nan):
        assert "spacing" in refused(mb.regionprops_table, labels, spacing=spacing)
    labels = field(np.full((4, 5), 2**63, "u8"), grid)
    assert "63 bits" in refused(mb.regionprops_table, labels)
