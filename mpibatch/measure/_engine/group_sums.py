"""Sums by label, each rounded once: means, variances, centres, and histograms.

A label's sums are kept in four doubles each; where these are not enough, its values are summed again in words.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.measure._engine.groups import Groups
from mpibatch.mpi import MPI
from mpibatch.reduce.exact import PRODUCT_UNIT, product_parts, product_total
from mpibatch.reduce.lines.sums import Kind, finish, finish_exactly, words_of
from mpibatch.reduce.operands import add_up

__all__ = ["centers", "histograms", "sums"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# Biased exponents of the magnitudes whose sums, squares and products with coordinates are exact; and integers of f8.
SUM_LIMITS = 0, (1023 + 900) << 52
SQUARE_LIMITS = (1023 - 450) << 52, (1023 + 450) << 52
PRODUCT_LIMITS = (1023 - 900) << 52, (1023 + 800) << 52
EXACT = (1023 + 53) << 52
# Labels whose words are added up at once.
BATCH = 4096


def sums(groups: Groups, kind: Kind) -> Array:
    """Return the sum, mean, variance or its root of each label, on every rank. Collective."""
    from mpibatch.measure._loops import groups as loops
    from mpibatch.reduce._loops import lines

    has_squares = kind in ("var", "std")
    state, wide = _empty(groups, lines.COLUMNS if has_squares else lines.SQUARES)
    limits = _limits(groups, SQUARE_LIMITS if has_squares else SUM_LIMITS)
    with phase("compute"):
        for _, values, slots in groups.float_chunks():
            loops.add_values(values, slots, limits, has_squares, state, wide)
    state, wide = _merged(groups, state, wide)
    with phase("compute"):
        results = finish(state, kind, 0)
    results, is_wide = groups.share_all(results), groups.share_all(wide) > 0
    if is_wide.any():
        names = np.flatnonzero(is_wide)
        for first in range(0, names.size, BATCH):
            some = names[first : first + BATCH]
            results[some] = _exact_sums(groups, some, kind, has_squares)
    return results


def _limits(groups: Groups, limits: tuple[int, int]) -> tuple[int, int]:
    has_wide_integers = groups.u.dtype.kind in "iu" and groups.u.dtype.itemsize == 8
    return limits[0], min(limits[1], EXACT) if has_wide_integers else limits[1]


def _empty(groups: Groups, columns: int) -> tuple[Array, Array]:
    from mpibatch.reduce._loops import lines

    state = np.zeros((groups.names.size, columns))
    state[:, lines.SUMS] = -0.0
    return state, np.zeros(groups.names.size)


def _merged(groups: Groups, state: Array, wide: Array) -> tuple[Array, Array]:
    """Return this rank's share of the states, a column for each label, and which do not fit. Collective."""
    from mpibatch.reduce._loops import lines

    rows = state.shape[1]

    def merge(mine: Array, other: Array) -> None:
        mine[rows] += other[rows]
        lines.merge(mine, other, rows, mine[rows])

    table = groups.merged(np.ascontiguousarray(np.concatenate([state.T, wide[np.newaxis]])), merge)
    return np.ascontiguousarray(table[:rows]), table[rows]


def _values_of(groups: Groups, names: Ints) -> list[tuple[Array, Ints]]:
    """Return this rank's values of some labels, and their flat local indices, label by label. Local."""
    which = np.full(groups.names.size, -1, np.int64)
    which[names] = np.arange(names.size)
    kept: list[tuple[Array, Ints, Ints]] = []
    for start, values, slots in groups.chunks():
        place = np.where(slots >= 0, which[slots], -1)
        at = np.flatnonzero(place >= 0)
        kept.append((values[at], place[at], start + at))
    values, place, index = (
        (np.concatenate(column) for column in zip(*kept, strict=True))
        if kept
        else (np.empty(0, groups.u.dtype), np.empty(0, np.int64), np.empty(0, np.int64))
    )
    order = np.argsort(place, kind="stable")
    cuts = np.searchsorted(place[order], np.arange(1, names.size))
    return list(zip(np.split(values[order], cuts), np.split(index[order], cuts), strict=True))


