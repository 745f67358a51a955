"""Global raster indices and their owners, without arrays as large as those that they are for; and structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpibatch.base.errors import UsageError
from mpibatch.domain import Decomposition
from mpibatch.measure._engine.places import local_places, owners, places, wide
from mpibatch.measure._engine.structure import backward, joins_rows, mask_of, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# Beyond 2**31 cells, beyond 2**31 in one block, and beyond 2**53.
SHAPES = [(5000, 768, 768), (7443, 1771, 234), (3 * 10**9,), (2**16, 2**16), (10**5, 10**5, 10**5, 10**3), (5, 7, 3)]


@given(shape=st.sampled_from(SHAPES), ranks=st.sampled_from([1, 2, 6, 512, 10007]), data=st.data())
def test_places_are_pythons_integers(shape: Sequence[int], ranks: int, data: st.DataObject) -> None:
    decomposition = Decomposition.over(shape, ranks)
    rank = data.draw(st.integers(0, ranks - 1))
    box = decomposition.box(rank)
    if not box.size:
        return
    index = [data.draw(st.integers(low, high - 1)) for low, high in zip(box.start, box.stop, strict=True)]
    place = local = 0
    for i, n, low, width in zip(index, shape, box.start, box.shape, strict=True):
        place, local = place * n + i, local * width + i - low
    assert places(shape, box, np.array([local])).tolist() == [place]
    assert local_places(shape, box, np.array([place])).tolist() == [local]
    assert owners(decomposition, np.array([place])).tolist() == [decomposition.owner(index)] == [rank]


@pytest.mark.parametrize("sizes", [[0, 3, 0, 4, 0], [7, 0, 0, 0, 0], [0, 0, 0, 0, 7], [1, 1, 1, 2, 2]])
def test_owners_among_empty_blocks(sizes: list[int]) -> None:
    decomposition = Decomposition.over((7, 2), 10, sizes=[sizes, None])
    every = [decomposition.owner((y, x)) for y in range(7) for x in range(2)]
    assert owners(decomposition, np.arange(14)).tolist() == every


def test_labels_are_wide_from_the_size_on_where_scipys_are() -> None:
    assert not wide((2**31 - 3,))
    assert wide((2**31 - 2,))
    assert wide((7443, 1771, 234))


def test_steps_cover_exactly_the_earlier_neighbors() -> None:
    rng = np.random.default_rng(0)
    for ndim in (1, 2, 3, 4):
        for _ in range(50):
            half = rng.random((3,) * ndim) < 0.5
            mask = mask_of("label", half | np.flip(half), ndim)
            offsets = backward(mask)
            center = int(mask[(1,) * ndim])
            assert 2 * len(offsets) == np.count_nonzero(mask) - center
            covered = [(*row[:3], x) for row in steps_of(offsets).tolist() for x in range(row[3], row[4] + 1)]
            expected = [(0,) * (4 - ndim) + offset for offset in offsets if any(offset[:-1])]
            assert sorted(covered) == sorted(expected)
            assert joins_rows(offsets) == bool(mask[(1,) * (ndim - 1) + (0,)])


def test_asymmetric_structures_are_refused() -> None:
    with pytest.raises(UsageError, match="not symmetric"):
        mask_of("label", [[1, 1, 0], [1, 1, 1], [0, 1, 0]], 2)
