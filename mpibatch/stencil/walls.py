"""Walls per field and side: what a halo cell outside the domain holds.

A condition on a side is one of

- a mode name: scipy's "reflect", "mirror", "nearest", "wrap", "constant" (with ``cval``) and their synonyms;
- ``("constant", value)``: the halo cells hold `value`;
- ``("dirichlet", value)``: the wall's face, half a cell outside the outermost cell, has `value`. The halo cell is
  ``2 * value - m``, where m is the cell mirrored at the face: their mean is `value`;
- ``("neumann", gradient)``: the derivative along the outward normal. The halo cell is ``m + gradient * distance``,
  `distance` being that between the two cells in the grid's units;
- ``("reflect", sign)``: ``sign * m``, as for velocities normal to a wall (-1);
- a function ``f(*coordinates, time)``: its value at the halo cells. It gets one broadcastable array per axis.

`value`, `gradient` and `sign` are one number, or one for each component of the field. Sides of a periodic axis
have no walls, whatever is asked for.

Every cell outside has one value, whichever rank holds it: where it is mirrored or mapped, the exchange brings the
source (also across ranks, for thin blocks), and then the formula is applied, axis after axis, so that a corner
gets the formulas of all the walls that it lies beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError, nearest
from mpibatch.domain import Box, check_mode
from mpibatch.fields.axes import open_mesh

if TYPE_CHECKING:
    from mpibatch.fields.grid import Grid

__all__ = [
    "Condition",
    "Sides",
    "WallGeometry",
    "WallTask",
    "WallsLike",
    "conditions_along",
    "normal_walls",
    "source_modes",
    "tasks",
]

WallsLike = Any
Halo = tuple[tuple[int, int], ...]
KINDS = ("constant", "dirichlet", "neumann", "reflect")  # in a pair with values
FORMULAS = ("constant", "dirichlet", "neumann", "signed", "function")


@dataclass(frozen=True, slots=True)
class Condition:
    """One side's condition: a canonical scipy mode ("constant" excepted), or a kind with values or a function."""

    kind: str
    value: tuple[float, ...] = ()
    function: Callable[..., Any] | None = None

    @property
    def source(self) -> str | None:
        """The mode by which the exchange fills these cells first; None if nothing needs to come. Local."""
        if self.kind in ("constant", "function"):
            return None
        return "reflect" if self.kind in ("dirichlet", "neumann", "signed") else self.kind


Sides = tuple[tuple[Condition, Condition], ...]


@dataclass(frozen=True, slots=True)
class WallGeometry:
    """What walls need to know of a grid."""

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]

    @classmethod
    def of(cls, grid: Grid) -> WallGeometry:
        """Return what they need to know of this one. Local."""
        return cls(grid.shape, grid.periodic, grid.spacing, grid.origin)

    def numbers(self, start: Sequence[int]) -> dict[tuple[str, int], Any]:
        """Return what kernels may ask for by name and axis, where counting begins at cell `start`. Local."""
        by_name = {"index": start, "cells": self.shape, "coordinate": self.origin, "spacing": self.spacing}
        return {(name, axis): value for name, values in by_name.items() for axis, value in enumerate(values)}


def normal_walls(walls: WallsLike, fields: Sequence[str], ndim: int, cval: Any = 0.0) -> dict[str, Sides]:
    """Return the conditions of all sides of all fields. Local.

    `walls` is one condition for all, or a list with an entry per axis: a condition for both sides, or a pair
    ``[low, high]``; or a dict of those by field name, other fields reflecting. Raises UsageError.
    """
    if isinstance(walls, Mapping):
        unknown = [name for name in walls if name not in fields]
        if unknown:
            raise UsageError(f"walls of {unknown[0]!r} are unknown{nearest(str(unknown[0]), fields)}")
        return {name: _all_sides(walls.get(name, "reflect"), ndim, cval) for name in fields}
    sides = _all_sides(walls, ndim, cval)
    return dict.fromkeys(fields, sides)


def _all_sides(walls: WallsLike, ndim: int, cval: Any) -> Sides:
    if _is_condition(walls):
        both = _condition(walls, cval)
        return ((both, both),) * ndim
    if not isinstance(walls, list | tuple) or len(walls) != ndim:
        raise UsageError(
            f"walls={walls!r} on a grid of {ndim} axes; give one condition, or a list of one per axis, "
            f"where each may be a pair [low, high]"
        )
    sides = []
    for entry in walls:
        if _is_condition(entry):
            sides.append((_condition(entry, cval),) * 2)
        elif isinstance(entry, list | tuple) and len(entry) == 2:
            sides.append((_condition(entry[0], cval), _condition(entry[1], cval)))
        else:
            raise UsageError(f"walls entry {entry!r}; give a condition, or a pair [low, high] of conditions")
    return tuple(sides)


def _is_condition(entry: Any) -> bool:
    if isinstance(entry, str) or callable(entry):
        return True
    # ("reflect", "nearest") is a pair of modes, ("reflect", -1) a condition.
    return (
        isinstance(entry, list | tuple)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and _numbers(entry[1]) is not None
    )


def _numbers(value: Any) -> tuple[float, ...] | None:
    values = value if isinstance(value, list | tuple | np.ndarray) else (value,)
    if not len(values) or not all(isinstance(v, int | float | np.number) for v in values):
        return None
    return tuple(float(v) for v in values)


