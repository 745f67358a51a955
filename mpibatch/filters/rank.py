"""Order statistics over windows: median_filter, rank_filter, percentile_filter.

As scipy.ndimage. The result is one of the cells in the window, so it is the same to the bit on any decomposition
and by any algorithm; which one is used depends on the window, the dtype and the cells:

- the lowest and highest rank are minima and maxima (`mpibatch.filters.extrema`);
- small windows: networks of comparators (`_loops.rank_network`);
- large box-shaped windows on 8-bit cells: counts of cells up to thresholds (`_loops.rank_counts`), or histograms of
  columns where a tile of a plane has many different answers, at a cost that does not depend on the window;
- all others: a histogram that slides along, at the cost of the window's edge (`_loops.rank_histogram`). Cells with
  many different values are replaced by their places in the order of a tile's values.

Floats are ordered with -0.0 before 0.0 (where they tie, scipy returns either), and NaN after infinity, or before
-infinity if its sign bit is set (in scipy undefined). 64-bit integers beyond 2^53 come out rounded to f64 as in
scipy, unless the grid has one axis. For one axis scipy has an algorithm of its own, which ignores holes in the
footprint, misses windows near the wall (gh-23293), and reads past the array for some origins: there the result is
what scipy gives for the same line as an array of two axes.

Axes, modes, `output` and errors: see `mpibatch.filters.passes`. In contrast to scipy, one mode per axis is
allowed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import axes_of, cval_of, modes_of, real_of, sizes_of, whole
from mpibatch.filters._engine.calls import FilterCall
from mpibatch.filters._engine.footprints import (
    Window,
    cast_as_c,
    expanded_origins,
    footprint_of,
    in_order,
    warn_of_size,
    window_from,
)
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters._engine.selection import check_room, select_rank
from mpibatch.filters.extrema import along_box, as_c, exact_in_f8, over_footprint
from mpibatch.filters.passes import begin, result_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["median_filter", "percentile_filter", "rank_filter"]


@fills_output
def median_filter(
    u: Field,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the median over a window: of an even number of cells, the higher of the two middle ones.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int or sequence of int, optional
        Extent of a box-shaped window in cells, at least 1; one for all, or one for each filtered axis. Needed unless
        `footprint` is given.
    footprint : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered, at least one such cell.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each filtered axis. A periodic axis wraps whatever its
        mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. What the dtype of `u` cannot
        hold is converted as scipy does.
    origin : int or sequence of int, default 0
        Shift of the window in cells, from -(size // 2) to (size - 1) // 2; one for all, or one for each filtered axis:
        a positive one makes a cell read lower indices.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u`.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Warns
    -----
    UserWarning
        If both `size` and `footprint` are given: `size` is not used.

    Notes
    -----
    Collective. A rank receives the cells within reach (size - 1 in all along each axis, corners included) from the
    ranks around it, in one exchange. The lowest and highest of a window are minima and maxima (see `minimum_filter`);
    small windows go through networks of comparators, large boxes of 8-bit cells through counts of cells up to
    thresholds, which are bisected, or, of two axes and where answers are many, histograms of columns
    (doi:10.1109/TIP.2007.902329), at a cost that does not depend on the window; all others through a histogram that
    slides along at the cost of the window's edge.

    The result is one of the cells in the window, equal to that of scipy.ndimage.median_filter of the whole array. Where
    -0.0 and 0.0 tie, scipy returns either, and here -0.0 comes first; between lowest and highest, NaN is sorted by its
    sign bit, after inf or before -inf. 64-bit integers beyond 2**53 come out rounded to float64, as in scipy, unless
    the grid has one axis. There scipy misses windows near the walls, and the result is what scipy gives for the same
    line as an array of two axes. In contrast to scipy, one mode per axis is allowed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.median_filter(u, size=3)
    >>> float(mb.max(u)), float(mb.max(v))
    (1.0, 0.0)
    """
    call = FilterCall(
        name="median_filter",
        u=u,
        size=size,
        footprint=footprint,
        output=output,
        mode=mode,
        cval=cval,
        origin=origin,
        axes=axes,
    )
    window, modes = _window(call)
    return _ranked(call, window, modes, window.count // 2)


@fills_output
def rank_filter(
    u: Field,
    rank: int,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the cell of given rank in a window: 0 the smallest, -1 the largest.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    rank : int
        Place in the ascending order of the n cells of the window, from -n to n - 1; a negative one counts from the
        largest.
    size : int or sequence of int, optional
        Extent of a box-shaped window in cells, at least 1; one for all, or one for each filtered axis. Needed unless
        `footprint` is given.
    footprint : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered, at least one such cell.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each filtered axis. A periodic axis wraps whatever its
        mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. What the dtype of `u` cannot
        hold is converted as scipy does.
    origin : int or sequence of int, default 0
        Shift of the window in cells, from -(size // 2) to (size - 1) // 2; one for all, or one for each filtered axis:
        a positive one makes a cell read lower indices.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u`.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Warns
    -----
    UserWarning
        If both `size` and `footprint` are given: `size` is not used.

    Notes
    -----
    Collective. A rank receives the cells within reach (size - 1 in all along each axis, corners included) from the
    ranks around it, in one exchange. The lowest and highest of a window are minima and maxima (see `minimum_filter`);
    small windows go through networks of comparators, large boxes of 8-bit cells through counts of cells up to
    thresholds, which are bisected, or, of two axes and where answers are many, histograms of columns
    (doi:10.1109/TIP.2007.902329), at a cost that does not depend on the window; all others through a histogram that
    slides along at the cost of the window's edge.

    The result is one of the cells in the window, equal to that of scipy.ndimage.rank_filter of the whole array. Where
    -0.0 and 0.0 tie, scipy returns either, and here -0.0 comes first; between lowest and highest, NaN is sorted by its
    sign bit, after inf or before -inf. 64-bit integers beyond 2**53 come out rounded to float64, as in scipy, unless
    the grid has one axis. There scipy misses windows near the walls, and the result is what scipy gives for the same
    line as an array of two axes. In contrast to scipy, one mode per axis is allowed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> second = mb.filters.rank_filter(u, -2, size=3)
    >>> float(mb.max(u)), float(mb.max(second))
    (1.0, 0.0)
    """
    name = "rank_filter"
    call = FilterCall(
        name=name, u=u, size=size, footprint=footprint, output=output, mode=mode, cval=cval, origin=origin, axes=axes
    )
    window, modes = _window(call)
    position = whole(name, "rank", rank)
    if not -window.count <= position < window.count:
        raise UsageError(
            f"{name}: rank = {position} does not exist in a window of {window.count} cells;"
            f" give one from {-window.count} to {window.count - 1}"
        )
    return _ranked(call, window, modes, position % window.count)


@fills_output
def percentile_filter(
    u: Field,
    percentile: float,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the cell below which `percentile` percent of a window lie; -20 means 80.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    percentile : float
        From -100 to 100; a negative one counts from the largest cell, as -20 for 80.
    size : int or sequence of int, optional
        Extent of a box-shaped window in cells, at least 1; one for all, or one for each filtered axis. Needed unless
        `footprint` is given.
    footprint : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered, at least one such cell.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each filtered axis. A periodic axis wraps whatever its
        mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. What the dtype of `u` cannot
        hold is converted as scipy does.
    origin : int or sequence of int, default 0
        Shift of the window in cells, from -(size // 2) to (size - 1) // 2; one for all, or one for each filtered axis:
        a positive one makes a cell read lower indices.
    axes : int or iterable of int, optional
        Grid axes to filter, each once; negative ones count from the last. Default: all.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u`.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Warns
    -----
    UserWarning
        If both `size` and `footprint` are given: `size` is not used.

    Notes
    -----
    Collective. A rank receives the cells within reach (size - 1 in all along each axis, corners included) from the
    ranks around it, in one exchange. The lowest and highest of a window are minima and maxima (see `minimum_filter`);
    small windows go through networks of comparators, large boxes of 8-bit cells through counts of cells up to
    thresholds, which are bisected, or, of two axes and where answers are many, histograms of columns
    (doi:10.1109/TIP.2007.902329), at a cost that does not depend on the window; all others through a histogram that
    slides along at the cost of the window's edge.

    The result is one of the cells in the window, equal to that of scipy.ndimage.percentile_filter of the whole array.
    Where -0.0 and 0.0 tie, scipy returns either, and here -0.0 comes first; between lowest and highest, NaN is sorted
    by its sign bit, after inf or before -inf. 64-bit integers beyond 2**53 come out rounded to float64, as in scipy,
    unless the grid has one axis. There scipy misses windows near the walls, and the result is what scipy gives for the
    same line as an array of two axes. In contrast to scipy, one mode per axis is allowed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: x)
    >>> v = mb.filters.percentile_filter(u, 25, size=(1, 5))
    >>> mb.gather_all(v)[8, 6:10]
    array([5., 6., 7., 8.])
    """
    name = "percentile_filter"
    call = FilterCall(
        name=name, u=u, size=size, footprint=footprint, output=output, mode=mode, cval=cval, origin=origin, axes=axes
    )
    window, modes = _window(call)
    percent = real_of(name, "percentile", percentile)
    if not -100.0 <= percent <= 100.0:
        raise UsageError(f"{name}: percentile = {percentile!r} is out of range; give a number from -100 to 100")
    # scipy's own order of operations: another one would round to another rank.
    share = percent + 100.0 if percent < 0.0 else percent
    rank = window.count - 1 if share == 100.0 else int(float(window.count) * share / 100.0)
    return _ranked(call, window, modes, rank)


def _window(call: FilterCall) -> tuple[Window, tuple[str, ...]]:
    """Return the window, and a mode for every grid axis. Collective."""
    name, u, size = call.name, call.u, call.size
    result_dtype(name, u)
    ndim = u.grid.ndim
    over = axes_of(name, call.axes, ndim)
    modes = in_order(ndim, over, modes_of(name, call.mode, len(over)), "nearest")
    if call.footprint is not None:
        if size is not None:
            warn_of_size(name)
        given = footprint_of(name, "footprint", call.footprint, ndim, over)
    elif size is not None:
        sizes = sizes_of(name, size, len(over))
        # Each cell of the window is listed with its place: too many of them do not fit where the halo might.
        listed = math.prod(sizes) * 8 * (ndim + 1)
        reach = [(0, n - 1) for n in in_order(ndim, over, sizes, 1)]
        check_memory(u.grid, f"{name} with size {sizes}", max(listed, padded_bytes(u, reach, u.dtype.itemsize)))
        given = footprint_of(name, "size", np.ones(sizes, dtype=bool), ndim, over)
    else:
        raise UsageError(f"{name}: neither size nor footprint was given; give one, such as size=3")
    return window_from(given, expanded_origins(name, call.origin, given.shape, over)), modes


def _ranked(call: FilterCall, window: Window, modes: tuple[str, ...], rank: int) -> Field:
    """Return the cell of `rank` in each window. Collective."""
    u = call.u
    out = begin(call.name, u, call.output)
    value = cval_of(call.name, call.cval)
    if rank in (0, window.count - 1):
        extrema = along_box if window.full else over_footprint
        return extrema(call, window, modes, value, rank > 0)
    result = out if out.dtype == u.dtype else u.like(halo=0)
    check_room(call.name, u, window, rank)
    select_rank(u, result, window, rank, modes, cast_as_c(value, u.dtype))
    if result is not out:
        out.owned[...] = as_c(result.owned, out.dtype)
    elif u.ndim > 1:
        exact_in_f8(out)
    return out
