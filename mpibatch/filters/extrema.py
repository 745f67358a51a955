"""Minima and maxima over windows: minimum_filter, maximum_filter and their one-dimensional forms.

As scipy.ndimage: a box-shaped window is taken axis by axis, any other footprint at once. The result is exact, so
it is the same to the bit on any decomposition; where 0.0 and -0.0 tie, the sign is that of scipy, too. A box-shaped
window that holds NaN gives NaN; over other footprints, comparisons with NaN are scipy's (there it is undefined for
both). 64-bit integers pass through f64, as in scipy: those beyond 2^53 come out rounded.

Axes, modes, `output` and errors: see `mpibatch.filters.passes`. In contrast to scipy, one mode per axis is
allowed for any footprint.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers, cast
from mpibatch.base.errors import UsageError
from mpibatch.base.processes.threads import share_out
from mpibatch.domain import check_mode
from mpibatch.filters._engine.arguments import axes_of, box_of, cval_of, modes_of, origins_of
from mpibatch.filters._engine.calls import FilterCall, Line
from mpibatch.filters._engine.footprints import (
    Window,
    cast_as_c,
    expanded_origins,
    fits,
    footprint_of,
    in_order,
    warn_of_size,
    window_from,
)
from mpibatch.filters._engine.memory import check_memory, padded_bytes, slab_bytes
from mpibatch.filters._engine.rows import WindowRows, rows_of
from mpibatch.filters._engine.work import counted
from mpibatch.filters.passes import begin, copied, result_dtype
from mpibatch.halo.surroundings import frame_along

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = [
    "along_axes",
    "along_box",
    "as_c",
    "exact_in_f8",
    "extremum",
    "over_footprint",
]

Array = npt.NDArray[Any]
FEWEST_BYTES = 64  # neighbors along the fastest axes that fill a vector: below, windows slide within the row


def extremum(call: FilterCall, largest: bool) -> Field:
    """Return the smallest or largest cells in a window given by `size` or `footprint`. Collective."""
    name, u, size = call.name, call.u, call.size
    result_dtype(name, u, call.output)
    ndim = u.grid.ndim
    over = axes_of(name, call.axes, ndim)
    modes, value = modes_of(name, call.mode, len(over)), cval_of(name, call.cval)
    window = None
    if call.footprint is not None:
        given = footprint_of(name, "footprint", call.footprint, ndim, over)
        if not given.all():
            window = window_from(given, expanded_origins(name, call.origin, given.shape, over))
        if size is not None:
            warn_of_size(name)
        size = np.shape(call.footprint)
    elif size is None:
        raise UsageError(f"{name}: neither size nor footprint was given; give one, such as size=3")
    if window is not None:
        return over_footprint(call, window, in_order(ndim, over, modes, "nearest"), value, largest)
    sizes = box_of(name, size, len(over))
    origins = origins_of(name, call.origin, sizes)
    return along_axes(call, list(map(Line, over, sizes, origins, modes)), value, largest)


def along_box(call: FilterCall, window: Window, modes: Sequence[str], cval: float, largest: bool) -> Field:
    """Return the extrema over a window without gaps, with a mode for every grid axis. Collective."""
    sizes = window.footprint.shape
    origins = [low - size // 2 for size, (low, _) in zip(sizes, window.reach, strict=True)]
    return along_axes(call, list(map(Line, range(len(sizes)), sizes, origins, modes)), cval, largest)


def along_axes(call: FilterCall, lines: Sequence[Line], cval: float, largest: bool) -> Field:
    """Return the extrema over a box-shaped window, one axis after the other in the order given. Collective."""
    name, u = call.name, call.u
    out = begin(name, u, call.output)
    todo = [line for line in lines if line.size > 1]
    if not todo:
        return copied(u, out)
    needed = max(slab_bytes(u, line.axis, line.reach) for line in todo)
    check_memory(u.grid, f"{name} with size {tuple(line.size for line in lines)}", needed)
    # scipy compares in f64, and converts to the output's dtype after each pass.
    source, spare = (u, out) if out.dtype == u.dtype else (u.astype(np.float64), None)
    for line in todo:
        in_place = source is not u and not _are_rows(source.owned, line.axis, u.grid.ndim)
        result = _pass(source, line, cval, largest, source if in_place else spare)
        if result is not source:
            spare = None if source is u else source
        source = result
        if source.dtype != out.dtype:
            out.owned[...] = as_c(source.owned, out.dtype)
            source, spare = out, None
    return source


def _pass(u: Field, line: Line, cval: float, largest: bool, spare: Field | None) -> Field:
    """Return the extrema along one axis, in `spare` if that is given: `u` itself unless rows slide. Collective."""
    walled = check_mode(line.mode) == "constant" and not u.grid.periodic[line.axis]
    if walled and not fits(cval, u.dtype):
        return _pass_in_f8(u, line, cval, largest)
    frame = frame_along(u, line.axis, line.reach, line.mode)
    frame.fetch(u, cast_as_c(cval, u.dtype) if walled else 0)
    low, high = frame.slabs[line.axis]
    out = spare if spare is not None else u.like(halo=0)
    work = counted(u, out, 3)  # van Herk's, whatever the window
    if not u.owned.size:
        return out
    with work:
        _slide((low.array, u.owned, high.array, out.padded), line, u.grid.ndim, largest)
        exact_in_f8(out)
    return out


def _are_rows(cells: Array, axis: int, ndim: int) -> bool:
    """Whether windows along an axis slide over rows of cells side by side, else within lines, which are copied. Local.

    `ndim` is the number of the grid's axes.
    """
    return axis < ndim - 1 or math.prod(cells.shape[axis + 1 :]) * cells.itemsize >= FEWEST_BYTES


def _slide(parts: tuple[Array, Array, Array, Array], line: Line, ndim: int, largest: bool) -> None:
    """Run the compiled loop over arrays that follow one another along the axis, the last of the results. Local."""
    from mpibatch.filters._loops import extrema as loops

    axis, cells = line.axis, parts[-1]
    lead, step = math.prod(cells.shape[:axis]), math.prod(cells.shape[axis + 1 :])
    are_rows = _are_rows(cells, axis, ndim)
    low, block, high, out = (as_numbers(part).reshape((lead, -1, step) if are_rows else (lead, -1)) for part in parts)
    memory, steps = _flat(block)
    slide_rows: Any = loops.slide_rows
    slide_cells: Any = loops.slide_cells
    if are_rows and lead < step:  # shares are of cells of every row

        def run(begin: int, end: int) -> None:
            slide_rows(low, memory, *steps, high, out, begin, end, line.size, largest)

    else:  # of planes, or lines

        def run(begin: int, end: int) -> None:
            arrays = low[begin:end], memory[begin * steps[0] :], *steps, high[begin:end], out[begin:end]
            if are_rows:
                slide_rows(*arrays, 0, step, line.size, largest)
            else:
                slide_cells(*arrays, line.size, step, largest)

    share_out(run, step if are_rows and lead < step else lead, out.size)


def _flat(block: Array) -> tuple[Array, tuple[int, ...]]:
    """Return a block's memory, from its first cell on, as one line, and how far apart planes, or rows, lie. Local.

    So loops are compiled once, for fields with a halo and without.
    """
    if block.shape[-1] > 1 and block.strides[-1] != block.itemsize:
        block = np.ascontiguousarray(block)
    steps = tuple(stride // block.itemsize for stride in block.strides[:-1])
    extent = sum((n - 1) * step for n, step in zip(block.shape, (*steps, 1), strict=True)) + 1
    return np.lib.stride_tricks.as_strided(block, (extent,), (block.itemsize,)), steps


def _pass_in_f8(u: Field, line: Line, cval: float, largest: bool) -> Field:
    """Return the extrema along one axis of integers with a value beyond the wall that is none of theirs. Collective."""
    # scipy compares in f64 and converts the winner.
    wide = _pass(u.astype(np.float64), line, cval, largest, None)
    out = u.like(halo=0)
    outside = wide.owned == cval
    out.owned[...] = np.where(outside, cast_as_c(cval, u.dtype), as_c(np.where(outside, 0, wide.owned), u.dtype))
    return out


def over_footprint(call: FilterCall, window: Window, modes: tuple[str, ...], cval: float, largest: bool) -> Field:
    """Return the extrema over a window of any shape, with a mode for every grid axis. Collective."""
    u = call.u
    out = begin(call.name, u, call.output)
    operation = f"{call.name} with a footprint of {window.footprint.shape}"
    check_memory(u.grid, operation, padded_bytes(u, window.reach, u.dtype.itemsize))
    result = out if out.dtype == u.dtype else u.like(halo=0)
    parts = rows_of(u, result, window, modes, cast_as_c(cval, u.dtype))
    with counted(u, result, window.count - 1):
        for rows in parts:
            _fold(rows, largest)
    if result is out:
        exact_in_f8(out)
    else:
        out.owned[...] = as_c(result.owned, out.dtype)
    return out


def _fold(rows: WindowRows, largest: bool) -> None:
    from mpibatch.filters._loops.extrema import fold_offsets

    cells, out = as_numbers(rows.cells), as_numbers(rows.out)
    rows.run(lambda bases, targets: fold_offsets(cells, bases, rows.offsets, out, targets, rows.length, largest))


def as_c(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return `values` converted as scipy does it: by way of f64, cutting off fractions, integers wrap. Local."""
    if values.dtype == dtype:
        return values
    if values.dtype.kind in "iu" and (values.dtype.itemsize == 8 or values.dtype == np.uint32):
        values = values.astype(np.float64)
    if dtype.kind == "b":
        return cast(values, np.int32).astype(np.uint8).astype(dtype)
    return cast(values, dtype)


def exact_in_f8(u: Field) -> None:
    """Round 64-bit integers to what an f64 can hold, as they are on their way through scipy. Local."""
    cells = u.owned
    if u.dtype.kind not in "iu" or u.dtype.itemsize < 8 or not cells.size:
        return
    if int(cells.max()) > 1 << 53 or int(cells.min()) < -(1 << 53):
        with np.errstate(invalid="ignore"):
            cells[...] = cast(cells.astype(np.float64), u.dtype)