def _condition(entry: Any, cval: Any) -> Condition:
    if callable(entry):
        return Condition("function", function=entry)
    if isinstance(entry, str):
        if entry in ("dirichlet", "neumann"):
            raise UsageError(f'wall {entry!r} needs a value; write ("{entry}", 0.0)')
        mode = check_mode(entry)
        return Condition("constant", _numbers(cval) or (0.0,)) if mode == "constant" else Condition(mode)
    if not _is_condition(entry):
        raise UsageError(f"wall {entry!r}; give a mode name, a pair such as ('dirichlet', 0.0), or a function")
    kind, values = entry[0], _numbers(entry[1])
    if kind not in KINDS:
        raise UsageError(f"wall {entry!r} is unknown{nearest(kind, KINDS)}")
    return Condition("signed" if kind == "reflect" else kind, values or ())


def conditions_along(axis: int, sides: Sides, periodic: Sequence[bool]) -> tuple[Condition, Condition]:
    """Return the conditions of both sides of an axis; a periodic one wraps, whatever was given. Local."""
    return (Condition("wrap"),) * 2 if periodic[axis] else sides[axis]


def source_modes(sides: Sides, geometry: WallGeometry) -> tuple[tuple[str | None, str | None], ...]:
    """Return by which mode the exchange is to fill each side before the formulas. Local."""
    return tuple(
        ("wrap", "wrap") if wraps else (low.source, high.source)
        for (low, high), wraps in zip(sides, geometry.periodic, strict=True)
    )


@dataclass(frozen=True, slots=True)
class WallTask:
    """One formula on the halo cells outside one side, as this rank holds them."""

    axis: int
    side: int  # -1 or +1
    view: npt.NDArray[Any]
    condition: Condition
    box: Box
    geometry: WallGeometry

    def __call__(self, time: float) -> None:
        """Apply it. Local."""
        view, condition = self.view, self.condition
        if condition.function is not None:
            mesh = open_mesh(self.box, self.geometry.origin, self.geometry.spacing)
            view[...] = cast(np.asarray(condition.function(*mesh, time)), view.dtype)
            return
        values = np.asarray(condition.value if len(condition.value) > 1 else condition.value[0])
        if condition.kind == "constant":
            view[...] = cast(values, view.dtype)
        elif condition.kind == "dirichlet":
            np.subtract(cast(2.0 * values, view.dtype), view, out=view)
        elif condition.kind == "signed":
            np.multiply(view, cast(values, view.dtype), out=view)
        else:
            np.add(view, cast(values * self._distances(view.ndim), view.dtype), out=view)

    def _distances(self, ndim: int) -> npt.NDArray[np.float64]:
        """How far each halo cell is from its mirror image, along the axis."""
        indices = np.arange(self.box.start[self.axis], self.box.stop[self.axis])
        outside = -1 - indices if self.side < 0 else indices - self.geometry.shape[self.axis]
        distance: npt.NDArray[np.float64] = (2 * outside + 1) * np.float64(self.geometry.spacing[self.axis])
        return distance.reshape([-1 if a == self.axis else 1 for a in range(ndim)])


def tasks(
    padded: npt.NDArray[Any],
    origin: tuple[int, ...],
    owned: Box,
    reach: Halo,
    sides: Sides,
    geometry: WallGeometry,
    corners: bool,
) -> list[WallTask]:
    """Return the formulas for one field on one rank, in the order in which they apply. Local.

    Parameters
    ----------
    padded, origin : the field's memory, components last, and the global index of its first cell.
    reach : the widths that the exchange fills.
    corners : whether cells outside along two axes are wanted too.
    """
    tasks: list[WallTask] = []
    around = owned.grow(reach)
    for axis, conditions in enumerate(sides):
        cells = geometry.shape[axis]
        for side, condition in zip((-1, 1), conditions, strict=True):
            if geometry.periodic[axis] or condition.kind not in FORMULAS:
                continue
            _check(padded, len(geometry.shape), condition, axis, reach, cells)
            start, stop = list((around if corners else owned).start), list((around if corners else owned).stop)
            start[axis] = around.start[axis] if side < 0 else max(owned.stop[axis], cells)
            stop[axis] = min(owned.start[axis], 0) if side < 0 else around.stop[axis]
            box = Box(tuple(start), tuple(stop))
            if owned.size and box.size:
                tasks.append(WallTask(axis, side, padded[box.slices(origin)], condition, box, geometry))
    return tasks


def _check(padded: npt.NDArray[Any], ndim: int, condition: Condition, axis: int, reach: Halo, cells: int) -> None:
    if padded.dtype.kind != "f" and condition.source == "reflect":
        raise UsageError(
            f"wall {condition.kind!r} for a field of dtype {padded.dtype}; it is computed with floats: use a mode, "
            "('constant', value) or a function, or u.astype('f8')"
        )
    components = padded.shape[ndim:]
    if len(condition.value) > 1 and components[-1:] != (len(condition.value),):
        raise UsageError(
            f"wall {condition.kind!r} with {len(condition.value)} values for a field of components {components}; "
            "give one value, or one per component"
        )
    if condition.source == "reflect" and max(reach[axis]) > cells:
        raise UsageError(
            f"wall {condition.kind!r} on axis {axis} of {cells} cells, for a reach of {max(reach[axis])}: the mirrored "
            "cells would lie beyond the opposite wall; use a grid with at least as many cells as the reach"
        )
