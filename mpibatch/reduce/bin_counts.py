"""Histogram of a Field, equal to ``np.histogram`` of the gathered array.

NumPy computes a bin from a value by a division and then corrects it by one place, by comparison with the edges. So
the edges alone decide, unless the division is off by more than one bin; in these cases (edges a few roundings
apart, a range that overflows) and for types that f8 cannot hold NumPy's own function counts, part by part: what it
does to an element depends on that element, edges and range only.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers
from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.reduce.extremes import extremes
from mpibatch.reduce.operands import Operand, add_up, agree, operand
from mpibatch.reduce.slot_sums import Weights, check_weights, sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["histogram"]

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]

# Above this many bins, or with bins narrower than this many roundings, NumPy's division may miss by more than one.
MOST_BINS = 65536
LEAST_ROUNDINGS = 8
# Integers below this are exact in f8, and rounding to f8 brings no other integer below it.
EXACT = 2**53


def histogram(
    u: Field,
    bins: int | Sequence[float] | Array = 10,
    range: tuple[Any, Any] | None = None,
    density: bool = False,
    weights: Field | None = None,
    *,
    where: Field | None = None,
) -> tuple[Array, Array]:
    """Count the elements of a field, components included, into bins; the same on every rank.

    Parameters
    ----------
    u : Field
        Of bool, integers or floats of up to 8 bytes.
    bins : int or sequence of float, default 10
        Number of bins of equal width, or their edges (increasing, one more than bins).
    range : (low, high), optional
        Least and greatest edge; default the minimum and maximum, (0, 1) if there are no elements. Elements outside, and
        NaN, are not counted. Without meaning if edges are given.
    density : bool, default False
        Divide the counts by their sum and by the widths of the bins.
    weights : Field, optional
        On the same grid, with the same components, of bool, integers or floats of up to 8 bytes: added up in place of
        counting.
    where : Field of bool, optional
        On the same grid; only elements where it is True count.

    Returns
    -------
    counts : int64 array
        One per bin; f8 if `density`, and of weights each exact sum, rounded once. Bins hold their left edge; the last
        one holds its right edge, too.
    edges : array
        One more; f8, or the type that NumPy gives them.

        Both equal ``np.histogram`` of the gathered elements; an outer edge of zero is 0.0, never -0.0.

    Raises
    ------
    UsageError
        On every rank, for complex fields, for bins or a range that NumPy refuses (NumPy's names of automatic rules
        among them), for NaN or infinite elements if no range is given, and for weights that do not fit.

    Notes
    -----
    Collective: one all-reduce of 8 bytes per bin and at least 2 KiB; one of 2 KiB before it if the range has to be
    found, and one if there are more than 254 bins, which settles that all ranks ask for the same. With weights
    each rank sorts its elements, a buffer at a time, and ranks exchange halves of a table of 56 bytes for each bin, in
    as many steps as their number has binary digits, and then of its results.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((2, 3)).from_function(lambda y, x: 10 * y + x)
    >>> counts, edges = mb.histogram(u, bins=2, range=(0, 20))
    >>> print(counts, edges)
    [3 3] [ 0. 10. 20.]
    """
    op = operand(u, "the histogram", where)
    if weights is not None:
        check_weights(op, weights)
    if isinstance(bins, str):
        raise UsageError(f"histogram with bins={bins!r} is not valid; give a number of bins, or a list of edges")
    uniform = np.ndim(bins) == 0
    if range is None and uniform:
        range = _found_range(op)
    plain = np.dtype("u1") if u.dtype.kind == "b" else u.dtype
    try:
        edges = np.histogram_bin_edges(np.empty(0, plain), bins, range)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"histogram with bins={bins!r}, range={range!r} is not valid: {error}; give a positive number of bins "
            "and a finite range (low, high), or increasing edges"
        ) from error
    if edges.size < 2:
        raise UsageError(f"histogram with the edges {edges.tolist()} is not valid; give at least two")
    text = f"{op.text}, with bins={bins!r}, range={range!r}"
    counts: Array
    if weights is None:
        with phase("compute"):
            mine = _count(op, plain, bins if uniform else edges, range, edges, uniform)
        counts = add_up(u.grid.comm, mine, text)
    else:
        text = f"{text}, weights of dtype {weights.dtype}"
        agree(u.grid.comm, text)
        slots_of = partial(_bins_of, bins if uniform else edges, range if uniform else None)
        counts = sums(Weights(weights, text, edges.size - 1, op, slots_of), "sum")
    return (counts / np.array(np.diff(edges), float) / counts.sum() if density else counts), edges


def _found_range(op: Operand) -> tuple[Any, Any]:
    u = op.u
    limits = extremes(op, (False, True))
    if limits is None:
        return 0, 1
    low, high = limits
    if u.dtype.kind == "b":
        return np.uint8(low), np.uint8(high)
    if u.dtype.kind != "f":
        return low, high
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UsageError(
            f"the histogram of values from {low} to {high} needs a finite range; give "
            "range=(low, high): values outside it, and NaN, are then left out"
        )
    # Adding 0 turns -0.0 into 0.0.
    return low + 0, high + 0


def _bins_of(bins: Any, range: tuple[Any, Any] | None, part: Array) -> Counts:
    """Return which bin NumPy counts each element in, -1 for none; `range` is that of bins of equal width. Local.

    It tells how many a bin has, and a greater element is in no bin before. How many lie below the first is counted as
    NumPy does: of bins of equal width not with the first edge, which is rounded.
    """
    plain = as_numbers(part)
    order = np.argsort(plain, kind="stable")
    counts = np.histogram(plain, bins, range)[0]
    if range is None:
        first = int(np.searchsorted(plain, bins[:1], sorter=order)[0])
    else:
        low, high = range
        first = int(np.count_nonzero(plain < (low if low != high else low - 0.5)))
    slots = np.full(part.size, -1, np.int64)
    slots[order[first : first + counts.sum()]] = np.repeat(np.arange(counts.size), counts)
    return slots


def _count(op: Operand, plain: np.dtype[Any], bins: Any, range: Any, edges: Array, uniform: bool) -> Counts:
    """Return this rank's counts. Local."""
    counts = np.zeros(edges.size - 1, np.int64)
    if plain.kind in "iu" and plain.itemsize <= 2:
        values, times = tally(op, plain)
        return np.histogram(values, bins, range, weights=times)[0]
    if not _edges_decide(plain, edges, uniform):
        for part in op.flat_parts():
            counts += np.histogram(part, bins, range)[0]
        return counts
    # Late, because numba takes a second to load.
    from mpibatch.reduce._loops import bins

    exact_edges = edges.astype("f8")
    scale, below = bins.cells(exact_edges)
    for part in op.flat_parts():
        values = _read_only(part.astype("f8", copy=False))
        if uniform:
            bins.count_uniform(values, exact_edges, counts)
        else:
            bins.count_edges(values, exact_edges, counts, scale, below)
    return counts


