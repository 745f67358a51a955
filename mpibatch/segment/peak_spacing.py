"""Peaks at a distance from one another: scikit-image's names, parameters and values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field
from mpibatch.filters._engine.arguments import real_of, whole
from mpibatch.filters._engine.footprints import footprint_of
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.filters.minmax import maximum_filter
from mpibatch.halo import padded_copy
from mpibatch.reduce.extremes import limits
from mpibatch.segment._engine.arguments import check_picture
from mpibatch.segment._engine.neighborhood import Neighborhood
from mpibatch.segment._engine.places import own_places, ranked
from mpibatch.segment._engine.relaxation import relax, summed

__all__ = ["peak_local_max"]

Ints = npt.NDArray[np.int64]


def peak_local_max(
    u: Field,
    min_distance: int = 1,
    threshold_abs: float | None = None,
    threshold_rel: float | None = None,
    exclude_border: int | bool | tuple[int, ...] = True,
    num_peaks: float = math.inf,
    footprint: Any = None,
    *,
    p_norm: float = math.inf,
    indices: bool = True,
) -> Any:
    """Return the cells that are the largest around them, and at least `min_distance` apart, the highest first.

    Parameters
    ----------
    u : Field
        Of numbers, without components.
    min_distance : int, default 1
        The least distance between two peaks; a peak is the largest of the cells up to this far away along each axis.
    threshold_abs : float, optional
        What peaks exceed, in the unit of `u`; the least value of all unless given.
    threshold_rel : float, optional
        A part of the largest value, which peaks exceed, too.
    exclude_border : int, bool or tuple of int, default True
        How far from the walls cells do not count, for each axis or for all; True stands for `min_distance`.
    num_peaks : int, default inf
        At most so many peaks are returned, the highest.
    footprint : array of 0 and 1, optional
        Within which cells a peak is the largest, instead of those within `min_distance`.
    p_norm : float, default inf
        At least 1: of which norm distances are; inf: the largest of the axes'.
    indices : bool, default True
        False: return a field of bool, without gathering anything.

    Returns
    -------
    array of int64, or Field of bool
        The peaks' global indices, one a row, the highest first, equal ones in raster order, the same on every rank.

    Raises
    ------
    UsageError
        On all ranks: a cell is NaN, or a parameter is not valid.

    Notes
    -----
    Collective. A `maximum_filter`, then rounds of "a peak stays if every better one close to it goes" with an exchange
    and an all-reduce of 8 bytes each: as many as there are ranks along a chain of equal peaks. The array takes memory
    for all peaks on each rank; `num_peaks` limits it.

    Equal to ``skimage.feature.peak_local_max``, whose parameters ``labels`` and ``num_peaks_per_label`` are missing,
    and which has no `indices`. A periodic axis has no walls, and peaks keep their distance around it.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(9).from_function(lambda x: np.array([0, 5, 0, 6, 0, 6, 0, 0, 0])[x.astype(int)], "i4")
    >>> segment.peak_local_max(u).tolist()
    [[3], [5], [1]]
    >>> segment.peak_local_max(u, min_distance=3, exclude_border=False).tolist()
    [[3]]
    """
    name = "peak_local_max"
    check_picture(name, u)
    if u.dtype.kind == "b":
        raise UsageError(f"{name}: a field of bool has no heights; use u.astype('u1')")
    ndim = u.grid.ndim
    distance = whole(name, "min_distance", min_distance)
    if distance < 0:
        raise UsageError(f"{name}: min_distance = {distance}; give 0 or more")
    norm = real_of(name, "p_norm", p_norm) if p_norm != math.inf else math.inf
    if norm < 1:
        raise UsageError(f"{name}: p_norm = {p_norm!r}; give 1 or more")
    most = None if num_peaks == math.inf else whole(name, "num_peaks", num_peaks)
    if most is not None and most < 0:
        raise UsageError(f"{name}: num_peaks = {num_peaks}; give 0 or more")
    border = _border(name, exclude_border, distance, ndim)
    form = (
        np.ones((2 * distance + 1,) * ndim, np.bool_)
        if footprint is None
        else footprint_of(name, "footprint", footprint, ndim, range(ndim))
    )
    level = None if threshold_abs is None else real_of(name, "threshold_abs", threshold_abs)
    part = None if threshold_rel is None else real_of(name, "threshold_rel", threshold_rel)
    request = (
        f"{name}: {distance}, {level}, {part}, {border}, {most}, {norm}, {indices}, {form.shape}, {form.tobytes()!r}"
    )
    least, largest = limits(u, request)
    if least != least:
        raise UsageError(f"{name}: a cell is NaN; replace NaN first (np.nan_to_num)")
    threshold = least if level is None else level
    if part is not None:
        threshold = max(threshold, part * largest)
    peaks = _candidates(u, form, threshold, border)
    if distance > 1:
        _space(name, u, peaks, _closer(distance, norm, ndim))
    if not indices and most is None:
        return peaks
    mine = own_places(peaks)
    places = ranked(u, mine, _descending(u.owned[peaks.owned]), most)
    return places if indices else _field_of(u, places)


def _border(name: str, given: Any, distance: int, ndim: int) -> tuple[int, ...]:
    """Return how many cells along each axis' walls do not count. Local."""
    if isinstance(given, bool | np.bool_):
        return (distance if given else 0,) * ndim
    widths = tuple(whole(name, "exclude_border", n) for n in (given if np.iterable(given) else (given,) * ndim))
    if len(widths) != ndim or min(widths) < 0:
        raise UsageError(
            f"{name}: exclude_border = {given!r} for a grid of {ndim} axes; give True, False, or one number of "
            "at least 0 for all axes or for each"
        )
    return widths


