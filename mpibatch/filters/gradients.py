"""Differences along one axis, smoothed along the others, with scipy.ndimage's names, parameters and bits.

See `passes`. scikit-image's edge *magnitude*, of all axes, is `edges.sobel_magnitude`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.filters._engine.arguments import axis_of, cval_of, modes_of
from mpibatch.filters._engine.calls import FilterCall
from mpibatch.filters._engine.lines import Pass, correlation
from mpibatch.filters._engine.memory import check_memory, slab_bytes
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters.passes import begin, passes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["prewitt", "sobel"]


@fills_output
def sobel(
    u: Field,
    axis: int = -1,
    output: npt.DTypeLike | Field | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
) -> Field:
    """Take Sobel's derivative along one grid axis: central difference, smoothed by 1-2-1 along the others.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    axis : int, default -1
        Grid axis of the derivative; a negative one counts from the last.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
        Each pass is rounded to it.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each grid axis. A periodic axis wraps whatever its
        mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` per cell, times 2 * 4**(n - 1)
        on n grid axes.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. One pass along each grid axis, before which a rank receives one cell before and after its block from the
    ranks beside it on that axis. The cost of a pass is 1 or 2 products a cell.

    Equal, bit for bit, to scipy.ndimage.sobel of the whole array on any number of ranks. Cells of a bool result are
    True where scipy's are not 0. scikit-image's edge strength of this name is `sobel_magnitude`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: x)
    >>> v = mb.filters.sobel(u, axis=1)
    >>> float(mb.gather_all(v)[8, 8])
    8.0
    """
    call = FilterCall(name="sobel", u=u, output=output, mode=mode, cval=cval, axes=axis)
    return passes(u, *_smoothed_difference(call, (1.0, 2.0, 1.0)))


@fills_output
def prewitt(
    u: Field,
    axis: int = -1,
    output: npt.DTypeLike | Field | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
) -> Field:
    """Take Prewitt's derivative along one grid axis: central difference, summed by 1-1-1 along the others.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    axis : int, default -1
        Grid axis of the derivative; a negative one counts from the last.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
        Each pass is rounded to it.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each grid axis. A periodic axis wraps whatever its
        mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo, of dtype `output`, in the unit of `u` per cell, times 2 * 3**(n - 1)
        on n grid axes.

    Raises
    ------
    UsageError
        On all ranks alike, if a parameter is not valid or what surrounds a block exceeds $MPIBATCH_MEMORY_LIMIT.
    RunError
        On all ranks alike, if that is not set and what surrounds a block exceeds the memory that the host has free.

    Notes
    -----
    Collective. One pass along each grid axis, before which a rank receives one cell before and after its block from the
    ranks beside it on that axis. The cost of a pass is 1 or 2 products a cell.

    Equal, bit for bit, to scipy.ndimage.prewitt of the whole array on any number of ranks. Cells of a bool result are
    True where scipy's are not 0.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: x)
    >>> v = mb.filters.prewitt(u, axis=1)
    >>> float(mb.gather_all(v)[8, 8])
    6.0
    """
    call = FilterCall(name="prewitt", u=u, output=output, mode=mode, cval=cval, axes=axis)
    return passes(u, *_smoothed_difference(call, (1.0, 1.0, 1.0)))


def _smoothed_difference(call: FilterCall, smooth: tuple[float, ...]) -> tuple[Field, list[Pass], float]:
    """Return the field for the result, the passes, and the value beyond the walls. Collective."""
    name, u = call.name, call.u
    out = begin(name, u, call.output)
    ndim = u.grid.ndim
    along = axis_of(name, call.axes, ndim)
    modes, cval = modes_of(name, call.mode, ndim), cval_of(name, call.cval)
    check_memory(u.grid, name, max(slab_bytes(u, a, (1, 1)) for a in range(ndim)))
    difference = correlation(along, np.array((-1.0, 0.0, 1.0)), modes[along])
    others = [correlation(a, np.array(smooth), modes[a]) for a in range(ndim) if a != along]
    return out, [difference, *others], cval
