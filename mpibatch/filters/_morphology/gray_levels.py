"""Grey-scale erosion and dilation: flat ones are minima and maxima, others add heights in scipy's arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers
from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import axes_of, box_of, cval_of, modes_of, per_axis
from mpibatch.filters._engine.footprints import (
    Window,
    cast_as_c,
    expanded_origins,
    footprint_of,
    in_order,
    mirrored,
    numbers_of,
    window_from,
)
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.filters._engine.rows import WindowRows, rows_of
from mpibatch.filters._engine.work import counted
from mpibatch.filters.extrema import along_box, as_c, extremum, over_footprint
from mpibatch.filters.passes import begin, result_dtype

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.filters._engine.calls import FilterCall

__all__ = ["closed", "dilated", "eroded", "opened"]


def eroded(call: FilterCall) -> Field:
    """Return the erosion. Collective."""
    _check_given(call)
    return extremum(call, largest=False) if call.structure is None else _with_heights(call, largest=False)


def dilated(call: FilterCall) -> Field:
    """Return the dilation: window and origin are mirrored. Collective."""
    _check_given(call)
    name, u = call.name, call.u
    result_dtype(name, u, call.output)
    over = axes_of(name, call.axes, u.grid.ndim)
    origins = per_axis(name, "origin", call.origin, len(over))
    footprint, structure = (
        given if given is None else numbers_of(name, parameter, given)
        for parameter, given in (("footprint", call.footprint), ("structure", call.structure))
    )
    form = footprint if footprint is not None else structure
    shape = box_of(name, call.size, len(over)) if form is None else form.shape
    if len(shape) != len(over):
        raise UsageError(
            f"{name}: {'footprint' if footprint is not None else 'structure'} has {len(shape)} axes, but {len(over)}"
            " grid axes are filtered; give one of as many axes"
        )
    turned = replace(
        call,
        footprint=None if footprint is None else np.flip(footprint),
        structure=None if structure is None else np.flip(structure),
        origin=mirrored(name, origins, shape),
        axes=over,
    )
    return extremum(turned, largest=True) if structure is None else _with_heights(turned, largest=True)


def opened(call: FilterCall) -> Field:
    """Return the dilation of the erosion. Collective."""
    result_dtype(call.name, call.u, call.output)  # before any work
    return dilated(replace(call, u=eroded(replace(call, output=None))))


def closed(call: FilterCall) -> Field:
    """Return the erosion of the dilation. Collective."""
    result_dtype(call.name, call.u, call.output)
    return eroded(replace(call, u=dilated(replace(call, output=None))))


def _check_given(call: FilterCall) -> None:
    if call.size is None and call.footprint is None and call.structure is None:
        raise UsageError(
            f"{call.name}: size, footprint and structure are all missing; give one of them, such as size=3"
        )


def _with_heights(call: FilterCall, largest: bool) -> Field:
    """Return the extrema over cells plus heights (minus, for minima). Collective."""
    name, u, footprint = call.name, call.u, call.footprint
    result_dtype(name, u, call.output)
    ndim = u.grid.ndim
    over = axes_of(name, call.axes, ndim)
    heights = _heights_of(name, call.structure)
    if footprint is None:
        footprint = np.ones(heights.shape, dtype=bool)
    form = footprint_of(name, "footprint", footprint, ndim, over)
    if np.shape(footprint) != heights.shape:
        raise UsageError(
            f"{name}: structure has the shape {heights.shape}, footprint {np.shape(footprint)}; give both the same"
        )
    window = window_from(form, expanded_origins(name, call.origin, form.shape, over))
    modes = in_order(ndim, over, modes_of(name, call.mode, len(over)), "nearest")
    value = cval_of(name, call.cval)
    chosen = heights.reshape(form.shape)[form]
    added = chosen if largest else -chosen
    # Adding -0.0 changes no float; adding 0.0 turns -0.0 into 0.0.
    if added.any() or (u.dtype.kind == "f" and not np.signbit(added).all()):
        return _raised(call, window, added, modes, value, largest)
    if u.dtype.kind == "f" or not window.full:
        return over_footprint(call, window, modes, value, largest)
    # Of equal integers it does not matter which is kept: axis by axis is faster.
    return along_box(call, window, modes, float(cast_as_c(value, u.dtype)), largest)


def _heights_of(name: str, structure: Any) -> npt.NDArray[np.float64]:
    heights = numbers_of(name, "structure", structure).astype(np.float64)
    if not heights.size:
        raise UsageError(f"{name}: structure of shape {heights.shape} is empty; give at least one height")
    return heights


def _raised(
    call: FilterCall,
    window: Window,
    heights: npt.NDArray[np.float64],
    modes: tuple[str, ...],
    cval: float,
    largest: bool,
) -> Field:
    """Return the extrema over a window with heights. Collective."""
    u = call.u
    out = begin(call.name, u, call.output)
    operation = f"{call.name} with a structure of {window.footprint.shape}"
    check_memory(u.grid, operation, padded_bytes(u, window.reach, u.dtype.itemsize + 8))
    result = u.like(dtype="f8", halo=0)
    kind = np.dtype(np.uint8) if u.dtype.kind == "b" else u.dtype
    steps = np.array([cast_as_c(height, kind) for height in heights], kind)
    parts = rows_of(u, result, window, modes, cast_as_c(cval, u.dtype))
    with counted(u, result, 2 * window.count - 1):
        for rows in parts:
            _fold(rows, float(heights[0]), steps, largest)
    out.owned[...] = as_c(result.owned, out.dtype)
    return out


def _fold(rows: WindowRows, first: float, heights: npt.NDArray[Any], largest: bool) -> None:
    from mpibatch.filters._loops.extrema import fold_heights

    cells, out = as_numbers(rows.cells), rows.out
    rows.run(
        lambda bases, targets: fold_heights(
            cells, bases, rows.offsets, first, heights, out, targets, rows.length, largest
        )
    )
