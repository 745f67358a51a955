"""How the values of a file are stored: chunks, compression, and the levels of pyramids."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from mpibatch.base.errors import UsageError

__all__ = ["MOST_LEVELS", "Options", "check_levels"]

MOST_LEVELS = 10  # of a pyramid: 2**30 cells, in three axes, become one


@dataclass(frozen=True)
class Options:
    """As `mpibatch.save` is given them."""

    chunks: Any = None
    compression: Any = None
    pyramid: Any = 0


def check_levels(path: str, pyramid: Any, *, is_possible: bool) -> int:
    """Return how many coarser levels a file gets. Local. UsageError if it cannot have so many."""
    try:
        levels = operator.index(pyramid)
    except TypeError:
        levels = -1
    if not 0 <= levels <= MOST_LEVELS:
        raise UsageError(
            f"cannot write {path!r} with pyramid={pyramid!r}; give a number of levels from 0 to {MOST_LEVELS}"
        )
    if levels and not is_possible:
        raise UsageError(
            f"cannot write {path!r} with pyramid={levels}: only OME-Zarr and OME-TIFF have levels; give a name that "
            "ends in .ome.zarr or .ome.tif"
        )
    return levels
