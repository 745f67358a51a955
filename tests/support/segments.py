"""What tests of segments go through: grids cut in any way, shapes to cut out, and the comparison with one answer."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from scipy import ndimage

import mpibatch as mb
from mpibatch.mpi import MPI

__all__ = ["field", "grids", "grids_of", "indices_last", "same_bits", "shapes"]

RANKS = MPI.COMM_WORLD.size
Array = npt.NDArray[Any]


@st.composite
def grids_of(draw: st.DrawFn, shape: tuple[int, ...]) -> mb.Grid:
    """Of a shape: ranks along any axes; blocks even, or of any sizes, 0 included."""
    counts = [c for c in itertools.product(range(1, RANKS + 1), repeat=len(shape)) if math.prod(c) == RANKS]
    topology = draw(st.sampled_from(counts))
    sizes: list[list[int] | None] = [None] * len(shape)
    for axis, parts in enumerate(topology):
        if draw(st.booleans()):
            cuts = sorted(draw(st.integers(0, shape[axis])) for _ in range(parts - 1))
            sizes[axis] = np.diff([0, *cuts, shape[axis]]).tolist()
    return mb.Grid(shape, topology=topology, sizes=sizes)


@st.composite
def grids(draw: st.DrawFn, most: tuple[int, ...] = (60, 24, 12, 6)) -> mb.Grid:
    """1 to 4 axes; ranks along any of them; blocks even, or of any sizes, 0 included."""
    ndim = draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(1, most[ndim - 1])) for _ in range(ndim))
    return draw(grids_of(shape))


def field(whole: Array, grid: mb.Grid, halo: int = 0) -> mb.Field:
    u = grid.empty(whole.dtype, halo, whole.shape[grid.ndim :])
    u.owned[...] = whole[grid.box.slices()]
    return u


def shapes(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> Array:
    """Noise, smooth or not, of which about this share is background; at least one cell is."""
    noise = rng.random(shape)
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, 1.5)
    inside = noise > np.quantile(noise, share)
    inside.flat[rng.integers(inside.size)] = False
    return inside


def same_bits(ours: mb.Field, whole: Array) -> None:
    expected = whole[ours.grid.box.slices()]
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours.owned, expected)


def indices_last(whole: Array) -> Array:
    return np.moveaxis(whole, 0, -1)
