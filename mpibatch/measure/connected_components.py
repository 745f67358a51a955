"""Connected components of a Field, numbered as scipy numbers them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field, check_field
from mpibatch.measure._components.components import BlockComponents, numbered
from mpibatch.measure._engine.places import wide
from mpibatch.measure._engine.structure import Offset, backward, mask_of
from mpibatch.mpi import agreed, same

__all__ = ["label"]


def label(u: Field, structure: npt.ArrayLike | None = None, label_values: bool = False) -> tuple[Field, int]:
    """Number the connected components of the cells that are not zero, as scipy.ndimage.label.

    Parameters
    ----------
    u : Field
        Bool, integers or floats, without components. NaN is not zero.
    structure : array_like, optional
        Which of the cells around one are its neighbors: an array of shape (3, 3, ...) that is symmetric about its
        center. By default those that share a face.
    label_values : bool, default False
        Whether neighbors must have the same value to be one component, as in skimage.measure.label with
        ``background=0``. For bool and integers.

    Returns
    -------
    labels : Field
        0 where `u` is 0, else the number of the cell's component. Numbers count from 1, in the raster order of the
        components' first cells: as scipy's of the whole array, on any ranks. int32; int64 on grids of 2**31 - 2 cells
        or more.
    n : int
        The number of components, on every rank.

    Raises
    ------
    UsageError
        On all ranks, for a structure that is not symmetric, complex fields, fields with components, and
        ``label_values=True`` with floats.

    Notes
    -----
    Collective. Axes on which the grid is periodic have no edges: what leaves on one side goes on at the other.

    A rank holds its block of the labels, at most 6 (typically 1) bytes per cell for its own components, and tables as
    large as its faces; it sends its faces once, and then, in a number of rounds that is about the logarithm of how many
    blocks an object winds through, what it knows of components that reach across faces. Methods: see
    `mpibatch.measure._loops.runs` and `mpibatch.measure._components.unions` (doi:10.1109/TIP.2008.919369,
    doi:10.1007/978-3-642-14390-8_20).

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((4, 6))
    >>> u = grid.from_function(lambda y, x: (x % 3 < 2) & (y != 2))
    >>> labels, n = mb.label(u)
    >>> n, labels.dtype.name, int(mb.max(labels))
    (4, 'int32', 4)
    """
    offsets = _checked(u, structure, label_values)
    grid = u.grid
    with agreed(grid.comm, "label"), phase("compute"):
        labels = Field(grid, np.int64 if wide(grid.shape) else np.int32)
        block = BlockComponents(
            grid.shape, grid.box, u.owned, labels.owned, offsets=offsets, by_value=bool(label_values)
        )
    is_alone = grid.size == 1 and not any(grid.periodic)
    table, n = (None, block.count) if is_alone else numbered(grid, block, offsets)
    with phase("compute"):
        block.number(table)
    return labels, n


def _checked(u: Field, structure: Any, label_values: Any) -> list[Offset]:
    """Return the offsets to earlier neighbors; raise on all ranks if an argument is wrong, or differs. Collective."""
    check_field("label", u)
    with agreed(u.grid.comm, "label"):
        if u.components or u.dtype.kind == "c" or not u.dtype.isnative:
            raise UsageError(
                f"label: the field has dtype {u.dtype} and components {u.components or 'none'}; give bool, integers or "
                "floats without components, such as u > 0.5"
            )
        if label_values and u.dtype.kind == "f":
            raise UsageError(
                f"label: label_values=True with a field of dtype {u.dtype}; equal values are objects only if they are "
                "integers: convert it with u.astype, or compare it first"
            )
        mask = mask_of("label", structure, u.grid.ndim)
    same(u.grid.comm, f"label of a field of dtype {u.dtype}, {mask.tolist()}, label_values={bool(label_values)}")
    return backward(mask)
