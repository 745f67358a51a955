"""Boundaries between labels: scikit-image's name, parameters and values."""

from __future__ import annotations

import numpy as np

from mpibatch.base.errors import UsageError, nearest
from mpibatch.fields.field import Field
from mpibatch.filters._engine.arguments import whole
from mpibatch.filters.minmax import maximum_filter, minimum_filter
from mpibatch.mpi import same
from mpibatch.segment._engine.arguments import check_picture
from mpibatch.segment._engine.neighborhood import Neighborhood, cube, from_connectivity

__all__ = ["find_boundaries"]

MODES = ("thick", "inner", "outer", "subpixel")


def find_boundaries(label_img: Field, connectivity: int = 1, mode: str = "thick", background: int = 0) -> Field:
    """Return the cells at which labels change.

    Parameters
    ----------
    label_img : Field
        Of bool or integers, without components.
    connectivity : int, default 1
        Along how many axes neighbors may be apart.
    mode : {"thick", "inner", "outer"}, default "thick"
        Cells with a neighbor of another label; of these only those within objects; or only those of the background, and
        those at which objects touch.
    background : int, default 0
        The label that is no object.

    Returns
    -------
    Field
        Of bool, without a halo.

    Raises
    ------
    UsageError
        On all ranks: floats, scikit-image's mode "subpixel", whose result has other cells than the grid, or a parameter
        that is not valid.

    Notes
    -----
    Collective. A `maximum_filter` and a `minimum_filter` over a cell and its neighbors, for "outer" two of each, axis
    by axis if all around it are neighbors, else over the footprint. Equal to ``skimage.segmentation.find_boundaries``.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: np.array([0, 0, 5, 5, 5, 7, 7, 7])[x.astype(int)], "i4")
    >>> for mode in ("thick", "inner", "outer"):
    ...     print(mb.gather_all(segment.find_boundaries(u, mode=mode)).astype(int))
    [0 1 1 0 1 1 0 0]
    [0 0 1 0 1 1 0 0]
    [0 1 0 0 1 1 0 0]
    """
    name = "find_boundaries"
    check_picture(name, label_img)
    if label_img.dtype.kind == "f":
        raise UsageError(f"{name}: labels are of {label_img.dtype}; give whole numbers, or a condition such as u > 0.5")
    if mode == "subpixel":
        raise UsageError(
            f"{name}: mode = 'subpixel' gives cells between the grid's; give 'thick', 'inner' or 'outer', or a finer "
            "grid"
        )
    if mode not in MODES:
        raise UsageError(f"{name}: mode {mode!r} is unknown{nearest(str(mode), MODES)}")
    near = from_connectivity(name, connectivity, label_img.grid.ndim)
    level = whole(name, "background", background)
    same(label_img.grid.comm, f"{name} of {label_img.shape} {label_img.dtype}: {connectivity}, {mode}, {level}")
    u = label_img.astype(np.uint8) if label_img.dtype.kind == "b" else label_img
    out = Field(u.grid, np.bool_)
    np.not_equal(_extreme(u, near, is_largest=True).owned, _extreme(u, near, is_largest=False).owned, out=out.owned)
    if mode == "inner":
        out.owned[...] &= u.owned != level
    elif mode == "outer":
        outside = u.owned == level
        raised = u.copy()
        raised.owned[outside] = np.iinfo(u.dtype).max
        around = cube(u.grid.ndim)
        touches = _extreme(u, around, is_largest=True).owned != _extreme(raised, around, is_largest=False).owned
        out.owned[...] &= outside | touches
    return out


def _extreme(u: Field, near: Neighborhood, *, is_largest: bool) -> Field:
    """Return the largest, or the least, of a cell and its neighbors. Collective."""
    form = near.form()
    form[(1,) * u.grid.ndim] = True
    # At a wall the next cell is the nearest one outside it, too.
    return (maximum_filter if is_largest else minimum_filter)(u, footprint=form, mode="nearest")
