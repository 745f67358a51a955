"""Floods from a cell, from strong cells and from the walls: scikit-image's names, parameters and values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import as_numbers
from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field
from mpibatch.filters._engine.arguments import real_of, whole
from mpibatch.mpi import same
from mpibatch.segment._engine.arguments import check_picture, check_together
from mpibatch.segment._engine.growth import spread_truths
from mpibatch.segment._engine.neighborhood import cross, cube, resolved
from mpibatch.segment._engine.objects import Objects, Part, wall_parts
from mpibatch.segment._engine.relaxation import summed

__all__ = ["apply_hysteresis_threshold", "clear_border", "flood", "flood_fill"]

Bools = npt.NDArray[np.bool_]


def flood(
    u: Field,
    seed_point: int | tuple[int, ...],
    *,
    footprint: Any = None,
    connectivity: int | None = None,
    tolerance: float | None = None,
) -> Field:
    """Return which cells are connected to the seed point by cells of its value, or within `tolerance` of it.

    Parameters
    ----------
    u : Field
        Without components.
    seed_point : int or tuple of int
        Global index of the first cell; negative ones count from the end.
    footprint : array of 0 and 1, optional
        Which cells are neighbors, symmetric; all that share a corner unless given.
    connectivity : int, optional
        Instead of a footprint: along how many axes neighbors may be apart.
    tolerance : float, optional
        How far from the seed's value a cell's may be; 0 unless given.

    Returns
    -------
    Field
        Of bool, without a halo.

    Raises
    ------
    UsageError
        On all ranks: the seed point lies outside the grid, or a parameter is not valid.

    Notes
    -----
    Collective; cost as `binary_propagation`. Equal to ``skimage.segmentation.flood``.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: np.array([1, 2, 3, 9, 2, 2, 1, 1])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.flood(u, 1, tolerance=1)).astype(int).tolist()
    [1, 1, 1, 0, 0, 0, 0, 0]
    """
    return _flooded("flood", u, seed_point, footprint, connectivity, tolerance)


def flood_fill(
    u: Field,
    seed_point: int | tuple[int, ...],
    new_value: Any,
    *,
    footprint: Any = None,
    connectivity: int | None = None,
    tolerance: float | None = None,
    in_place: bool = False,
) -> Field:
    """Return the field with `new_value` in the cells of a `flood`.

    Parameters
    ----------
    u : Field
        Without components.
    seed_point : int or tuple of int
        Global index of the first cell; negative ones count from the end.
    new_value : number
        A value of the field's dtype.
    footprint : array of 0 and 1, optional
        Which cells are neighbors, symmetric; all that share a corner unless given.
    connectivity : int, optional
        Instead of a footprint: along how many axes neighbors may be apart.
    tolerance : float, optional
        How far from the seed's value a cell's may be; 0 unless given.
    in_place : bool, default False
        Write to `u`, and return it.

    Returns
    -------
    Field
        Of the dtype of `u`.

    Raises
    ------
    UsageError
        On all ranks, as for `flood`, and if the dtype does not hold the value, or the field is frozen.

    Notes
    -----
    Collective; cost as `flood`. Equal to ``skimage.segmentation.flood_fill``.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: np.array([1, 2, 3, 9, 2, 2, 1, 1])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.flood_fill(u, -1, 7)).tolist()
    [1, 2, 3, 9, 2, 2, 7, 7]
    """
    name = "flood_fill"
    check_picture(name, u)
    value = value_of(name, "new_value", new_value, u.dtype)
    if in_place and u.is_frozen:
        raise UsageError(f"{name}: in_place=True for a frozen field; nobody can write to it: leave in_place out")
    where = _flooded(name, u, seed_point, footprint, connectivity, tolerance)
    result = u if in_place else u.copy()
    result.owned[where.owned] = value
    return result


def value_of(name: str, argument: str, value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a number as a scalar of `dtype`, which must hold it. Local."""
    number = real_of(name, argument, value) if dtype.kind == "f" else value
    try:
        scalar = np.asarray(number).astype(dtype)[()]
        holds = dtype.kind == "f" or (np.ndim(number) == 0 and bool(scalar == number))
    except (TypeError, ValueError, OverflowError):
        holds = False
    if not holds:
        raise UsageError(
            f"{name}: {argument} = {value!r} is no value of {dtype}; give one that it holds, or use u.astype"
        )
    return scalar


def _flooded(name: str, u: Field, seed_point: Any, footprint: Any, connectivity: Any, tolerance: Any) -> Field:
    check_picture(name, u)
    near = resolved(name, footprint, connectivity, u.grid.ndim)
    seed = _seed_of(name, u, seed_point)
    slack = None if tolerance is None else abs(real_of(name, "tolerance", tolerance))
    same(u.grid.comm, f"{name} of {u.shape} {u.dtype} from {seed} with {slack} over {near.steps.tolist()}")
    owner = u.grid.decomposition.owner(seed)
    seeds = np.zeros(u.owned.shape, np.bool_)
    value = None
    if owner == u.grid.rank:
        place = tuple(i - start for i, start in zip(seed, u.box.start, strict=True))
        seeds[place] = True
        value = u.owned[place]
    value = u.grid.comm.bcast(value, root=owner)
    return spread_truths(name, u, seeds, _alike(u, value, slack), near)


def _seed_of(name: str, u: Field, seed_point: Any) -> tuple[int, ...]:
    shape = u.grid.shape
    given = tuple(whole(name, "seed_point", i) for i in (seed_point if np.iterable(seed_point) else (seed_point,)))
    if len(given) != len(shape) or any(not -n <= i < n for i, n in zip(given, shape, strict=True)):
        raise UsageError(f"{name}: seed_point = {seed_point!r} is no cell of a grid of shape {shape}; give its index")
    return tuple(i % n for i, n in zip(given, shape, strict=True))


