"""Grey-scale morphology with the names, parameters and bits of scipy.ndimage.

Flat structures are minima and maxima (`mpibatch.filters.extrema`); heights are added and compared in scipy's own
arithmetic: the first one in f64, the others in the array's dtype, where integers wrap around. Heights on a field of
bool have no meaning, and their bits are not scipy's. Other than there, one mode per axis is allowed for any footprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.filters._engine.calls import FilterCall
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters._morphology.gray_levels import closed, dilated, eroded, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["grey_closing", "grey_dilation", "grey_erosion", "grey_opening"]


@fills_output
def grey_erosion(
    u: Field,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the minimum over a window, minus the heights of `structure` if that is given.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int or sequence of int, optional
        Extent of a flat box-shaped window in cells; one for all, or one for each filtered axis. Less than 1 counts as
        1. Needed unless `footprint` or `structure` is given, which are used instead.
    footprint : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered, at least one such cell.
    structure : array_like, optional
        Heights in the unit of `u`, with as many axes as are filtered and, if both are given, the shape of `footprint`;
        without one, every cell counts.
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
        a positive one makes an erosion read lower, a dilation higher indices.
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
        If both `size` and `footprint` are given, and no `structure`: `size` is not used.

    Notes
    -----
    Collective. Before each pass a rank receives the cells within reach (size - 1 in all along each axis) from the ranks
    around it. Flat windows are minima and maxima (see `minimum_filter`): boxes axis by axis, at a cost that does not
    depend on their size, other shapes at one comparison a cell for each of their cells. Heights are added and compared
    in scipy's own arithmetic: the first in float64, the others in the dtype of `u`, where integers wrap around; on bool
    they have no meaning.

    Equal, bit for bit, to scipy.ndimage.grey_erosion of the whole array on any number of ranks; in contrast to scipy,
    one mode per axis is allowed for any footprint.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.grey_erosion(1 - u, size=3)
    >>> mb.count_nonzero(v == 0)
    9
    """
    return eroded(
        FilterCall(
            name="grey_erosion",
            u=u,
            size=size,
            footprint=footprint,
            structure=structure,
            output=output,
            mode=mode,
            cval=cval,
            origin=origin,
            axes=axes,
        )
    )


@fills_output
def grey_dilation(
    u: Field,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the maximum over the mirrored window, plus the heights of `structure` if that is given.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int or sequence of int, optional
        Extent of a flat box-shaped window in cells; one for all, or one for each filtered axis. Less than 1 counts as
        1. Needed unless `footprint` or `structure` is given, which are used instead.
    footprint : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered, at least one such cell.
    structure : array_like, optional
        Heights in the unit of `u`, with as many axes as are filtered and, if both are given, the shape of `footprint`;
        without one, every cell counts.
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
        a positive one makes an erosion read lower, a dilation higher indices.
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
        If both `size` and `footprint` are given, and no `structure`: `size` is not used.

    Notes
    -----
    Collective. Before each pass a rank receives the cells within reach (size - 1 in all along each axis) from the ranks
    around it. Flat windows are minima and maxima (see `minimum_filter`): boxes axis by axis, at a cost that does not
    depend on their size, other shapes at one comparison a cell for each of their cells. Heights are added and compared
    in scipy's own arithmetic: the first in float64, the others in the dtype of `u`, where integers wrap around; on bool
    they have no meaning.

    Equal, bit for bit, to scipy.ndimage.grey_dilation of the whole array on any number of ranks; in contrast to scipy,
    one mode per axis is allowed for any footprint.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.grey_dilation(u, footprint=[[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    >>> mb.count_nonzero(v)
    5
    """
    return dilated(
        FilterCall(
            name="grey_dilation",
            u=u,
            size=size,
            footprint=footprint,
            structure=structure,
            output=output,
            mode=mode,
            cval=cval,
            origin=origin,
            axes=axes,
        )
    )


@fills_output
def grey_opening(
    u: Field,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the dilation of the erosion: bright spots that hold no window are gone.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int or sequence of int, optional
        Extent of a flat box-shaped window in cells; one for all, or one for each filtered axis. Less than 1 counts as
        1. Needed unless `footprint` or `structure` is given, which are used instead.
    footprint : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered, at least one such cell.
    structure : array_like, optional
        Heights in the unit of `u`, with as many axes as are filtered and, if both are given, the shape of `footprint`;
        without one, every cell counts.
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
        a positive one makes an erosion read lower, a dilation higher indices.
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
        If both `size` and `footprint` are given, and no `structure`: `size` is not used.

    Notes
    -----
    Collective. An erosion and a dilation, one after the other; before each pass a rank receives the cells within reach
    (size - 1 in all along each axis) from the ranks around it. Flat windows are minima and maxima (see
    `minimum_filter`): boxes axis by axis, at a cost that does not depend on their size, other shapes at one comparison
    a cell for each of their cells. Heights are added and compared in scipy's own arithmetic: the first in float64, the
    others in the dtype of `u`, where integers wrap around; on bool they have no meaning.

    Equal, bit for bit, to scipy.ndimage.grey_opening of the whole array on any number of ranks; in contrast to scipy,
    one mode per axis is allowed for any footprint.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.grey_opening(u, size=3)
    >>> float(mb.max(u)), float(mb.max(v))
    (1.0, 0.0)
    """
    call = FilterCall(
        name="grey_opening", u=u, size=size, footprint=footprint, structure=structure, output=output, mode=mode,
        cval=cval, origin=origin, axes=axes,
    )  # fmt: skip
    return opened(call)


@fills_output
def grey_closing(
    u: Field,
    size: int | Sequence[int] | None = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Field:
    """Return the erosion of the dilation: dark spots that hold no window are gone.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int or sequence of int, optional
        Extent of a flat box-shaped window in cells; one for all, or one for each filtered axis. Less than 1 counts as
        1. Needed unless `footprint` or `structure` is given, which are used instead.
    footprint : array_like, optional
        Shape of the window: its cells other than 0 count. As many axes as are filtered, at least one such cell.
    structure : array_like, optional
        Heights in the unit of `u`, with as many axes as are filtered and, if both are given, the shape of `footprint`;
        without one, every cell counts.
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
        a positive one makes an erosion read lower, a dilation higher indices.
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
        If both `size` and `footprint` are given, and no `structure`: `size` is not used.

    Notes
    -----
    Collective. An erosion and a dilation, one after the other; before each pass a rank receives the cells within reach
    (size - 1 in all along each axis) from the ranks around it. Flat windows are minima and maxima (see
    `minimum_filter`): boxes axis by axis, at a cost that does not depend on their size, other shapes at one comparison
    a cell for each of their cells. Heights are added and compared in scipy's own arithmetic: the first in float64, the
    others in the dtype of `u`, where integers wrap around; on bool they have no meaning.

    Equal, bit for bit, to scipy.ndimage.grey_closing of the whole array on any number of ranks; in contrast to scipy,
    one mode per axis is allowed for any footprint.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.grey_closing(1 - u, size=3)
    >>> float(mb.min(1 - u)), float(mb.min(v))
    (0.0, 1.0)
    """
    call = FilterCall(
        name="grey_closing", u=u, size=size, footprint=footprint, structure=structure, output=output, mode=mode,
        cval=cval, origin=origin, axes=axes,
    )  # fmt: skip
    return closed(call)
