"""Grey-scale erosion and dilation: flat ones are minima and maxima, others add heights in scipy's arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.filters._engine import arguments as ask
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
from mpibatch.filters._engine.rows import rows_of
from mpibatch.filters.extrema import along_axes, as_c, extremum, over_footprint, plain
from mpibatch.filters.linear import begin

__all__ = ["dilated", "eroded"]


def eroded(
    name: str,
    u: Field,
    size: Any,
    footprint: Any,
    structure: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
    axes: Any,
) -> Field:
    """Return the erosion. Collective."""
    _one_of(name, size, footprint, structure)
    if structure is None:
        return extremum(name, u, size, footprint, output, mode, cval, origin, axes, False)
    return _with_heights(name, u, footprint, structure, output, mode, cval, origin, axes, False)


def dilated(
    name: str,
    u: Field,
    size: Any,
    footprint: Any,
    structure: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
    axes: Any,
) -> Field:
    """Return the dilation: window and origin are mirrored. Collective."""
    _one_of(name, size, footprint, structure)
    begin(name, u, output)
    over = ask.axes_of(name, axes, u.grid.ndim)
    origins = ask.per_axis(name, "origin", origin, len(over))
    footprint, structure = (
        given if given is None else numbers_of(name, parameter, given)
        for parameter, given in (("footprint", footprint), ("structure", structure))
    )
    form = footprint if footprint is not None else structure
    shape = ask.box_of(name, size, len(over)) if form is None else form.shape
    if len(shape) != len(over):
        raise UsageError(
            f"{name}: {'footprint' if footprint is not None else 'structure'} has {len(shape)} axes, but {len(over)}"
            " grid axes are filtered; give one of as many axes"
        )
    turned = mirrored(name, origins, shape)
    flipped = None if footprint is None else np.flip(footprint)
    if structure is None:
        return extremum(name, u, size, flipped, output, mode, cval, turned, over, True)
    return _with_heights(name, u, flipped, np.flip(structure), output, mode, cval, turned, over, True)


def _one_of(name: str, size: Any, footprint: Any, structure: Any) -> None:
    if size is None and footprint is None and structure is None:
        raise UsageError(f"{name}: size, footprint and structure are all missing; give one of them, such as size=3")


def _with_heights(
    name: str,
    u: Field,
    footprint: Any,
    structure: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
    axes: Any,
    largest: bool,
) -> Field:
    """Return the extrema over cells plus heights (minus, for minima). Collective."""
    out = begin(name, u, output)
    ndim = u.grid.ndim
    over = ask.axes_of(name, axes, ndim)
    heights = _heights_of(name, structure)
    if footprint is None:
        footprint = np.ones(heights.shape, dtype=bool)
    form = footprint_of(name, "footprint", footprint, ndim, over)
    if np.shape(footprint) != heights.shape:
        raise UsageError(
            f"{name}: structure has the shape {heights.shape}, footprint {np.shape(footprint)}; give both the same"
        )
    window = window_from(form, expanded_origins(name, origin, form.shape, over))
    modes = in_order(ndim, over, ask.modes_of(name, mode, len(over)), "nearest")
    value = ask.cval_of(name, cval)
    chosen = heights.reshape(form.shape)[form]
    added = chosen if largest else -chosen
    # Adding -0.0 changes no float; adding 0.0 turns -0.0 into 0.0.
    if not added.any() and (u.dtype.kind != "f" or np.signbit(added).all()):
        return _flat(name, u, window, modes, value, output, largest)
    return _raised(name, u, out, window, added, modes, value, largest)


def _heights_of(name: str, structure: Any) -> npt.NDArray[np.float64]:
    heights = numbers_of(name, "structure", structure).astype(np.float64)
    if not heights.size:
        raise UsageError(f"{name}: structure of shape {heights.shape} is empty; give at least one height")
    return heights


def _flat(
    name: str,
    u: Field,
    window: Window,
    modes: tuple[str, ...],
    cval: float,
    output: Any,
    largest: bool,
) -> Field:
    """Return the extrema over a window without heights. Collective."""
    if u.dtype.kind == "f" or not window.full:
        return over_footprint(name, u, window, modes, cval, output, largest)
    # Of equal integers it does not matter which is kept: axis by axis is faster.
    sizes = window.footprint.shape
    origins = [low - size // 2 for size, (low, _) in zip(sizes, window.reach, strict=True)]
    outside = float(cast_as_c(cval, u.dtype))
    return along_axes(name, u, range(u.grid.ndim), sizes, origins, modes, outside, output, largest)


def _raised(
    name: str,
    u: Field,
    out: Field,
    window: Window,
    heights: npt.NDArray[np.float64],
    modes: tuple[str, ...],
    cval: float,
    largest: bool,
) -> Field:
    """Return the extrema over a window with heights. Collective."""
    from mpibatch.filters._loops import extrema as loops

    operation = f"{name} with a structure of {window.footprint.shape}"
    check_memory(u.grid, operation, padded_bytes(u, window.reach, u.dtype.itemsize + 8))
    result = u.like(dtype="f8", halo=0)
    kind = np.dtype(np.uint8) if u.dtype.kind == "b" else u.dtype
    steps = np.array([cast_as_c(height, kind) for height in heights], kind)
    for rows in rows_of(u, result, window, modes, cast_as_c(cval, u.dtype)):
        with timed("compute"):
            loops.fold_heights(
                plain(rows.cells),
                rows.bases,
                rows.offsets,
                float(heights[0]),
                steps,
                rows.out,
                rows.targets,
                rows.length,
                largest,
            )
            rows.store()
    out.owned[...] = as_c(result.owned, out.dtype)
    return out
