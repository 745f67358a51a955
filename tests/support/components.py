"""Connected components by a flood from cell to cell, and the cuts and pictures that tests of them go through."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    import mpibatch as mb

__all__ = ["cuts", "field", "flooded", "spiral"]


def flooded(
    whole: np.ndarray, structure: np.ndarray, periodic: Sequence[bool], by_value: bool = False
) -> tuple[np.ndarray, int]:
    """Label by definition: from each unlabeled cell, in raster order, all that can be reached from it."""
    offsets = [np.subtract(d, 1) for d in np.argwhere(structure)]
    labels, n = np.zeros(whole.shape, np.int64), 0
    for start in map(tuple, np.argwhere(whole != 0)):
        if labels[start]:
            continue
        n += 1
        labels[start], front = n, [start]
        while front:
            place = front.pop()
            for offset in offsets:
                there = np.add(place, offset)
                wrapped = np.mod(there, whole.shape)
                if any(i != j and not wraps for i, j, wraps in zip(there, wrapped, periodic, strict=True)):
                    continue
                other = tuple(wrapped)
                if whole[other] != 0 and not labels[other] and (not by_value or whole[other] == whole[place]):
                    labels[other] = n
                    front.append(other)
    return labels, n


@st.composite
def cuts(draw: st.DrawFn, shape: Sequence[int], ranks: int) -> dict[str, Any]:
    """Keywords of a Grid: any process grid, even, uneven or weighted, with empty blocks."""
    options = [t for t in itertools.product(range(1, ranks + 1), repeat=len(shape)) if np.prod(t) == ranks]
    topology = draw(st.sampled_from(options))
    sizes: list[list[int] | None] = []
    weights: list[list[float] | None] = []
    for n, parts in zip(shape, topology, strict=True):
        kind = draw(st.sampled_from(["even", "sizes", "weights"]))
        inner = sorted(draw(st.lists(st.integers(0, n), min_size=parts - 1, max_size=parts - 1)))
        sizes.append(np.diff([0, *inner, n]).tolist() if kind == "sizes" else None)
        weights.append([1.0 + 3 * (i % 2) for i in range(parts)] if kind == "weights" else None)
    return {"topology": topology, "sizes": sizes, "weights": weights}


def field(whole: np.ndarray, grid: mb.Grid, halo: int = 0) -> mb.Field:
    """`whole` as a field, its halo full of what must not be read."""
    u = grid.full(np.array(1).astype(whole.dtype), whole.dtype, halo)
    u.owned[...] = whole[grid.box.slices()]
    return u


def spiral(n: int) -> np.ndarray:
    """A path one cell wide that winds from the corner of a square to its center, with a cell's gap between turns."""
    picture = np.zeros((n, n), np.bool_)
    y, x, dy, dx = 0, 0, 0, 1
    picture[0, 0] = True
    legs = [n - 1, *(length for short in range(n - 1, 0, -2) for length in (short, short))]
    for length in legs:
        for _ in range(length):
            y, x = y + dy, x + dx
            picture[y, x] = True
        dy, dx = dx, -dy
    return picture
