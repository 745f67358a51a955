"""Tables of the properties of labeled regions, and the boxes around them."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field, check_field
from mpibatch.io.base.geometry import to_attributes
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.measure._engine.shares import Shares
from mpibatch.measure._engine.tallies import layout_of, tallied
from mpibatch.measure._properties.medians import medians
from mpibatch.measure._properties.moments import MOMENTS, WEIGHTED, Moments, summed_moments
from mpibatch.measure._properties.outlines import OUTLINES, hull_columns, outlined
from mpibatch.measure._properties.patterns import PATTERNS, counted, pattern_columns
from mpibatch.measure._properties.properties import INTENSITY, Regions, check, kinds_of, order_of
from mpibatch.mpi import agreed, same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RegionTable", "check_labels", "find_objects", "regionprops_table", "spacing_of", "value_indices"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

LARGE = 1 << 26


def regionprops_table(
    labels: Field,
    intensity: Field | None = None,
    properties: Sequence[str] = ("label", "bbox"),
    spacing: float | Sequence[float] | None = None,
) -> RegionTable:
    """Return a table of properties of labeled regions, as skimage.measure.regionprops_table.

    Parameters
    ----------
    labels : Field
        Integers: cells of the same positive number are a region, whether connected or not; others are in none.
    intensity : Field, optional
        Values of the cells, on the same grid: bool, integers or floats.
    properties : sequence of str, default ("label", "bbox")
        Any of scikit-image's that are numbers. Of a region's shape: "label", "num_pixels", "area", "area_bbox", "bbox",
        "centroid", "centroid_local", "equivalent_diameter_area", "extent", "inertia_tensor", "inertia_tensor_eigvals",
        "moments", "moments_central", "moments_normalized"; for two or three axes "axis_major_length",
        "axis_minor_length", "euler_number"; for two "area_convex", "eccentricity", "feret_diameter_max", "moments_hu",
        "orientation", "perimeter", "perimeter_crofton", "solidity". With `intensity`: "centroid_weighted",
        "centroid_weighted_local", "intensity_max", "intensity_mean", "intensity_median", "intensity_min",
        "intensity_std", "moments_weighted", "moments_weighted_central", "moments_weighted_normalized" and, for two
        axes, "moments_weighted_hu".
    spacing : float or sequence of float, optional
        Distance between cells along each axis; by default 1.

    Returns
    -------
    RegionTable
        A mapping of columns, named as scikit-image names them ("centroid-0"), with a row for each label that occurs, in
        order. A rank has the rows of consecutive labels, at most about as many as its block has cells; its `gather`
        returns all.

    Raises
    ------
    UsageError
        On all ranks, for labels that are no integers, fields that do not fit, and properties that there are not.

    Notes
    -----
    Collective. One pass through the labels, and one through labels and values if values are asked about; then one row
    for each label that a rank has travels, merged with others' on the way. Perimeters and the Euler number take one
    pass more, as do hulls (of which a region's extent in each row travels), moments, and weighted moments: 4 to the
    power of the axes, sums of many digits, together 3 KiB for each label in 1024³ cells, of weights 6 KiB or more; a
    rank keeps at most twice as many as it has labels, and some. Medians are chosen from sorted blocks; those of labels
    that several ranks have are narrowed down in rounds, by four binary places of the values each.

    All sums are exact and each result is rounded from them as seldom as its formula allows: area, bbox, centroid,
    Euler number, median and hull equal scikit-image's to the bit (with spacing, as others, to a few roundings; medians
    and means of f4 are not rounded to f4), and all have the same bits on any ranks. Coordinates are the grid's indices,
    also where it is periodic: regions do not go on there. Regions without finite weights have NaN. Hu's
    moments: doi:10.1109/TIT.1962.1057692.

    Examples
    --------
    >>> import mpibatch as mb
    >>> labels, n = mb.label(mb.Grid((4, 6)).from_function(lambda y, x: (x % 3 < 2) & (y != 2)))
    >>> table = mb.regionprops_table(labels, properties=("label", "area", "centroid")).gather()
    >>> table["area"].tolist(), table["centroid-1"].tolist()
    ([4.0, 4.0, 2.0, 2.0], [0.5, 3.5, 0.5, 3.5])
    """
    check_field("regionprops_table", labels)
    grid = labels.grid
    with agreed(grid.comm, "regionprops_table"):
        check_labels("regionprops_table", labels)
        if intensity is not None:
            _check_intensity(labels, intensity)
        scales = spacing_of(spacing, grid.ndim)
        names = check(properties, grid.ndim, intensity is not None, scales)
    about = "none" if intensity is None else str(intensity.dtype)
    same(grid.comm, f"regionprops_table of {labels.dtype}, intensity {about}, {names}, spacing {scales}")
    values = intensity if {*names} & {*INTENSITY} else None
    if labels.owned.nbytes > LARGE:
        grid.memories.together.release()  # what is made of labels here is no field, which would take what waits
    layout, top = layout_of(labels, values, order_of(names), kinds_of(names))
    shares = Shares.even(grid.comm, 1, top, math.prod(grid.shape), lambda: _occurring(labels))
    rows = tallied(labels, values, layout, shares)
    with agreed(grid.comm, "regionprops_table"):
        regions = Regions(layout, rows, scales)
    parts = _further(labels, values, regions, shares, names)
    with agreed(grid.comm, "regionprops_table"):
        known: dict[str, Array] = {}
        for part in parts:
            known |= part()
        columns = regions.columns(names, known)
    return RegionTable(grid.comm, columns, {**to_attributes(grid), "spacing": scales})


def _occurring(labels: Field) -> Array:
    """The labels of this rank's block, each once."""
    values = np.unique(labels.owned)
    return values[values > 0].astype(np.int64)


