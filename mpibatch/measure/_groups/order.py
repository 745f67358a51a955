"""Extremes and medians by label: values as unsigned integers of the same order, compared and selected exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.mpi import MPI
from mpibatch.reduce.arrays import CHUNK
from mpibatch.reduce.order.keys import keys_of, values_of

if TYPE_CHECKING:
    from mpibatch.measure._groups.groups import Groups

__all__ = ["extremes", "medians"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

SIGN = np.uint64(1 << 63)
LAST = np.uint64((1 << 64) - 1)
# Labels for which digits are counted at once: 8 MiB of counts.
BATCH = 4096


def _unsigned_of(values: Array, room: Keys) -> Keys:
    """Return keys in the order of the values, NaN last, and zeros equal, in `room` or elsewhere. Local."""
    from mpibatch.measure._loops import groups as loops

    if values.dtype.kind == "f":
        floats = values.astype("f8", copy=False)
        floats.flags.writeable = False  # one type for the compiler, whether it was copied or not
        result = room[: floats.size]
        loops.float_keys(floats, result)
        return result
    return keys_of(values).view(np.uint64) ^ SIGN


def _values_of(unsigned: Keys, dtype: np.dtype[Any]) -> Array:
    """Return the values that have these keys. Local."""
    return values_of((unsigned ^ SIGN).view(np.int64), dtype)


def extremes(groups: Groups) -> tuple[tuple[Array, Ints], tuple[Array, Ints]]:
    """Return the least value of each label and the flat global index of the first; and the same of the greatest.

    Collective. A NaN is less and greater than all. The index of a label that is nowhere is -1, its value NaN, or 0 of
    integers.
    """
    from mpibatch.measure._loops import groups as loops

    count = groups.names.size
    is_float = groups.u.dtype.kind == "f"
    tables, places = np.zeros((2, count), np.uint64), np.full((2, count), -1, np.int64)
    room = np.empty(CHUNK, np.uint64)
    with phase("compute"):
        for start, values, slots in groups.chunks():
            loops.find_extremes(_unsigned_of(values, room), slots, start, is_float, tables, places)
        places = groups.places(places)

    def merge(mine: Array, other: Array) -> None:
        for row in (0, 1):
            ours, theirs = mine[row + 2].view(np.int64), other[row + 2].view(np.int64)
            is_better = (other[row] > mine[row]) | ((other[row] == mine[row]) & (theirs < ours))
            takes = (theirs >= 0) & ((ours < 0) | is_better)
            for rows in (row, row + 2):
                mine[rows] = np.where(takes, other[rows], mine[rows])

    state = groups.merged(np.concatenate([tables, places.view(np.uint64)]), merge)
    low, high, first, last = np.ascontiguousarray(groups.share_all(np.ascontiguousarray(state.T)).T)
    if is_float:
        low = np.where(low == LAST, low, ~low)  # NaN is LAST in both
    else:
        low = ~low
    results = []
    for best, index in ((low, first.view(np.int64)), (high, last.view(np.int64))):
        values = _values_of(best, groups.u.dtype)
        values[index < 0] = np.nan if is_float else 0
        results.append((values, index))
    return results[0], results[1]


def medians(groups: Groups) -> Array:
    """Return the median of each label, on every rank; NaN of labels that are nowhere, or have a NaN. Collective."""
    from mpibatch.measure._loops import groups as loops

    comm = groups.u.grid.comm
    is_float = groups.u.dtype.kind == "f"
    counts, nans = np.zeros(groups.names.size, np.int64), np.zeros(groups.names.size, np.int64)
    with phase("compute"):
        for _, values, slots in groups.chunks():
            chosen = slots[slots >= 0]
            counts += np.bincount(chosen, minlength=counts.size)
            if is_float:
                nans += np.bincount(slots[(slots >= 0) & (values != values)], minlength=counts.size)
    totals = np.empty((2, counts.size), np.int64)
    with REDUCTION:
        comm.Allreduce(np.array([counts, nans]), totals, op=MPI.SUM)
    number, has_nan = totals[0], totals[1] > 0
    with phase("compute"):
        ends = np.cumsum(counts)
        starts, cursor = ends - counts, ends - counts
        keys, room = np.empty(int(counts.sum()), np.uint64), np.empty(CHUNK, np.uint64)
        for _, values, slots in groups.chunks():
            loops.put_keys(_unsigned_of(values, room), slots, cursor, keys)
    # A label of one rank is settled there; one that several have, digit by digit by all.
    is_mine, is_shared = (counts == number) & (number > 0), np.zeros(counts.size, np.int64)
    with REDUCTION:
        comm.Allreduce(is_mine.astype(np.int64), is_shared, op=MPI.SUM)
    shared = np.flatnonzero((is_shared == 0) & (number > 0))
    middle = np.zeros((2, counts.size), np.uint64)
    for row, places in zip(middle, ((number - 1) // 2, number // 2), strict=True):
        with phase("compute"):
            mine = np.flatnonzero(is_mine)
            out = np.empty(mine.size, np.uint64)
            loops.pick_all(keys, starts[mine], ends[mine], places[mine], out)
            row[mine] = out
        if comm.size > 1:
            bits = np.empty(counts.size, np.int64)
            with REDUCTION:
                comm.Allreduce(row.view(np.int64), bits, op=MPI.SUM)
            row[:] = bits.view(np.uint64)
        for first in range(0, shared.size, BATCH):
            some = shared[first : first + BATCH]
            row[some] = _pick_shared(groups, keys, starts[some], ends[some], places[some])
    low, high = _values_of(middle[0], groups.u.dtype), _values_of(middle[1], groups.u.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        # One value is that value, and not the mean of two, which might overflow.
        single, pair = np.mean([low], axis=0), np.mean([low, high], axis=0)
    results: Array = np.asarray(np.where(number % 2 == 1, single, pair))
    results[has_nan | (number == 0)] = np.nan
    return results


def _pick_shared(groups: Groups, keys: Keys, starts: Ints, stops: Ints, places: Ints) -> Keys:
    """Return the keys at places in the order of all ranks' segments. Collective: eight all-reduces."""
    from mpibatch.measure._loops import groups as loops

    prefixes = np.zeros(starts.size, np.uint64)
    rest = places.copy()
    for shift in range(56, -8, -8):
        counts = np.zeros((starts.size, 256), np.int64)
        with phase("compute"):
            loops.count_digits(keys, starts, stops, np.uint64(shift), prefixes, counts)
        total = np.empty_like(counts)
        with REDUCTION:
            groups.u.grid.comm.Allreduce(counts, total, op=MPI.SUM)
        ends = np.cumsum(total, axis=1)
        digit = (ends <= rest[:, np.newaxis]).sum(axis=1)
        at = np.arange(starts.size)
        rest -= ends[at, digit] - total[at, digit]
        prefixes = (prefixes << np.uint64(8)) | digit.astype(np.uint64)
    return prefixes
