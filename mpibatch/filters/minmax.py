"""Minima and maxima over windows: scipy.ndimage's names for what `extrema` computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.filters._engine.arguments import axis_of, cval_of, mode_of, origins_of, sizes_of
from mpibatch.filters._engine.calls import FilterCall, Line
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters.extrema import along_axes, extremum
from mpibatch.filters.passes import result_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["maximum_filter", "maximum_filter1d", "minimum_filter", "minimum_filter1d"]


@fills_output
def minimum_filter1d(
    u: Field, size: int, axis: int = -1, output: Any = None, mode: str = "reflect", cval: float = 0.0, origin: int = 0
) -> Field:
    """Return the minimum of `size` cells along a grid axis around every cell.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int
        Extent of the window in cells, at least 1.
    axis : int, default -1
        Grid axis to filter along; a negative one counts from the last.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. What the dtype of `u` cannot
        hold is converted as scipy does.
    origin : int, default 0
        Shift of the window in cells, from -(size // 2) to (size - 1) // 2: a positive one makes a cell read lower
        indices.

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

    Notes
    -----
    Collective. A rank receives size - 1 cells in all from the ranks beside it on that axis. The cost is three
    comparisons a cell, whatever the size, by van Herk's and Gil and Werman's method (doi:10.1016/0167-8655(92)90069-C,
    doi:10.1109/34.211471), or log2(size) vector operations along the last axis.

    The result is exact, and its bits are those of scipy.ndimage.minimum_filter1d of the whole array, the sign of zero
    included. A box-shaped window that holds NaN gives NaN. 64-bit integers beyond 2**53 come out rounded to float64, as
    in scipy.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.minimum_filter1d(1 - u, 3, axis=0)
    >>> mb.gather_all(v)[6:11, 8]
    array([1., 0., 0., 0., 1.])
    """
    call = FilterCall(
        name="minimum_filter1d", u=u, size=size, output=output, mode=mode, cval=cval, origin=origin, axes=axis
    )
    return _along_one(call, largest=False)


@fills_output
def maximum_filter1d(
    u: Field, size: int, axis: int = -1, output: Any = None, mode: str = "reflect", cval: float = 0.0, origin: int = 0
) -> Field:
    """Return the maximum of `size` cells along a grid axis around every cell.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int
        Extent of the window in cells, at least 1.
    axis : int, default -1
        Grid axis to filter along; a negative one counts from the last.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
    mode : str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). A periodic axis wraps whatever its mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. What the dtype of `u` cannot
        hold is converted as scipy does.
    origin : int, default 0
        Shift of the window in cells, from -(size // 2) to (size - 1) // 2: a positive one makes a cell read lower
        indices.

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

    Notes
    -----
    Collective. A rank receives size - 1 cells in all from the ranks beside it on that axis. The cost is three
    comparisons a cell, whatever the size, by van Herk's and Gil and Werman's method (doi:10.1016/0167-8655(92)90069-C,
    doi:10.1109/34.211471), or log2(size) vector operations along the last axis.

    The result is exact, and its bits are those of scipy.ndimage.maximum_filter1d of the whole array, the sign of zero
    included. A box-shaped window that holds NaN gives NaN. 64-bit integers beyond 2**53 come out rounded to float64, as
    in scipy.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.maximum_filter1d(u, 3, axis=0)
    >>> mb.gather_all(v)[6:11, 8]
    array([0., 1., 1., 1., 0.])
    """
    call = FilterCall(
        name="maximum_filter1d", u=u, size=size, output=output, mode=mode, cval=cval, origin=origin, axes=axis
    )
    return _along_one(call, largest=True)


@fills_output
def minimum_filter(
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
    """Return the minimum over a window, `size` cells wide or of the shape of `footprint`.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int or sequence of int, optional
        Extent of a box-shaped window in cells; one for all, or one for each filtered axis. As in scipy, a size below 1
        counts as 1: that axis is left out. Needed unless `footprint` is given.
    footprint : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered, at least one such cell.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
        Each pass is rounded to it.
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
    Collective. One pass along each filtered axis, before which a rank receives size - 1 cells in all from the ranks
    beside it on that axis. The cost of a pass is three comparisons a cell, whatever the size, by van Herk's and Gil and
    Werman's method (doi:10.1016/0167-8655(92)90069-C, doi:10.1109/34.211471), or log2(size) vector operations along the
    last axis. A footprint that is no box is taken at once, at one comparison for each of its cells, after one exchange
    with corners.

    The result is exact, and its bits are those of scipy.ndimage.minimum_filter of the whole array, the sign of zero
    included. A box-shaped window that holds NaN gives NaN; over other footprints comparisons with NaN are scipy's,
    where they are undefined. 64-bit integers beyond 2**53 come out rounded to float64, as in scipy. In contrast to
    scipy, one mode per axis is allowed for any footprint.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.minimum_filter(1 - u, size=3)
    >>> mb.count_nonzero(v == 0)
    9
    """
    call = FilterCall(
        name="minimum_filter",
        u=u,
        size=size,
        footprint=footprint,
        output=output,
        mode=mode,
        cval=cval,
        origin=origin,
        axes=axes,
    )
    return extremum(call, largest=False)


@fills_output
def maximum_filter(
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
    """Return the maximum over a window, `size` cells wide or of the shape of `footprint`.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int or sequence of int, optional
        Extent of a box-shaped window in cells; one for all, or one for each filtered axis. As in scipy, a size below 1
        counts as 1: that axis is left out. Needed unless `footprint` is given.
    footprint : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered, at least one such cell.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
        Each pass is rounded to it.
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
    Collective. One pass along each filtered axis, before which a rank receives size - 1 cells in all from the ranks
    beside it on that axis. The cost of a pass is three comparisons a cell, whatever the size, by van Herk's and Gil and
    Werman's method (doi:10.1016/0167-8655(92)90069-C, doi:10.1109/34.211471), or log2(size) vector operations along the
    last axis. A footprint that is no box is taken at once, at one comparison for each of its cells, after one exchange
    with corners.

    The result is exact, and its bits are those of scipy.ndimage.maximum_filter of the whole array, the sign of zero
    included. A box-shaped window that holds NaN gives NaN; over other footprints comparisons with NaN are scipy's,
    where they are undefined. 64-bit integers beyond 2**53 come out rounded to float64, as in scipy. In contrast to
    scipy, one mode per axis is allowed for any footprint.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.maximum_filter(u, size=3)
    >>> mb.count_nonzero(v)
    9
    """
    call = FilterCall(
        name="maximum_filter",
        u=u,
        size=size,
        footprint=footprint,
        output=output,
        mode=mode,
        cval=cval,
        origin=origin,
        axes=axes,
    )
    return extremum(call, largest=True)


def _along_one(call: FilterCall, largest: bool) -> Field:
    name, u = call.name, call.u
    result_dtype(name, u, call.output)
    axis, (size,) = axis_of(name, call.axes, u.grid.ndim), sizes_of(name, call.size, 1)
    (origin,) = origins_of(name, call.origin, (size,))
    line = Line(axis, size, origin, mode_of(name, call.mode))
    return along_axes(call, [line], cval_of(name, call.cval), largest)
