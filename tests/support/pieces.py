"""Whole arrays as fields on drawn decompositions: uneven, with empty blocks, with halos of their own."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.mpi import MPI

RANKS = MPI.COMM_WORLD.size


def topologies(ndim: int, ranks: int = RANKS) -> list[tuple[int, ...]]:
    """All ways to put the ranks over the axes."""
    counts = itertools.product(range(1, ranks + 1), repeat=ndim)
    return [topology for topology in counts if math.prod(topology) == ranks]


@st.composite
def grids(draw: st.DrawFn, shape: tuple[int, ...], periodic: Any = False) -> mb.Grid:
    """A grid of this shape, cut anyhow."""
    topology = draw(st.sampled_from(topologies(len(shape))))
    sizes = []
    for n, parts in zip(shape, topology, strict=True):
        cuts = draw(st.one_of(st.none(), st.lists(st.integers(0, n), min_size=parts - 1, max_size=parts - 1)))
        ends = None if cuts is None else [0, *sorted(cuts), n]
        sizes.append(None if ends is None else [b - a for a, b in itertools.pairwise(ends)])
    return mb.Grid(shape, topology=topology, sizes=sizes, periodic=periodic)


def piece(whole: np.ndarray, grid: mb.Grid, halo: int = 0) -> mb.Field:
    """This rank's part of a whole array that all ranks have."""
    u = grid.empty(whole.dtype, halo, whole.shape[grid.ndim :])
    u.owned[...] = whole[grid.box.slices()]
    return u


def same_cells(found: mb.Field, whole: np.ndarray, dtype: Any = None) -> None:
    """The field has these values, and this dtype."""
    assert found.dtype == np.dtype(whole.dtype if dtype is None else dtype)
    np.testing.assert_array_equal(found.owned, whole[found.grid.box.slices()])
