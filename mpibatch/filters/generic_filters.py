"""Filters by a function of the user: a stencil, where scipy.ndimage takes any function of a window's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import cval_of, mode_of, per_axis, whole
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters.passes import begin, copied
from mpibatch.stencil.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.fields.field import Field

__all__ = ["generic_filter"]


@fills_output
def generic_filter(
    u: Field,
    function: Kernel,
    size: None = None,
    footprint: None = None,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int = 0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
) -> Field:
    """Return what a stencil makes of the cells around each.

    Parameters
    ----------
    u : Field
        On a grid of 1 to 3 axes, without components.
    function : Kernel
        A function under `mpibatch.stencil` that reads one field, and returns one value: it names the cells that it
        reads by their distance, and so is window and function in one.
    size, footprint : None, optional
        scipy's, and to be left out: the window is in the function.
    output : dtype or Field, optional
        Of the result; that of `u` unless given.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each grid axis. A periodic axis wraps whatever its
        mode.
    cval : float, default 0.0
        What "constant" walls hold.
    origin : int, default 0
        scipy's, and to be left at 0: where the window lies is in the function.
    extra_arguments : sequence, default ()
        Further arguments of the function: numbers.
    extra_keywords : mapping, optional
        Such by name.

    Returns
    -------
    Field
        New field on the grid of `u`, without halo.

    Raises
    ------
    UsageError
        On all ranks alike: the function is no stencil, or not of one field and one value, or a parameter is not
        valid.

    Notes
    -----
    Collective. One exchange of as many cells as the function reads. As in scipy it is given float64, whatever the dtype
    of `u`, and its result is cast; without that, and with several fields, results and walls, call the stencil itself.
    Equal to scipy.ndimage.generic_filter with a function that takes the same operations in the same order.

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil
    ... def spread(u):
    ...     return max(u[-1], u[0], u[1]) - min(u[-1], u[0], u[1])
    >>> u = mb.Grid(6).from_function(lambda x: x * x, "i4")
    >>> mb.gather_all(mb.filters.generic_filter(u, spread)).tolist()
    [1, 4, 8, 12, 16, 9]
    """
    name = "generic_filter"
    result = begin(name, u, output)
    if not isinstance(function, Kernel):
        raise UsageError(
            f"{name}: function is a {type(function).__name__}; give a stencil, @mb.stencil def f(u): return "
            "u[-1] + u[1], since a window's values as an array would cost a call of Python for each cell"
        )
    if size is not None or footprint is not None or whole(name, "origin", origin):
        raise UsageError(f"{name}: size, footprint and origin are in the function, {function.name!r}; leave them out")
    if u.components or len(function.program.fields) != 1:
        raise UsageError(
            f"{name}: {function.name!r} reads {len(function.program.fields)} fields, and u has components "
            f"{u.components or 'none'}; call the stencil itself: {function.name}(...)"
        )
    modes = [mode_of(name, entry) for entry in per_axis(name, "mode", mode, u.grid.ndim)]
    keywords = dict(extra_keywords or {})
    out = function(u.astype(np.float64), *extra_arguments, **keywords, walls=modes, cval=cval_of(name, cval))
    if isinstance(out, tuple):
        raise UsageError(f"{name}: {function.name!r} returns {len(out)} values; call the stencil itself")
    return copied(out, result)
