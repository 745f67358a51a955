"""Binary erosion and dilation, repeated: in one step where that is possible, locally to the end where that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.progress.rounds import note
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine.arguments import axes_of, per_axis, whole
from mpibatch.filters._engine.calls import FilterCall, Line
from mpibatch.filters._engine.footprints import (
    Window,
    expanded_origins,
    footprint_of,
    mirrored,
    numbers_of,
    window_from,
)
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.filters._engine.rows import starts
from mpibatch.filters.extrema import along_axes, over_footprint
from mpibatch.filters.passes import result_dtype
from mpibatch.halo import exchange
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Erosion", "erosion", "repeated"]

Bools = npt.NDArray[np.bool_]
LOOK_EVERY = 8  # repetitions between two looks at whether anything still changes anywhere


@dataclass(frozen=True, slots=True)
class Erosion:
    """What a binary filter repeats; a dilation is the erosion of what is not set, with the window mirrored."""

    name: str
    u: Field
    window: Window
    centered: bool  # the window holds the cell itself, so that cells change one way only
    iterations: int
    mask: Field | None
    beyond: bool  # what cells outside the walls count as
    dilate: bool


def erosion(
    name: str,
    u: Field,
    structure: Any,
    iterations: Any,
    mask: Any,
    border_value: Any,
    origin: Any,
    axes: Any,
    dilate: bool,
) -> Erosion:
    """Return the checked description of a repeated erosion, or dilation. Local."""
    result_dtype(name, u)
    ndim = u.grid.ndim
    over = axes_of(name, axes, ndim)
    form = _cross(len(over)) if structure is None else numbers_of(name, "structure", structure) != 0
    origins: Sequence[Any] = per_axis(name, "origin", origin, len(over))
    if dilate and form.ndim == len(over):
        form, origins = np.flip(form), mirrored(name, origins, form.shape)
    form = footprint_of(name, "structure", form, ndim, over, may_be_false=True)
    shifts = expanded_origins(name, tuple(origins), form.shape, over)
    if mask is not None:
        check_field(f"{name}: mask", mask)
        if not mask.grid.matches(u.grid) or mask.components not in ((), u.components):
            raise UsageError(f"{name}: mask is {mask!r}; give a Field on the grid and with the components of the input")
    return Erosion(
        name=name,
        u=u,
        window=window_from(form, shifts),
        centered=bool(form[tuple(n // 2 + o for n, o in zip(form.shape, shifts, strict=True))]),
        iterations=whole(name, "iterations", iterations),
        mask=mask,
        beyond=bool(whole(name, "border_value", border_value)),
        dilate=dilate,
    )


def _cross(ndim: int) -> npt.NDArray[np.bool_]:
    """Return a cell and its neighbors along each axis. Local."""
    return np.asarray(np.abs(np.indices((3,) * ndim) - 1).sum(axis=0) <= 1)


def repeated(todo: Erosion) -> Field:
    """Return the result of all repetitions, as bool. Collective."""
    now = todo.u.like(dtype=np.bool_, halo=0)
    np.not_equal(todo.u.owned, 0, out=now.owned)
    if todo.iterations < 1 and todo.centered:
        return _settled(todo, now)
    times = todo.iterations
    if times > 1 and todo.mask is None and todo.window.full:
        # Boxes on boxes make a larger box; on the way to any cell in it, every step stays within the domain.
        return _once(todo, now, times)
    done = 0
    while times < 1 or done < times:
        after = _once(todo, now)
        done += 1
        same = (times < 1 or done % LOOK_EVERY == 0) and not _anywhere(
            todo.u, not np.array_equal(after.owned, now.owned)
        )
        now = after
        if same:
            break
    return now


def _anywhere(u: Field, local: bool) -> bool:
    """Whether something is so on any rank, which ends a round. Collective."""
    with REDUCTION:
        is_so = bool(u.grid.comm.allreduce(local, op=MPI.LOR))
    note(is_so)
    return is_so


def _once(todo: Erosion, now: Field, times: int = 1) -> Field:
    """Return one step; with a box-shaped window, `times` steps at once. Collective."""
    ndim, window = now.grid.ndim, todo.window
    if not window.count:
        # No cell of the window can forbid it: all are kept, or none is added.
        after = now.grid.full(not todo.dilate, now.dtype, components=now.components)
    elif window.full:
        # Windows that reach beyond the walls on every side need not grow further.
        reach = [
            (min(times * low, n), min(times * high, n))
            for (low, high), n in zip(window.reach, now.grid.shape, strict=True)
        ]
        sizes = [low + high + 1 for low, high in reach]
        origins = [low - size // 2 for size, (low, _) in zip(sizes, reach, strict=True)]
        lines = [Line(axis, *shape, "constant") for axis, shape in enumerate(zip(sizes, origins, strict=True))]
        after = along_axes(FilterCall(name=todo.name, u=now), lines, todo.beyond, todo.dilate)
    else:
        call = FilterCall(name=todo.name, u=now)
        after = over_footprint(call, window, ("constant",) * ndim, todo.beyond, todo.dilate)
    mask = _mask_of(todo)
    if mask is not None:
        np.copyto(after.owned, now.owned, where=~mask)
    return after


def _mask_of(todo: Erosion) -> Bools | None:
    """Return which owned cells may change; None for all. Local."""
    if todo.mask is None:
        return None
    may: Bools = todo.mask.owned != 0
    missing = todo.u.owned.ndim - may.ndim
    return np.broadcast_to(may.reshape(may.shape + (1,) * missing), todo.u.owned.shape)


def _settled(todo: Erosion, start: Field) -> Field:
    """Return what no further step changes. Collective.

    With the cell itself in the window there is one such state, in whatever order cells are visited. So each rank
    goes on by itself until nothing changes there, and only then asks its neighbors for news.
    """
    from mpibatch.filters._loops.propagation import settle

    window = todo.window
    operation = f"{todo.name} with a structure of {window.footprint.shape}"
    check_memory(start.grid, operation, 2 * padded_bytes(start, window.reach, 1))
    now = start.like(halo=window.reach)
    now.owned[...] = start.owned
    mask = _mask_of(todo)
    may = np.ones(now.owned.shape, np.uint8) if mask is None else np.ascontiguousarray(mask).view(np.uint8)
    shape, width = now.padded.shape, int(np.prod(now.components, dtype=np.int64))
    ndim = now.grid.ndim
    bases = starts(shape[:ndim], (0,) * ndim, now.box.shape) * width if now.owned.size else None
    offsets = window.offsets(shape[:ndim]) * width
    center = int(starts(shape[:ndim], tuple(low for low, _ in window.reach), (1,) * ndim)[0]) * width
    cells = now.padded.reshape(-1).view(np.uint8)
    while True:
        exchange(now, None, "constant", todo.beyond)
        changed = False
        if bases is not None:
            with timed("compute"):
                changed = settle(cells, bases, offsets, center, may.reshape(bases.size, -1), int(todo.dilate))
        if not _anywhere(now, changed):
            break
    start.owned[...] = now.owned
    return start
