"""Differences of grey-scale morphology, with the names and bits of scipy.ndimage (see `gray_levels`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.calls import FilterCall
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters._morphology.gray_levels import closed, dilated, eroded, opened
from mpibatch.filters.passes import begin, result_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["black_tophat", "morphological_gradient", "white_tophat"]

Array = npt.NDArray[Any]


@fills_output
def morphological_gradient(
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
    """Return the dilation minus the erosion.

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
        On all ranks alike, if a parameter is not valid, if `u` is of bool, which has no differences, or if what
        surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
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
    others in the dtype of `u`, where integers wrap around; on bool they have no meaning. The difference is taken in the
    dtype of `u`, where unsigned integers wrap around.

    Equal, bit for bit, to scipy.ndimage.morphological_gradient of the whole array on any number of ranks; in contrast
    to scipy, one mode per axis is allowed for any footprint.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: x >= 8)
    >>> v = mb.filters.morphological_gradient(u, size=3)
    >>> mb.gather_all(v)[8, 5:11]
    array([0., 0., 1., 1., 0., 0.])
    """
    name = "morphological_gradient"
    out = begin(name, u, output)
    if u.dtype.kind == "b":
        raise UsageError(f"{name}: a field of bool has no differences; use u.astype('u1')")
    call = FilterCall(
        name=name,
        u=u,
        size=size,
        footprint=footprint,
        structure=structure,
        mode=mode,
        cval=cval,
        origin=origin,
        axes=axes,
    )
    high, low = dilated(call), eroded(call)
    out.owned[...] = cast(np.subtract(high.owned, low.owned), out.dtype)
    return out


@fills_output
def white_tophat(
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
    """Return the input minus its opening: the bright spots.

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
        On all ranks alike, if a parameter is not valid, if `output` is bool and `u` is not, or if what surrounds a
        block exceeds $MPIBATCH_MEMORY_LIMIT.
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
    others in the dtype of `u`, where integers wrap around; on bool they have no meaning. Of two bools the difference is
    where they differ.

    Equal, bit for bit, to scipy.ndimage.white_tophat of the whole array on any number of ranks; in contrast to scipy,
    one mode per axis is allowed for any footprint.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.white_tophat(u + 5, size=3)
    >>> float(mb.max(v)), mb.count_nonzero(v)
    (1.0, 1)
    """
    name = "white_tophat"
    _check_difference(name, u, output)
    call = FilterCall(
        name=name,
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
    result = opened(call)
    return _difference(u.owned, result.owned, result)


@fills_output
def black_tophat(
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
    """Return the closing of the input minus the input: the dark spots.

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
        On all ranks alike, if a parameter is not valid, if `output` is bool and `u` is not, or if what surrounds a
        block exceeds $MPIBATCH_MEMORY_LIMIT.
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
    others in the dtype of `u`, where integers wrap around; on bool they have no meaning. Of two bools the difference is
    where they differ.

    Equal, bit for bit, to scipy.ndimage.black_tophat of the whole array on any number of ranks; in contrast to scipy,
    one mode per axis is allowed for any footprint.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.black_tophat(5 - u, size=3)
    >>> float(mb.max(v)), mb.count_nonzero(v)
    (1.0, 1)
    """
    name = "black_tophat"
    _check_difference(name, u, output)
    call = FilterCall(
        name=name,
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
    result = closed(call)
    return _difference(result.owned, u.owned, result)


def _check_difference(name: str, u: Any, output: Any) -> None:
    """Raise UsageError for a difference that bool would have to hold, before an output is written to. Local."""
    if result_dtype(name, u, output).kind == "b" and u.dtype.kind != "b":
        raise UsageError(f"{name}: the output dtype bool holds no differences; give another output dtype")


def _difference(first: Array, second: Array, out: Field) -> Field:
    """Write first - second to `out`; of two bools, where they differ. Local."""
    if first.dtype.kind == "b" and second.dtype.kind == "b":
        np.logical_xor(first, second, out=out.owned)
    else:
        out.owned[...] = cast(np.subtract(first, second), out.dtype)
    return out