def _alike(u: Field, value: Any, slack: float | None) -> Bools:
    """Return which owned cells have the value, or are within `slack` of it. Local."""
    if slack is None:
        return np.asarray(u.owned == value)
    if u.dtype.kind == "f":
        # In the field's own precision, as scikit-image compares.
        info = np.finfo(u.dtype)
        low = max(float(info.min), float(value) - slack)
        high = min(float(info.max), float(value) + slack)
        return np.asarray((u.owned >= low) & (u.owned <= high))
    cells = as_numbers(u.owned)
    limits = np.iinfo(cells.dtype)
    # Whole numbers on the way: those of 64 bits lose their last digits as floats.
    reach = int(min(slack, 2.0**65))
    lowest, highest = max(int(limits.min), int(value) - reach), min(int(limits.max), int(value) + reach)
    return np.asarray((cells >= cells.dtype.type(lowest)) & (cells <= cells.dtype.type(highest)))


def apply_hysteresis_threshold(u: Field, low: float | Field, high: float | Field) -> Field:
    """Return the cells above `low` that are connected, over shared faces, to one above `high`.

    Parameters
    ----------
    u : Field
        Without components.
    low, high : float or Field
        The thresholds; where `low` is more than `high`, `high` counts for both.

    Returns
    -------
    Field
        Of bool, without a halo.

    Raises
    ------
    UsageError
        On all ranks, for a parameter that is not valid.

    Notes
    -----
    Collective; cost as `binary_propagation`. Equal to ``skimage.filters.apply_hysteresis_threshold``.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: np.array([1, 2, 3, 2, 0, 2, 2, 0])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.apply_hysteresis_threshold(u, 1.5, 2.5)).astype(int).tolist()
    [0, 1, 1, 1, 0, 0, 0, 0]
    """
    name = "apply_hysteresis_threshold"
    check_picture(name, u)
    levels: list[Any] = []
    for argument, given in (("low", low), ("high", high)):
        if isinstance(given, Field):
            check_together(name, u, given, argument)
            levels.append(given.owned)
        else:
            levels.append(real_of(name, argument, given))
    same(u.grid.comm, f"{name} of {u.shape} {u.dtype} at {[level for level in levels if isinstance(level, float)]}")
    least, most = np.minimum(levels[0], levels[1]), levels[1]
    if isinstance(least, np.floating):
        least = float(least)
    return spread_truths(name, u, u.owned > most, u.owned > least, cross(u.grid.ndim))


def clear_border(labels: Field, buffer_size: int = 0, bgval: Any = 0, mask: Field | None = None) -> Field:
    """Return the labels without the objects that touch a wall.

    Parameters
    ----------
    labels : Field
        Of bool or integers. An object is what is connected, over corners, too, and has one value other than 0.
    buffer_size : int, default 0
        How many more cells along the walls count as such.
    bgval : int, default 0
        What the cells of these objects become.
    mask : Field of bool, optional
        Instead of the walls: objects that touch a cell where it is False are removed.

    Returns
    -------
    Field
        Of the dtype of `labels`, without a halo.

    Raises
    ------
    UsageError
        On all ranks, for a parameter that is not valid.

    Notes
    -----
    Collective; cost as `binary_propagation`. Equal to ``skimage.segmentation.clear_border``: with another `bgval` than
    0 the background takes it, too, if it touches the wall. A periodic axis has no walls.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: np.array([1, 2, 2, 0, 3, 3, 0, 4])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.clear_border(u)).tolist()
    [0, 2, 2, 0, 3, 3, 0, 0]
    """
    name = "clear_border"
    check_picture(name, labels)
    if labels.dtype.kind == "f":
        raise UsageError(f"{name}: labels are of {labels.dtype}; give whole numbers, or a condition such as u > 0.5")
    width = whole(name, "buffer_size", buffer_size) + 1
    value = value_of(name, "bgval", bgval, labels.dtype)
    if mask is not None:
        check_together(name, labels, mask, "mask")
        if mask.dtype.kind != "b":
            raise UsageError(f"{name}: mask is of {mask.dtype}; give one of bool, such as mask != 0")
        parts: list[Part] = [(slice(None),) * labels.grid.ndim]
        where: Bools | None = ~mask.owned
    else:
        if not 1 <= width <= min(labels.grid.shape):
            raise UsageError(
                f"{name}: buffer_size = {buffer_size} for a grid of shape {labels.grid.shape}; give 0 or more, "
                "and less than its least extent"
            )
        parts, where = [part for _, part in wall_parts(labels, width)], None
    same(labels.grid.comm, f"{name} of {labels.shape} {labels.dtype}: {width}, {value}, {mask is None}")
    objects = Objects(name, labels, cube(labels.grid.ndim), by_value=labels.dtype.kind != "b")
    touched = objects.touch(parts, where)
    touched[0] = False
    goes = Field(labels.grid, np.bool_)
    objects.select(touched, goes)
    out = labels.like(halo=0)
    out.owned[...] = labels.owned
    np.copyto(out.owned, value, where=goes.owned)
    if value != 0:
        border = [labels.owned[part] if where is None else labels.owned[where] for part in parts]
        if summed(labels, sum(part.size - int(np.count_nonzero(part)) for part in border)):
            np.copyto(out.owned, value, where=labels.owned == 0)
    return out
