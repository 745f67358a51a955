"""Sums, means, variances and counts along some axes of a Field, each rounded once.

A line's sum is kept in four doubles (see `_loops.lines`). The few lines for which these are not enough are summed once
more as the whole field is, in 68 words each.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.reduce.axes import Lines, share
from mpibatch.reduce.exact_sums import (
    PRODUCT_UNIT,
    SUM_UNIT,
    float_parts,
    float_total,
    integer_parts,
    integer_total,
    product_parts,
    product_total,
    ratio,
    root,
    rounded,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BATCH", "Kind", "count_lines", "finish", "finish_exactly", "sum_lines", "words_of"]

Array = npt.NDArray[Any]
# The sum of bool or integers is an integer, the total f8; the norm is the root of the sum of squares.
Kind = Literal["sum", "total", "mean", "var", "std", "norm"]
WITH_SQUARES = ("var", "std", "norm")

# Integers below this are exact in f8, and those from it on do not get below it.
EXACT = 2**53
# Lines whose words are added up at once.
BATCH = 4096


def count_lines(lines: Lines, *, truths: bool) -> Array:
    """Return how many elements of each line are true, or false: of this rank's share, as int64. Collective."""
    lines.agree()
    values, mask = lines.turned()
    axes = tuple(range(len(lines.kept), values.ndim))
    with phase("compute"):
        chosen = (values != 0) == truths
        if mask is not None:
            chosen &= mask
        counts = np.count_nonzero(chosen, axis=axes)
    return _first(lines.merged(np.asarray(counts, np.int64)[np.newaxis], _add))


def sum_lines(lines: Lines, kind: Kind, ddof: int = 0) -> Array:
    """Return the sum, mean, variance, its root or the norm of each line of this rank's share. Collective.

    Sums of bool and integers are of 8 bytes, and wrap around as NumPy's; all else is f8.
    """
    from mpibatch.reduce._loops import states

    text = f"{kind}, ddof={ddof}"
    if kind == "sum" and lines.op.u.dtype.kind != "f":
        lines.agree(text)
        return _integer_sums(lines)
    has_squares = kind in WITH_SQUARES
    with phase("compute"):
        state = _expansions(lines, has_squares=has_squares)
    lines.agree(text)
    state = lines.merged(state, _merge)
    is_wide = state[states.WIDE] > 0
    if kind == "norm":
        is_wide |= state[states.SPECIAL] != 0  # infinities of both signs add up to NaN, their squares do not
    with phase("compute"):
        results = finish(state, kind, ddof)
    if lines.agree(text, flag=bool(is_wide.any())):
        _mend(lines, is_wide, results, kind, ddof)
    return results


def _first(state: Array) -> Array:
    row: Array = state[0]
    return row


def _add(mine: Array, other: Array) -> None:
    mine += other


def _integer_sums(lines: Lines) -> Array:
    values, mask = lines.turned()
    wide = np.uint64 if values.dtype.kind == "u" else np.int64
    axes = tuple(range(len(lines.kept), values.ndim))
    with phase("compute"):
        sums = values.sum(axis=axes, dtype=wide, where=True if mask is None else mask)
    return _first(lines.merged(np.asarray(sums)[np.newaxis], _add))


def _expansions(lines: Lines, *, has_squares: bool) -> Array:
    """Return the states of this rank's parts of the lines. Local."""
    from mpibatch.reduce._loops import lines as loops
    from mpibatch.reduce._loops import states

    planes, mask, row = lines.planes()
    kept = lines.local_shape or (1,)
    others = (*kept[:row], *kept[row + 1 :])
    state = np.zeros((states.COLUMNS if has_squares else states.SQUARES, math.prod(others), kept[row]))
    state[states.SUMS] = -0.0
    # Planes that differ along reduced axes alone belong to the same lines.
    shape = planes.shape[:-2]
    places = np.broadcast_to(
        np.arange(state.shape[1]).reshape(others + (1,) * (len(shape) - len(others))), shape
    ).reshape(-1)
    options = mask is not None, lines.op.skips_nan, has_squares
    nothing = np.ones((1, 1), bool)
    for some, values, chosen in _doubles(planes, mask, places):
        if planes.dtype.kind in "iu" and planes.dtype.itemsize == 8:
            state[states.WIDE, some[0]] += np.any(np.abs(values) >= EXACT, axis=1)
        memory, starts, steps = _flat(values)
        truths, truth_starts, truth_steps = _flat(nothing if chosen is None else chosen)
        where = np.broadcast_to(truth_starts, starts.shape)
        loops.add(values.shape[-2:], memory, starts, steps, truths, where, truth_steps, options, some, state)
    whole = np.moveaxis(state.reshape(len(state), *others, kept[row]), -1, 1 + row)
    return np.ascontiguousarray(whole.reshape(len(state), *kept))


def _doubles(planes: Array, mask: Array | None, places: Array) -> Iterator[tuple[Array, Array, Array | None]]:
    """Yield (places, elements, mask) of planes, converted one by one where need be, since copies take room. Local."""
    if not planes.size:
        return
    if planes.dtype == np.float64:
        yield places, planes, mask
        return
    for place, index in zip(places, np.ndindex(planes.shape[:-2]), strict=True):
        yield np.array([place]), planes[index].astype("f8"), None if mask is None else mask[index]


