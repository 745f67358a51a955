"""A halo as users describe it, checked: how wide, by which modes, with which value beyond the walls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base import tally
from mpibatch.base.errors import UsageError
from mpibatch.domain import check_mode
from mpibatch.fields.field import Field, HaloLike, normal_halo
from mpibatch.halo.plan import Halo, Modes

if TYPE_CHECKING:
    from mpibatch.fields.grid import Grid

__all__ = ["ModeLike", "check_value", "halo_of", "need_of"]

SideMode = str | None
# One mode for all walls, or an entry per axis: one mode, or a pair (low, high).
ModeLike = SideMode | Sequence[SideMode | Sequence[SideMode]]


def halo_of(grid: Grid, widths: HaloLike, mode: ModeLike, corners: bool = True) -> Halo:
    """Return the checked description of a halo; a periodic axis wraps whatever its mode. Local."""
    modes = (mode,) * grid.ndim if mode is None or isinstance(mode, str) else tuple(mode)
    if len(modes) != grid.ndim:
        raise UsageError(
            f"mode={mode!r} has {len(modes)} entries for a grid of {grid.ndim} axes; give one, or one per axis"
        )
    known = (_axis_modes(m) for m in modes)
    return Halo(
        normal_halo(widths, grid.ndim),
        tuple("wrap" if wraps else m for wraps, m in zip(grid.periodic, known, strict=True)),
        corners,
    )


def _axis_modes(entry: SideMode | Sequence[SideMode]) -> Modes:
    if entry is None or isinstance(entry, str):
        return None if entry is None else check_mode(entry)
    if len(entry) != 2:
        raise UsageError(f"mode {entry!r} for one axis; give one mode, or a pair (low, high)")
    low, high = (None if m is None else check_mode(m) for m in entry)
    return low if low == high else (low, high)


def need_of(fields: Sequence[Field], halo: Halo) -> tally.Need:
    """Return what fields need from other ranks, if there are some along every axis. Local."""
    wraps = tuple("wrap" in halo.sides(axis) for axis in range(len(halo.widths)))
    several = sum(map(any, halo.widths)) > 1
    nbytes = sum(field.dtype.itemsize * math.prod(field.components) for field in fields)
    return tally.need(fields[0].grid.shape, halo.widths, halo.corners and several, wraps, nbytes)


def check_value(u: Field, halo: Halo, cval: Any) -> None:
    """Refuse a value that `u` cannot hold beyond walls, also on ranks that have none: all raise alike. Local."""
    if not any("constant" in halo.sides(axis) for axis in range(u.grid.ndim)):
        return
    try:
        np.broadcast_to(np.asarray(cval, u.dtype), u.components)
    except (TypeError, ValueError, OverflowError) as error:
        each = f" with components {u.components}" if u.components else ""
        raise UsageError(
            f"cval={cval!r} does not fit a field of dtype {u.dtype}{each} ({error}); give a value that it can hold"
        ) from error