def _exact_sums(groups: Groups, names: Ints, kind: Kind, has_squares: bool) -> Array:
    with phase("compute"):
        words = np.array([words_of(values, has_squares) for values, _ in _values_of(groups, names)], np.int64)
    total = add_up(groups.u.grid.comm, words.reshape(-1), groups.text).reshape(words.shape)
    with phase("compute"):
        return finish_exactly(total.T, groups.u.dtype.kind == "f", kind, 0)


def centers(groups: Groups) -> Array:
    """Return the centre of mass of each label, a row of coordinates for each, on every rank. Collective."""
    from mpibatch.measure._loops import groups as loops
    from mpibatch.reduce._loops import lines

    u = groups.u
    ndim = u.ndim
    state, wide = _empty(groups, lines.SQUARES + lines.LEVELS * ndim)
    start = np.array([*u.box.start, *(0 for _ in u.components)], np.int64)
    stop, at = start + np.array(u.local_shape, np.int64), start.copy()
    limits = _limits(groups, PRODUCT_LIMITS)
    with phase("compute"):
        for _, values, slots in groups.float_chunks():
            loops.add_moments(values, slots, limits, at, start, stop, state, wide)
    state, wide = _merged(groups, state, wide)
    results, doubtful = np.full((state.shape[1], ndim), np.nan), np.zeros(state.shape[1], bool)
    with phase("compute"):
        loops.finish_centers(state, results, doubtful)
        for i in np.flatnonzero(doubtful):
            column = state[:, i]
            firsts = (lines.SUMS, *range(lines.SQUARES, state.shape[0], lines.LEVELS))
            results[i] = _centre([_fraction(column[first : first + lines.LEVELS].tolist()) for first in firsts])
    results, is_wide = groups.share_all(results), groups.share_all(wide) > 0
    if is_wide.any():
        names = np.flatnonzero(is_wide)
        for first in range(0, names.size, BATCH):
            some = names[first : first + BATCH]
            results[some] = _exact_centers(groups, some, start)
    return results


def _fraction(values: list[float]) -> Fraction:
    return sum((Fraction(value) for value in values if value), Fraction(0))


def _centre(exact: list[Fraction]) -> list[float]:
    """Return the moments over the sum: NaN or infinite where it is 0, as a division of floats. Local."""
    mass, *moments = exact
    if mass:
        return [float(moment / mass) for moment in moments]
    return [np.nan if not moment else np.inf if moment > 0 else -np.inf for moment in moments]


def _exact_centers(groups: Groups, names: Ints, start: Ints) -> Array:
    width = product_parts(np.empty(0), np.empty(0)).size
    rows = []
    with phase("compute"):
        for values, index in _values_of(groups, names):
            coordinates = np.unravel_index(index, groups.u.local_shape)
            factors = [np.ones(index.size), *(i + s for i, s in zip(coordinates, start, strict=True))]
            rows.append(np.concatenate([product_parts(values, np.asarray(factor, "f8")) for factor in factors]))
    words = np.array(rows)
    total = add_up(groups.u.grid.comm, words.reshape(-1), groups.text).reshape(len(rows), -1, width)
    results = np.full((len(rows), groups.u.ndim), np.nan)
    for result, row in zip(results, total, strict=True):
        sums = [product_total(parts) for parts in row]
        if all(special is None for special, _ in sums):
            result[:] = _centre([Fraction(number, 1 << PRODUCT_UNIT) for _, number in sums])
    return results


def histograms(groups: Groups, edges: Array) -> Ints:
    """Return the counts of each label's values between edges, a row for each, on every rank. Collective."""
    bins = edges.size - 1
    counts = np.zeros(groups.names.size * bins, np.int64)
    with phase("compute"):
        for _, values, slots in groups.chunks():
            at = np.searchsorted(edges, values, side="right") - 1
            at[values == edges[-1]] = bins - 1
            is_inside = (slots >= 0) & (at >= 0) & (at < bins) & (values == values)
            counts += np.bincount(slots[is_inside] * bins + at[is_inside], minlength=counts.size)
    total = np.empty_like(counts)
    with REDUCTION:
        groups.u.grid.comm.Allreduce(counts, total, op=MPI.SUM)
    return total.reshape(-1, bins)
