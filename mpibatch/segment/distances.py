"""Exact Euclidean distances to the background, with scipy.ndimage's names and bits, and labels that grow by them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine.arguments import per_axis, real_of
from mpibatch.segment._engine.passes import check_sites, check_squares, nearest_sites, place_type, squared_distances

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_results", "distance_transform_edt", "expand_labels"]

# Squares and cubes of lengths with such a spacing are neither 0 nor infinite.
LEAST, MOST = 1e-100, 1e100


def distance_transform_edt(
    input: Field,
    sampling: float | Sequence[float] | None = None,
    return_distances: bool = True,
    return_indices: bool = False,
) -> Any:
    """Return for each cell the Euclidean distance to the nearest background cell, as scipy.ndimage's. Collective.

    Parameters
    ----------
    input : Field
        Of any dtype; cells that are 0 are background. Of components each is transformed alone.
    sampling : float or sequence of float, optional
        Spacing of the cells along all axes, or along each; default 1.
    return_distances : bool, default True
        Whether distances are returned.
    return_indices : bool, default False
        Whether it is returned which background cell is the nearest.

    Returns
    -------
    distances : Field
        Of dtype f8.
    indices : Field
        With the global index of the nearest background cell along each axis as last component, where scipy has a first
        axis; int32 (int64 if the grid has an axis of 2**31 cells or more, with a periodic one a third of that).

    Raises
    ------
    UsageError
        If nothing is to be returned, or if a spacing is not positive.

    Notes
    -----
    Collective. Equal to the bit to scipy's transform of the whole array, ties included, but where there is no
    background at all: there distances are infinite, and indices -1 (scipy measures to a place outside the array).
    Along a periodic axis distances go around: they equal those in the middle of three copies of the array in a row.

    Method: doi:10.1109/TPAMI.2003.1177156, axis by axis. The first axis that is cut costs messages of a face's size.
    Each other one costs as many slabs as the largest distance so far has cells, if these are less than half a block,
    and without `sampling`; else the field is redistributed, so that lines are whole.

    Without sampling and indices, all arithmetic is in whole numbers: 4 bytes a cell besides the result, 8 if the
    squared diagonal is 2**30 cells or more. With sampling 8 bytes; with indices 4 for each axis, and 1. Lines along
    axes that are cut or periodic are copied, with the cells around that may matter. What does not fit is refused.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch.segment import distance_transform_edt
    >>> u = mb.scatter(np.array([[0, 1, 1, 1], [1, 1, 1, 1]]), mb.Grid((2, 4)))
    >>> mb.gather_all(distance_transform_edt(u)).round(3)
    array([[0.   , 1.   , 2.   , 3.   ],
           [1.   , 1.414, 2.236, 3.162]])
    """
    name = "distance_transform_edt"
    check_field(name, input)
    spacing = _spacing(name, "sampling", sampling, input.grid.ndim)
    check_results(name, return_distances, return_indices)
    grid, components = input.grid, input.components
    by_sites = return_indices or spacing is not None
    if by_sites:
        returned = 8 * return_distances + place_type(grid).itemsize * grid.ndim * return_indices
        check_sites(name, input, spacing, 0, return_indices, returned)
    else:
        check_squares(name, input)
    inside = _is_not_zero(input)
    results = []
    if by_sites:
        nearest = nearest_sites(inside, grid, components, spacing, places=return_indices)
        if return_distances:
            # In place: nobody else reads these squares.
            np.sqrt(nearest.weights.owned, out=nearest.weights.owned)
            results.append(nearest.weights)
        if return_indices:
            results.append(_stacked(nearest.brought))
    else:
        from mpibatch.segment._loops import squares

        squared, far = squared_distances(inside, grid, components)
        results.append(Field(grid, np.float64, 0, components))
        with timed("compute"):
            squares.roots(squared.owned.reshape(-1), far, results[0].owned.reshape(-1))
    return results[0] if len(results) == 1 else tuple(results)


def expand_labels(label_image: Field, distance: float = 1, spacing: float | Sequence[float] = 1) -> Field:
    """Return labels that have grown into the background, by at most a distance, as skimage.segmentation's. Collective.

    Parameters
    ----------
    label_image : Field
        Of integers or bool; 0 is background. Of components each is expanded alone.
    distance : float, default 1
        How far labels grow at most: a Euclidean distance, at least 0, in the unit of `spacing`; it may be infinite.
    spacing : float or sequence of float, default 1
        Of the cells along all axes, or along each.

    Returns
    -------
    Field
        Of the same dtype: each cell has the label of the nearest labeled cell, if that is not further away.

    Raises
    ------
    UsageError
        If the field is not of integers, or if distance or spacing are no such numbers.

    Notes
    -----
    Collective. Equal to scikit-image's result for the whole array. Of labels that are equally far, the one with the
    lowest index along the last axis is taken, then along the axes before (with a spacing other than 1, as rounding has
    it). Labels grow across the ends of periodic axes. Costs as `distance_transform_edt`, but for that with spacing 1 no
    more than `distance` cells are fetched.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch.segment import expand_labels
    >>> labels = mb.scatter(np.array([0, 1, 0, 0, 0, 0, 2]), mb.Grid(7))
    >>> mb.gather_all(expand_labels(labels, distance=1))
    array([1, 1, 1, 0, 0, 2, 2])
    """
    name = "expand_labels"
    check_field(name, label_image)
    if label_image.dtype.kind not in "biu":
        raise UsageError(
            f"{name}: got a field of dtype {label_image.dtype}; labels are integers: give an integer field"
        )
    most = math.inf if isinstance(distance, float) and distance == math.inf else _distance(name, distance)
    spaces = _spacing(name, "spacing", spacing, label_image.grid.ndim)
    check_sites(name, label_image, spaces, label_image.dtype.itemsize, False, label_image.dtype.itemsize)
    # Compiled loops take native byte order alone.
    labels = np.ascontiguousarray(label_image.owned, label_image.dtype.newbyteorder("="))
    nearest = nearest_sites(labels == 0, label_image.grid, label_image.components, spaces, labels, most=most)
    (result,) = nearest.brought
    with timed("compute"):
        distances = np.sqrt(nearest.weights.owned, out=nearest.weights.owned)
        result.owned[~(distances <= most)] = 0
        # Without any label, all distances are infinite, and what was brought is nothing.
        result.owned[np.isinf(distances)] = 0
    return result


def _distance(name: str, distance: Any) -> float:
    return real_of(name, "distance", distance, 0.0)


def check_results(name: str, return_distances: bool, return_indices: bool) -> None:
    """Raise UsageError if neither is to be returned. Local."""
    if not (return_distances or return_indices):
        raise UsageError(f"{name}: neither distances nor indices are to be returned; set one of the two to True")


def _spacing(name: str, parameter: str, value: Any, ndim: int) -> tuple[float, ...] | None:
    """Return the spacing along each axis, checked; None if it is 1 along all."""
    if value is None:
        return None
    numbers = tuple(real_of(name, parameter, number) for number in per_axis(name, parameter, value, ndim))
    for number in numbers:
        if not LEAST <= number <= MOST:
            raise UsageError(f"{name}: {parameter} = {number!r} is no spacing; give numbers from {LEAST:g} to {MOST:g}")
    return None if all(number == 1 for number in numbers) else numbers


def _is_not_zero(u: Field) -> npt.NDArray[np.bool_]:
    """Return which owned cells are not background: a contiguous array, maybe the cells themselves."""
    return np.ascontiguousarray(u.owned if u.dtype == np.bool_ else u.owned != 0)


def _stacked(places: list[Field]) -> Field:
    """Return indices along all axes as the last component of one field; -1 where there is no background."""
    first = places[0]
    result = first.like(components=(*first.components, len(places)))
    for axis, field in enumerate(places):
        result.owned[..., axis] = field.owned
    result.owned[first.owned < 0] = -1
    return result
