"""The sums behind centers of mass by label hold their totals exactly, wherever the block lies."""

from fractions import Fraction

import numpy as np
import pytest

from mpibatch.measure._groups.sums import PRODUCT_LIMITS
from mpibatch.measure._loops.groups import add_moments
from mpibatch.reduce._loops.states import COUNT, LEVELS, SQUARES, SUMS, WIDE


@pytest.mark.parametrize("first", [(0, 0), (7, 3), (-5, (1 << 40) + 12_345), (1 << 41, (1 << 26) - 50)])
def test_sums_are_exact_in_any_chunks(first):
    rng = np.random.default_rng(3)
    values = rng.random(3000) * 10.0 ** rng.integers(-5, 5, 3000)
    slots = np.sort(rng.integers(-1, 3, (30, 100)), axis=1).reshape(-1)
    start = np.array(first)
    stop, at = start + np.array((30, 100)), start.copy()
    state = np.zeros((3, SQUARES + 2 * LEVELS))
    for low, high in ((0, 1), (1, 250), (250, 300), (300, 3000)):
        add_moments(values[low:high], slots[low:high], PRODUCT_LIMITS, at, start, stop, state)
    places = np.stack(np.divmod(np.arange(3000), 100), axis=1) + start
    for slot in range(3):
        inside = slots == slot
        mine = [Fraction(value) for value in values[inside]]
        totals = [sum(mine)]
        totals += [
            sum(value * int(i) for value, i in zip(mine, places[inside, axis], strict=True)) for axis in range(2)
        ]
        for begin, total in zip((SUMS, SQUARES, SQUARES + LEVELS), totals, strict=True):
            assert sum(map(Fraction, state[slot, begin : begin + LEVELS].tolist())) == total
        assert (state[slot, COUNT], state[slot, WIDE]) == (inside.sum(), 0)
