"""Coefficients of interpolating splines, with scipy.ndimage's names and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.casts import cast
from mpibatch.filters._engine.arguments import axis_of
from mpibatch.resample._engine.arguments import request_of
from mpibatch.resample._engine.coefficients import filter_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from mpibatch.fields.field import Field

__all__ = ["spline_filter", "spline_filter1d"]


def spline_filter1d(
    input: Field, order: int = 3, axis: int = -1, output: npt.DTypeLike = "f8", mode: str = "mirror"
) -> Field:
    """Return the coefficients of the spline that goes through the cells along an axis, as scipy.ndimage's. Collective.

    Parameters
    ----------
    input : Field
        Of bool, integers, f4, f8, or complex. Of components each is filtered alone.
    order : int, default 3
        Of the spline, 0 to 5; of orders 0 and 1 the coefficients are the cells.
    axis : int, default -1
        Grid axis along which lines are filtered.
    output : dtype, default "f8"
        Of the result; of a complex field c16.
    mode : str, default "mirror"
        How lines go on beyond walls: "mirror" (also "wrap", "constant" and "grid-constant" count as that), "reflect"
        (likewise "grid-mirror" and "nearest") or "grid-wrap". A periodic axis wraps whatever the mode.

    Returns
    -------
    Field
        A new one on the grid of `input`, without halo.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid.

    Notes
    -----
    Collective. Equal to scipy's filter of the whole array to the bit. Method: M. Unser, A. Aldroubi and M. Eden,
    doi:10.1109/34.75515. Where the axis is cut, a rank receives 64 cells of each line and a few more for each pole (of
    orders 4 and 5 there are two), and needs twice the memory of its result; where it is not, no message is sent. Lines
    of fewer than 256 cells, and those of a field that is not finite everywhere, are made whole on one rank first.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(5).from_function(lambda x: x == 2)
    >>> mb.gather_all(mb.resample.spline_filter1d(u)).round(3)
    array([ 0.25, -0.5 ,  1.75, -0.5 ,  0.25])
    """
    name = "spline_filter1d"
    ask_for = request_of(name, input, order, mode, 0.0, output)
    along = axis_of(name, axis, input.grid.ndim)
    return ask_for.done(lambda u, dtype, _: _filtered(u, ask_for.order, [along], dtype, ask_for.mode))


def spline_filter(input: Field, order: int = 3, output: npt.DTypeLike = "f8", mode: str = "mirror") -> Field:
    """Return the coefficients of the spline that goes through all cells, as scipy.ndimage's. Collective.

    Parameters
    ----------
    input : Field
        Of bool, integers, f4, f8, or complex. Of components each is filtered alone.
    order : int, default 3
        Of the spline, 2 to 5.
    output : dtype, default "f8"
        Of the result, to which the passes along each axis are rounded; of a complex field c16.
    mode : str, default "mirror"
        How lines go on beyond walls: "mirror" (also "wrap", "constant" and "grid-constant" count as that), "reflect"
        (likewise "grid-mirror" and "nearest") or "grid-wrap". A periodic axis wraps whatever the mode.

    Returns
    -------
    Field
        A new one on the grid of `input`, without halo.

    Raises
    ------
    UsageError
        On all ranks alike, if an argument is not valid.

    Notes
    -----
    Collective, at the cost of `spline_filter1d` along each axis.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((5, 5)).from_function(lambda y, x: (y == 2) & (x == 2))
    >>> mb.gather_all(mb.resample.spline_filter(u))[2].round(3)
    array([ 0.438, -0.875,  3.063, -0.875,  0.438])
    """
    ask_for = request_of("spline_filter", input, order, mode, 0.0, output, least=2)
    axes = range(input.grid.ndim)
    return ask_for.done(lambda u, dtype, _: _filtered(u, ask_for.order, axes, dtype, ask_for.mode))


def _filtered(u: Field, order: int, axes: Sequence[int], dtype: np.dtype[Any], mode: str) -> Field:
    field = u.like("f8", 0)
    field.owned[...] = u.owned
    for axis in axes if order > 1 else ():
        filter_axis(field, axis, order, mode)
        if dtype != np.float64:
            field.owned[...] = cast(field.owned, dtype)
    return field.astype(dtype) if dtype != np.float64 else field