def _flat(planes: Array) -> tuple[Array, Array, tuple[int, int]]:
    """Return memory as one read-only axis, where planes begin in it, and the steps along their two axes. Local."""
    steps = [stride // planes.itemsize for stride in planes.strides]
    span = 1 + sum((n - 1) * step for n, step in zip(planes.shape, steps, strict=True))
    starts = np.zeros((), np.int64)
    for n, step in zip(planes.shape[:-2], steps[:-2], strict=True):
        starts = np.add.outer(starts, np.arange(n) * step)
    memory = np.lib.stride_tricks.as_strided(planes, (span,), (planes.itemsize,), writeable=False)
    return memory, starts.reshape(-1), (steps[-2], steps[-1])


def _merge(mine: Array, other: Array) -> None:
    from mpibatch.reduce._loops import states

    states.merge(mine.reshape(len(mine), -1), other.reshape(len(other), -1))


def finish(state: Array, kind: Kind, ddof: int) -> Array:
    """Round what expansions hold. Local."""
    from mpibatch.reduce._loops import states as loops

    if kind == "norm":  # the root of the variance of one element around a mean of 0
        state = state.copy()
        state[loops.SUMS : loops.SPECIAL], state[loops.COUNT] = 0.0, 1.0
        return finish(state, "std", 0)
    flat = np.ascontiguousarray(state.reshape(len(state), -1))
    out, doubtful = np.empty(flat.shape[1]), np.zeros(flat.shape[1], bool)
    if kind in ("sum", "total"):
        loops.finish_sums(flat, out)
    elif kind == "mean":
        loops.finish_means(flat, out, doubtful)
    else:
        loops.finish_variances(flat, float(max(-EXACT, min(ddof, EXACT))), kind == "std", out, doubtful)
    for i in np.flatnonzero(doubtful):
        column = flat[:, i]
        total, squares = (
            sum(map(Fraction, column[first : first + loops.LEVELS].tolist()), Fraction(0))
            for first in (loops.SUMS, loops.SQUARES)
        )
        out[i] = _result(kind, total, squares, int(column[loops.COUNT]), ddof)
    return out.reshape(state.shape[1:])


def _result(kind: Kind, total: Fraction, squares: Fraction, count: int, ddof: int) -> float:
    """Return a mean, a variance or its root from exact sums. Local."""
    if kind == "mean":
        value = total / count
    else:
        value = (count * squares - total * total) / (count * (count - ddof))
    return (root if kind == "std" else ratio)(value.numerator, value.denominator)


def _mend(lines: Lines, is_wide: Array, results: Array, kind: Kind, ddof: int) -> None:
    """Write the results of this rank's share that four doubles do not hold. Collective over the group."""
    rows = lines.local_shape[0] if lines.kept else 1
    low, _ = share(lines.size, lines.index(lines.op.u.grid.rank), rows)
    everywhere = np.flatnonzero(lines.whole(is_wide, rows))
    first_of_mine = low * math.prod(lines.local_shape[1:])
    for first in range(0, everywhere.size, BATCH):
        some = everywhere[first : first + BATCH]
        with phase("compute"):
            words = _words(lines, some, has_squares=kind in WITH_SQUARES)
        words = lines.merged(words, _add)
        with phase("compute"):
            mine = finish_exactly(words, kind, ddof, is_float=lines.op.u.dtype.kind == "f")
        values = lines.whole(mine, some.size)
        at = some - first_of_mine
        is_mine = (at >= 0) & (at < results.size)
        results.flat[at[is_mine]] = values[is_mine]


def _words(lines: Lines, some: npt.NDArray[np.int64], *, has_squares: bool) -> Array:
    """Return the words of the exact sums of this rank's parts of some lines, a column for each. Local."""
    values, mask = lines.turned()

    def words_of_line(index: tuple[Any, ...]) -> Array:
        line = values[index]
        if mask is not None:
            line = line[mask[index]]
        return words_of(line[line == line] if lines.op.skips_nan else line, has_squares=has_squares)

    places = zip(*np.unravel_index(some, lines.local_shape), strict=True) if lines.kept else [()]
    return np.ascontiguousarray(np.array([words_of_line(tuple(place)) for place in places]).T)


def words_of(values: Array, *, has_squares: bool) -> Array:
    """Return the words of the exact sum of an array, of its squares, if wanted, and its size. Local."""
    sums = (float_parts if values.dtype.kind == "f" else integer_parts)(values)
    squares = product_parts(values, values) if has_squares else np.empty(0, np.int64)
    return np.concatenate([sums, squares, [values.size]])


def finish_exactly(parts: Array, kind: Kind, ddof: int, *, is_float: bool) -> Array:
    """Round what words hold: of exact sums, for variances of exact sums of squares, and a count. Local."""
    flat = parts.reshape(len(parts), -1)
    width = len(words_of(np.empty(0, "f8" if is_float else "i8"), has_squares=False)) - 1
    out = np.full(flat.shape[1], np.nan)
    for i, column in enumerate(flat.T):
        count = int(column[-1])
        if kind in ("sum", "total", "mean"):
            if kind != "mean" or count:
                divisor = count if kind == "mean" else 1
                out[i] = rounded(column[:width], divisor) if is_float else ratio(integer_total(column[:width]), divisor)
            continue
        special, squares = product_total(column[width:-1])
        if kind == "norm":
            out[i] = root(squares, 1 << PRODUCT_UNIT) if special is None else special
        elif special is None and count > ddof:
            first = float_total(column[:width])[1] if is_float else integer_total(column[:width]) << SUM_UNIT
            total = Fraction(first, 1 << SUM_UNIT)
            out[i] = _result(kind, total, Fraction(squares, 1 << PRODUCT_UNIT), count, ddof)
    return out.reshape(parts.shape[1:])
