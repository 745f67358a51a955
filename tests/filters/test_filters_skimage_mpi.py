"""Filters with scikit-image's names against scikit-image on the whole picture: to the bit, on any decomposition."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color, data, feature
from skimage import filters as theirs
from skimage.util import img_as_float

import mpibatch as mb
from mpibatch import filters
from mpibatch.base import tally
from mpibatch.filters import canny_edges
from mpibatch.filters._engine.order import order_statistic, quantile
from mpibatch.job.execution.steps import binarize
from mpibatch.mpi import MPI
from tests.support.oracles import by_component

pytestmark = pytest.mark.mpi

RANKS = MPI.COMM_WORLD.size
NARROW = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"]  # canny takes no wider ones
LUMINANCE = (0.2125, 0.7154, 0.0721)


def topologies(ndim: int) -> list[tuple[int, ...]]:
    counts = itertools.product(range(1, RANKS + 1), repeat=ndim)
    return [topology for topology in counts if math.prod(topology) == RANKS]


def field(whole: np.ndarray, ndim: int = 2, topology: tuple[int, ...] | None = None, halo: int = 0) -> mb.Field:
    grid = mb.Grid(whole.shape[:ndim], topology=topology)
    u = grid.empty(whole.dtype, halo, whole.shape[ndim:])
    u.owned[...] = whole[grid.box.slices()]
    return u


def same_bits(found: mb.Field, whole: np.ndarray) -> None:
    wanted = whole[found.grid.box.slices()]
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found.owned, wanted)
    assert found.owned.tobytes() == wanted.tobytes()


def blobs(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Smooth structure and noise over the dtype's range; floats from 0 to 1."""
    rng = np.random.default_rng(seed)
    places = np.meshgrid(*(np.linspace(0, rng.uniform(2, 9), n) for n in shape), indexing="ij")
    values = 0.45 + 0.4 * np.prod([np.sin(p) for p in places], axis=0) + 0.1 * rng.random(shape)
    if dtype[0] == "f":
        return values.astype(dtype)
    if dtype == "?":
        return values > 0.5
    info = np.iinfo(dtype)
    return (info.min + values * (float(info.max) - info.min)).astype(dtype)


@st.composite
def pictures(
    draw: st.DrawFn, dtypes: list[str] = NARROW, least: int = 1, most: int = 40
) -> tuple[np.ndarray, mb.Field]:
    shape = (draw(st.integers(least, most)), draw(st.integers(least, most)))
    whole = blobs(shape, draw(st.sampled_from(dtypes)), draw(st.integers(0, 99)))
    return whole, field(whole, 2, draw(st.sampled_from(topologies(2))), draw(st.sampled_from([0, 0, 1])))


@pytest.fixture(scope="module")
def hubble() -> np.ndarray:
    return np.asarray(data.hubble_deep_field())


@pytest.fixture(scope="module")
def gray(hubble: np.ndarray) -> np.ndarray:
    return filters_gray(hubble)


def filters_gray(whole: np.ndarray) -> np.ndarray:
    return mb.gather_all(filters.rgb2gray(field(whole)))


def test_gray_of_a_real_picture(hubble: np.ndarray) -> None:
    """scikit-image leaves rounding to the BLAS: equal to the bit with OpenBLAS on x86 with AVX2, else within 1 ulp."""
    found, wanted = filters_gray(hubble), color.rgb2gray(hubble)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_max_ulp(found, wanted, 2)


