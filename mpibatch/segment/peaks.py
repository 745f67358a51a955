"""Local maxima and minima, plateaus and all: scikit-image's names, parameters and values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.fields.field import Field
from mpibatch.reduce.extremes import some_extremes
from mpibatch.reduce.operands import operand
from mpibatch.segment._engine.arguments import check_picture, picture_dtype
from mpibatch.segment._engine.growth import lowest
from mpibatch.segment._engine.neighborhood import resolved
from mpibatch.segment._engine.objects import wall_parts
from mpibatch.segment._engine.places import places_of
from mpibatch.segment._engine.plateaus import REACHED, Plateaus

__all__ = ["local_maxima", "local_minima"]

Indices = tuple[npt.NDArray[np.int64], ...]


def local_maxima(
    u: Field, footprint: Any = None, connectivity: int | None = None, indices: bool = False, allow_borders: bool = True
) -> Any:
    """Return the plateaus, of one cell or more, that no neighbor exceeds.

    Parameters
    ----------
    u : Field
        Without components.
    footprint : array of 0 and 1, optional
        Which cells are neighbors: 3 cells along each axis, symmetric; all that share a corner unless given.
    connectivity : int, optional
        Instead of a footprint: along how many axes neighbors may be apart.
    indices : bool, default False
        Return the global indices of the cells, an array for each axis, on all ranks.
    allow_borders : bool, default True
        Whether plateaus that touch a wall count.

    Returns
    -------
    Field of bool, or tuple of arrays
        The field has no halo. Arrays are the same on every rank, and in raster order.

    Raises
    ------
    UsageError
        On all ranks, for a parameter that is not valid.

    Notes
    -----
    Collective. Each cell is compared with its neighbors once, after one exchange; then "a neighbor is higher" spreads
    over plateaus, about as often from rank to rank as the longest plateau crosses from one to another. Arrays take
    memory for all maxima on each rank.

    Equal to ``skimage.morphology.local_maxima``: what is no higher than the lowest cell of all is no maximum, so that a
    constant field has none. A cell that is NaN exceeds nothing, and nothing exceeds it. A periodic axis has no walls.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: np.array([1, 0, 2, 2, 0, 3, 3, 4])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.local_maxima(u)).astype(int).tolist()
    [1, 0, 1, 1, 0, 0, 0, 1]
    >>> [axis.tolist() for axis in segment.local_maxima(u, indices=True, allow_borders=False)]
    [[2, 3]]
    """
    return _peaks("local_maxima", u, footprint, connectivity, indices, allow_borders, True)


def local_minima(
    u: Field, footprint: Any = None, connectivity: int | None = None, indices: bool = False, allow_borders: bool = True
) -> Any:
    """Return the plateaus, of one cell or more, that exceed no neighbor.

    Parameters
    ----------
    u : Field
        Without components.
    footprint : array of 0 and 1, optional
        Which cells are neighbors: 3 cells along each axis, symmetric; all that share a corner unless given.
    connectivity : int, optional
        Instead of a footprint: along how many axes neighbors may be apart.
    indices : bool, default False
        Return the global indices of the cells, an array for each axis, on all ranks.
    allow_borders : bool, default True
        Whether plateaus that touch a wall count.

    Returns
    -------
    Field of bool, or tuple of arrays
        The field has no halo. Arrays are the same on every rank, and in raster order.

    Raises
    ------
    UsageError
        On all ranks, for a parameter that is not valid.

    Notes
    -----
    Collective, at the cost of `local_maxima`. Equal to ``skimage.morphology.local_minima``; NaN and periodic axes as
    there.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: -np.array([1, 0, 2, 2, 0, 3, 3, 4])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.local_minima(u)).astype(int).tolist()
    [1, 0, 1, 1, 0, 0, 0, 1]
    """
    return _peaks("local_minima", u, footprint, connectivity, indices, allow_borders, False)


def _peaks(
    name: str, u: Field, footprint: Any, connectivity: Any, indices: bool, allow_borders: bool, largest: bool
) -> Any:
    check_picture(name, u)
    near = resolved(name, footprint, connectivity, u.grid.ndim, sides=3)
    request = f"{name} over {near.steps.tolist()}, {bool(allow_borders)}, {bool(indices)}"
    # What is no higher than the lowest cell of all is no maximum.
    floor = some_extremes(operand(u, request), (not largest,))[0]
    dtype = picture_dtype(u)
    cells = u
    if u.dtype.kind == "b" or not largest:
        cells = u.like(dtype, near.reach)
        if dtype.kind == "f":
            np.negative(u.owned, out=cells.owned)
        else:
            cells.owned[...] = u.owned
            if not largest:
                np.invert(cells.owned, out=cells.owned)
    plateaus = Plateaus(name, cells, near, lowest(dtype))
    if near.steps.size:
        plateaus.mark_exceeded(floor if largest else -floor if dtype.kind == "f" else ~dtype.type(floor))
    if not allow_borders:
        for _, part in wall_parts(u, 1):
            plateaus.state[part] = REACHED
    plateaus.run()
    out = Field(u.grid, np.bool_)
    np.not_equal(plateaus.state, REACHED, out=out.owned)
    return places_of(out) if indices else out
