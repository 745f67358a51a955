"""Means over boxes, with scipy.ndimage's names and parameters (see `passes`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.filters._engine.arguments import axes_of, axis_of, box_of, cval_of, modes_of, origins_of, sizes_of
from mpibatch.filters._engine.lines import Pass, mean
from mpibatch.filters._engine.memory import check_memory, slab_bytes
from mpibatch.filters._engine.outputs import fills_output
from mpibatch.filters.passes import begin, passes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from mpibatch.fields.field import Field

__all__ = ["uniform_filter", "uniform_filter1d"]


@fills_output
def uniform_filter1d(
    u: Field,
    size: int,
    axis: int = -1,
    output: npt.DTypeLike | Field | None = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Field:
    """Take the mean of `size` cells along one grid axis.

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
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
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
    Collective. A rank receives size - 1 cells in all from the ranks beside it on that axis. The cost of a cell does not
    depend on `size` from 13 on (van Herk's scheme, doi:10.1016/0167-8655(92)90069-C, for sums).

    Floating results are the same on every decomposition, but not scipy's to the bit: scipy keeps a running sum from the
    start of the line, in which rounding errors add up, and which one nan or inf spoils up to the line's end. Here each
    window is summed from its own cells. The two agree within 1e-12 (float64) or 1e-6 (float32) of the largest value in
    the line. For integers they are equal while `size` times the largest magnitude stays within 2**53: both add in
    float64, which holds whole numbers up to there exactly. Above, larger values are rounded when they are read, sums
    when they are made, and the two may differ as for floats.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.uniform_filter1d(u, 4, axis=1)
    >>> mb.gather_all(v)[8, 5:12]
    array([0.  , 0.  , 0.25, 0.25, 0.25, 0.25, 0.  ])
    """
    name = "uniform_filter1d"
    out = begin(name, u, output)
    along = axis_of(name, axis, u.grid.ndim)
    sizes, modes, value = sizes_of(name, size, 1), modes_of(name, mode, 1), cval_of(name, cval)
    (shift,) = origins_of(name, origin, sizes)
    step = mean(along, sizes[0], modes[0], shift)
    _check_memory(name, u, [step])
    return passes(u, out, [step], value)


@fills_output
def uniform_filter(
    u: Field,
    size: int | Sequence[int] = 3,
    output: npt.DTypeLike | Field | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Iterable[int] | None = None,
) -> Field:
    """Take the mean over a box of `size` cells.

    Parameters
    ----------
    u : Field
        Field on a grid of 1 to 4 axes, of bool, integers of 8 to 64 bits, float32 or float64, in any unit. Each
        component is filtered alone.
    size : int or sequence of int, default 3
        Extent of the box in cells; one for all, or one for each filtered axis. As in scipy, a size below 1 counts as 1:
        that axis is left out.
    output : dtype or Field, optional
        Dtype of the result (bool, an integer type, float32 or float64), or a Field that takes it. Default: that of `u`.
        Each pass is rounded to it.
    mode : str or sequence of str, default "reflect"
        What lies beyond the walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"). One for all, or one for each filtered axis. A periodic axis wraps whatever its
        mode.
    cval : float, default 0.0
        Value beyond walls of mode "constant", in the unit of `u`; nan and inf are allowed. It is not rounded to the
        dtype of `u`.
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

    Notes
    -----
    Collective. One pass along each filtered axis, before which a rank receives size - 1 cells in all from the ranks
    beside it on that axis. The cost of a pass does not depend on `size` (van Herk's scheme,
    doi:10.1016/0167-8655(92)90069-C, for sums).

    About equality with scipy's results see `uniform_filter1d`; for integers the bound there holds for every axis.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((16, 16))
    >>> u = grid.from_function(lambda y, x: (y == 8) & (x == 8))
    >>> v = mb.filters.uniform_filter(u, size=(4, 2))
    >>> float(mb.max(v)), mb.count_nonzero(v)
    (0.125, 8)
    """
    name = "uniform_filter"
    out = begin(name, u, output)
    along = axes_of(name, axes, u.grid.ndim)
    sizes, modes = box_of(name, size, len(along)), modes_of(name, mode, len(along))
    origins = origins_of(name, origin, sizes)
    value = cval_of(name, cval)
    todo = (entry for entry in zip(along, sizes, modes, origins, strict=True) if entry[1] > 1)
    steps = [mean(*entry) for entry in todo]
    _check_memory(name, u, steps)
    return passes(u, out, steps, value)


def _check_memory(name: str, u: Field, steps: Sequence[Pass]) -> None:
    """Raise if what the passes need does not fit. Collective."""
    if steps:
        sizes = [sum(step.reach) + 1 for step in steps]
        needed = max(slab_bytes(u, step.axis, (size, 0)) + 400 * size for step, size in zip(steps, sizes, strict=True))
        check_memory(u.grid, f"{name} with size {max(sizes)}", needed)
