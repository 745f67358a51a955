"""Numbers to pixels, and which slice of an array is shown."""

import numpy as np
import pytest

from mpibatch.base.errors import UsageError
from mpibatch.cli._picture import cut, gray, is_color


def test_bool_is_black_and_white_and_bytes_stay_as_they_are():
    assert gray(np.array([[True, False]])).tolist() == [[255, 0]]
    values = np.array([[3, 4, 200]], np.uint8)
    assert gray(values).tolist() == values.tolist()
    assert gray(values, (0, 100)).tolist() == [[0, 1, 255]]


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8"])
def test_numbers_are_stretched_from_least_to_largest(dtype):
    assert gray(np.array([[0, 50, 100]], dtype)).tolist() == [[0, 128, 255]]


def test_what_is_not_finite_does_not_spoil_the_stretch():
    values = np.array([[np.nan, -np.inf, 1.0, 2.0, np.inf]])
    assert gray(values).tolist() == [[0, 0, 0, 255, 255]]
    assert gray(np.full((2, 2), np.nan)).tolist() == [[0, 0], [0, 0]]
    assert gray(np.full((1, 2), 7.0)).tolist() == [[0, 0]]
    assert gray(np.array([[-1.7e308, 0.0, 1.7e308]])).tolist() == [[0, 128, 255]]


def test_percentiles_cut_the_tails():
    values = np.arange(101.0)[None]
    assert gray(values, (10, 90))[0, [0, 10, 50, 90, 100]].tolist() == [0, 0, 128, 255, 255]


def test_complex_numbers_have_no_picture():
    with pytest.raises(UsageError, match="complex"):
        gray(np.zeros((2, 2), complex))


@pytest.mark.parametrize(
    ("shape", "color", "chosen", "longest", "expected"),
    [
        ((5, 6), False, {}, 100, (slice(None, None, 1),) * 2),
        ((9, 5, 6), False, {}, 100, (4, slice(None, None, 1), slice(None, None, 1))),
        ((9, 5, 6), False, {1: -1}, 100, (slice(None, None, 1), 4, slice(None, None, 1))),
        ((9, 5, 6), False, {-1: 0}, 100, (slice(None, None, 1), slice(None, None, 1), 0)),
        ((7, 9, 5, 6), False, {3: 2}, 100, (3, slice(None, None, 1), slice(None, None, 1), 2)),
        ((5, 6, 3), True, {}, 100, (slice(None, None, 1),) * 3),
        ((8, 5, 6, 3), True, {0: 1}, 100, (1, *(slice(None, None, 1),) * 3)),
        ((10, 31), False, {}, 10, (slice(None, None, 1), slice(None, None, 4))),
        ((10,), False, {}, 4, (slice(None, None, 3),)),
    ],
)
def test_what_is_read(shape, color, chosen, longest, expected):
    assert cut(shape, color, chosen, longest) == expected


@pytest.mark.parametrize("chosen", [{2: 0}, {0: 5}, {0: -6}, {-3: 0}])
def test_a_slice_must_exist(chosen):
    with pytest.raises(UsageError, match="--slice"):
        cut((5, 6), False, chosen, 100)


def test_only_bytes_with_three_or_four_channels_are_color():
    assert is_color((5, 6, 3), np.dtype("u1"))
    assert is_color((5, 6, 4), np.dtype("u1"))
    assert not is_color((5, 6, 3), np.dtype("f4"))
    assert not is_color((6, 3), np.dtype("u1"))
    assert not is_color((5, 6, 2), np.dtype("u1"))
