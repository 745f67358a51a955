"""The compiled loops on plain arrays, without MPI: scipy's bits on every axis, in place, from views, in all dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mpibatch.filters._loops.line_correlation import DIFFERENCE, PLAIN, SUM, correlate_lines
from mpibatch.filters._loops.moving_means import uniform_lines
from mpibatch.filters._loops.strips import Strip
from tests.support.oracles import PAD_MODES

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def strip(array: np.ndarray, axis: int) -> Strip:
    plane = array[:1].size if axis else array.size
    row = int(np.prod(array.shape[axis + 1 :]))
    cells = array.view(np.uint8) if array.dtype == bool else array
    return Strip(cells.reshape(-1), 0, plane, row, 1, array.shape[axis])


def swept(
    array: np.ndarray, axis: int, reach: tuple[int, int], mode: str, loop: Callable, out: np.ndarray | None = None
) -> np.ndarray:
    """Run a loop over a two-dimensional array, with what lies around it made by NumPy."""
    source = array.view(np.uint8) if array.dtype == bool else array
    widths = [reach if a == axis else (0, 0) for a in range(2)]
    padded = np.pad(source.astype("f8"), widths, PAD_MODES[mode])
    n = array.shape[axis]
    lo, _, hi = (np.ascontiguousarray(part) for part in np.split(padded, [reach[0], reach[0] + n], axis))
    out = np.empty_like(array) if out is None else out
    outers, lanes = (array.shape[0], 1) if axis else (1, array.shape[1])
    loop((strip(lo, axis), strip(array, axis), strip(hi, axis)), strip(out, axis), outers, lanes)
    return out


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype[0] == "f":
        return (200 * rng.random(shape) - 100).astype(dtype)
    if dtype == "?":
        return rng.random(shape) < 0.5
    return rng.integers(0 if dtype[0] == "u" else -90, 120, shape).astype(dtype)


# The longest rows are taken in several strips.
SHAPES = st.tuples(st.integers(1, 150), st.one_of(st.integers(1, 150), st.just(1600)))


@st.composite
def kernels(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    half = draw(st.integers(0, 13))
    side = rng.random(half) - 0.3
    kind = draw(st.sampled_from([SUM, DIFFERENCE, PLAIN]))
    if kind == PLAIN:
        weights = rng.random(draw(st.integers(2, 24)) + half) - 0.2
        return weights, kind
    return np.concatenate([kind * side[::-1], rng.random(1), side]), kind


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40)
@given(
    kernel=kernels(),
    shape=SHAPES,
    axis=st.integers(0, 1),
    mode=st.sampled_from(["reflect", "mirror", "nearest", "wrap"]),
    in_place=st.booleans(),
)
def test_correlation_is_scipys(
    kernel: tuple[np.ndarray, int], shape: tuple[int, int], axis: int, mode: str, in_place: bool, dtype: str
) -> None:
    weights, kind = kernel
    array = numbers(shape, dtype, 3)
    wanted = ndimage.correlate1d(array, weights, axis, mode=mode)
    reach = (weights.size // 2, weights.size - 1 - weights.size // 2)

    def loop(line: Any, strips: Any, outers: int, lanes: int) -> None:
        correlate_lines(line, strips, outers, lanes, weights, kind)

    found = swept(array, axis, reach, mode, loop, array if in_place else None)
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", ["u1", "i4", "i8"])
@settings(max_examples=40)
@given(
    size=st.one_of(st.integers(1, 9), st.integers(10, 300)),
    phase=st.integers(0, 300),
    shape=SHAPES,
    axis=st.integers(0, 1),
    in_place=st.booleans(),
)
def test_means_of_integers_are_scipys(
    size: int, phase: int, shape: tuple[int, int], axis: int, in_place: bool, dtype: str
) -> None:
    array = numbers(shape, dtype, 4)
    wanted = ndimage.uniform_filter1d(array, size, axis)

    def loop(line: Any, strips: Any, outers: int, lanes: int) -> None:
        uniform_lines(line, strips, outers, lanes, size, phase % size)

    found = swept(array, axis, (size // 2, size - 1 - size // 2), "reflect", loop, array if in_place else None)
    assert found.tobytes() == wanted.tobytes()


@given(value=st.floats(-(2.0**31) + 1, 2.0**31 - 1), dtype=st.sampled_from(["u1", "i1", "u2", "i2", "i4", "i8"]))
def test_casts_beyond_the_range_wrap_as_in_scipy(value: float, dtype: str) -> None:
    array = np.ones((1, 9), dtype)
    weights = np.array([value])

    def loop(line: Any, strips: Any, outers: int, lanes: int) -> None:
        correlate_lines(line, strips, outers, lanes, weights, SUM)

    found = swept(array, 1, (0, 0), "nearest", loop)
    assert found.tobytes() == ndimage.correlate1d(array, weights, 1).tobytes()
