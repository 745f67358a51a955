"""A grid's geometry as attributes of a dataset, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.fields.grid import Grid

__all__ = ["PREFIX", "from_attributes", "to_attributes"]

# Attributes without it belong to the user: "units" is the unit of the values there, as in the CF conventions.
PREFIX = "grid_"


def to_attributes(grid: Grid) -> dict[str, Any]:
    """Return what a dataset tells of its grid; nothing of how it lies on ranks. Local."""
    return {
        "grid_axes": list(grid.axes),
        "grid_origin": np.array(grid.origin, "f8"),
        "grid_periodic": np.array(grid.periodic, "i1"),  # netCDF has no bool
        "grid_spacing": np.array(grid.spacing, "f8"),
        "grid_units": grid.units,
    }


def from_attributes(attributes: Mapping[str, Any], ndim: int) -> dict[str, Any]:
    """Return the keywords of Grid from a dataset of `ndim` axes; none unless all of them are there and fit. Local."""
    try:
        axes = tuple(_text(name) for name in np.atleast_1d(attributes["grid_axes"]))
        grid = {
            "axes": axes,
            "origin": tuple(float(x) for x in attributes["grid_origin"]),
            "periodic": tuple(bool(x) for x in attributes["grid_periodic"]),
            "spacing": tuple(float(x) for x in attributes["grid_spacing"]),
            "units": _text(attributes["grid_units"]),
        }
    except (KeyError, TypeError, ValueError, OSError):
        return {}
    fits = 1 <= len(axes) <= ndim and all(len(grid[key]) == len(axes) for key in ("origin", "periodic", "spacing"))
    return grid if fits else {}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
