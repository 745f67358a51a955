"""Centers of mass by label, each coordinate rounded once (see `reduce.slot_sums`), and histograms."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.mpi import MPI
from mpibatch.reduce.exact_sums import PRODUCT_UNIT, product_parts, product_total, ratio
from mpibatch.reduce.lines.sums import BATCH
from mpibatch.reduce.operands import add_up
from mpibatch.reduce.slot_sums import limits_of, merge_states, no_states, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.measure._groups.groups import Groups

__all__ = ["centers", "histograms", "quotients"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# Biased exponents of the magnitudes whose products with coordinates are exact.
PRODUCT_LIMITS = (1023 - 900) << 52, (1023 + 800) << 52


def centers(groups: Groups) -> Array:
    """Return the center of mass of each label, a row of coordinates for each, on every rank. Collective."""
    from mpibatch.measure._loops import groups as loops
    from mpibatch.reduce._loops import states

    u = groups.u
    ndim = u.ndim
    state = no_states(groups, states.SQUARES + states.LEVELS * ndim)
    start = np.array([*u.box.start, *(0 for _ in u.components)], np.int64)
    stop, at = start + np.array(u.local_shape, np.int64), start.copy()
    limits = limits_of(groups, PRODUCT_LIMITS)
    with phase("compute"):
        for _, values, slots in groups.float_chunks():
            loops.add_moments(values, slots, limits, at, start, stop, state)
    state = merge_states(groups, state)
    results, doubtful = np.full((state.shape[1], ndim), np.nan), np.zeros(state.shape[1], bool)
    with phase("compute"):
        loops.finish_centers(state, results, doubtful)
        for i in np.flatnonzero(doubtful):
            column = state[:, i]
            firsts = (states.SUMS, *range(states.SQUARES, state.shape[0], states.LEVELS))
            results[i] = quotients([_fraction(column[first : first + states.LEVELS].tolist()) for first in firsts])
    results, is_wide = groups.share_all(results), groups.share_all(state[states.WIDE]) > 0
    if is_wide.any():
        names = np.flatnonzero(is_wide)
        for first in range(0, names.size, BATCH):
            some = names[first : first + BATCH]
            results[some] = _exact_centers(groups, some, start)
    return results


def _fraction(values: list[float]) -> Fraction:
    return sum((Fraction(value) for value in values if value), Fraction(0))


def quotients(exact: Sequence[Fraction | float]) -> list[float]:
    """Return moments over the sum, which is first: NaN if one is none, as 0 / 0, infinite where the sum is 0. Local."""
    if not all(isinstance(value, Fraction) for value in exact):
        return [np.nan for _ in exact[1:]]
    mass, *others = (Fraction(value) for value in exact)
    if mass:
        return [ratio((moment / mass).numerator, (moment / mass).denominator) for moment in others]
    return [np.nan if not moment else np.inf if moment > 0 else -np.inf for moment in others]


def _exact_centers(groups: Groups, names: Ints, start: Ints) -> Array:
    width = product_parts(np.empty(0), np.empty(0)).size
    rows = []
    with phase("compute"):
        for values, index in values_of(groups, names):
            coordinates = np.unravel_index(index, groups.u.local_shape)
            factors = [np.ones(index.size), *(i + s for i, s in zip(coordinates, start, strict=True))]
            rows.append(np.concatenate([product_parts(values, np.asarray(factor, "f8")) for factor in factors]))
    words = np.array(rows)
    total = add_up(groups.u.grid.comm, words.reshape(-1), groups.text).reshape(len(rows), -1, width)
    results = np.full((len(rows), groups.u.ndim), np.nan)
    for result, row in zip(results, total, strict=True):
        sums = [product_total(parts) for parts in row]
        if all(special is None for special, _ in sums):
            result[:] = quotients([Fraction(number, 1 << PRODUCT_UNIT) for _, number in sums])
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