@given(picture=pictures(NARROW), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_gray_does_not_depend_on_the_decomposition(picture: tuple[np.ndarray, mb.Field], seed: int) -> None:
    one, u = picture
    whole = np.stack([one, np.roll(one, seed, 0), np.roll(one, 1, 1)], axis=-1)
    rgb = field(whole, 2, u.grid.topology)
    found = filters.rgb2gray(rgb)
    x = img_as_float(whole)
    wanted = x[..., 0] * LUMINANCE[0] + x[..., 1] * LUMINANCE[1] + x[..., 2] * LUMINANCE[2]
    close = 3e-7 if whole.dtype == np.float32 else 5e-16
    np.testing.assert_allclose(found.owned, wanted[u.box.slices()], rtol=0, atol=close)
    alone = mb.Grid(one.shape, comm=MPI.COMM_SELF).empty(whole.dtype, 0, (3,))
    alone.owned[...] = whole
    same_bits(found, filters.rgb2gray(alone).owned)
    mean = filters.channel_mean(rgb)
    np.testing.assert_allclose(mean.owned, whole.astype("f8").mean(axis=-1)[u.box.slices()], rtol=1e-6)


def test_mean_of_the_channels(hubble: np.ndarray) -> None:
    same_bits(filters.channel_mean(field(hubble)), hubble.mean(axis=-1))


@pytest.mark.parametrize("ndim", [1, 2, 3])
@given(dtype=st.sampled_from([*NARROW, "u8", "i8"]), seed=st.integers(0, 99), draws=st.data())
@settings(max_examples=25)
def test_sobel_magnitude(ndim: int, dtype: str, seed: int, draws: st.DataObject) -> None:
    topology = draws.draw(st.sampled_from(topologies(ndim)))
    # Blocks of 16 cells and more are read where they lie.
    least = draws.draw(st.sampled_from([0, 16]))
    shape = tuple(least * parts + draws.draw(st.integers(1, 12)) for parts in topology)
    whole = blobs(shape, dtype, seed)
    u = field(whole, ndim, topology, draws.draw(st.sampled_from([0, 0, 1, 2])))
    mode = draws.draw(st.sampled_from(["reflect", "mirror", "nearest", "wrap", "constant"]))
    axis = draws.draw(st.one_of(st.none(), st.integers(0, ndim - 1)))
    wanted = theirs.sobel(whole, axis=axis, mode=mode, cval=0.3)
    same_bits(filters.sobel_magnitude(u, axis, mode, 0.3), wanted)


def test_windows_on_wide_blocks_take_one_exchange_and_no_copy() -> None:
    """What is allocated on the way is the result, and thin strips; a padded copy would be as much again."""
    whole = blobs((640, 576), "f4", 1)
    for call in (filters.sobel_magnitude, lambda v: filters.correlate(v, np.ones((3, 3)))):
        call(field(whole))  # compiled
        u = field(whole)  # on a grid of its own, which keeps no memory of fields before
        tally.reset()
        tracemalloc.start()
        call(u)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(tally.exchanges()[-1].exchanges.values()) == 1
        assert u.owned.nbytes < most < 1.5 * u.owned.nbytes


@given(
    picture=pictures([*NARROW, "u8", "i8"]),
    radius=st.sampled_from([0.7, 1.0, 3.0]),
    amount=st.sampled_from([0.5, 1.0, 4.0]),
    preserve_range=st.booleans(),
)
@settings(max_examples=40)
def test_unsharp_mask(picture: tuple[np.ndarray, mb.Field], radius: float, amount: float, preserve_range: bool) -> None:
    whole, u = picture
    if whole.dtype.kind == "f":
        whole, u = whole - whole.dtype.type(0.3), u - u.dtype.type(0.3)
    same_bits(
        filters.unsharp_mask(u, radius, amount, preserve_range),
        theirs.unsharp_mask(whole, radius, amount, preserve_range),
    )


def test_unsharp_mask_of_colors(hubble: np.ndarray) -> None:
    part = hubble[100:180, 200:260]
    same_bits(filters.unsharp_mask(field(part), 2.0, 1.5), theirs.unsharp_mask(part, 2.0, 1.5, channel_axis=2))


@given(picture=pictures(["u1", "i1", "u2", "i2", "f4", "f8", "?"]), bins=st.sampled_from([2, 64, 256]))
@settings(max_examples=40)
@pytest.mark.filterwarnings("ignore:Converting input from bool")
def test_otsu(picture: tuple[np.ndarray, mb.Field], bins: int) -> None:
    whole, u = picture
    found, wanted = filters.threshold_otsu(u, bins), theirs.threshold_otsu(whole, bins)
    assert np.asarray(found).dtype == np.asarray(wanted).dtype
    assert found == wanted
    assert MPI.COMM_WORLD.allgather(found) == [found] * RANKS


@pytest.mark.parametrize("value", [7, 0])
def test_otsu_of_one_level_is_that_level(value: int) -> None:
    assert filters.threshold_otsu(field(np.full((5, 4), value, "u1"))) == value


def test_otsu_of_large_integers_is_that_of_small_ones_moved() -> None:
    """scikit-image has no answer there, or a wrong one."""
    rng = np.random.default_rng(3)
    small = np.concatenate([rng.normal(20, 5, 500), rng.normal(90, 9, 300)]).astype("u8").reshape(40, 20)
    level = int(theirs.threshold_otsu(small))
    for first in (0, 2**31, 2**32, 2**53, 2**62, 2**63 - 50, 2**63, 2**63 + 11, 2**64 - 200):
        u = field(small + np.uint64(first))
        assert int(filters.threshold_otsu(u)) == first + level
        assert mb.count_nonzero(binarize(u)) == np.count_nonzero(small > level)
    for first in (-(2**62), -(2**63)):
        assert int(filters.threshold_otsu(field(small.astype("i8") + first))) == first + level


def test_otsu_refuses_to_count_too_many_levels() -> None:
    with pytest.raises(mb.UsageError, match="at most 16777216"):
        filters.threshold_otsu(field(np.array([[0, 2**40]])))


@given(
    picture=pictures(),
    sigma=st.sampled_from([0.0, 0.8, 1.0, 2.0]),
    thresholds=st.sampled_from([(None, None), (0.02, 0.06), (0.0, 0.01), (0.05, 0.05), (0.1, None)]),
    quantiles=st.booleans(),
    mode=st.sampled_from(["constant", "reflect", "wrap", "nearest"]),
)
@settings(max_examples=70)
def test_canny(
    picture: tuple[np.ndarray, mb.Field],
    sigma: float,
    thresholds: tuple[float | None, float | None],
    quantiles: bool,
    mode: str,
) -> None:
    whole, u = picture
    scale = np.iinfo(whole.dtype).max if whole.dtype.kind in "iu" and not quantiles else 1
    low, high = (None if value is None else value * scale for value in thresholds)
    options: dict[str, Any] = {"use_quantiles": quantiles, "mode": mode, "cval": 0.2}
    wanted = feature.canny(whole, sigma, low, high, **options)
    same_bits(filters.canny(u, sigma, low, high, **options), wanted)


@pytest.mark.parametrize("topology", topologies(2), ids=str)
def test_canny_follows_edges_across_all_ranks(topology: tuple[int, ...]) -> None:
    """A spiral whose edge is strong at its inner end only: hysteresis must run through every block, several times."""
    y, x = np.mgrid[-60:60, -60:60] + 0.5
    r, angle = np.hypot(y, x), np.arctan2(y, x)
    whole = np.maximum(0.1, 1 - r / 15) * (np.sin(r / 2.5 - angle) > 0)
    wanted = feature.canny(whole, 1.0, 0.02, 1.0)
    assert wanted[r > 50].any()
    assert not feature.canny(whole, 1.0, 1.0, 1.0)[r > 15].any()
    same_bits(filters.canny(field(whole, 2, topology), 1.0, 0.02, 1.0), wanted)


def test_canny_with_a_share_that_is_larger_than_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ones are filtered over the whole grid then; a failure of one rank alone is every rank's otherwise."""
    whole = blobs((40, 24), "f8", 3)
    grids: list[mb.Grid] = []
    real = canny_edges.gaussian_filter

    def noted(v: mb.Field, *args: Any, **options: Any) -> mb.Field:
        grids.append(v.grid)
        return real(v, *args, **options)

    monkeypatch.setattr(canny_edges, "gaussian_filter", noted)
    u = field(whole)
    for sigma in (4.0, 0.3):
        same_bits(filters.canny(u, sigma, 0.01, 0.02), feature.canny(whole, sigma, 0.01, 0.02))
    assert [grid is u.grid for grid in grids] == [True, RANKS > 1, True, False]

    def short(v: mb.Field, *args: Any, **options: Any) -> mb.Field:
        if v.grid is not u.grid and u.grid.rank == RANKS - 1:
            raise mb.RunError("no memory")
        return real(v, *args, **options)

    monkeypatch.setattr(canny_edges, "gaussian_filter", short)
    with pytest.raises(mb.RunError, match="no memory"):
        filters.canny(u, 0.3)


def test_canny_of_a_real_picture(gray: np.ndarray) -> None:
    same_bits(filters.canny(field(gray), 1.5, 0.02, 0.06), feature.canny(gray, 1.5, 0.02, 0.06))


@given(picture=pictures(["f4", "f8"]), fraction=st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.77, 0.999, 1.0]))
@settings(max_examples=20)
def test_quantiles_are_numpys(picture: tuple[np.ndarray, mb.Field], fraction: float) -> None:
    whole, u = picture
    whole, u = np.abs(whole), np.abs(u)
    assert quantile(u, fraction) == np.percentile(whole, [100 * fraction])[0]
    rank = int(fraction * (whole.size - 1))
    assert order_statistic(u, rank) == np.sort(whole, axis=None)[rank]


def test_components_are_filtered_one_by_one(hubble: np.ndarray) -> None:
    part = hubble[:61, :47]
    wanted = by_component(theirs.sobel, img_as_float(part), 2)
    same_bits(filters.sobel_magnitude(field(part)), wanted)


def test_what_cannot_be_meant_is_refused_by_all_ranks() -> None:
    u = field(np.ones((6, 5)))
    for call, message in (
        (lambda: filters.rgb2gray(u), "components none"),
        (lambda: filters.channel_mean(u), "no components"),
        (lambda: filters.canny(field(np.ones((3, 3, 3)), 3)), "3 grid axes"),
        (lambda: filters.canny(u.astype("i8")), "64-bit"),
        (lambda: filters.canny(u, low_threshold=0.5), "high_threshold is 0.2"),
        (lambda: filters.canny(u, low_threshold=2, use_quantiles=True), "no quantile"),
        (lambda: filters.canny(u, mask=np.ones((6, 5))), "a mask was given"),
        (lambda: filters.unsharp_mask(u, -1), "radius = -1"),
        (lambda: filters.threshold_otsu(u, 0), "nbins = 0"),
    ):
        with pytest.raises(mb.UsageError, match=message):
            call()