def _read_only(part: Array) -> Array:
    """Return a part as one type for the compiler, whether it was copied or not. Local."""
    part.flags.writeable = False
    return part


def tally(op: Operand, plain: np.dtype[Any]) -> tuple[Array, Counts]:
    """Return all values of an integer type of at most 2 bytes, and how often each occurs. Local."""
    from mpibatch.reduce._loops import bins

    unsigned = np.dtype(f"u{plain.itemsize}")
    times = np.zeros(1 << (8 * unsigned.itemsize), np.int64)
    for part in op.flat_parts():
        bins.tally(_read_only(part.view(unsigned)), times)
    return np.arange(times.size, dtype=unsigned).view(plain), times


def _edges_decide(dtype: np.dtype[Any], edges: Array, uniform: bool) -> bool:
    """Tell whether NumPy's counts follow from comparisons of f8 values with the edges alone. Local."""
    if dtype.itemsize < 4 or edges.dtype.kind not in "biuf" or edges.dtype.itemsize > 8:
        return False
    if not np.all(np.isfinite(edges)):
        return False
    ends = edges[[0, -1]]
    has_wide_integers = (dtype.kind in "iu" and dtype.itemsize == 8) or edges.dtype.kind in "iu"
    if has_wide_integers and max(abs(int(end)) for end in ends.tolist()) >= EXACT - 1:
        return False
    if not uniform:
        return True
    with np.errstate(over="ignore", divide="ignore"):
        width = ends[1] - ends[0]
        scale = float(edges.size - 1) / float(width)
    roundings = np.min(np.diff(edges)) / np.spacing(np.max(np.abs(edges)))
    return bool(
        edges.size <= MOST_BINS and np.isfinite(width) and math.isfinite(scale) and roundings >= LEAST_ROUNDINGS
    )
