"""A part of a dataset, by slices: which cells it has, and what becomes of the grid's geometry."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from mpibatch.base.errors import UsageError

__all__ = ["chosen_region", "moved"]


def chosen_region(name: str, shape: Sequence[int], region: Any) -> tuple[range, ...]:
    """Return the indices along each axis that slices for the first axes choose; None: all. Local. UsageError."""
    given = () if region is None else tuple(region) if isinstance(region, Sequence) else (region,)
    if len(given) > len(shape) or not all(isinstance(item, slice) for item in given):
        raise UsageError(
            f"cannot load {name} with region={region!r}; give at most {len(shape)} slices, as "
            "np.s_[10:200, ::4] makes them, and whole axes as ':'"
        )
    chosen = []
    for axis, cells in enumerate(shape):
        cut = given[axis] if axis < len(given) else slice(None)
        try:
            indices = range(*(slice(*map(_whole, (cut.start, cut.stop, cut.step))).indices(cells)))
        except (TypeError, ValueError):
            indices = range(0)
        if not indices or indices.step < 1:
            raise UsageError(
                f"cannot load {cut} along axis {axis} of {name}, which has {cells} cells; give whole numbers that "
                "leave at least one cell, and steps >= 1"
            )
        chosen.append(indices)
    return tuple(chosen)


def moved(grid: dict[str, Any], part: Sequence[range], shape: Sequence[int]) -> dict[str, Any]:
    """Return the keywords of the Grid of a part, from those of the whole. Local."""
    if all(indices == range(cells) for indices, cells in zip(part, shape, strict=False)):
        return grid

    def by_axis(key: str, usual: Any) -> tuple[Any, ...]:
        value = grid.get(key, usual)
        return (value,) * len(part) if np.ndim(value) == 0 else tuple(value)

    spacing, origin, periodic = by_axis("spacing", 1.0), by_axis("origin", 0.0), by_axis("periodic", False)
    if not len(spacing) == len(origin) == len(periodic) == len(part):
        return grid  # Grid says what is wrong with it
    return {
        **grid,
        "origin": tuple(float(o) + r.start * float(s) for o, s, r in zip(origin, spacing, part, strict=True)),
        "spacing": tuple(float(s) * r.step for s, r in zip(spacing, part, strict=True)),
        # Only what goes round as before, in steps that meet it, still does.
        "periodic": tuple(
            bool(p) and (r.start, len(r) * r.step) == (0, n) for p, r, n in zip(periodic, part, shape, strict=False)
        ),
    }


def _whole(value: Any) -> int | None:
    return None if value is None else operator.index(value)
