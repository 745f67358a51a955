"""Random fields: the published vectors, the same bits on any ranks, and numbers that look random."""

from __future__ import annotations

import math

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.mpi import MPI
from mpibatch.random._loops.philox import philox

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD

# From the file kat_vectors of Random123, the lines "philox4x32 10": counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_the_published_vectors(counter, key, result):
    words = [np.uint64(int(word, 16)) for word in (counter + " " + key).split()]
    assert " ".join(f"{int(word):08x}" for word in philox(*words)) == result


def draw(grid: mb.Grid) -> list[mb.Field]:
    rng = mb.random.Generator(2**40 + 5)
    u = rng.uniform(grid, -1, 3, halo=2, components=(2,))
    assert rng.state == (2**40 + 5, 1)
    more = [rng.uniform(u, dtype="f4"), rng.normal(grid, 1.0, 2.0), rng.integers(grid, -5, 6, dtype="i2", halo=1)]
    return [u, *more, rng.integers(grid, 0, 2**64, dtype="u8"), rng.integers(grid, -(2**63), 2**63)]


def test_any_decomposition_gives_the_same_bits():
    whole = draw(mb.Grid((7, 6, 5), comm=MPI.COMM_SELF))
    for topology in ((WORLD.size, 1, 1), (1, WORLD.size, 1), (1, 1, WORLD.size)):
        for mine, all_of_it in zip(draw(mb.Grid((7, 6, 5), topology=topology)), whole, strict=True):
            np.testing.assert_array_equal(mine.owned, all_of_it.owned[mine.box.slices()])


def test_a_value_is_that_of_its_place():
    grid = mb.Grid((3, 4))
    rng = mb.random.Generator(9)
    rng.draws = 6
    u = mb.gather_all(rng.uniform(grid))
    for place in (0, 5, 11):
        a, b, _, _ = philox(*(np.uint64(word) for word in (place, 0, 6, 0, 9, 0)))
        assert u.flat[place] == ((int(a) >> 5) * 2**26 + (int(b) >> 6)) / 2**53


def test_the_numbers_look_random():
    grid = mb.Grid((300, 400))
    n = 300 * 400
    rng = mb.random.Generator(1)
    u, v, x, i = rng.uniform(grid), rng.uniform(grid), rng.normal(grid), rng.integers(grid, 0, 10)
    # Five standard deviations of each.
    assert abs(mb.mean(u) - 0.5) < 5 / math.sqrt(12 * n)
    assert abs(mb.mean((u - 0.5) * (v - 0.5))) < 5 / 12 / math.sqrt(n)
    assert abs(mb.mean(x)) < 5 / math.sqrt(n)
    assert abs(mb.mean(x * x) - 1) < 5 * math.sqrt(2 / n)
    assert abs(mb.mean(x**4) - 3) < 5 * math.sqrt(96 / n)
    counts = [mb.count_nonzero(i == k) for k in range(10)]
    assert sum((c - n / 10) ** 2 / (n / 10) for c in counts) < 33  # χ², 9 degrees: one in 10,000
    whole = mb.gather_all(u)
    neighbors = np.corrcoef(whole[:, :-1].ravel(), whole[:, 1:].ravel())[0, 1]
    assert abs(neighbors) < 5 / math.sqrt(n)
    assert 0 <= mb.min(u) < mb.max(u) < 1


def test_what_cannot_be_drawn():
    grid = mb.Grid((3, 4))
    rng = mb.random.Generator(0)
    for wrong in (
        lambda: mb.random.Generator(-1),
        lambda: rng.uniform(grid, dtype="i4"),
        lambda: rng.uniform(grid, 1, 0),
        lambda: rng.integers(grid, 0, 300, dtype="u1"),
        lambda: rng.integers(grid, 3, 3),
        lambda: rng.integers(grid, 0, 3, dtype="f8"),
        lambda: setattr(rng, "state", (1, 5)),
    ):
        with pytest.raises(mb.UsageError):
            wrong()
    assert rng.draws == 0
