"""Objects and holes removed by their size: scikit-image's names, parameters and values."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.filters._engine.arguments import whole
from mpibatch.measure._engine.census import Census
from mpibatch.measure._engine.shares import Shares
from mpibatch.measure._engine.totals import totals
from mpibatch.mpi import same
from mpibatch.segment._engine.arguments import check_labels, check_picture
from mpibatch.segment._engine.neighborhood import from_connectivity
from mpibatch.segment._engine.objects import Objects

__all__ = ["remove_small_holes", "remove_small_objects"]


def remove_small_objects(u: Field, *, max_size: int = 64, min_size: int | None = None, connectivity: int = 1) -> Field:
    """Return the field without the objects of at most `max_size` cells.

    Parameters
    ----------
    u : Field
        Of bool: an object is what is connected. Or of integers, none negative: an object is all cells of one number
        other than 0, whether connected or not.
    max_size : int, default 64
        The largest size that is removed.
    min_size : int, optional
        Instead: the least size that stays.
    connectivity : int, default 1
        Along how many axes neighbors may be apart; for bool.

    Returns
    -------
    Field
        Of the dtype of `u`, without a halo.

    Raises
    ------
    UsageError
        On all ranks: floats, negative labels, or a parameter that is not valid.

    Warns
    -----
    UserWarning
        If 1 is the only label, and cells may be removed: then it is one object, and a mask was meant, u > 0.

    Notes
    -----
    Collective. Of bool: cost as `mpibatch.label`. Of integers: two passes, and a row for each label of a rank travels.
    Equal to ``skimage.morphology.remove_small_objects``. Sizes are given by name alone, since the first of
    scikit-image's parameters has changed its meaning.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(9).from_function(lambda x: np.array([1, 1, 0, 1, 0, 0, 1, 1, 1])[x.astype(int)], "?")
    >>> mb.gather_all(segment.remove_small_objects(u, max_size=1)).astype(int).tolist()
    [1, 1, 0, 0, 0, 0, 1, 1, 1]
    """
    name = "remove_small_objects"
    check_picture(name, u)
    near = from_connectivity(name, connectivity, u.grid.ndim)
    most = _largest(name, "min_size", max_size, min_size)
    same(u.grid.comm, f"{name} of {u.shape} {u.dtype}: up to {most}, connectivity {connectivity}")
    out = u.like(halo=0)
    if u.dtype.kind == "b":
        objects = Objects(name, u, near)
        stays = objects.sizes() > most
        stays[0] = False  # what is in no object
        objects.select(stays, out)
        return out
    _, top = check_labels(name, u)
    if top == 1 and most > 0:
        warnings.warn(
            f"{name}: 1 is the only label, so that all its cells are one object; for a mask give bool (u > 0)",
            UserWarning,
            stacklevel=2,
        )
    with timed("compute"):
        census = Census(u.owned)
    with timed("halo"):
        to = Shares.even(u.grid.comm, 0, top, math.prod(u.shape), lambda: census.values).owners(census.values)
        sizes = totals(u.grid.comm, to, census.values, census.counts)
    with timed("compute"):
        census.put(np.where(sizes > most, census.values, 0), out.owned)
    return out


def remove_small_holes(
    u: Field, *, max_size: int = 64, area_threshold: int | None = None, connectivity: int = 1
) -> Field:
    """Return the set cells, and the holes of at most `max_size` cells.

    Parameters
    ----------
    u : Field
        Nonzero cells are set. Of bool or integers.
    max_size : int, default 64
        The largest size that is filled.
    area_threshold : int, optional
        Instead: the least size that stays.
    connectivity : int, default 1
        Along how many axes neighbors in a hole may be apart.

    Returns
    -------
    Field
        Of bool, without a halo.

    Raises
    ------
    UsageError
        On all ranks: floats, or a parameter that is not valid.

    Notes
    -----
    Collective; cost as `mpibatch.label`. Equal to ``skimage.morphology.remove_small_holes``: what touches a wall is a
    hole, too. Sizes are given by name alone.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(9).from_function(lambda x: np.array([1, 1, 0, 1, 0, 0, 1, 1, 1])[x.astype(int)], "?")
    >>> mb.gather_all(segment.remove_small_holes(u, max_size=1)).astype(int).tolist()
    [1, 1, 1, 1, 0, 0, 1, 1, 1]
    """
    name = "remove_small_holes"
    check_picture(name, u)
    if u.dtype.kind == "f":
        raise UsageError(f"{name}: the field is of {u.dtype}; give integers, or a condition such as u > 0.5")
    near = from_connectivity(name, connectivity, u.grid.ndim)
    most = _largest(name, "area_threshold", max_size, area_threshold)
    same(u.grid.comm, f"{name} of {u.shape} {u.dtype}: up to {most}, connectivity {connectivity}")
    free = Field(u.grid, np.bool_)
    np.equal(u.owned, 0, out=free.owned)
    objects = Objects(name, free, near)
    goes = objects.sizes() <= most
    goes[0] = True  # what is set
    objects.select(goes, free)
    return free


def _largest(name: str, parameter: str, max_size: Any, less: Any) -> int:
    """Return the largest size that goes: `max_size`, or one less than the other parameter. Local."""
    most = whole(name, "max_size", max_size)
    if less is not None:
        if most != 64:
            raise UsageError(f"{name}: both max_size = {most} and {parameter} = {less!r} are given; give one")
        most = whole(name, parameter, less) - 1
    if most < (0 if less is None else -1):
        raise UsageError(f"{name}: a size of {most + (less is not None)} cells; give 0 or more")
    return most
