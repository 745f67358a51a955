"""Boxes, blocks, decompositions, walls: pure integers."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpibatch.base.errors import UsageError
from mpibatch.domain import MODES, Blocks, Box, Decomposition, check_mode, choose_topology, wall_runs
from tests.support.oracles import outside

sizes = st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(lambda s: sum(s) > 0)


def blocks_of(s: list[int]) -> Blocks:
    return Blocks.of_sizes(sum(s), s)


@given(st.one_of(sizes.map(blocks_of), st.builds(Blocks, st.integers(1, 20), st.integers(1, 9))))
def test_blocks_are_consecutive_and_their_owner_is_found(blocks: Blocks) -> None:
    bounds = [blocks.bounds(part) for part in range(blocks.parts)]
    assert [low for low, _ in bounds] + [blocks.cells] == [0] + [high for _, high in bounds]
    for index in range(blocks.cells):
        low, high = blocks.bounds(blocks.owner(index))
        assert low <= index < high


@given(sizes.map(blocks_of), st.integers(-3, 30), st.integers(-3, 30))
def test_overlapping_blocks_are_those_that_own_a_cell(blocks: Blocks, low: int, high: int) -> None:
    expected = sorted({blocks.owner(i) for i in range(max(low, 0), min(high, blocks.cells))})
    assert list(blocks.overlapping(low, high)) == expected


def test_even_blocks_differ_by_at_most_one_cell() -> None:
    sizes = [high - low for low, high in map(Blocks(10, 4).bounds, range(4))]
    assert sizes == [3, 3, 2, 2]


@given(st.integers(1, 40), st.lists(st.integers(0, 9) | st.floats(0, 9), min_size=1, max_size=6).filter(any))
def test_weighted_blocks_are_within_a_cell_of_their_share(cells: int, weights: list[float]) -> None:
    blocks = Blocks.of_weights(cells, weights)
    sizes = [high - low for low, high in map(blocks.bounds, range(blocks.parts))]
    assert sum(sizes) == cells
    shares = [cells * Fraction(weight) / sum(map(Fraction, weights)) for weight in weights]
    assert all(abs(size - share) <= 1 for size, share in zip(sizes, shares, strict=True))


def test_weights_shape_a_decomposition() -> None:
    decomposition = Decomposition.over((12, 8), 4, weights=[[1, 2], None])
    assert decomposition.topology == (2, 2)
    assert [decomposition.box(rank).shape for rank in range(4)] == [(4, 4), (4, 4), (8, 4), (8, 4)]


@pytest.mark.parametrize("weights", [[0, 0], [-1, 2], [], [1, float("nan")], [1, float("inf")], ["much"]])
def test_weights_that_say_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="weights"):
        Blocks.of_weights(5, weights)


@pytest.mark.parametrize("sizes", [[3, 3], [-1, 6], []])
def test_block_sizes_that_do_not_fit_are_refused(sizes: list[int]) -> None:
    with pytest.raises(UsageError, match="add up to"):
        Blocks.of_sizes(5, sizes)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(1, 12), st.data())
def test_every_cell_has_one_owner(shape: list[int], ranks: int, data: st.DataObject) -> None:
    decomposition = Decomposition.over(shape, ranks)
    assert decomposition.size == ranks
    owned = np.zeros(shape, int)
    for rank in range(ranks):
        box = decomposition.box(rank)
        owned[box.slices()] += 1
        assert decomposition.rank(decomposition.coords(rank)) == rank
        for index in itertools.product(*map(range, box.start, box.stop)):
            assert decomposition.owner(index) == rank
    assert (owned == 1).all()
    low = tuple(data.draw(st.integers(0, n)) for n in shape)
    high = tuple(data.draw(st.integers(0, n)) for n in shape)
    box = Box(low, high)
    assert list(decomposition.overlapping(box)) == [
        rank for rank in range(ranks) if decomposition.box(rank).intersect(box).size
    ]


def test_box_arithmetic() -> None:
    box = Box((1, 2), (4, 8))
    assert box.shape == (3, 6)
    assert box.size == 18
    assert box.slices((1, 1)) == (slice(0, 3), slice(1, 7))
    assert box.grow(((1, 0), (2, 3))) == Box((0, 0), (4, 11))
    assert box.intersect(Box((3, 0), (9, 5))) == Box((3, 2), (4, 5))
    assert box.intersect(Box((5, 0), (9, 5))).size == 0


@pytest.mark.parametrize(
    ("shape", "ranks", "expected"),
    [
        ((512, 512, 512), 8, (2, 2, 2)),
        ((512, 512, 512), 2, (2, 1, 1)),  # among equals the first axis, whose faces are contiguous
        ((1000, 10), 4, (4, 1)),  # aspect
        ((10, 1000), 4, (1, 4)),
        ((9, 8), 6, (3, 2)),  # divisibility
        ((1, 7), 7, (1, 7)),
        ((3,), 5, (5,)),  # more ranks than cells
        ((4096, 4096), 1, (1, 1)),
    ],
)
def test_topology_of_least_surface(shape: tuple[int, ...], ranks: int, expected: tuple[int, ...]) -> None:
    assert choose_topology(shape, ranks) == expected


def test_topology_of_very_many_ranks_is_found_quickly() -> None:
    topology = choose_topology((10_000, 10_000, 10_000), 100_000)
    assert math.prod(topology) == 100_000
    assert max(topology) / min(topology) < 2


def test_topology_keeps_what_is_given() -> None:
    assert Decomposition.over((8, 8, 8), 6, (None, 3, None)).topology == (2, 3, 1)
    assert Decomposition.over((8, 8), 6, None, [None, [1, 7]]).topology == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((8, 8), 6, (4, None)), "start 4 ranks"),
        (((8, 8), 6, (2, 2)), "4 ranks"),
        (((8, 8), 6, (6,)), "1 entries"),
        (((8, 8), 6, (0, 6)), "give 1 or more"),
        (((8, 8), 4, (2, 2), [[1, 3, 4], None]), "weights lists 3 blocks"),
        (((8, 0), 1), "at least one axis"),
    ],
)
def test_impossible_decompositions_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Decomposition.over(*arguments)


def test_imbalance_is_largest_over_mean() -> None:
    assert Decomposition.over((10,), 4).imbalance() == pytest.approx(3 / 2.5)
    assert Decomposition.over((8, 8), 4).imbalance() == 1.0


@given(st.integers(-40, 40), st.integers(0, 40), st.integers(1, 6), st.sampled_from(MODES))
def test_wall_runs_follow_scipy_s_modes(low: int, length: int, cells: int, mode: str) -> None:
    found: list[int | None] = []
    for run in wall_runs(low, low + length, cells, check_mode(mode)):
        assert run.target == low + len(found)
        found += [None if run.source is None else run.source + run.step * i for i in range(run.length)]
    assert found == [outside(i, cells, mode) for i in range(low, low + length)]


@pytest.mark.parametrize("mode", ["reflected", "", None, 3])
def test_unknown_modes_are_refused_with_the_known_ones(mode: str) -> None:
    with pytest.raises(UsageError, match="reflect"):
        check_mode(mode)