def _candidates(u: Field, form: npt.NDArray[np.bool_], threshold: Any, border: tuple[int, ...]) -> Field:
    """Return the cells above the threshold that are the largest of their window. Collective."""
    peaks = Field(u.grid, np.bool_)
    if form.size == 1 or math.prod(u.grid.shape) == 1:
        np.greater(u.owned, threshold, out=peaks.owned)
    else:
        highest = maximum_filter(u, footprint=form, mode="nearest")
        np.equal(u.owned, highest.owned, out=peaks.owned)
        if not summed(u, int(np.count_nonzero(~peaks.owned))):
            peaks.owned[...] = False  # all cells are alike
        peaks.owned[...] &= u.owned > threshold
    for axis, (width, wraps, n) in enumerate(zip(border, u.grid.periodic, u.grid.shape, strict=True)):
        if wraps or not u.box.size:
            continue
        index = np.arange(u.box.start[axis], u.box.stop[axis])
        peaks.owned[(slice(None),) * axis + ((index < width) | (index >= n - width),)] = False
    return peaks


def _closer(distance: int, norm: float, ndim: int) -> Neighborhood:
    """Return the steps of less than `distance`. Local."""
    steps = np.indices((2 * distance - 1,) * ndim).reshape(ndim, -1).T - (distance - 1)
    steps = steps[steps.any(axis=1)].astype(np.int64)
    far = (
        np.abs(steps).max(axis=1)
        if norm == math.inf
        else (np.abs(steps).astype("f8") ** norm).sum(axis=1) ** (1 / norm)
    )
    return Neighborhood(np.ascontiguousarray(steps[far < distance]))


def _descending(values: npt.NDArray[Any]) -> Ints:
    """Return integers in the reversed order of the values. Local."""
    if values.dtype.kind == "f":
        bits = (values.astype("f8") + 0.0).view(np.int64)  # -0.0 is 0.0
        return ~(bits ^ ((bits >> 63) & np.iinfo(np.int64).max))
    if values.dtype == np.uint64:
        return ~(values ^ np.uint64(1 << 63)).view(np.int64)
    return ~values.astype(np.int64)


def _space(name: str, u: Field, peaks: Field, near: Neighborhood) -> None:
    """Drop peaks that are too close to a better one. Collective."""
    from mpibatch.segment._loops.spacing import decide

    reach = near.reach
    check_memory(u.grid, name, padded_bytes(u, reach, u.dtype.itemsize + 1 + 8 * any(u.grid.periodic)))
    cells = padded_copy(u, reach, "constant", 0).reshape(-1)
    state = Field(u.grid, np.uint8, reach)
    state.owned[...] = peaks.owned
    # What has no better one close by is decided at once, in order; for the others the neighbors' news is waited for.
    order = _raster(state) if any(u.grid.periodic) else np.empty(0, np.int64)
    chosen = np.flatnonzero(peaks.owned)
    places = np.ravel_multi_index(
        [i + low for i, (low, _) in zip(np.unravel_index(chosen, peaks.owned.shape), reach, strict=True)],
        state.padded.shape,
    ).astype(np.int64)
    places = places[np.lexsort((order[places] if order.size else places, _descending(cells[places])))]
    steps = near.flat(state.padded.shape)

    def solve(_: bool) -> int:
        return int(decide(cells, state.padded.reshape(-1), places, order, steps.every))

    relax(name, state, solve, 0)
    np.equal(state.owned, 2, out=peaks.owned)


def _raster(state: Field) -> Ints:
    """Return each padded cell's global raster index; on a periodic axis that of the cell it is a copy of. Local."""
    index = np.zeros((1,) * state.grid.ndim, np.int64)
    for axis, (first, n) in enumerate(zip(state.origin, state.grid.shape, strict=True)):
        along = (first + np.arange(state.padded.shape[axis], dtype=np.int64)) % n
        index = index * n + along.reshape((-1,) + (1,) * (state.grid.ndim - 1 - axis))
    return np.ascontiguousarray(index).reshape(-1)


def _field_of(u: Field, places: Ints) -> Field:
    """Return a field that is True at these places. Local."""
    out = Field(u.grid, np.bool_)
    out.owned[...] = False
    mine = np.ones(len(places), np.bool_)
    for axis, (start, stop) in enumerate(zip(u.box.start, u.box.stop, strict=True)):
        mine &= (places[:, axis] >= start) & (places[:, axis] < stop)
    if u.box.size:
        out.owned[tuple((places[mine] - np.asarray(u.box.start)).T)] = True
    return out
