"""Cleaning: what is found in the wings of brighter sources is dropped, by SExtractor's rule.

A source is taken for a Moffat profile of its light and shape, h (1 + s r²)^-β, that falls to the threshold where its
isophote does (E. Bertin, S. Arnouts 1996, doi:10.1051/aas:1996164). A fainter one within 10 times the half axes of both
is dropped if, at its place, the profile is higher than its own pixel number `area`, in order of brightness, above the
threshold. What is dropped itself counts, too, so that no order of sources matters, as it sometimes does in SExtractor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.apps.catalog._loops import wings
from mpibatch.domain import Box
from mpibatch.measure._engine.places import owners
from mpibatch.mpi.routes import forward

if TYPE_CHECKING:
    from mpibatch.fields.grid import Grid

__all__ = ["are_sources", "profiles"]

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

LIGHT, HALF_AXES = 11, [2, 3]  # of the figures of a source


def profiles(ends: Ints, signal: Any, height: Any, figures: Values, limit: float, area: int, beta: float) -> Values:
    """Return h, s per square of the ellipse, and the level to be covered, of each source. Local.

    signal, height: of each source's pixels, source after source: filtered, and as it is; figures: of `FIGURES`; limit:
    the threshold.
    """
    starts, counts = ends[:-1], np.diff(ends)
    if not counts.size:
        return np.empty((0, 3))
    middle = (limit + np.maximum.reduceat(height, starts).astype(np.float64)) / 2
    above, half = (
        np.add.reduceat((height > np.repeat(level, counts)).astype(np.int64), starts)
        for level in (np.full(len(counts), limit), middle)
    )
    result = np.column_stack([figures[:, LIGHT], figures[:, HALF_AXES].prod(axis=1), np.zeros(len(counts))])
    wings.find_levels(ends, signal, np.float32(limit), area, np.empty(area, np.float32), result)
    wings.fit(counts, above, half, middle, limit, beta, result)
    return result


def are_sources(grid: Grid, first: Ints, figures: Values, beta: float) -> Any:
    """Return which of this rank's sources are in no brighter one's wings. Collective.

    first: raster index of the first pixel of each, in rising order; figures: a row for each, of `wings`.
    """
    places = np.clip(np.rint(figures[:, [wings.Y, wings.X]]).astype(np.int64), 0, np.array(grid.shape) - 1)
    home = owners(grid.decomposition, places[:, 0] * grid.shape[1] + places[:, 1])
    to, which = _reached(grid, figures, home)
    rows = forward(grid.comm, to, np.column_stack([first, home, figures.view(np.int64)])[which])
    values = np.ascontiguousarray(rows[:, 2:]).view(np.float64)
    order = np.argsort(values[:, wings.Y], kind="stable")
    rows, values = rows[order], values[order]
    dropped = np.zeros(len(rows), np.bool_)
    wings.cover(rows[:, 0].copy(), values, np.flatnonzero(rows[:, 1] == grid.rank), beta, dropped)
    covered = rows[dropped, :1]
    back = forward(grid.comm, owners(grid.decomposition, covered[:, 0]), covered)[:, 0]
    return ~np.isin(first, back)


def _reached(grid: Grid, figures: Values, home: Ints) -> tuple[Ints, Ints]:
    """Return the ranks where sources lie, or may meet smaller ones; and which source each is for. Local.

    Each pair is judged where the smaller one lies, so that a source goes only as far as its own size has it.
    """
    to, which = [home], [np.arange(len(home))]
    reach = 2 * wings.ZONE * figures[:, wings.A, None]
    middle, shape = figures[:, [wings.Y, wings.X]], np.array(grid.shape)
    low = np.clip(np.floor(middle - reach), 0, shape).astype(np.int64)
    high = np.clip(np.ceil(middle + reach) + 1, 0, shape).astype(np.int64)
    box = grid.box
    inside = (home == grid.rank) & (low >= box.start).all(axis=1) & (high <= box.stop).all(axis=1)
    for n in np.flatnonzero(~inside).tolist():
        ranks = grid.decomposition.overlapping(Box(tuple(low[n].tolist()), tuple(high[n].tolist())))
        others = np.array([rank for rank in ranks if rank != home[n]], np.int64)
        to.append(others)
        which.append(np.full(others.size, n))
    return np.concatenate(to), np.concatenate(which)
