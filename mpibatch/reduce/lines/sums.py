"""Sums, means, variances and counts along some axes of a Field, each rounded once.

A line's sum is kept in four doubles (see `_loops.lines`). Where these are not enough on any rank, all lines are summed
as the whole field is, in 68 words each.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.mpi import MPI
from mpibatch.reduce.axes import Lines
from mpibatch.reduce.exact import (
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
from mpibatch.reduce.operands import all_reduce

__all__ = ["Kind", "agree", "count_lines", "finish", "finish_exactly", "sum_lines", "text_of", "words_of"]

Array = npt.NDArray[Any]
Kind = Literal["sum", "mean", "var", "std"]

# Integers up to this are exact in f8.
EXACT = 2**53


def agree(lines: Lines, text: str, flag: bool = False) -> bool:
    """Return whether any rank has the flag; UsageError if ranks ask for different things. Collective: 2 KiB."""
    return bool(all_reduce(lines.op.u.grid.comm, np.array([flag], np.int64), MPI.MAX, text)[0])


def count_lines(lines: Lines, truths: bool) -> Array:
    """Return how many elements of each line are true, or false: of this rank's share, as int64. Collective."""
    agree(lines, text_of(lines))
    values, mask = lines.turned()
    axes = tuple(range(len(lines.kept), values.ndim))
    with phase("compute"):
        chosen = (values != 0) == truths
        if mask is not None:
            chosen &= mask
        counts = np.count_nonzero(chosen, axis=axes)
    return _first(lines.merged(np.asarray(counts, np.int64)[np.newaxis], _add))


def sum_lines(lines: Lines, kind: Kind, ddof: int = 0) -> Array:
    """Return the sum, mean, variance or its root of each line of this rank's share. Collective.

    Sums of bool and integers are of 8 bytes, and wrap around as NumPy's; all else is f8.
    """
    text = f"{text_of(lines)}, ddof={ddof}"
    if kind == "sum" and lines.op.u.dtype.kind != "f":
        agree(lines, text)
        return _integer_sums(lines)
    has_squares = kind in ("var", "std")
    with phase("compute"):
        state, is_wide = _expansions(lines, has_squares)
    if not agree(lines, text, is_wide):
        state, is_wide = _merged(lines, state)
        if lines.size == 1 or not agree(lines, text, is_wide):
            with phase("compute"):
                return finish(state, kind, ddof)
    with phase("compute"):
        parts = _exact_parts(lines, has_squares)
    parts = lines.merged(parts, _add)
    with phase("compute"):
        return finish_exactly(parts, lines.op.u.dtype.kind == "f", kind, ddof)


def text_of(lines: Lines) -> str:
    """Return what is asked for, in words. Local."""
    return f"{lines.op.text}, axis={lines.reduced}"


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


def _expansions(lines: Lines, has_squares: bool) -> tuple[Array, bool]:
    """Return the states of this rank's parts of the lines, and whether some do not fit. Local."""
    from mpibatch.reduce._loops import lines as loops

    state = np.zeros((loops.COLUMNS if has_squares else loops.SQUARES, *(lines.local_shape or (1,))))
    state[loops.SUMS] = -0.0
    nothing = np.ones((1, 1), bool)
    is_wide = False
    for index, plane, mask in lines.planes():
        values = plane.astype("f8", copy=False)
        if plane.dtype.kind in "iu" and plane.dtype.itemsize == 8:
            is_wide |= bool(np.any(np.abs(values) > EXACT))
        at = (slice(None), *index)
        some = np.ascontiguousarray(state[at])
        memory, steps = _flat(values)
        chosen, chosen_steps = _flat(nothing if mask is None else mask)
        options = mask is not None, lines.op.skips_nan, has_squares
        is_wide |= bool(loops.add(values.shape, memory, steps, chosen, chosen_steps, options, some))
        state[at] = some
    return state, is_wide


def _flat(plane: Array) -> tuple[Array, tuple[int, int]]:
    """Return a plane's memory as one read-only axis, and the steps from row to row and column to column. Local."""
    steps = plane.strides[0] // plane.itemsize, plane.strides[1] // plane.itemsize
    span = 1 + sum((n - 1) * step for n, step in zip(plane.shape, steps, strict=True))
    return np.lib.stride_tricks.as_strided(plane, (span,), (plane.itemsize,), writeable=False), steps


def _merged(lines: Lines, state: Array) -> tuple[Array, bool]:
    from mpibatch.reduce._loops import lines as loops

    is_wide = False

    def merge(mine: Array, other: Array) -> None:
        nonlocal is_wide
        flat = mine.reshape(len(mine), -1)
        wide = np.zeros(flat.shape[1])
        loops.merge(flat, other.reshape(len(other), -1), len(mine), wide)
        is_wide |= bool(wide.any())

    return lines.merged(state if lines.kept else state[:, 0], merge), is_wide


def finish(state: Array, kind: Kind, ddof: int) -> Array:
    """Round what expansions hold. Local."""
    from mpibatch.reduce._loops import lines as loops

    flat = np.ascontiguousarray(state.reshape(len(state), -1))
    out, doubtful = np.empty(flat.shape[1]), np.zeros(flat.shape[1], bool)
    if kind == "sum":
        loops.finish_sums(flat, out)
    elif kind == "mean":
        loops.finish_means(flat, out, doubtful)
    else:
        loops.finish_variances(flat, float(ddof), kind == "std", out, doubtful)
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


def _exact_parts(lines: Lines, has_squares: bool) -> Array:
    """Return the words of the exact sums of this rank's parts of the lines. Local."""
    values, mask = lines.turned()

    def lines_of_values() -> Iterator[Array]:
        for index in np.ndindex(lines.local_shape):
            line = values[index]
            if mask is not None:
                line = line[mask[index]]
            yield line[line == line] if lines.op.skips_nan else line

    width = len(words_of(np.empty(0, values.dtype), has_squares))
    table = np.array([words_of(line, has_squares) for line in lines_of_values()], np.int64).reshape(-1, width)
    return np.ascontiguousarray(table.T).reshape(width, *lines.local_shape)


def words_of(values: Array, has_squares: bool) -> Array:
    """Return the words of the exact sum of an array, of its squares, if wanted, and its size. Local."""
    sums = (float_parts if values.dtype.kind == "f" else integer_parts)(values)
    squares = product_parts(values, values) if has_squares else np.empty(0, np.int64)
    return np.concatenate([sums, squares, [values.size]])


def finish_exactly(parts: Array, is_float: bool, kind: Kind, ddof: int) -> Array:
    """Round what words hold: of exact sums, for variances of exact sums of squares, and a count. Local."""
    flat = parts.reshape(len(parts), -1)
    width = len(words_of(np.empty(0, "f8" if is_float else "i8"), False)) - 1
    out = np.full(flat.shape[1], np.nan)
    for i, column in enumerate(flat.T):
        count = int(column[-1])
        if kind in ("sum", "mean"):
            if kind == "sum" or count:
                divisor = count if kind == "mean" else 1
                out[i] = rounded(column[:width], divisor) if is_float else ratio(integer_total(column[:width]), divisor)
            continue
        special, squares = product_total(column[width:-1])
        if special is None and count > ddof:
            first = float_total(column[:width])[1] if is_float else integer_total(column[:width]) << SUM_UNIT
            total = Fraction(first, 1 << SUM_UNIT)
            out[i] = _result(kind, total, Fraction(squares, 1 << PRODUCT_UNIT), count, ddof)
    return out.reshape(parts.shape[1:])