def _further(
    labels: Field, values: Field | None, regions: Regions, shares: Shares, names: tuple[str, ...]
) -> list[Callable[[], dict[str, Array]]]:
    """Return what makes the columns that need more than rows of sums. Collective: each kind has passes of its own."""
    rows, spacing, layout = regions.rows, regions.spacing, regions.layout
    known, count = rows[:, 0], rows[:, 1]
    result: list[Callable[[], dict[str, Array]]] = []
    if {*names} & {*PATTERNS}:
        counts = counted(labels, shares, known)
        result.append(lambda: pattern_columns(names, counts, spacing))
    if {*names} & {*OUTLINES}:
        extents = outlined(labels, shares)
        result.append(lambda: hull_columns(names, extents, count, spacing))
    if {*names} & {*MOMENTS}:
        sums = summed_moments(labels, None, layout, shares, known)
        result.append(lambda: Moments(sums, regions.corners, spacing).columns(names, MOMENTS))
    if {*names} & {*WEIGHTED}:
        weighted = summed_moments(labels, values, layout, shares, known)
        result.append(
            lambda: Moments(weighted, regions.corners, spacing, layout.unit, regions.holed).columns(names, WEIGHTED)
        )
    if "intensity_median" in names and values is not None:
        middle = medians(labels, values, shares, known, count)
        result.append(lambda: {"intensity_median": np.where(regions.has_nan, np.nan, middle)})
    return result


def find_objects(labels: Field) -> dict[int, tuple[slice, ...]]:
    """Return the box around each label that occurs, as scipy.ndimage.find_objects, on every rank.

    Parameters
    ----------
    labels : Field
        Integers, of which positive ones are labels.

    Returns
    -------
    dict of int to tuple of slice
        For each label, in order, slices of the grid's indices. (scipy's is a list as long as the greatest label.)

    Raises
    ------
    UsageError
        On all ranks, if labels are no integers.

    Notes
    -----
    Collective. All boxes come to every rank; where there are too many, `regionprops_table` with "bbox" leaves each rank
    its share.

    Examples
    --------
    >>> import mpibatch as mb
    >>> labels = mb.Grid((3, 4)).from_function(lambda y, x: 7 * ((y == x) & (y > 0)), "i4")
    >>> mb.find_objects(labels)
    {7: (slice(1, 3, None), slice(1, 3, None))}
    """
    check_field("find_objects", labels)
    with agreed(labels.grid.comm, "find_objects"):
        check_labels("find_objects", labels)
    columns = list(regionprops_table(labels).gather().values())
    ndim = labels.grid.ndim
    ends = np.stack(columns[1:], axis=1).tolist()
    return {
        name: tuple(map(slice, box[:ndim], box[ndim:])) for name, box in zip(columns[0].tolist(), ends, strict=True)
    }


