"""Global and local thresholds against scikit-image on the whole picture, on any decomposition."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import filters as theirs

import mpibatch as mb
from mpibatch import filters
from mpibatch.filters.thresholds.histogram import triangle
from mpibatch.filters.thresholds.multi_otsu import multiotsu
from tests.support.segments import field, grids

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.filterwarnings("ignore::RuntimeWarning:skimage"),  # of bins without cells
    pytest.mark.filterwarnings("ignore:This might be a color image"),
    pytest.mark.filterwarnings("ignore:threshold_multiotsu is expected"),
]
Array = npt.NDArray[Any]
SEEDS = st.integers(0, 2**32 - 1)
DTYPES = ["u1", "i2", "u2", "i4", "f4", "f8"]
EXACT = ["u1", "i2", "u2"]


def picture(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    """Two or three heaps of values: integers near 0 … 255, floats near 0 … 1."""
    rng = np.random.default_rng(seed)
    heaps = rng.choice(rng.uniform(0.1, 0.9, rng.integers(2, 4)), shape) + rng.normal(0, rng.uniform(0.005, 0.1), shape)
    if dtype[0] == "f":
        return heaps.astype(dtype)
    return (np.clip(heaps, 0, 1) * 255).astype(dtype) - (100 if dtype[0] == "i" else 0)


def drawn(data: st.DataObject, dtypes: list[str]) -> tuple[Array, mb.Field]:
    grid = data.draw(grids((60, 24, 12, 6)))
    whole = picture(grid.shape, data.draw(st.sampled_from(dtypes)), data.draw(SEEDS))
    return whole, field(whole, grid, data.draw(st.integers(0, 1)))


def same_number(mine: Any, other: Any) -> None:
    """Equal, and of the same kind of type; NaN equals NaN."""
    assert np.asarray(mine).dtype.kind == np.asarray(other).dtype.kind
    np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("name", ["threshold_yen", "threshold_triangle"])
@given(data=st.data())
@settings(max_examples=40)
def test_thresholds_of_a_histogram(name: str, data: st.DataObject) -> None:
    whole, u = drawn(data, DTYPES)
    nbins = data.draw(st.sampled_from([256, 16, 3]))
    same_number(getattr(filters, name)(u, nbins), getattr(theirs, name)(whole, nbins))


@given(data=st.data())
@settings(max_examples=40)
def test_isodata(data: st.DataObject) -> None:
    whole, u = drawn(data, DTYPES)
    nbins = data.draw(st.sampled_from([256, 16, 3]))
    every = theirs.threshold_isodata(whole, nbins, return_all=True)
    same_number(filters.threshold_isodata(u, nbins, return_all=True), every)
    if every.size:
        same_number(filters.threshold_isodata(u, nbins), every[0])
    else:
        with pytest.raises(mb.UsageError, match="no bin is halfway"):
            filters.threshold_isodata(u, nbins)


@given(data=st.data())
@settings(max_examples=40)
def test_li(data: st.DataObject) -> None:
    """Integers to the bit; floats as near as the steps and the rounded means of scikit-image let them be."""
    whole, u = drawn(data, DTYPES)
    options = {}
    if whole.dtype.kind == "f":
        options["tolerance"] = 1e-3 * float(np.ptp(whole)) or 1.0
    mine = filters.threshold_li(u, **options)
    other = theirs.threshold_li(whole.copy(), **options)
    if whole.dtype.kind in "iu":
        same_number(float(mine), float(other))
    else:
        # A step may be just longer here, and not there: then one goes a step further.
        assert abs(float(mine) - float(other)) <= options["tolerance"] + 1e-6


def test_li_of_floats_ends_where_no_cell_changes_its_class() -> None:
    whole = picture((40, 30), "f8", 3)
    u = field(whole, mb.Grid(whole.shape))
    mine = float(filters.threshold_li(u))
    np.testing.assert_allclose(mine, theirs.threshold_li(whole.copy()), rtol=1e-12)
    guess = float(whole.mean()) * 0.9
    np.testing.assert_allclose(float(filters.threshold_li(u, initial_guess=guess)), mine, rtol=1e-6)
    whole[3, 3], whole[4, 4], whole[5, 5] = np.nan, np.inf, -np.inf
    holes = float(filters.threshold_li(field(whole, u.grid)))
    np.testing.assert_allclose(holes, theirs.threshold_li(whole.copy()), rtol=1e-12)


@given(data=st.data(), classes=st.integers(2, 4))
@settings(max_examples=30)
def test_multiotsu(data: st.DataObject, classes: int) -> None:
    whole, u = drawn(data, ["u1", "i2", "f4", "f8"])
    nbins = data.draw(st.sampled_from([256, 40])) if classes < 4 else 40
    if classes == 4 and whole.dtype.kind in "iu":
        whole = (whole // 8).astype(whole.dtype)
        u = field(whole, u.grid)
    try:
        expected = theirs.threshold_multiotsu(whole, classes, nbins)
    except ValueError:
        with pytest.raises(mb.UsageError, match="too few for"):
            filters.threshold_multiotsu(u, classes, nbins)
    else:
        same_number(filters.threshold_multiotsu(u, classes, nbins), expected)


@given(counts=st.lists(st.sampled_from([0, 0, 1, 1, 2, 5, 30]), min_size=3, max_size=14), classes=st.integers(2, 4))
@settings(max_examples=400)
def test_multiotsu_of_few_levels(counts: list[int], classes: int) -> None:
    """Where bins are empty, or have as many cells as others, several thresholds separate as well."""
    counts[0], counts[-1] = counts[0] or 1, counts[-1] or 1
    if np.count_nonzero(counts) >= classes:
        centers = np.arange(len(counts))
        # Of a picture it takes shares; a histogram is taken as it comes, which rounds otherwise.
        shares = np.array(counts) / sum(counts)
        expected = theirs.threshold_multiotsu(classes=classes, hist=(shares, centers))
        same_number(multiotsu(np.array(counts), centers, classes), expected)


@pytest.mark.parametrize("value", [7, 0])
def test_of_one_level(value: int) -> None:
    u = mb.Grid((5, 4)).full(value, "u1")
    for name in ("threshold_yen", "threshold_isodata", "threshold_triangle", "threshold_li"):
        assert getattr(filters, name)(u) == value


def near(mine: mb.Field, other: Array, is_exact: bool) -> None:
    expected = other[mine.grid.box.slices()]
    assert mine.dtype == expected.dtype
    if is_exact:
        np.testing.assert_array_equal(mine.owned, expected)
    else:
        np.testing.assert_allclose(mine.owned, expected, rtol=0, atol=3e-6 if mine.dtype == "f4" else 1e-12)


@given(data=st.data(), method=st.sampled_from(["gaussian", "mean", "median"]))
@settings(max_examples=40)
def test_around_each_cell(data: st.DataObject, method: str) -> None:
    whole, u = drawn(data, DTYPES)
    sizes = tuple(data.draw(st.sampled_from([1, 3, 5, 7])) for _ in whole.shape)
    mode = data.draw(st.sampled_from(["reflect", "nearest", "mirror", "wrap", "constant"]))
    options = {"method": method, "offset": data.draw(st.sampled_from([0, 0.5])), "mode": mode, "cval": 0.25}
    if method == "gaussian" and data.draw(st.booleans()):
        options["param"] = 1.3
    mine, other = filters.threshold_local(u, sizes, **options), theirs.threshold_local(whole, sizes, **options)
    near(mine, other, method != "mean")


@given(data=st.data())
@settings(max_examples=40)
def test_by_mean_and_deviation(data: st.DataObject) -> None:
    whole, u = drawn(data, [*EXACT, "f8"])
    sizes = tuple(data.draw(st.sampled_from([1, 3, 7, 15])) for _ in whole.shape)
    k = data.draw(st.sampled_from([0.2, -0.3, 1.0]))
    mine, other = filters.threshold_niblack(u, sizes, k), theirs.threshold_niblack(whole, sizes, k)
    is_exact = whole.dtype.kind != "f"
    # Of floats the square root of what is left of two nearly equal numbers: half of their digits.
    assert mine.dtype == other.dtype
    bound = 0 if is_exact else 1e-6
    np.testing.assert_allclose(mine.owned, other[u.box.slices()], rtol=0, atol=bound)
    for r in (None, 3.0):
        mine, other = filters.threshold_sauvola(u, sizes, k, r), theirs.threshold_sauvola(whole, sizes, k, r)
        np.testing.assert_allclose(mine.owned, other[u.box.slices()], rtol=0, atol=bound)


@pytest.mark.parametrize("name", ["threshold_local", "threshold_niblack", "threshold_sauvola"])
def test_the_same_bits_on_any_decomposition(name: str) -> None:
    from mpibatch.mpi import MPI

    whole = picture((31, 26), "f4", 5)
    alone = field(whole, mb.Grid(whole.shape, comm=MPI.COMM_SELF))
    u = field(whole, mb.Grid(whole.shape))
    expected = getattr(filters, name)(alone, 7).owned[u.box.slices()]
    assert getattr(filters, name)(u, 7).owned.tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("name", [n for n in filters.names() if n.startswith("threshold_") and n != "threshold_otsu"])
def test_example(name: str) -> None:
    function = getattr(filters, name)
    (test,) = doctest.DocTestFinder(recurse=False).find(
        function, name, importlib.import_module(function.__module__), {}, {}
    )
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


WRONG = (
    (lambda u: filters.threshold_yen(u, 0), "nbins = 0"),
    (lambda u: filters.threshold_isodata(u, 2.5), "not a whole number"),
    (lambda u: filters.threshold_triangle(u.astype("c16")), "cannot filter"),
    (lambda u: filters.threshold_li(u, tolerance=-1), "too small"),
    (lambda u: filters.threshold_li(u, initial_guess=99), "is not between"),
    (lambda u: filters.threshold_li(u.grid.full(np.nan)), "no finite value"),
    (lambda u: filters.threshold_multiotsu(u, 1), "classes = 1"),
    (lambda u: filters.threshold_multiotsu(u, 9), "too few for 9 classes"),
    (lambda u: filters.threshold_multiotsu(u * 2000, 3), "is the most"),
    (lambda u: filters.threshold_local(u, 4), "no middle"),
    (lambda u: filters.threshold_local(u, 3, "generic"), "not supported"),
    (lambda u: filters.threshold_local(u, (3, 3, 3)), "3 values for 2"),
    (lambda u: filters.threshold_niblack(u, 2), "no middle"),
    (lambda u: filters.threshold_niblack(u, 3, np.nan), "not finite"),
    (lambda u: filters.threshold_sauvola(u, 3, r=0), "no range"),
    (lambda u: filters.threshold_sauvola(np.ones((3, 3))), "not a Field"),
)


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_cannot_be_meant(call: Any, words: str) -> None:
    grid = mb.Grid((6, 5))
    u = grid.from_function(lambda y, x: x + 0 * y, "i4")
    with pytest.raises(mb.UsageError, match=words):
        call(u)


def test_triangles_of_billions_of_cells() -> None:
    """Squares of such counts are beyond 64 bits; the level hangs on the shape of the histogram alone."""
    counts, centers = np.array([3, 40, 30, 12, 5, 2, 1, 1]), np.arange(8.0)
    levels = {triangle(scale * counts, centers, lambda: 0.0) for scale in (10**6, 10**8)}
    assert levels == {triangle(10**5 * counts, centers, lambda: 0.0)}
