"""The compiled loops of rank filters and extrema, and the networks, on plain arrays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mpibatch.filters._engine import selection
from mpibatch.filters._engine.footprints import cast_as_c, fits, mirrored
from mpibatch.filters._loops import extrema, rank_histogram
from mpibatch.filters._loops.networks import selection_network

few = settings(derandomize=True, deadline=None, database=None, max_examples=40)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 11])
def test_networks_select_any_rank_of_zeros_and_ones_and_so_of_everything(count: int) -> None:
    values = np.array(list(itertools.product((0, 1), repeat=count))).T
    for rank in range(count):
        rows = values.copy()
        for low, high, keep in selection_network(count, rank):
            small, large = np.minimum(rows[low], rows[high]), np.maximum(rows[low], rows[high])
            # What a comparator does not keep is left undefined.
            rows[low] = small if keep & 1 else -9
            rows[high] = large if keep & 2 else -9
        np.testing.assert_array_equal(rows[rank], np.sort(values, axis=0)[rank])


@given(rows=st.integers(1, 40), lanes=st.sampled_from([1, 5, 70]), size=st.integers(2, 60), largest=st.booleans())
@few
def test_sliding_over_rows_and_over_cells_gives_scipys_bits(rows: int, lanes: int, size: int, largest: bool) -> None:
    rng = np.random.default_rng(rows * size)
    line = (rng.integers(-3, 4, (2, rows + size - 1, lanes)) * 0.5).astype("f4")
    line[line == 0] *= rng.choice([-1, 1], (line == 0).sum())
    name = "maximum_filter1d" if largest else "minimum_filter1d"
    before = size // 2
    expected = getattr(ndimage, name)(line, size, 1)[:, before : before + rows]
    cuts = min(3, size - 1), rows
    low, block, high = (np.ascontiguousarray(part) for part in np.split(line, np.cumsum(cuts), axis=1))
    found = np.empty_like(expected)
    extrema.slide_rows(low, block.ravel(), rows * lanes, lanes, high, found, 0, lanes, size, largest)
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()
    found[...] = 0
    before_block, after_block = low.reshape(2, -1), high.reshape(2, -1)
    flat = found.reshape(2, -1)
    extrema.slide_cells(before_block, block.ravel(), rows * lanes, after_block, flat, size, lanes, largest)
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 20), st.integers(1, 40)),
    size=st.sampled_from([(1, 1, 30, 7), (1, 3, 4, 8), (2, 1, 5, 3), (1, 1, 1, 300), (1, 1, 255, 257), (3, 4, 2, 25)]),
    share=st.floats(0, 0.999),
    values=st.sampled_from([2, 17, 256]),
    many=st.sampled_from([-1, 20, 1000]),
)
@settings(few, max_examples=15)
def test_counts_up_to_thresholds_select_every_rank(
    shape: tuple[int, ...], size: tuple[int, ...], share: float, values: int, many: int
) -> None:
    """Also where histograms take over, after the first tile or some."""
    rng = np.random.default_rng(values)
    cells = rng.integers(0, values, tuple(n + k - 1 for n, k in zip(shape, size, strict=True))).astype("u1")
    rank = int(share * np.prod(size))
    views = np.lib.stride_tricks.sliding_window_view(cells, size)
    expected = np.partition(views.reshape(*shape, -1), rank, axis=-1)[..., rank]
    out = np.empty(shape, "u1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "TILE_LENGTH", 16)
        patch.setattr(selection, "TILE_ROWS", (3, 8))
        patch.setattr(selection, "MANY", many)
        patch.setattr(selection, "LOOK_EVERY", 2)
        selection._by_counts(selection._Laid(cells, out, np.ones(size, bool)), rank)
    np.testing.assert_array_equal(out, expected)


@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 1200)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    share=st.floats(0, 0.999),
    values=st.sampled_from([2, 17, 256]),
)
@settings(few, max_examples=15)
def test_histograms_of_columns_select_every_rank(
    shape: tuple[int, int], size: tuple[int, int], share: float, values: int
) -> None:
    rng = np.random.default_rng(values)
    padded = rng.integers(0, values, tuple(n + k - 1 for n, k in zip(shape, size, strict=True))).astype("u1")
    rank = int(share * size[0] * size[1])
    views = np.lib.stride_tricks.sliding_window_view(padded, size)
    expected = np.partition(views.reshape(*shape, -1), rank, axis=-1)[..., rank]
    for counts in ("u2", "u4"):
        out = np.empty(shape, "u1")
        rank_histogram.column_histograms(padded.reshape(-1), 0, padded.shape[1], size, rank, np.empty(272, counts), out)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "i8"])
@pytest.mark.parametrize("value", [0.0, 1.0, 3.9, -1.0, -3.9, 200.5, 300.0, 70000.0, -70000.0])
def test_a_wall_value_becomes_what_scipy_makes_of_it(value: float, dtype: str) -> None:
    # A window that is not a box takes the value in the array's own type.
    far = ndimage.maximum_filter(
        np.zeros(3, dtype), footprint=[True, False, True], mode="constant", cval=value, origin=1
    )
    low = ndimage.minimum_filter(
        np.zeros(3, dtype), footprint=[True, False, True], mode="constant", cval=value, origin=1
    )
    found = cast_as_c(value, np.dtype(dtype))
    assert found.dtype == dtype
    assert bool(found) == bool(far.view("u1").any() or low.view("u1").any())
    if dtype != "?":
        assert found in (far[0], low[0])


def test_what_fits_into_a_dtype() -> None:
    assert fits(255.9, np.dtype("u1"))
    assert fits(-0.5, np.dtype("u1"))
    assert not fits(256.0, np.dtype("u1"))
    assert not fits(-1.0, np.dtype("?"))
    assert not fits(float("nan"), np.dtype("i8"))
    assert fits(float("inf"), np.dtype("f4"))


def test_a_mirrored_window_of_even_size_moves_by_one() -> None:
    assert mirrored("dilate", (1, 0), (5, 4)) == (-1, -1)