def value_indices(arr: Field, *, ignore_value: int | None = None) -> dict[int, tuple[npt.NDArray[np.int64], ...]]:
    """Return where each value occurs among this rank's cells, as scipy.ndimage.value_indices.

    Parameters
    ----------
    arr : Field
        Of integers, without components.
    ignore_value : int, optional
        A value to leave out, such as 0 for the background.

    Returns
    -------
    dict of int to tuple of ndarray
        For each value in this rank's block, in order, the global indices of its cells there, an array for each axis, in
        raster order. On one rank that is scipy's result.

    Raises
    ------
    UsageError
        If the field is not of integers.

    Notes
    -----
    Local: no rank has room for where the cells of others are. One sort of the block's cells. Where a label begins and
    ends over all ranks: `find_objects`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> labels = mb.Grid((3, 4)).from_function(lambda y, x: 7 * ((y == x) & (y > 0)), "i4")
    >>> cells = mb.measure.value_indices(labels, ignore_value=0)
    >>> mb.count_nonzero(labels) == labels.grid.comm.allreduce(sum(len(y) for y, x in cells.values()))
    True
    """
    check_field("value_indices", arr)
    if arr.dtype.kind not in "iu" or arr.components:
        raise UsageError(
            f"value_indices: a field of dtype {arr.dtype} and components {arr.components or 'none'}; give integers "
            "without components"
        )
    flat = np.ascontiguousarray(arr.owned).reshape(-1)
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    is_first = np.ones(flat.size, np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    ends = [*np.flatnonzero(is_first), flat.size]
    axes = np.unravel_index(order, arr.owned.shape)
    places = [np.add(axis, low, dtype=np.int64) for axis, low in zip(axes, arr.box.start, strict=True)]
    return {
        int(ordered[low]): tuple(axis[low:high] for axis in places)
        for low, high in itertools.pairwise(ends)
        if ordered[low] != ignore_value
    }


def check_labels(call: str, labels: Field) -> None:
    """Raise UsageError unless a field's values are labels. Local."""
    if labels.dtype.kind not in "iu" or labels.components or not labels.dtype.isnative:
        raise UsageError(
            f"{call}: labels of dtype {labels.dtype} and components {labels.components or 'none'}; give integers "
            "without components, such as mpibatch.label returns"
        )
    if labels.dtype == np.uint64 and labels.owned.size and int(labels.owned.max()) >= 2**63:
        raise UsageError(f"{call}: the label {labels.owned.max()} does not fit into 63 bits; number regions otherwise")


def _check_intensity(labels: Field, intensity: Any) -> None:
    check_field("regionprops_table with intensity", intensity)
    if not labels.grid.matches(intensity.grid) or intensity.components:
        raise UsageError(
            f"regionprops_table: intensity over {intensity.grid} with components {intensity.components or 'none'}, and "
            f"labels over {labels.grid}; give a field without components on the same cells (mpibatch.redistribute)"
        )
    if intensity.dtype.kind not in "biuf" or intensity.dtype.itemsize > 8 or not intensity.dtype.isnative:
        raise UsageError(
            f"regionprops_table: intensity of dtype {intensity.dtype}; give bool, integers or floats of up to 8 bytes"
        )


def spacing_of(spacing: Any, ndim: int) -> tuple[float, ...]:
    """Return the distance of cells along each axis. Local. UsageError."""
    if spacing is None:
        return (1.0,) * ndim
    try:
        values = np.broadcast_to(np.asarray(spacing, np.float64), ndim)
    except (TypeError, ValueError):
        values = np.zeros(ndim)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise UsageError(
            f"regionprops_table: spacing={spacing!r} for a grid of {ndim} axes; give a positive number, or one per axis"
        )
    return tuple(values.tolist())
