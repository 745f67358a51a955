"""Chains of moves, planned for all ranks in one process: cells arrive, and no rank talks to many others."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.domain.turns import Turned, route
from mpibatch.fields.redistribution import Ways


def layouts_of(topology: tuple[int, ...], shape: tuple[int, ...], axes: list[int]) -> list[Turned]:
    first = Turned.of(mb.Decomposition.over(shape, math.prod(topology), topology))
    layouts = route(first, axes, [shape[axis] for axis in axes])
    assert layouts is not None
    return [first, *layouts, first]


@pytest.mark.parametrize("topology", [(2, 3, 1), (1, 3, 2), (2, 2, 2), (3, 2, 2), (2, 1, 3, 2)])
def test_every_cell_arrives(topology: tuple[int, ...]) -> None:
    shape, ranks = (11, 9, 13, 7)[: len(topology)], range(math.prod(topology))
    whole = np.arange(math.prod(shape)).reshape(shape)
    for axes in itertools.permutations(range(len(topology))):
        layouts = layouts_of(topology, shape, list(axes))
        for axis, layout in zip(axes, layouts[1:-1], strict=True):
            assert all(layout.box(rank).shape[axis] == shape[axis] for rank in ranks)
        for old, new in itertools.pairwise(layouts):
            every = [Ways.between(rank, old, new) for rank in ranks]
            for rank, ways in enumerate(every):
                block = np.full(new.box(rank).shape, -1)
                for to, cut in ways.copies:
                    block[to] = whole[old.box(rank).slices()][cut]
                for giver, cut in ways.receives:
                    (sent,) = [part for to, part in every[giver].sends if to == rank]
                    block[cut] = whole[old.box(giver).slices()][sent]
                np.testing.assert_array_equal(block, whole[new.box(rank).slices()])
            assert sum(len(w.sends) for w in every) == sum(len(w.receives) for w in every)


@pytest.mark.parametrize(("topology", "most", "home"), [((32, 32, 1), 31, 64), ((8, 8, 16), 127, 64)])
def test_no_rank_talks_to_many(topology: tuple[int, ...], most: int, home: int) -> None:
    """Of 1024 ranks to 31 of pencils, and two axes' of blocks; and each cell moves once an axis, and once home."""
    layouts = layouts_of(topology, (256, 256, 256), [2, 0, 1])
    moves = [(old, new) for old, new in itertools.pairwise(layouts) if old != new]
    assert len(moves) == sum(parts > 1 for parts in topology) + 1
    for number, (old, new) in enumerate(moves):
        for rank in (0, 37, 555, 1023):
            ways = Ways.between(rank, old, new)
            assert max(len(ways.sends), len(ways.receives)) <= (home if number == len(moves) - 1 else most)


def test_no_chain_where_a_move_would_be_between_all_ranks() -> None:
    flat = Turned.of(mb.Decomposition.over((64, 64), 16, (4, 4)))
    slabs = Turned.of(mb.Decomposition.over((64, 64, 64), 16, (16, 1, 1)))
    thin = Turned.of(mb.Decomposition.over((64, 64, 2), 16, (4, 4, 1)))
    assert route(flat, [1, 0], [64, 64]) is None
    assert route(slabs, [2, 0, 1], [64] * 3) is None
    assert route(thin, [2, 0, 1], [2, 64, 64]) is None
