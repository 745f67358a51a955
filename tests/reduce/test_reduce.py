"""The exact sum of one array, without MPI: against `math.fsum` and rational arithmetic."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mpibatch.reduce import exact_sums
from mpibatch.reduce._loops import exact_sums as loops
from mpibatch.reduce.arrays import chunks, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

TINY, HUGE = 5e-324, sys.float_info.max


def same_bits(got: float, expected: float) -> None:
    """Equal, with the same sign of zero; any NaN equals any other."""
    assert (math.isnan(got) and math.isnan(expected)) or got.hex() == expected.hex()


def true_sum(values: Iterable[float]) -> float:
    """What `math.fsum` says, or would say if it could overflow to infinity and kept the sign of zeros."""
    known = [float(value) for value in values]
    if known and all(value == 0 and math.copysign(1, value) < 0 for value in known):
        return -0.0
    try:
        return math.fsum(known)
    except OverflowError:  # also where intermediate sums are too large
        total = sum(map(Fraction, known))
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def ours(array: np.ndarray, count: int = 1) -> float:
    return exact_sums.rounded(exact_sums.float_parts(array), count)


def spread(size: int, low: int, high: int, seed: int, dtype: str = "f8") -> np.ndarray:
    """Random signs and significands, binary exponents evenly from `low` up to `high`."""
    rng = np.random.default_rng(seed)
    return np.ldexp(rng.uniform(-1, 1, size), rng.integers(low, high, size, endpoint=True)).astype(dtype)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
@example([])
@example([-0.0])
@example([-0.0, 0.0])
@example([TINY, -TINY, -0.0])
@example([HUGE, HUGE, -HUGE])
@example([1.0, 2.0**-53, 2.0**-106])
@example([1.0, 2.0**-53, -(2.0**-106)])
@example([1e308, 1.0, -1e308])
@example([2.0**-1022, -TINY])
def test_any_floats(values: list[float]) -> None:
    same_bits(ours(np.array(values)), true_sum(values))


@given(
    # Around one and two blocks; exponents from "one slice holds all" to the whole range.
    size=st.sampled_from([1, 63, 64, 2047, 2048, 2049, 5000]),
    low=st.integers(-1074, 1020),
    span=st.sampled_from([0, 3, 40, 52, 103, 110, 300, 2100]),
    seed=st.integers(0, 2**32 - 1),
    cancel=st.booleans(),
)
def test_blocks_of_any_spread(size: int, low: int, span: int, seed: int, cancel: bool) -> None:
    x = spread(size, low, min(low + span, 1023), seed)
    if cancel:
        x = np.random.default_rng(seed).permutation(np.concatenate([x, -x, [TINY * (seed % 3)]]))
    same_bits(ours(x), true_sum(x))


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("size", [0, 1, 100, 3000])
def test_shorter_floats_give_the_exact_sum_in_f8(dtype: str, size: int) -> None:
    span = (-20, 15) if dtype == "f2" else (-149, 127)
    x = spread(size, *span, seed=size, dtype=dtype)
    same_bits(ours(x), true_sum(x))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0.0),
        ([0.0], 0.0),
        ([-0.0], -0.0),
        ([-0.0] * 5000, -0.0),
        ([-0.0] * 5000 + [0.0], 0.0),
        ([-0.0] * 5000 + [TINY, -TINY], 0.0),
        ([math.nan, 1.0], math.nan),
        ([-math.nan], math.nan),
        ([math.inf, HUGE], math.inf),
        ([-math.inf, 1.0], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.inf, *[1.0] * 5000, -math.inf], math.nan),
        ([math.inf, *[1.0] * 5000, math.nan], math.nan),
        ([HUGE, HUGE], math.inf),
        ([-HUGE, -HUGE], -math.inf),
        ([HUGE, 2.0**969], HUGE),
        ([HUGE, 2.0**970], math.inf),
        ([HUGE, 2.0**970, -TINY], HUGE),
        ([HUGE] * 3000 + [-HUGE] * 2999, HUGE),
        ([2.0**1021] * 3000 + [-(2.0**1021)] * 2999, 2.0**1021),
    ],
    ids=str,
)
def test_special_values(values: list[float], expected: float) -> None:
    same_bits(ours(np.array(values)), expected)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@example([HUGE, HUGE])
@example([-TINY, -0.0])
@example([TINY, TINY, 0.0])
def test_mean_is_rounded_once(values: list[float]) -> None:
    mean = sum(map(Fraction, values)) / len(values)
    if mean:
        expected = float(mean)
    else:
        expected = true_sum(values)
    got = ours(np.array(values), len(values))
    assert got == expected
    assert not values or min(values) <= got <= max(values)


@given(cuts=st.lists(st.integers(0, 6000), max_size=5), seed=st.integers(0, 2**32 - 1))
def test_any_cut_into_parts_gives_the_same_bits(cuts: list[int], seed: int) -> None:
    x = spread(6000, -1074, 1000, seed)
    parts = sum(map(exact_sums.float_parts, np.split(x, sorted(cuts))))
    assert isinstance(parts, np.ndarray)
    assert parts.nbytes == 584
    same_bits(exact_sums.rounded(parts), math.fsum(x))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_billion_ranks_do_not_overflow_a_limb(sign: int) -> None:
    x = sign * np.abs(spread(5000, -1074, 980, seed=1))
    parts = exact_sums.float_parts(x)
    assert parts[: loops.LIMBS - 1].min() >= 0
    assert parts[: loops.LIMBS - 1].max() < 2**32
    assert exact_sums.rounded(parts * 2**30) == math.fsum(x) * 2**30
    limbs = exact_sums.integer_parts(np.full(100, sign * (2**63 - 1)))
    assert exact_sums.integer_total(limbs * 2**30) == sign * (2**63 - 1) * 100 * 2**30


def test_bins_are_emptied_before_they_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    x = spread(9000, -1000, 1000, seed=3)
    emptied = []
    monkeypatch.setattr(loops, "BIN_CAPACITY", 4096)
    monkeypatch.setattr(
        loops, "empty_bins", lambda bins, parts, really=loops.empty_bins: emptied.append(really(bins, parts))
    )
    parts = np.zeros(loops.PARTS, np.int64)
    runs = rows(x)
    loops.accumulate.py_func(runs.flat, runs.outer, runs.strides, runs.inner, parts)
    assert len(emptied) > 1
    same_bits(exact_sums.rounded(parts), math.fsum(x))


@pytest.mark.parametrize("special", [0.0, -0.0, TINY, HUGE, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("block", [1, loops.SKIPPED, loops.SKIPPED + 1, loops.SKIPPED + 2])
def test_blocks_that_are_not_tried_after_a_wide_one(special: float, block: int) -> None:
    x = np.zeros((loops.SKIPPED + 3, loops.BLOCK))
    x[0] = spread(loops.BLOCK, -1000, 1000, seed=4)
    x[block] = spread(loops.BLOCK, -10, 10, seed=5)
    x[block, 1000] = special
    same_bits(ours(x), true_sum(x.flat))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_slices_hold_ordinary_blocks_and_tell_what_they_do_not(dtype: str) -> None:
    ordinary = np.random.default_rng(6).standard_normal(loops.BLOCK).astype(dtype)
    top = 1023 + math.frexp(float(np.abs(ordinary).max()))[1] - 1
    for guess in (top, top + 3):
        largest, high, low, left = loops.scan(ordinary, guess)
        assert (largest >> 52, left) == (top, 0)
        total = high * Fraction(2) ** (guess - 1073) + low * Fraction(2) ** (guess - 1125)
        assert total == sum(map(Fraction, ordinary.tolist()))
    wide = np.append(ordinary[1:], ordinary.dtype.type(2.0**-140))
    assert loops.scan(wide, top)[3] != 0


@st.composite
def views(draw: st.DrawFn) -> np.ndarray:
    """Arrays with gaps, steps, reversed or swapped axes, and without elements."""
    shape = draw(st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple))
    last = draw(st.sampled_from([1, 3, 70, 130]))
    whole = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((*shape, last))
    cut = tuple(
        slice(draw(st.integers(0, 2)), n - draw(st.integers(0, 2)), draw(st.sampled_from([1, 1, 1, 2, -1])))
        for n in whole.shape
    )
    return whole[cut].transpose(draw(st.permutations(range(whole.ndim))))


@given(views())
def test_views_are_walked_in_full(view: np.ndarray) -> None:
    runs = rows(view)
    starts = [sum(i * s for i, s in zip(index, runs.strides, strict=True)) for index in np.ndindex(*runs.outer)]
    walked = [runs.flat[start : start + runs.inner] for start in starts]
    np.testing.assert_array_equal(np.sort(np.concatenate(walked)), np.sort(view, axis=None))
    same_bits(ours(view), math.fsum(view.flat))
    in_order = [part.copy() for _, part in chunks(view)]
    np.testing.assert_array_equal(np.concatenate([[], *in_order]), view.ravel())


def test_chunks_come_in_raster_order() -> None:
    view = np.arange(300 * 310).reshape(300, 310)[3:, 5:-2].transpose()
    found = [(start, part.copy()) for start, part in chunks(view)]
    assert len(found) == 2
    assert [start for start, _ in found] == [0, found[0][1].size]
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), view.ravel())


def test_unaligned_and_read_only_memory() -> None:
    memory = bytes(1) + np.arange(500.0).tobytes()
    assert ours(np.frombuffer(memory, "f8", offset=1)) == math.fsum(range(500))


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_integers_do_not_overflow(dtype: str) -> None:
    info = (0, 1) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for value in info:
        x = np.full((260, 300), value, dtype)[1:, 2:]
        assert exact_sums.integer_total(exact_sums.integer_parts(x)) == int(value) * x.size


@given(arrays("i8", st.integers(0, 30)))
def test_integers_are_exact(x: np.ndarray) -> None:
    assert exact_sums.integer_total(exact_sums.integer_parts(x)) == sum(x.tolist())
    wrapped = x.view("u8")
    assert exact_sums.integer_total(exact_sums.integer_parts(wrapped)) == sum(wrapped.tolist())


def test_the_exact_sum_needs_no_mpi() -> None:
    code = (
        "import sys; sys.modules['mpi4py'] = None\n"
        "import numpy as np, mpibatch.reduce.exact_sums as e\n"
        "assert e.rounded(e.float_parts(np.array([1e100, 1.0, -1e100]))) == 1.0"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
