"""Values as keys: equal where what is computed from them is."""

from __future__ import annotations

import numpy as np
import pytest

from mpibatch.base.keys import key_of


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (0.0, -0.0),
        (0j, -0j),
        (np.array([0.0, 1.0]), np.array([-0.0, 1.0])),
        ({"u": [1.0, 0.0]}, {"u": [1.0, -0.0]}),
        (1.0, "1.0"),
        (["nearest", None], [None, "nearest"]),
        (len, max),
    ],
)
def test_different_values_differ(value: object, other: object) -> None:
    assert key_of(value) != key_of(other)
    assert len({key_of(value): 1, key_of(other): 2}) == 2


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (float("nan"), np.float64("nan")),
        ([1, (2.0,)], ((1), [2.0])),
        (np.array([1.5, 2.5]), [1.5, 2.5]),
        ({"u": 1, "v": 2}, {"v": 2, "u": 1}),
    ],
)
def test_equal_values_are_one_key(value: object, same: object) -> None:
    assert hash(key_of(value)) == hash(key_of(same))
    assert key_of(value) == key_of(same)
